//! What do `-v`, `-V` and `-h` say? nginx's format, which tools read; the truth about semper on lines of its own.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::conf::table::{self, Outcome};
use crate::node::layout::Layout;

/// The version of nginx whose behaviour and configuration language this is.
pub const NGINX: &str = "1.28.3";
const RUSTLS: &str = "0.23.46";
const AWS_LC_RS: &str = "1.19.0";

/// Flags of nginx's `configure` for modules that it builds unless told not to: `--without-…` where we lack them.
const BY_DEFAULT: [&str; 33] = [
    "http_charset_module",
    "http_gzip_module",
    "http_ssi_module",
    "http_userid_module",
    "http_access_module",
    "http_auth_basic_module",
    "http_mirror_module",
    "http_autoindex_module",
    "http_geo_module",
    "http_map_module",
    "http_split_clients_module",
    "http_referer_module",
    "http_rewrite_module",
    "http_proxy_module",
    "http_fastcgi_module",
    "http_uwsgi_module",
    "http_scgi_module",
    "http_grpc_module",
    "http_memcached_module",
    "http_limit_conn_module",
    "http_limit_req_module",
    "http_empty_gif_module",
    "http_browser_module",
    "http_upstream_hash_module",
    "http_upstream_ip_hash_module",
    "http_upstream_least_conn_module",
    "http_upstream_random_module",
    "http_upstream_keepalive_module",
    "http_upstream_zone_module",
    "stream_limit_conn_module",
    "stream_access_module",
    "stream_map_module",
    "stream_return_module",
];
/// Flags for modules that it builds only when asked: `--with-…` where we have them.
const ON_REQUEST: [&str; 16] = [
    "http_ssl_module",
    "http_v2_module",
    "http_v3_module",
    "http_realip_module",
    "http_addition_module",
    "http_sub_module",
    "http_dav_module",
    "http_gunzip_module",
    "http_gzip_static_module",
    "http_auth_request_module",
    "http_random_index_module",
    "http_secure_link_module",
    "http_slice_module",
    "http_stub_status_module",
    "stream_ssl_module",
    "stream_realip_module",
];

/// `nginx version: …`.
pub fn line() -> String {
    format!("nginx version: nginx/{NGINX}\n")
}

/// What `-V` adds.
pub fn details(layout: &Layout) -> String {
    format!(
        "built with rustls {RUSTLS} (AWS-LC, aws-lc-rs {AWS_LC_RS})\nTLS SNI support enabled\n\
         configure arguments:{}\nsemper version: semper/{}\n",
        configure(layout),
        env!("CARGO_PKG_VERSION")
    )
}

/// What `-h` adds.
pub fn help(layout: &Layout) -> String {
    format!(
        "Usage: nginx [-?hvVtTq] [-s signal] [-p prefix]
             [-e filename] [-c filename] [-g directives]

Options:
  -?,-h         : this help
  -v            : show version and exit
  -V            : show version and configure options then exit
  -t            : test configuration and exit
  -T            : test configuration, dump it and exit
  -q            : suppress non-error messages during configuration testing
  -s signal     : send signal to a master process: stop, quit, reopen, reload
  -p prefix     : set prefix path (default: {})
  -e filename   : set error log file (default: {})
  -c filename   : set configuration file (default: {})
  -g directives : set global directives out of configuration file

Beside nginx's:
  --offline     : with -t: language and meaning alone, without DNS, sockets, certificate files or root
  semper help   : the commands of semper (status, check, explain, migrate, demo) and the quick start

",
        layout.prefix.display(),
        layout.error_log.as_ref().map_or("stderr".into(), |path| path.display().to_string()),
        layout.conf.display(),
    )
}

fn configure(layout: &Layout) -> String {
    let mut text = format!(
        " --prefix={} --conf-path={}",
        layout.prefix.to_string_lossy().trim_end_matches('/'),
        layout.conf.display()
    );
    if let Some(path) = &layout.error_log {
        let _ = write!(text, " --error-log-path={}", path.display());
    }
    let _ = write!(text, " --http-log-path={} --pid-path={}", layout.access_log.display(), layout.pid.display());
    let honoured = honoured();
    for module in ON_REQUEST.iter().filter(|module| honoured.contains(**module)) {
        let _ = write!(text, " --with-{module}");
    }
    for module in BY_DEFAULT.iter().filter(|module| !honoured.contains(**module)) {
        let _ = write!(text, " --without-{module}");
    }
    text
}

/// Modules of which at least one directive is honoured, in the spelling of `configure`.
fn honoured() -> BTreeSet<String> {
    let rows = table::table().rows().iter();
    rows.filter(|row| row.outcome == Outcome::Honoured)
        .map(|row| row.module.replace("_filter_module", "_module"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_named_are_those_that_are_built_in() {
        let lock = include_str!("../../Cargo.lock");
        for (name, version) in [("rustls", RUSTLS), ("aws-lc-rs", AWS_LC_RS)] {
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"")), "{name} is not {version}");
        }
    }

    #[test]
    fn arguments_tell_what_is_there_and_what_is_not() {
        let text = details(&Layout::debian());
        assert!(text.contains(" --with-http_ssl_module --with-http_v2_module"), "{text}");
        assert!(text.contains(" --without-http_fastcgi_module"), "{text}");
        assert!(!text.contains("http_proxy_module"), "{text}");
    }
}

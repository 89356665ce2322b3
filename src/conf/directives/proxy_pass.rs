//! proxy_pass: where a location's requests go, and the plan of it with everything that the levels around say.

use std::sync::Arc;
use std::time::Duration;

use crate::conf::address::{self, AddressKind, Wanted};
use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::{clamp, directive_is};
use crate::conf::tree::Directive;
use crate::plan::proxy::{HIDDEN, NextUpstream, Proxy, ProxyTo, Redirect};
use crate::plan::template::Template;
use crate::words::Place;

use super::proxy::RedirectSaid;
use super::upstream::Registry;
use super::{Chain, Said, client, ssl};

/// A `proxy_pass` that was read.
#[derive(Clone, Debug)]
pub struct Pass {
    to: To,
    /// `https://`, or unknown because of variables.
    tls: bool,
    uri: String,
    url: String,
    host: String,
    port: String,
    /// The prefix that the URI part replaces.
    location: Box<str>,
}

#[derive(Clone, Debug)]
enum To {
    /// An entry of the registry of upstreams.
    Upstream(usize),
    /// A URL with variables.
    Url(Template),
}

/// Takes `proxy_pass`.
///
/// # Errors
/// nginx's words.
pub fn take(said: &mut Said, reader: &mut Reader<'_>, directive: &Directive) -> Result<Pass, Complaint> {
    let place = &directive.place;
    if said.proxy.pass.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let url = &*directive.args[0];
    said.proxy.pass = Some(url.contains('$'));
    if url.contains('$') {
        let to = To::Url(reader.template(url, place)?);
        let empty = String::new;
        return Ok(Pass {
            to,
            tls: true,
            uri: empty(),
            url: empty(),
            host: empty(),
            port: empty(),
            location: "".into(),
        });
    }
    let scheme = |name: &str| url.get(..name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name));
    let (length, default_port, tls) = match (scheme("http://"), scheme("https://")) {
        (true, _) => (7, 80, false),
        (_, true) => (8, 443, true),
        _ => return Err(Complaint::emerg("invalid URL prefix", place)),
    };
    let wanted = Wanted { listen: false, uri_part: true, resolve: false, default_port };
    let rest = &url[length..];
    let address = address::parse(rest, wanted, reader.world)
        .map_err(|wrong| Complaint::emerg(format!("{} in upstream \"{rest}\"", wrong.0), place))?;
    let (host, port) = match address.kind {
        AddressKind::Unix => ("localhost".to_owned(), String::new()),
        _ if address.no_port || address.port == default_port => (address.host.clone(), default_port.to_string()),
        _ => (format!("{}:{}", address.host, address.port), address.port.to_string()),
    };
    let uri = address.uri.clone();
    let index = reader.shared.upstreams.implicit(address, place)?;
    let spot = &said.spot;
    let nowhere = spot.named || spot.regex || spot.is_nameless();
    if nowhere && !uri.is_empty() {
        let text = "\"proxy_pass\" cannot have URI part in location given by regular expression, or inside named \
                    location, or inside \"if\" statement, or inside \"limit_except\" block";
        return Err(Complaint::emerg(text, place));
    }
    let location = if nowhere { "".into() } else { spot.location.clone() };
    Ok(Pass { to: To::Upstream(index), tls, uri, url: url.to_owned(), host, port, location })
}

/// The plan of a `proxy_pass` with what the levels of `chain` say.
///
/// # Errors
/// What nginx checks when levels are merged.
pub fn build(
    pass: &Pass,
    chain: Chain<'_>,
    upstreams: &Registry,
    reader: &mut Reader<'_>,
    end: &Place,
) -> Result<Proxy, Complaint> {
    let minute = Duration::from_secs(60);
    let Buffers { size: buffer_size, all: buffers, max_temp_file, .. } = buffers(chain);
    let list = |name: &str| chain.find(|said| said.level.words(name)).unwrap_or_default();
    let tls = if pass.tls { Some(Arc::new(ssl::upstream(chain, reader, end)?)) } else { None };
    Ok(Proxy {
        to: match &pass.to {
            To::Upstream(index) => ProxyTo::Upstream(upstreams.built(*index)),
            To::Url(template) => ProxyTo::Url(template.clone()),
        },
        tls,
        uri: (!pass.uri.is_empty()).then(|| Template::literal(pass.uri.clone())),
        replaced: pass.location.len(),
        host: pass.host.as_str().to_owned().into(),
        port: pass.port.as_str().to_owned().into(),
        method: chain.template("proxy_method"),
        http11: chain.word("proxy_http_version") == Some("1.1"),
        set_headers: set_headers(chain, reader)?,
        pass_headers: chain.flag("proxy_pass_request_headers", true),
        pass_body: chain.flag("proxy_pass_request_body", true),
        set_body: chain.find(|said| said.proxy.set_body.clone()),
        hide: hidden(chain),
        ignore: list("proxy_ignore_headers").iter().map(|name| name.to_ascii_lowercase().into()).collect(),
        redirects: redirects(pass, chain),
        cookie_domains: chain.find(|said| said.proxy.cookie_domains.clone()).unwrap_or_default().into(),
        cookie_flags: chain.find(|said| said.proxy.cookie_flags.clone()).unwrap_or_default().into(),
        cookie_paths: chain.find(|said| said.proxy.cookie_paths.clone()).unwrap_or_default().into(),
        connect_timeout: chain.time("proxy_connect_timeout", minute),
        send_timeout: chain.time("proxy_send_timeout", minute),
        read_timeout: chain.time("proxy_read_timeout", minute),
        buffering: chain.flag("proxy_buffering", true),
        request_buffering: chain.flag("proxy_request_buffering", true),
        buffer_size,
        buffers,
        max_temp_file,
        temp_path: client::temp_path(chain, "proxy_temp_path", reader, &reader.options.defaults.proxy_temp),
        limit_rate: chain.template("proxy_limit_rate").unwrap_or_default(),
        next: next_upstream(chain),
        intercept_errors: chain.flag("proxy_intercept_errors", false),
        ignore_client_abort: chain.flag("proxy_ignore_client_abort", false),
        pass_trailers: chain.flag("proxy_pass_trailers", false),
        force_ranges: chain.flag("proxy_force_ranges", false),
        socket_keepalive: chain.flag("proxy_socket_keepalive", false),
        bind: chain.find(|said| said.proxy.bind.clone()).flatten(),
    })
}

/// The sizes of buffers, as a chain says them.
struct Buffers {
    size: usize,
    all: (usize, usize),
    busy: usize,
    max_temp_file: u64,
}

impl Buffers {
    fn largest(&self) -> usize {
        self.size.max(self.all.1)
    }
}

fn buffers(chain: Chain<'_>) -> Buffers {
    let page = 4096;
    let size = chain.size("proxy_buffer_size", page);
    let all = chain.find(|said| said.level.buffers("proxy_buffers")).unwrap_or((8, page));
    let busy = chain.size("proxy_busy_buffers_size", size.max(all.1).saturating_mul(2));
    Buffers { size, all, busy, max_temp_file: chain.number("proxy_max_temp_file_size", 1 << 30) }
}

/// Whether the sizes of buffers that a level says fit each other and what the levels above say.
///
/// # Errors
/// nginx's words, at the end of `http`.
pub fn check(chain: Chain<'_>, end: &Place) -> Result<(), Complaint> {
    let names = [
        "proxy_buffer_size",
        "proxy_buffers",
        "proxy_busy_buffers_size",
        "proxy_max_temp_file_size",
        "proxy_temp_file_write_size",
    ];
    if !names.iter().any(|name| chain.said.level.has(name)) {
        return Ok(());
    }
    let found = buffers(chain);
    let largest = found.largest();
    let largest_of = "the maximum of the value of \"proxy_buffer_size\" and one of the \"proxy_buffers\"";
    let write_size = chain.size("proxy_temp_file_write_size", largest.saturating_mul(2));
    let text = if found.all.0 < 2 {
        "there must be at least 2 \"proxy_buffers\"".to_owned()
    } else if found.busy < largest {
        format!("\"proxy_busy_buffers_size\" must be equal to or greater than {largest_of}")
    } else if found.busy > (found.all.0 - 1).saturating_mul(found.all.1) {
        "\"proxy_busy_buffers_size\" must be less than the size of all \"proxy_buffers\" minus one buffer".to_owned()
    } else if write_size < largest {
        format!("\"proxy_temp_file_write_size\" must be equal to or greater than {largest_of}")
    } else if found.max_temp_file != 0 && clamp(found.max_temp_file) < largest {
        format!(
            "\"proxy_max_temp_file_size\" must be equal to zero to disable temporary files usage or must be equal to \
             or greater than {largest_of}"
        )
    } else {
        return Ok(());
    };
    Err(Complaint::emerg(text, end))
}

/// Names and values, in order.
type SetHeaders = Box<[(Box<str>, Template)]>;

/// What `proxy_set_header` says, and what nginx sends where it says nothing.
fn set_headers(chain: Chain<'_>, reader: &mut Reader<'_>) -> Result<SetHeaders, Complaint> {
    let said = chain.find(|said| Some(&said.proxy.set_headers).filter(|headers| !headers.is_empty()));
    let mut headers = said.cloned().unwrap_or_default();
    let defaults = [
        ("Host", "$proxy_host"),
        ("Connection", "close"),
        ("TE", ""),
        ("Transfer-Encoding", ""),
        ("Keep-Alive", ""),
        ("Expect", ""),
        ("Upgrade", ""),
    ];
    for (name, value) in defaults {
        if !headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            headers.push((name.into(), reader.template(value, &Place::built_in())?));
        }
    }
    Ok(headers.into())
}

fn hidden(chain: Chain<'_>) -> Box<[Box<str>]> {
    let list = |name: &'static str| -> Vec<Box<str>> {
        let said = chain.find(|said| said.level.has(name).then_some(said));
        let names = said.map(|said| said.level.all_args(name)).into_iter().flatten();
        names.filter_map(|(args, _)| args.first()).map(|name| name.to_ascii_lowercase().into()).collect()
    };
    let passed = list("proxy_pass_header");
    let mut names: Vec<Box<str>> = HIDDEN.iter().map(|name| (*name).into()).collect();
    names.extend(list("proxy_hide_header"));
    names.retain(|name| !passed.contains(name));
    names.sort();
    names.dedup();
    names.into()
}

fn redirects(pass: &Pass, chain: Chain<'_>) -> Box<[Redirect]> {
    let default = || match &pass.to {
        To::Url(_) => None,
        To::Upstream(_) if pass.uri.is_empty() => {
            let from = Template::literal(format!("{}/", pass.url));
            Some(Redirect::Prefix { from, to: Template::literal("/") })
        }
        To::Upstream(_) => {
            let from = Template::literal(pass.url.clone());
            Some(Redirect::Prefix { from, to: Template::literal(pass.location.as_bytes().to_vec()) })
        }
    };
    match chain.find(|said| said.proxy.redirects.as_ref()) {
        None => default().into_iter().collect(),
        Some(list) => {
            let each = list.iter().filter_map(|entry| match entry {
                RedirectSaid::Default => default(),
                RedirectSaid::Written(redirect) => Some(redirect.clone()),
            });
            each.collect()
        }
    }
}

fn next_upstream(chain: Chain<'_>) -> NextUpstream {
    let words = chain.find(|said| said.level.words("proxy_next_upstream"));
    let words = words.unwrap_or_else(|| vec!["error", "timeout"]);
    let off = words.contains(&"off");
    let has = |word: &str| !off && words.contains(&word);
    let statuses = words.iter().filter_map(|word| word.strip_prefix("http_")?.parse().ok());
    NextUpstream {
        error: has("error"),
        timeout: has("timeout"),
        invalid_header: has("invalid_header"),
        statuses: if off { Box::default() } else { statuses.collect() },
        non_idempotent: has("non_idempotent"),
        within: chain.time("proxy_next_upstream_timeout", Duration::ZERO),
        tries: u32::try_from(chain.number("proxy_next_upstream_tries", 0)).unwrap_or(u32::MAX),
    }
}

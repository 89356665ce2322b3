//! Where does everything lie when nobody says? Debian's places, which nginx has there too, or one folder for all.

use std::path::{Path, PathBuf};

/// The places that nginx compiles in.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layout {
    /// Base of `root`, logs, pid and temporary files that are given relative.
    pub prefix: PathBuf,
    /// Base of `include`, certificates and password files that are given relative.
    pub conf_prefix: PathBuf,
    /// The main configuration file.
    pub conf: PathBuf,
    /// `error_log` if none is set; `None` is stderr.
    pub error_log: Option<PathBuf>,
    /// `access_log` if none is set.
    pub access_log: PathBuf,
    /// `pid` if none is set.
    pub pid: PathBuf,
    /// `state_path` if none is set.
    pub state: PathBuf,
    /// The folder of `client_body`, `proxy` and other temporary files if none is set.
    pub temp: PathBuf,
}

impl Layout {
    /// Debian's: what `nginx` takes, and `semper` without `-p`.
    pub fn debian() -> Layout {
        Layout {
            prefix: "/usr/share/nginx/".into(),
            conf_prefix: "/etc/nginx/".into(),
            conf: "/etc/nginx/nginx.conf".into(),
            error_log: Some("/var/log/nginx/error.log".into()),
            access_log: "/var/log/nginx/access.log".into(),
            pid: "/run/nginx.pid".into(),
            state: "/var/lib/semper".into(),
            temp: "/var/lib/nginx".into(),
        }
    }

    /// Everything below one folder, as nginx built from source has it: `conf/nginx.conf`, `logs/`, `state/`.
    pub fn below(prefix: &Path) -> Layout {
        Layout {
            prefix: prefix.to_owned(),
            conf_prefix: prefix.join("conf/"),
            conf: prefix.join("conf/nginx.conf"),
            error_log: Some(prefix.join("logs/error.log")),
            access_log: prefix.join("logs/access.log"),
            pid: prefix.join("logs/nginx.pid"),
            state: prefix.join("state"),
            temp: prefix.to_owned(),
        }
    }

    /// The places for a program called `program` with `-p`, `-c` and `-e` as given.
    ///
    /// Called as `nginx`: Debian's, whatever `-p` says, as nginx has it there. Called otherwise: with `-p` everything lies
    /// below it; without, Debian's places, and `/etc/semper/nginx.conf` goes before `/etc/nginx/nginx.conf` if it exists.
    pub fn choose(program: &str, prefix: Option<&str>, conf: Option<&str>, error_log: Option<&str>) -> Layout {
        let as_nginx = Path::new(program).file_name().is_some_and(|name| name == "nginx");
        let folder = prefix.map(|text| PathBuf::from(with_slash(text)));
        let mut layout = match &folder {
            Some(folder) if as_nginx => Layout { prefix: folder.clone(), ..Layout::debian() },
            Some(folder) => Layout::below(folder),
            None => Layout::debian(),
        };
        let own = Path::new("/etc/semper/nginx.conf");
        if folder.is_none() && !as_nginx && own.exists() {
            (layout.conf, layout.conf_prefix) = (own.into(), "/etc/semper/".into());
        }
        if let Some(text) = conf {
            layout.conf = layout.prefix.join(text);
            if let Some(parent) = layout.conf.parent() {
                layout.conf_prefix = PathBuf::from(with_slash(&parent.to_string_lossy()));
            }
        }
        match error_log {
            Some("") => layout.error_log = None,
            Some(text) => layout.error_log = Some(layout.prefix.join(text)),
            None => {}
        }
        layout
    }
}

fn with_slash(text: &str) -> String {
    if text.is_empty() || text.ends_with('/') { text.to_owned() } else { format!("{text}/") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn called_as_nginx_the_places_are_debians() {
        let layout = Layout::choose("/usr/sbin/nginx", None, None, None);
        assert_eq!(layout, Layout::debian());
    }

    #[test]
    fn a_prefix_holds_everything_and_c_moves_the_configuration() {
        let layout = Layout::choose("semper", Some("/srv/x"), Some("/a/b.conf"), Some(""));
        assert_eq!(layout.pid, Path::new("/srv/x/logs/nginx.pid"));
        assert_eq!(layout.conf_prefix.to_str(), Some("/a/"));
        assert_eq!(layout.error_log, None);
        assert_eq!(Layout::choose("semper", Some("/srv/x"), Some("b.conf"), None).conf, Path::new("/srv/x/b.conf"));
    }
}

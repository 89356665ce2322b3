//! Is an authority reached through a proxy? Reads `https_proxy` and `no_proxy` as other programs do, and opens the
//! tunnel (CONNECT, RFC 9110 9.3.6).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The proxy of the environment.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxy {
    /// `host:port`, and the value of Proxy-Authorization; `None` for direct connections.
    via: Option<(String, Option<String>)>,
    /// Host names and suffixes that are reached directly; `*` for all.
    except: Vec<String>,
}

impl Proxy {
    /// Reads `https_proxy` (or `HTTPS_PROXY`) and `no_proxy` (or `NO_PROXY`) through `variable`.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Proxy {
        let first =
            |names: [&str; 2]| names.into_iter().find_map(|name| variable(name).filter(|text| !text.is_empty()));
        let via = first(["https_proxy", "HTTPS_PROXY"]).and_then(|text| address(&text));
        let except = first(["no_proxy", "NO_PROXY"]).unwrap_or_default();
        let except = except.split(',').map(|name| name.trim().trim_start_matches('.').to_ascii_lowercase());
        Proxy { via, except: except.filter(|name| !name.is_empty()).collect() }
    }

    /// The proxy's `host:port` on the way to `host`; `None` for a direct connection.
    pub fn toward(&self, host: &str) -> Option<&str> {
        let (address, _) = self.via.as_ref()?;
        let host = host.to_ascii_lowercase();
        let excepted = self.except.iter().any(|name| {
            name == "*" || host == *name || host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'))
        });
        (!excepted).then_some(address)
    }

    /// Opens a tunnel to `target` (`host:port`) over a connection to the proxy.
    pub async fn tunnel(&self, stream: &mut TcpStream, target: &str) -> Result<(), String> {
        let authorization = match &self.via {
            Some((_, Some(value))) => format!("Proxy-Authorization: {value}\r\n"),
            _ => String::new(),
        };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|error| format!("proxy: {error}"))?;
        // Byte by byte: what follows the head belongs to the tunnel. It is one small head for each connection.
        let mut head = Vec::with_capacity(256);
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > 8192 {
                return Err("proxy: the answer to CONNECT is too long".into());
            }
            head.push(stream.read_u8().await.map_err(|error| format!("proxy: {error}"))?);
        }
        let status = head.splitn(3, |b| *b == b' ').nth(1).unwrap_or_default();
        match status {
            [b'2', _, _] => Ok(()),
            other => Err(format!("proxy: CONNECT was answered with {}", String::from_utf8_lossy(other))),
        }
    }
}

/// Splits `http://user:password@host:port/` into address and authorization.
fn address(text: &str) -> Option<(String, Option<String>)> {
    let rest = text.strip_prefix("http://").unwrap_or(text);
    if rest.contains("://") {
        return None;
    }
    let rest = rest.split('/').next()?;
    let (user, host) = match rest.rsplit_once('@') {
        Some((user, host)) => (Some(format!("Basic {}", STANDARD.encode(user))), host),
        None => (None, rest),
    };
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    (!host.is_empty()).then_some((address, user))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(https: &str, except: &str) -> Proxy {
        Proxy::from_environment(|name| match name {
            "https_proxy" => Some(https.to_owned()),
            "NO_PROXY" => Some(except.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn the_environment_says_which_hosts_go_through_the_proxy() {
        let proxy = proxy("http://u:p@proxy.example:3128/", "internal, .corp.example,10.0.0.1");
        assert_eq!(proxy.toward("ca.example"), Some("proxy.example:3128"));
        for direct in ["internal", "x.corp.example", "CORP.example", "10.0.0.1"] {
            assert_eq!(proxy.toward(direct), None, "{direct}");
        }
        assert_eq!(proxy.toward("notcorp.example"), Some("proxy.example:3128"));
        assert_eq!(proxy.via.as_ref().and_then(|(_, user)| user.as_deref()), Some("Basic dTpw"));
    }

    #[test]
    fn a_proxy_that_we_cannot_speak_to_is_none() {
        assert_eq!(proxy("socks5://p:1", "").toward("a"), None);
        assert_eq!(proxy("", "").toward("a"), None);
        assert_eq!(proxy("p", "*").toward("a"), None);
        assert_eq!(proxy("p", "").toward("a"), Some("p:80"));
    }
}

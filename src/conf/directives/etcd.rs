//! store: where a large fleet keeps what its nodes share.

use std::path::PathBuf;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::tree::Directive;
use crate::plan::etcd::{Endpoint, EtcdStore, PORT, PREFIX};
use crate::words::SecretRef;

/// Reads `store etcd URL … [prefix=] [user=] [password=] [cert=] [key=] [trusted=]`.
///
/// # Errors
/// What is wrong with it.
pub fn store(reader: &mut Reader<'_>, directive: &Directive) -> Result<EtcdStore, Complaint> {
    let place = &directive.place;
    let wrong = |text: String| Complaint::emerg(text, place);
    let invalid = |text: &str| wrong(format!("invalid parameter \"{text}\""));
    if &*directive.args[0] != "etcd" {
        return Err(wrong(format!("unknown store \"{}\": only \"etcd\" is known", directive.args[0])));
    }
    let mut endpoints = Vec::new();
    let mut store = EtcdStore {
        endpoints: Box::default(),
        prefix: PREFIX.to_owned(),
        user: None,
        certificate: None,
        trusted: None,
        place: place.clone(),
    };
    let (mut user, mut password, mut cert, mut key) = (None, None, None, None);
    for text in &directive.args[1..] {
        if text.starts_with("http://") || text.starts_with("https://") {
            let at = endpoint(text).ok_or_else(|| invalid(text))?;
            if !endpoints.contains(&at) {
                endpoints.push(at);
            }
            continue;
        }
        let (name, said) = text.split_once('=').filter(|(_, said)| !said.is_empty()).ok_or_else(|| invalid(text))?;
        match name {
            "prefix" => store.prefix = prefix(said).ok_or_else(|| invalid(text))?,
            "user" => user = Some(said.to_owned()),
            "password" => password = Some(secret(reader, said)),
            "cert" => cert = Some(reader.conf_path(said)),
            "key" => key = Some(reader.conf_path(said)),
            "trusted" => store.trusted = Some(reader.conf_path(said)),
            _ => return Err(invalid(text)),
        }
    }
    if endpoints.is_empty() {
        return Err(wrong("\"store etcd\" needs the URL of at least one member".into()));
    }
    store.user = together("user", user, "password", password).map_err(wrong)?;
    store.certificate = together::<PathBuf, PathBuf>("cert", cert, "key", key).map_err(wrong)?;
    let open = |at: &&Endpoint| !at.tls && !is_loopback(&at.host);
    if let Some(at) = endpoints.iter().find(open) {
        let what = if store.user.is_some() { "the password" } else { "names and duties" };
        reader.warn(format!("{what} would cross the network to {at} unencrypted"), place);
    }
    store.endpoints = endpoints.into();
    Ok(store)
}

fn together<A, B>(one: &str, a: Option<A>, other: &str, b: Option<B>) -> Result<Option<(A, B)>, String> {
    match (a, b) {
        (Some(a), Some(b)) => Ok(Some((a, b))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("\"{one}=\" needs \"{other}=\" in \"store etcd\"")),
        (None, Some(_)) => Err(format!("\"{other}=\" needs \"{one}=\" in \"store etcd\"")),
    }
}

fn secret(reader: &Reader<'_>, said: &str) -> SecretRef {
    match SecretRef::parse(said) {
        SecretRef::File(path) => SecretRef::File(reader.conf_path(&path.to_string_lossy())),
        other => other,
    }
}

/// `SCHEME://HOST[:PORT][/]`.
fn endpoint(text: &str) -> Option<Endpoint> {
    let (scheme, rest) = text.split_once("://")?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port != 0))?;
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let good = !host.is_empty() && host.len() <= 253 && host.bytes().all(sane);
    good.then(|| Endpoint { tls: scheme == "https", host: host.to_ascii_lowercase().into(), port })
}

/// Begins and ends with a slash, so that no other prefix is part of it.
fn prefix(said: &str) -> Option<String> {
    let inner = said.trim_matches('/');
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/');
    (!inner.is_empty() && inner.len() <= 200 && inner.bytes().all(sane)).then(|| format!("/{inner}/"))
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::world::MemoryWorld;
    use crate::conf::{Options, load};

    fn read(store: &str) -> Result<(EtcdStore, String), String> {
        let text = format!("events {{}} fleet {{ key k; listen 7443; {store} }} http {{ server {{ listen 80; }} }}");
        let world = MemoryWorld::with_file("/etc/nginx/nginx.conf", text);
        let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx"));
        if let Some(error) = loaded.first_error() {
            return Err(error.to_string());
        }
        let said = format!("{:?}", loaded.complaints);
        let fleet = loaded.plan.and_then(|plan| plan.fleet).expect("a fleet was written");
        Ok((fleet.store.expect("a store was written"), said))
    }

    #[test]
    fn members_prefix_user_and_files_are_read() {
        let (store, said) = read(
            "store etcd https://A.example https://[::1]:7/ https://b.example:9 https://a.example prefix=x/y \
             user=u password=file:etcd.password cert=n.pem key=n.key trusted=/ca.pem;",
        )
        .unwrap();
        let endpoints: Vec<String> = store.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["https://a.example:2379", "https://[::1]:7", "https://b.example:9"]);
        assert_eq!(store.prefix, "/x/y/");
        assert_eq!(store.user, Some(("u".into(), SecretRef::File("/etc/nginx/etcd.password".into()))));
        assert_eq!(store.certificate, Some(("/etc/nginx/n.pem".into(), "/etc/nginx/n.key".into())));
        assert_eq!(store.trusted, Some("/ca.pem".into()));
        assert!(!said.contains("unencrypted"), "{said}");
        let (store, said) = read("store etcd http://127.0.0.1;").unwrap();
        assert_eq!((store.prefix.as_str(), store.user), ("/semper/", None));
        assert!(!said.contains("unencrypted"), "{said}");
        let (_, said) = read("store etcd http://10.0.0.1 user=u password=p;").unwrap();
        assert!(said.contains("the password would cross the network to http://10.0.0.1:2379"), "{said}");
    }

    #[test]
    fn what_cannot_be_meant_is_said_with_file_and_line() {
        for (text, words) in [
            ("store redis https://a;", "unknown store \"redis\""),
            ("store etcd prefix=/x/;", "needs the URL of at least one member"),
            ("store etcd https://a:0;", "invalid parameter \"https://a:0\""),
            ("store etcd https://a/b;", "invalid parameter \"https://a/b\""),
            ("store etcd https://[a];", "invalid parameter \"https://[a]\""),
            ("store etcd ftp://a;", "invalid parameter \"ftp://a\""),
            ("store etcd https://a prefix=/;", "invalid parameter \"prefix=/\""),
            ("store etcd https://a user=u;", "\"user=\" needs \"password=\""),
            ("store etcd https://a key=k;", "\"key=\" needs \"cert=\""),
            ("store etcd https://a; store etcd https://b;", "\"store\" directive is duplicate"),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(words) && said.contains("nginx.conf:1"), "{text}: {said}");
        }
    }
}

//! Is the `Referer` of a request one of `valid_referers`? As nginx's ngx_http_referer_module decides it.

use super::names::by_wildcard;
use crate::plan::referer::Referers;

/// Longest host that nginx looks at.
const LONGEST: usize = 256;

/// Whether `referer` is valid; `None`: the request has none.
pub fn is_valid(rules: &Referers, referer: Option<&[u8]>) -> bool {
    if rules.is_empty() {
        return true;
    }
    let Some(referer) = referer else { return rules.none };
    let Some(rest) = behind_scheme(referer) else { return rules.blocked };
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b':')).unwrap_or(rest.len());
    if end > LONGEST {
        return false;
    }
    let host = rest[..end].to_ascii_lowercase();
    let names = &rules.names;
    let named = names.exact.get(&host[..]).or_else(|| by_wildcard(&names.suffixes, &names.prefixes, &host));
    if let Some(prefix) = named {
        let path = rest[end..].iter().position(|byte| *byte == b'/').map_or(&b""[..], |slash| &rest[end + slash..]);
        return path.starts_with(prefix);
    }
    rules.server_patterns.iter().any(|pattern| pattern.captures(&host).is_some())
        || rules.patterns.iter().any(|pattern| pattern.captures(rest).is_some())
}

/// What stands behind `http://` or `https://`; as nginx, only where the whole is at least as long as `http://i.ru`.
fn behind_scheme(referer: &[u8]) -> Option<&[u8]> {
    const SHORTEST: usize = b"http://i.ru".len();
    let begins = |scheme: &[u8]| referer.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    match referer {
        _ if referer.len() < SHORTEST => None,
        _ if begins(b"http://") => Some(&referer[7..]),
        _ if begins(b"https://") => Some(&referer[8..]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::pattern::Pattern;

    #[test]
    fn names_wildcards_paths_and_patterns_decide() {
        let mut rules = Referers::default();
        assert!(is_valid(&rules, Some(b"anything")) && is_valid(&rules, None));
        rules.names.exact.insert((*b"www.example.com").into(), Box::default());
        rules.names.exact.insert((*b"path.example.com").into(), (*b"/ok").into());
        rules.names.suffixes.insert((*b"example.org").into(), Box::default());
        rules.names.prefixes.insert((*b"shop").into(), Box::default());
        rules.patterns = Box::new([Pattern::new(r"\.google\.", true).unwrap()]);
        for (referer, valid) in [
            ("http://www.example.com", true),
            ("HTTPS://WWW.Example.com:8443/x", true),
            ("http://path.example.com:80/okay", true),
            ("http://path.example.com/no", false),
            ("http://path.example.com", false),
            ("http://a.b.example.org/", true),
            ("http://example.org/", false),
            ("http://shop.de/", true),
            ("http://x.test/?.google.", true),
            ("http://x.test/", false),
            ("www.example.com", false),
            ("http://a.b", false),
            ("", false),
        ] {
            assert_eq!(is_valid(&rules, Some(referer.as_bytes())), valid, "{referer}");
        }
        assert!(!is_valid(&rules, Some(&[b"http://".to_vec(), vec![b'a'; 300]].concat())));
        assert!(!is_valid(&rules, None));
        (rules.none, rules.blocked) = (true, true);
        assert!(is_valid(&rules, None) && is_valid(&rules, Some(b"none of your business")));
    }
}

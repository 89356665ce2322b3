//! Under which registered domain does a name stand, and is it a public name at all? By the public suffix list, as
//! authorities count.

use crate::words::Identifier;

/// The registered domain of a name (`example.co.uk` for `*.a.example.co.uk`); an address, or a name that is itself a
/// suffix, stands for itself.
pub fn registered(name: &Identifier) -> String {
    match name {
        Identifier::Ip(ip) => ip.to_string(),
        Identifier::Dns(name) => {
            let bare = name.as_str().strip_prefix("*.").unwrap_or(name.as_str());
            psl::domain_str(bare).unwrap_or(bare).to_owned()
        }
    }
}

/// Whether a name stands below a suffix that exists on the public internet. Addresses, single labels and inner suffixes
/// (`.internal`, `.local`, `.test` …) do not.
pub fn is_public(name: &Identifier) -> bool {
    let Identifier::Dns(name) = name else { return false };
    let bare = name.as_str().strip_prefix("*.").unwrap_or(name.as_str());
    psl::domain(bare.as_bytes()).is_some_and(|domain| domain.suffix().is_known())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_under_their_registered_domain() {
        for (name, domain) in [
            ("a.b.example.com", "example.com"),
            ("*.example.co.uk", "example.co.uk"),
            ("example.org", "example.org"),
            ("x.y.github.io", "y.github.io"),
            ("co.uk", "co.uk"),
            ("127.0.0.1", "127.0.0.1"),
            ("a.b.corp", "b.corp"),
        ] {
            assert_eq!(registered(&name.parse().unwrap()), domain, "{name}");
        }
    }

    #[test]
    fn inner_names_and_addresses_are_not_public() {
        let public = |name: &str| is_public(&name.parse().unwrap());
        assert!(public("example.com") && public("*.a.example.co.uk") && public("x.github.io"));
        for inner in ["db.internal", "printer.local", "a.test", "host", "10.0.0.1", "x.corp", "co.uk"] {
            assert!(!public(inner), "{inner}");
        }
    }
}

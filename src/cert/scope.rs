//! What exactly does an authority refuse when it says "too many"? Reads its words: one limit that is reached must not stop
//! what that limit does not touch.

use serde::{Deserialize, Serialize};

use super::domain::registered;
use super::ledger::{Wish, set_key};
use crate::words::Identifier;

/// What is refused for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everything.
    All,
    /// New orders of the account; renewals that count against no limit of the account go on.
    Orders,
    /// Certificates for names below this registered domain.
    Domain(String),
    /// Certificates for exactly this set of names (its key).
    Set(String),
    /// Orders with this name.
    Name(String),
}

impl Scope {
    /// What the words `said` mean for an order of `names`. Words that are not understood stop the whole authority: it will
    /// say the same again, and others can be asked.
    pub fn of(said: &str, names: &[Identifier]) -> Scope {
        let said = said.to_ascii_lowercase();
        let this = || Scope::Set(set_key(names));
        let quoted = || said.split('"').skip(1).step_by(2).chain(said.split(' ')).map(|word| word.trim_matches('"'));
        let name = || quoted().find(|word| names.iter().any(|name| name.to_string() == *word));
        if said.contains("exact set of") || said.contains("duplicate certificate") {
            return this();
        }
        if said.contains("failed authorizations")
            || said.contains("failed validations")
            || unpause_link(&said).is_some()
        {
            return name().map_or_else(this, |name| Scope::Name(name.to_owned()));
        }
        if said.contains("new orders") {
            return Scope::Orders;
        }
        if said.contains("too many certificates") {
            let domain = quoted().find(|word| names.iter().any(|name| registered(name) == *word));
            return domain.map_or_else(this, |domain| Scope::Domain(domain.to_owned()));
        }
        Scope::All
    }

    /// Whether an order falls under it; `set` is the key of its names.
    pub(super) fn meets(&self, wish: &Wish<'_>, set: &str) -> bool {
        match self {
            Scope::All => true,
            Scope::Orders => !(wish.renewal && wish.limits.renewals_exempt),
            Scope::Domain(domain) => wish.names.iter().any(|name| registered(name) == *domain),
            Scope::Set(key) => key == set,
            Scope::Name(own) => wish.names.iter().any(|name| name.to_string() == *own),
        }
    }
}

/// The page on which a person lifts the pause of a name, if the authority's words have one.
pub fn unpause_link(said: &str) -> Option<&str> {
    let links = said.match_indices("https://").map(|(at, _)| &said[at..]);
    let ends = |c: char| c.is_whitespace() || c.is_control() || "\"'<>()".contains(c);
    let links = links.map(|rest| rest.split(ends).next().unwrap_or(rest).trim_end_matches(['.', ',', ';']));
    links.into_iter().find(|link| link.contains("unpause") && link.len() < 2048)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<Identifier> {
        list.iter().map(|n| n.parse().unwrap()).collect()
    }

    #[test]
    fn each_limit_of_lets_encrypt_stops_what_it_is_about() {
        let own = names(&["a.example.com", "b.example.com"]);
        let of = |said: &str| Scope::of(said, &own);
        let set = Scope::Set(set_key(&own));
        let said = "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, \
                    retry after 2026-11-24 10:00:00 UTC: see https://letsencrypt.org/docs/rate-limits/";
        assert_eq!(of(said), set);
        let said = "too many certificates (50) already issued for \"example.com\" in the last 168h0m0s, retry after x";
        assert_eq!(of(said), Scope::Domain("example.com".into()));
        let said = "too many failed authorizations (5) for \"b.example.com\" in the last 1h0m0s, retry after x";
        assert_eq!(of(said), Scope::Name("b.example.com".into()));
        assert_eq!(of("too many new orders (300) from this account in the last 3h0m0s"), Scope::Orders);
        assert_eq!(of("too many new registrations (10) from this IP address"), Scope::All);
        assert_eq!(of("Service busy; retry later."), Scope::All);
        // A name that is not ours is not believed: then it is about this certificate alone.
        assert_eq!(of("too many certificates (50) already issued for \"com\" in the last 168h"), set);
    }

    #[test]
    fn a_paused_name_has_a_link() {
        let said = "429: Your account is temporarily prevented from requesting certificates for a.example.com and \
                    possibly others. Please visit: https://portal.letsencrypt.org/sfe/v1/unpause?jwt=ab.c-d_e";
        assert_eq!(unpause_link(said), Some("https://portal.letsencrypt.org/sfe/v1/unpause?jwt=ab.c-d_e"));
        assert_eq!(Scope::of(said, &names(&["a.example.com"])), Scope::Name("a.example.com".into()));
        for other in ["see https://letsencrypt.org/docs/rate-limits/", "unpause", "http://x/unpause"] {
            assert_eq!(unpause_link(other), None, "{other}");
        }
    }
}

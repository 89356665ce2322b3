//! May this authority issue for this name? CAA (RFC 8659) with the parameters of RFC 8657, as the authority itself will
//! judge it. Asks nobody: the records were found elsewhere.

/// One CAA record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Whoever does not understand the tag must not issue.
    pub critical: bool,
    /// `issue`, `issuewild`, `iodef` …
    pub tag: String,
    /// Its value.
    pub value: String,
}

/// Who wants to issue, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asker {
    /// The names by which the authority calls itself (`caaIdentities` of its directory).
    pub identities: Vec<String>,
    /// The URL of our account there, if there is one yet.
    pub account: Option<String>,
    /// The registered name of the challenge; `None`: none yet.
    pub method: Option<&'static str>,
    /// The name is a wildcard.
    pub wildcard: bool,
}

/// Why the authority may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// Only others may.
    #[error("lets only {} issue, not {}", .allowed.join(", "), .us.join(" or "))]
    Others {
        /// Who may.
        allowed: Vec<String>,
        /// Whom we ask.
        us: Vec<String>,
    },
    /// Nobody may.
    #[error("lets nobody issue")]
    Nobody,
    /// Our authority may, but only for another account (`accounturi`).
    #[error("lets {authority} issue for the account {wanted} alone; ours is {ours}")]
    OtherAccount {
        /// The authority.
        authority: String,
        /// Whose account.
        wanted: String,
        /// Ours.
        ours: String,
    },
    /// Our authority may, but only by other challenges (`validationmethods`).
    #[error("lets {authority} validate by {wanted} alone, not by {method}")]
    OtherMethod {
        /// The authority.
        authority: String,
        /// Those that may be used.
        wanted: String,
        /// Ours.
        method: String,
    },
    /// A critical property that nobody understands.
    #[error("has a critical property {0:?} that no authority may pass over")]
    Critical(String),
}

/// Judges the relevant set of a name. An empty set lets everybody issue.
///
/// # Errors
/// Why not; of several reasons the one that is nearest to a yes.
pub fn judge(set: &[Property], asker: &Asker) -> Result<(), Forbidden> {
    let is = |property: &&Property, tag: &str| property.tag.eq_ignore_ascii_case(tag);
    let known = ["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"];
    let unknown = |property: &&Property| property.critical && !known.iter().any(|tag| is(property, tag));
    if let Some(property) = set.iter().find(unknown) {
        return Err(Forbidden::Critical(property.tag.clone()));
    }
    let wild: Vec<&Property> = set.iter().filter(|property| asker.wildcard && is(property, "issuewild")).collect();
    let rules = if wild.is_empty() { set.iter().filter(|property| is(property, "issue")).collect() } else { wild };
    if rules.is_empty() {
        return Ok(());
    }
    let mut nearest: Option<Forbidden> = None;
    let mut allowed = Vec::new();
    for rule in rules {
        let mut parts = rule.value.split(';').map(str::trim);
        let domain = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<(&str, &str)> = parts.filter_map(|part| part.split_once('=')).collect();
        if domain.is_empty() {
            continue;
        }
        allowed.push(domain.clone());
        if !asker.identities.iter().any(|own| own.eq_ignore_ascii_case(&domain)) {
            continue;
        }
        match fits(&domain, &parameters, asker) {
            Ok(()) => return Ok(()),
            Err(why) => nearest = Some(why),
        }
    }
    allowed.dedup();
    Err(match (nearest, allowed.is_empty()) {
        (Some(why), _) => why,
        (None, true) => Forbidden::Nobody,
        (None, false) => Forbidden::Others { allowed, us: asker.identities.clone() },
    })
}

fn fits(authority: &str, parameters: &[(&str, &str)], asker: &Asker) -> Result<(), Forbidden> {
    let value = |name: &str| {
        let found = parameters.iter().find(|(tag, _)| tag.trim().eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    };
    // An account that is not known yet may turn out to be the one.
    if let (Some(wanted), Some(ours)) = (value("accounturi"), &asker.account)
        && wanted != ours
    {
        let (authority, wanted, ours) = (authority.to_owned(), wanted.to_owned(), ours.clone());
        return Err(Forbidden::OtherAccount { authority, wanted, ours });
    }
    if let (Some(wanted), Some(method)) = (value("validationmethods"), asker.method)
        && !wanted.split(',').any(|one| one.trim() == method)
    {
        let (authority, wanted, method) = (authority.to_owned(), wanted.to_owned(), method.to_owned());
        return Err(Forbidden::OtherMethod { authority, wanted, method });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(records: &[(&str, &str)]) -> Vec<Property> {
        let property = |(tag, value): &(&str, &str)| Property {
            critical: tag.starts_with('!'),
            tag: tag.trim_start_matches('!').to_owned(),
            value: (*value).to_owned(),
        };
        records.iter().map(property).collect()
    }

    fn asker(wildcard: bool) -> Asker {
        Asker {
            identities: vec!["ca.example".into(), "ca.test".into()],
            account: Some("https://ca.example/acct/1".into()),
            method: Some("http-01"),
            wildcard,
        }
    }

    #[test]
    fn the_table_of_caa() {
        // (records, may for a name, may for a wildcard)
        for (records, name, wildcard) in [
            (&[][..], true, true),
            (&[("issue", "ca.example")], true, true),
            (&[("issue", "CA.Example")], true, true),
            (&[("Issue", " ca.test ; ")], true, true),
            (&[("issue", ";")], false, false),
            (&[("issue", "other.example")], false, false),
            (&[("issue", "other.example"), ("issue", "ca.example")], true, true),
            (&[("issue", "ca.example"), ("issuewild", ";")], true, false),
            (&[("issue", ";"), ("issuewild", "ca.example")], false, true),
            (&[("issuewild", "other.example")], true, false),
            (&[("iodef", "mailto:a@b.example")], true, true),
            (&[("!tbs", "x")], false, false),
            (&[("tbs", "x")], true, true),
            (&[("issue", "ca.example; accounturi=https://ca.example/acct/1")], true, true),
            (&[("issue", "ca.example; accounturi=https://ca.example/acct/2")], false, false),
            (&[("issue", "ca.example; validationmethods=dns-01,http-01")], true, true),
            (&[("issue", "ca.example; validationmethods=dns-01")], false, false),
            (&[("issue", "ca.example;validationmethods=dns-01"), ("issue", "ca.test")], true, true),
        ] {
            let set = set(records);
            assert_eq!(judge(&set, &asker(false)).is_ok(), name, "{records:?}");
            assert_eq!(judge(&set, &asker(true)).is_ok(), wildcard, "*: {records:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_change() {
        let why = |records: &[(&str, &str)]| judge(&set(records), &asker(false)).unwrap_err().to_string();
        assert_eq!(why(&[("issue", "other.example")]), "lets only other.example issue, not ca.example or ca.test");
        assert_eq!(
            why(&[("issue", "ca.example; accounturi=https://ca.example/acct/2")]),
            "lets ca.example issue for the account https://ca.example/acct/2 alone; ours is https://ca.example/acct/1"
        );
        assert_eq!(
            why(&[("issue", "ca.example; validationmethods=dns-01")]),
            "lets ca.example validate by dns-01 alone, not by http-01"
        );
        assert_eq!(why(&[("issue", ";")]), "lets nobody issue");
    }
}

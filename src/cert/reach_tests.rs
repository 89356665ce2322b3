//! What do facts mean? Each way in which a name does or does not lead here, and what this node cannot know.

use super::*;
use crate::plan::checks::Skip;

const V4: &str = "198.51.100.7";
const V6: &str = "2001:db8:1::7";

fn other() -> Answer {
    Answer::Other { status: 404, by: "nginx".into() }
}

fn facts(seen: &[(&str, Owner, Answer)]) -> Facts {
    let seen =
        seen.iter().map(|(ip, owner, answer)| Seen { ip: ip.parse().unwrap(), owner: *owner, answer: answer.clone() });
    Facts {
        name: "shop.example.com".parse().unwrap(),
        addresses: Addresses::Found(seen.collect()),
        caa: Caa::Set("example.com".into(), vec![]),
        alias: vec![],
        stranger: None,
    }
}

fn by_http(facts: &Facts) -> Verdict {
    judge(facts, ChallengeKind::Http01, &Asker::default(), &Checks::default())
}

fn words(verdict: &Verdict) -> String {
    verdict.cause().map(ToString::to_string).unwrap_or_else(|| panic!("{verdict:?}"))
}

#[test]
fn a_name_whose_addresses_answer_with_our_nonce_is_clear() {
    use Owner::*;
    assert_eq!(by_http(&facts(&[(V4, Unknown, Answer::Ours), (V6, Declared, Answer::Ours)])), Verdict::Clear);
    // An address that cannot be reached from here, beside one that is ours: authorities fall back, too.
    assert_eq!(by_http(&facts(&[(V4, Unknown, Answer::Ours), (V6, Unknown, Answer::Silent)])), Verdict::Clear);
}

#[test]
fn each_cause_has_its_own_words() {
    use Owner::*;
    let stale = by_http(&facts(&[(V4, Unknown, Answer::Ours), (V6, Unknown, other())]));
    assert!(
        words(&stale).contains("the AAAA record 2001:db8:1::7 of shop.example.com does not lead to us"),
        "{stale:?}"
    );
    let half = by_http(&facts(&[(V4, Unknown, Answer::Ours), ("198.51.100.8", Unknown, other())]));
    assert!(words(&half).contains("also leads to 198.51.100.8"), "{half:?}");
    let gone = by_http(&facts(&[(V4, Unknown, other()), (V6, Unknown, other())]));
    assert!(matches!(gone, Verdict::Elsewhere(_)) && words(&gone).contains("leads to 198.51.100.7, and not to us"));
    let closed = by_http(&facts(&[(V4, Here, Answer::Refused)]));
    assert!(words(&closed).contains("nobody listens on port 80"), "{closed:?}");
    let taken = by_http(&facts(&[(V4, Here, other())]));
    assert!(
        words(&taken).contains("another program answers on port 80 there: nginx answers there with 404"),
        "{taken:?}"
    );
    let cdn = by_http(&facts(&[(V4, Unknown, Answer::Insists { status: 526, by: "cloudflare".into() })]));
    assert!(words(&cdn).contains("cloudflare in front of shop.example.com redirects challenges to HTTPS"), "{cdn:?}");
    let nowhere = by_http(&Facts { addresses: Addresses::Missing, ..facts(&[]) });
    assert!(matches!(&nowhere, Verdict::Elsewhere(_)) && words(&nowhere).contains("has no address in DNS"));
}

#[test]
fn tls_alpn_01_is_judged_by_who_ends_the_handshake() {
    use Owner::*;
    let shown = || Answer::Handshake("a certificate of \"CDN CA\" is shown".into());
    let checks = Checks {
        fronts: vec![crate::plan::checks::Front { who: "cdn".into(), ranges: vec![], names: vec![] }],
        ..Checks::default()
    };
    let by_tls =
        |seen: &[(&str, Owner, Answer)]| judge(&facts(seen), ChallengeKind::TlsAlpn01, &Asker::default(), &checks);
    assert_eq!(by_tls(&[(V4, Unknown, Answer::Ours)]), Verdict::Clear);
    // Never "moved away": requests over HTTP may still come here.
    let front = by_tls(&[(V4, Unknown, shown())]);
    assert!(matches!(front, Verdict::Hindered(_)), "{front:?}");
    assert!(
        words(&front).contains("TLS for shop.example.com does not end here: a certificate of \"CDN CA\""),
        "{front:?}"
    );
    let told = by_tls(&[(V4, Front, shown())]);
    assert!(words(&told).contains("cdn stands in front"), "{told:?}");
    assert!(words(&by_tls(&[(V4, Here, Answer::Refused)])).contains("nobody listens on port 443"));
    assert!(words(&by_tls(&[(V4, Unknown, Answer::Ours), (V6, Unknown, shown())])).contains("AAAA"));
    for unsure in [(V4, Declared, shown()), (V4, Unknown, Answer::Silent), ("10.0.0.1", Unknown, shown())] {
        assert!(matches!(by_tls(std::slice::from_ref(&unsure)), Verdict::NotCheckable(_)), "{unsure:?}");
    }
}

#[test]
fn a_front_that_was_declared_keeps_challenges_but_is_never_another_owner() {
    let checks = Checks {
        fronts: vec![crate::plan::checks::Front { who: "cdn".into(), ranges: vec![], names: vec![] }],
        ..Checks::default()
    };
    let by_http =
        |answer| judge(&facts(&[(V4, Owner::Front, answer)]), ChallengeKind::Http01, &Asker::default(), &checks);
    let kept = by_http(other());
    assert!(matches!(kept, Verdict::Hindered(_)), "{kept:?}");
    assert!(words(&kept).contains("cdn in front of shop.example.com does not pass"), "{kept:?}");
    assert_eq!(by_http(Answer::Ours), Verdict::Clear);
    let astray = by_http(Answer::Astray { to: "https://shop.example.com".into(), by: "cdn".into() });
    assert!(
        words(&astray).contains("sends challenges for shop.example.com on to https://shop.example.com"),
        "{astray:?}"
    );
}

#[test]
fn a_record_of_dns_01_that_belongs_to_somebody_else_is_named() {
    let taken = Facts { stranger: Some("_acme-challenge.x is a CNAME to y".into()), ..facts(&[]) };
    let verdict = judge(&taken, ChallengeKind::Dns01, &Asker::default(), &Checks::default());
    assert_eq!(words(&verdict), "_acme-challenge.x is a CNAME to y");
    assert_eq!(by_http(&Facts { addresses: Addresses::NotAsked, ..taken.clone() }), Verdict::Clear);
    let skip = Checks { skip: vec![Skip { checks: vec![Check::Cname], names: vec![] }], ..Checks::default() };
    assert_eq!(judge(&taken, ChallengeKind::Dns01, &Asker::default(), &skip), Verdict::Clear);
}

#[test]
fn what_this_node_cannot_know_is_never_a_failure() {
    use Owner::*;
    for seen in [
        // Closed egress, hairpin NAT, a router's own page at our address, a split horizon.
        [(V4, Unknown, Answer::Silent)],
        [(V4, Unknown, Answer::Refused)],
        [(V4, Declared, Answer::Refused)],
        [(V4, Declared, other())],
        [("10.1.2.3", Unknown, other())],
        [("100.64.1.1", Unknown, other())],
        [("fd00::1", Unknown, Answer::Silent)],
        [("::ffff:10.1.2.3", Unknown, other())],
        [("127.0.0.1", Here, Answer::Refused)],
    ] {
        let verdict = by_http(&facts(&seen));
        assert!(matches!(verdict, Verdict::NotCheckable(_)), "{seen:?}: {verdict:?}");
    }
    // One that cannot be reached keeps the others from meaning "elsewhere".
    let verdict = by_http(&facts(&[(V4, Unknown, other()), (V6, Unknown, Answer::Silent)]));
    assert!(matches!(verdict, Verdict::NotCheckable(_)), "{verdict:?}");
    let unknown = Facts { addresses: Addresses::Unknown("no answer".into()), ..facts(&[]) };
    assert!(matches!(by_http(&unknown), Verdict::NotCheckable(_)));
}

#[test]
fn caa_forbids_whatever_the_addresses_say_and_dns_01_needs_no_address() {
    let property = |value: &str| Property { critical: false, tag: "issue".into(), value: value.into() };
    let asker = Asker { identities: vec!["ca.example".into()], ..Asker::default() };
    let forbidden = Facts { caa: Caa::Set("example.com".into(), vec![property("other.example")]), ..facts(&[]) };
    for kind in [ChallengeKind::Http01, ChallengeKind::Dns01] {
        let verdict = judge(&forbidden, kind, &asker, &Checks::default());
        assert_eq!(words(&verdict), "the CAA record of example.com lets only other.example issue, not ca.example");
    }
    let missing = Facts { addresses: Addresses::Missing, ..facts(&[]) };
    assert_eq!(judge(&missing, ChallengeKind::Dns01, &asker, &Checks::default()), Verdict::Clear);
    let failing = Facts { caa: Caa::Failing("SERVFAIL".into()), ..facts(&[]) };
    assert!(
        words(&judge(&failing, ChallengeKind::Dns01, &asker, &Checks::default())).contains("cannot be read (SERVFAIL)")
    );
    // An authority that does not say its name cannot be looked up in CAA.
    assert_eq!(judge(&forbidden, ChallengeKind::Dns01, &Asker::default(), &Checks::default()), Verdict::Clear);
}

#[test]
fn checks_are_skipped_by_name() {
    let skip = |checks: &[Check], names: &[&str]| Checks {
        skip: vec![Skip { checks: checks.to_vec(), names: names.iter().map(|name| name.parse().unwrap()).collect() }],
        ..Checks::default()
    };
    let stale = facts(&[(V4, Owner::Unknown, Answer::Ours), (V6, Owner::Unknown, other())]);
    let verdict = |checks: &Checks| judge(&stale, ChallengeKind::Http01, &Asker::default(), checks);
    assert_eq!(verdict(&skip(&[Check::Ipv6], &[])), Verdict::Clear);
    assert_eq!(verdict(&skip(&[Check::Reach], &["shop.example.com"])), Verdict::Clear);
    assert!(verdict(&skip(&[Check::Reach], &["www.example.com"])).cause().is_some());
}

#[test]
fn what_was_found_holds_an_attempt_back_for_a_bounded_time() {
    for first in 0..50 {
        assert!((first..first + 3).any(|failures| !heeds(failures)), "{first}");
    }
    assert!(heeds(0) && heeds(1) && !heeds(2));
}

#[test]
fn names_that_no_public_resolver_knows_are_told_apart() {
    for name in ["a.test", "b.example", "printer.local", "localhost", "x.home.arpa"] {
        assert!(is_special(&name.parse().unwrap()), "{name}");
    }
    for name in ["example.com", "a.contest", "test.example.org"] {
        assert!(!is_special(&name.parse().unwrap()), "{name}");
    }
}

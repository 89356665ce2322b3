//! What does the gate promise? Tests of `gate` and `key_file` over real files as OpenSSL writes them.

use super::*;
use crate::cert::inspect::PublicKeyKind;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const PLAIN: &[u8] = include_bytes!("../../tests/keys/plain.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../tests/keys/certificate.pem");

fn files<'a>(certificate: &'a [u8], key: &'a [u8], passwords: Option<&'a [u8]>) -> FileBytes<'a> {
    FileBytes { certificate, key, passwords }
}

fn names(list: &[&str]) -> Vec<Identifier> {
    list.iter().map(|n| n.parse().unwrap()).collect()
}

fn issued(list: &[&str], from: i32, to: i32, chain: bool) -> Pair {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    root.distinguished_name.push(rcgen::DnType::CommonName, "root of the test");
    let root = CertifiedIssuer::self_signed(root, root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(list.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
    (leaf.not_before, leaf.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(to, 1, 1));
    let leaf = leaf.signed_by(&key, &root).unwrap();
    let text = if chain { leaf.pem() + &root.pem() } else { leaf.pem() };
    read_files(files(text.as_bytes(), key.serialize_pem().as_bytes(), None)).unwrap()
}

fn now() -> UnixTime {
    "2026-06-01T00:00:00Z".parse::<jiff::Timestamp>().map(|t| UnixTime(t.as_millisecond())).unwrap()
}

#[test]
fn keys_in_every_form_are_read_and_give_the_same_key() {
    let plain = read_files(files(CERTIFICATE, PLAIN, None)).unwrap();
    assert_eq!(plain.leaf.key, PublicKeyKind::Ecdsa(256));
    let sec1 = include_bytes!("../../tests/keys/sec1.pem");
    let sealed = include_bytes!("../../tests/keys/sealed.pem");
    let legacy = include_bytes!("../../tests/keys/legacy.pem");
    let passwords = Some(&b"no\n\nopen sesame\r\nlast"[..]);
    for (key, passwords) in [(&sec1[..], None), (&sealed[..], passwords), (&legacy[..], passwords)] {
        let pair = read_files(files(CERTIFICATE, key, passwords)).unwrap();
        assert_eq!(pair.key.public_key().unwrap(), plain.leaf.key_fingerprint);
    }
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let cert = CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&rsa).unwrap();
    let pkcs8 = rsa.serialize_pem();
    assert!(read_files(files(cert.pem().as_bytes(), pkcs8.as_bytes(), None)).is_ok());
    let ed = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let cert = CertificateParams::new(vec!["a.example".into()]).unwrap().self_signed(&ed).unwrap();
    assert!(read_files(files(cert.pem().as_bytes(), ed.serialize_pem().as_bytes(), None)).is_ok());
}

#[test]
fn faults_name_the_culprit_in_the_words_of_nginx() {
    let other = KeyPair::generate().unwrap().serialize_pem();
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap().serialize_pem();
    let sealed = include_bytes!("../../tests/keys/sealed.pem");
    let second_cut = [CERTIFICATE, &CERTIFICATE[..200]].concat();
    let message = |certificate: &[u8], key: &[u8], passwords| {
        let fault = read_files(files(certificate, key, passwords)).unwrap_err();
        fault.message(Path::new("/c"), Path::new("/k"))
    };
    let bad_key = "cannot load certificate key \"/k\": PEM_read_bio_PrivateKey() failed (SSL: error:1E08010C:DECODER \
                   routines::unsupported:No supported data to decode. Input type: PEM)";
    for (certificate, key, words) in [
        (
            &b"junk"[..],
            PLAIN,
            "cannot load certificate \"/c\": PEM_read_bio_X509_AUX() failed (SSL: error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE)",
        ),
        (
            &CERTIFICATE[..300],
            PLAIN,
            "cannot load certificate \"/c\": PEM_read_bio_X509_AUX() failed (SSL: error:04800066:PEM routines::bad end line)",
        ),
        (
            &second_cut,
            PLAIN,
            "cannot load certificate \"/c\": PEM_read_bio_X509() failed (SSL: error:04800066:PEM routines::bad end line)",
        ),
        (CERTIFICATE, b"", bad_key),
        (CERTIFICATE, &PLAIN[..150], bad_key),
        (
            CERTIFICATE,
            other.as_bytes(),
            "SSL_CTX_use_PrivateKey(\"/k\") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)",
        ),
        (
            CERTIFICATE,
            rsa.as_bytes(),
            "SSL_CTX_use_PrivateKey(\"/k\") failed (SSL: error:05800074:x509 certificate routines::key values mismatch)",
        ),
        (
            CERTIFICATE,
            sealed,
            "cannot load certificate key \"/k\": PEM_read_bio_PrivateKey() failed (SSL: error:1C800064:Provider routines::bad decrypt)",
        ),
    ] {
        assert_eq!(message(certificate, key, Some(b"wrong")), words);
    }
    let gone = std::io::Error::from_raw_os_error(2);
    assert_eq!(
        open_failed("certificate", Path::new("/c"), &gone),
        "cannot load certificate \"/c\": BIO_new_file() failed (SSL: error:80000002:system library::No such file or \
         directory:calling fopen(/c, r) error:10000080:BIO routines::no such file)"
    );
}

#[test]
fn a_file_cut_anywhere_is_refused_and_never_panics() {
    for end in 0..CERTIFICATE.len() - 30 {
        assert!(read_files(files(&CERTIFICATE[..end], PLAIN, None)).is_err(), "cut at {end}");
    }
    let sealed = include_bytes!("../../tests/keys/sealed.pem");
    for end in 0..PLAIN.len() - 30 {
        assert!(read_files(files(CERTIFICATE, &PLAIN[..end], None)).is_err());
        assert!(read_files(files(CERTIFICATE, &sealed[..end], None)).is_err());
    }
    let legacy = include_bytes!("../../tests/keys/legacy.pem");
    for end in 0..legacy.len() - 30 {
        assert!(read_files(files(CERTIFICATE, &legacy[..end], Some(b"open sesame"))).is_err());
    }
}

#[test]
fn what_is_hard_for_an_authority_is_a_warning_for_a_file() {
    let pair = issued(&["a.example"], 2024, 2025, false);
    let wanted = names(&["a.example", "b.example"]);
    let objections =
        vec![Objection::Names(names(&["b.example"])), Objection::Expired(pair.leaf.not_after), Objection::Alone];
    let file = judge(&pair, &wanted, Source::File, now());
    assert!(file.passes());
    assert_eq!(file.warnings, objections);
    for source in [Source::Authority, Source::Peer] {
        let verdict = judge(&pair, &wanted, source, now());
        assert!(!verdict.passes());
        assert_eq!(verdict.refusals, objections);
    }
    let good = issued(&["a.example"], 2026, 2027, true);
    assert_eq!(judge(&good, &names(&["a.example"]), Source::Authority, now()), Verdict::default());
}

#[test]
fn a_bundle_is_never_refused_because_our_clock_says_not_yet() {
    let pair = issued(&["a.example"], 2027, 2028, true);
    let verdict = judge(&pair, &names(&["a.example"]), Source::Authority, now());
    assert!(verdict.passes());
    assert_eq!(verdict.warnings, [Objection::NotYet(pair.leaf.not_before)]);
}

#[test]
fn a_chain_out_of_order_is_seen() {
    let good = issued(&["a.example"], 2026, 2027, true);
    let other = issued(&["a.example"], 2026, 2027, true);
    let mixed = Pair { chain: vec![good.chain[0].clone(), other.chain[0].clone()], ..good };
    assert_eq!(judge(&mixed, &[], Source::Peer, now()).refusals, [Objection::Chain(2)]);
}

#[test]
fn a_worse_file_is_held_back_only_while_the_present_one_is_valid() {
    let valid = issued(&["a.example", "b.example"], 2026, 2028, true).leaf;
    let shorter = issued(&["a.example", "b.example"], 2026, 2027, true).leaf;
    let expired = issued(&["a.example", "b.example"], 2024, 2025, true).leaf;
    let fewer = issued(&["a.example"], 2026, 2029, true).leaf;
    let in_use = names(&["a.example", "b.example"]);
    let held = |present: Option<&Leaf>, new| replaces(present, new, &in_use, now()) != Replacement::Take;
    assert!(!held(Some(&valid), &shorter));
    assert!(held(Some(&valid), &expired) && held(Some(&valid), &fewer));
    assert!(!held(Some(&expired), &fewer) && !held(None, &expired) && !held(Some(&fewer), &valid));
    // A name that nobody uses any more may go.
    assert_eq!(replaces(Some(&valid), &fewer, &names(&["a.example"]), now()), Replacement::Take);
}

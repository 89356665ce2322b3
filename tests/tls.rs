//! How do handshakes go? A worker's accept loop with the TLS of a plan, and clients made of rustls.
#![allow(clippy::unwrap_used)]

mod tls_bed;

use rustls::ProtocolVersion;
use semper::plan::tls::{CertificateSource, TlsSettings, VerifyClient};
use semper::words::Identifier;
use std::io::{Read, Write};
use tls_bed::{Bed, Kind, TestCa, connect, server, shown};

/// `server`, which asks for certificates of `ca` now.
fn strict(mut server: semper::plan::server::Server, ca: &TestCa) -> semper::plan::server::Server {
    let tls = server.tls.as_ref().unwrap();
    let mut settings = TlsSettings::clone(&tls.settings);
    (settings.verify_client, settings.client_certificate) = (VerifyClient::On, Some(ca.file()));
    server.tls = Some(settings.with(tls.certificates.clone()).into());
    server
}

#[test]
fn the_name_picks_server_and_certificate_and_the_default_takes_the_rest() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let b = ca.issue(&["*.b.example"], Kind::P256);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a]), server(1, &["*.b.example"], &[&b])], &[&a, &b]);
    assert_eq!(shown(&bed, &ca, "a.example"), "a.example over TLSv1.3, server a.example");
    assert_eq!(shown(&bed, &ca, "x.b.example"), "*.b.example over TLSv1.3, server *.b.example");
    assert_eq!(shown(&bed, &ca, "unknown.example"), "a.example over TLSv1.3, server a.example");
    assert_eq!(bed.terms.configurations(), 1, "one configuration serves both names");
}

#[test]
fn a_bundle_is_swapped_for_all_and_a_server_without_one_shows_the_placeholder() {
    let ca = TestCa::new();
    let old = ca.issue(&["a.example"], Kind::P256);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&old])], &[]);
    assert!(shown(&bed, &ca, "a.example").starts_with("placeholder.invalid"));
    bed.install(&old, &old);
    assert!(shown(&bed, &ca, "a.example").starts_with("a.example"));
    let new = ca.issue(&["a.example", "new.example"], Kind::Rsa);
    bed.install(&old, &new);
    let mut client = connect(&bed, ca.client(), "a.example").unwrap();
    client.hello().unwrap();
    assert_eq!(client.leaf(), new.leaf());
}

#[test]
fn each_client_gets_the_key_that_it_can_verify() {
    let ca = TestCa::new();
    let (ecdsa, rsa) = (ca.issue(&["a.example"], Kind::P256), ca.issue(&["a.example"], Kind::Rsa));
    let bed = Bed::new(vec![server(0, &["a.example"], &[&rsa, &ecdsa])], &[&ecdsa, &rsa]);
    let leaf = |config| {
        let mut client = connect(&bed, config, "a.example").unwrap();
        client.hello().unwrap();
        client.leaf()
    };
    assert_eq!(leaf(ca.client()), ecdsa.leaf());
    assert_eq!(leaf(ca.client_with_suites(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"])), rsa.leaf());
    assert_eq!(leaf(ca.client_with_suites(&["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"])), ecdsa.leaf());
}

#[test]
fn a_rejected_name_gets_the_alert_of_nginx() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let mut reject = server(0, &["_"], &[]);
    reject.tls = Some(TlsSettings { reject_handshake: true, ..TlsSettings::default() }.with([]).into());
    let bed = Bed::new(vec![reject, server(1, &["a.example"], &[&a])], &[&a]);
    let error = connect(&bed, ca.client(), "x.example").unwrap().hello().unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert!(shown(&bed, &ca, "a.example").starts_with("a.example"));
}

#[test]
fn sessions_are_resumed_with_tickets_across_servers_that_ask_the_same() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    for (tls, resumes) in [
        (TlsSettings::default(), true),
        (TlsSettings { tickets: false, session_cache: 100, ..TlsSettings::default() }, true),
        (TlsSettings { tickets: false, session_cache: 0, ..TlsSettings::default() }, false),
    ] {
        for version in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
            let mut one = server(0, &["a.example"], &[&a]);
            let certificates = one.tls.as_ref().unwrap().certificates.clone();
            one.tls = Some(tls.clone().with(certificates).into());
            let bed = Bed::new(vec![one], &[&a]);
            let config = ca.client_of(version);
            let first = connect(&bed, config.clone(), "a.example").unwrap().hello().unwrap();
            assert!(first.contains("resumed=false"), "{first}");
            let second = connect(&bed, config, "a.example").unwrap().hello().unwrap();
            assert_eq!(second.contains("resumed=true"), resumes, "{version:?} {tls:?} {second}");
        }
    }
}

#[test]
fn a_session_never_moves_to_a_server_that_asks_for_certificates() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let strict = strict(server(0, &["a.example"], &[&a]), &ca);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a])], &[&a]);
    let config = ca.client();
    connect(&bed, config.clone(), "a.example").unwrap().hello().unwrap();
    assert!(connect(&bed, config.clone(), "a.example").unwrap().hello().unwrap().contains("resumed=true"));
    // The same process, the same ticket keys, other demands.
    let bed = bed.replan(vec![strict]);
    let answer = connect(&bed, config, "a.example").unwrap().hello().unwrap();
    assert!(answer.contains("resumed=false") && answer.contains("client=none"), "{answer}");
}

#[test]
fn a_session_begun_on_one_node_resumes_on_another_unless_that_one_asks_for_certificates() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let plain = || server(0, &["a.example"], &[&a]);
    let (one, two) = (Bed::new(vec![plain()], &[&a]), Bed::new(vec![plain()], &[&a]));
    let demanding = Bed::new(vec![strict(plain(), &ca)], &[&a]);
    let also_demanding = Bed::new(vec![strict(plain(), &ca)], &[&a]);
    let says = |bed: &Bed, config: &std::sync::Arc<rustls::ClientConfig>| {
        connect(bed, config.clone(), "a.example").unwrap().hello().unwrap()
    };
    for version in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
        let config = ca.client_of(version);
        says(&one, &config);
        assert!(says(&two, &config).contains("resumed=false"), "{version:?}: nothing is shared yet");
        let (current, next) = ([5; 32], [6; 32]);
        for bed in [&one, &demanding, &also_demanding] {
            bed.tls().ticket_secrets().share([&current, &next]);
        }
        // Its clock runs ahead: it seals with the next already.
        two.tls().ticket_secrets().share([&next, &current]);
        let config = ca.client_of(version);
        assert!(says(&one, &config).contains("resumed=false"));
        assert!(says(&two, &config).contains("resumed=true"), "{version:?}");
        assert!(says(&one, &config).contains("resumed=true"), "{version:?}: and back");
        let crossed = says(&demanding, &config);
        assert!(crossed.contains("resumed=false") && crossed.contains("client=none"), "{crossed}");
        // What was begun with a certificate resumes where the same is demanded, is judged again, and nowhere else.
        let known = ca.client_with(version, &ca.issue(&["client"], Kind::P256));
        assert!(says(&demanding, &known).contains("client=ok"));
        let moved = says(&also_demanding, &known);
        assert!(moved.contains("resumed=true") && moved.contains("client=ok"), "{moved}");
        assert!(says(&two, &known).contains("resumed=false"));
        for bed in [&one, &two, &demanding, &also_demanding] {
            bed.tls().ticket_secrets().share([]);
        }
    }
    // And by OpenSSL.
    for bed in [&one, &two] {
        bed.tls().ticket_secrets().share([&[7; 32]]);
    }
    let folder = tempfile::tempdir().unwrap();
    let session = folder.path().join("session").to_str().unwrap().to_owned();
    let client = |bed: &Bed, option: &str, version: &str| {
        let to = bed.address.to_string();
        program("openssl", &["s_client", "-connect", &to, "-servername", "a.example", version, option, &session])
    };
    assert!(client(&one, "-sess_out", "-tls1_2").contains("New, "));
    let resumed = client(&two, "-sess_in", "-tls1_2");
    assert!(resumed.contains("Reused, "), "{resumed}");
}

#[test]
fn a_client_certificate_is_judged_and_never_fails_the_handshake() {
    let (ca, stranger) = (TestCa::new(), TestCa::new());
    let a = ca.issue(&["a.example"], Kind::P256);
    let strict = strict(server(0, &["a.example"], &[&a]), &ca);
    let bed = Bed::new(vec![strict], &[&a]);
    for version in [ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2] {
        let says = |config| connect(&bed, config, "a.example").unwrap().hello().unwrap();
        assert!(says(ca.client_of(version)).contains("client=none"));
        let good = ca.client_with(version, &ca.issue(&["client"], Kind::P256));
        assert!(says(good.clone()).contains("client=ok"));
        let resumed = says(good);
        assert!(resumed.contains("resumed=true") && resumed.contains("client=ok"), "{resumed}");
        let bad = ca.client_with(version, &stranger.issue(&["client"], Kind::P256));
        let said = says(bad);
        assert!(said.contains("client=unable to verify the first certificate (untrusted)"), "{said}");
        let expired = ca.client_with(version, &ca.issue_expired(&["client"]));
        assert!(says(expired).contains("client=certificate has expired"));
        let old = ca.client_with(version, &ca.issue_version1("client"));
        assert!(says(old).contains("client=ok"), "a certificate of X.509 version 1");
    }
}

#[test]
fn plain_http_on_a_tls_port_is_handed_on_marked() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a])], &[&a]);
    let mut socket = std::net::TcpStream::connect(bed.address).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("plain_on_tls=true read=GET /"), "{answer}");
}

#[test]
fn a_challenge_is_answered_to_whoever_offers_its_protocol_alone() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let proof = ca.issue(&["a.example"], Kind::P256);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a])], &[&a]);
    let config = |alpn: &[&[u8]]| {
        let mut config = (*ca.client()).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        config.into()
    };
    let refused = connect(&bed, config(&[b"acme-tls/1"]), "a.example").unwrap().hello().unwrap_err();
    assert!(refused.to_string().contains("NoApplicationProtocol"), "{refused}");
    bed.challenge("a.example", &proof);
    let mut client = connect(&bed, config(&[b"acme-tls/1"]), "A.example").unwrap();
    assert_eq!(client.hello().unwrap_or_default(), "", "the connection ends after the handshake");
    assert_eq!(client.leaf(), proof.leaf());
    let mut browser = connect(&bed, config(&[b"acme-tls/1", b"http/1.1"]), "a.example").unwrap();
    assert!(browser.hello().unwrap().contains("alpn=http/1.1"));
    assert_eq!(browser.leaf(), a.leaf());
}

#[test]
fn http2_is_offered_only_where_it_is_on() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example", "b.example"], Kind::P256);
    let mut two = server(1, &["b.example"], &[&a]);
    two.http2 = true;
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a]), two], &[&a]);
    let mut config = (*ca.client()).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let config = std::sync::Arc::new(config);
    let says = |name| connect(&bed, config.clone(), name).unwrap().hello().unwrap();
    assert!(says("a.example").contains("alpn=http/1.1"));
    assert!(says("b.example").contains("alpn=h2"));
    assert_eq!(bed.terms.configurations(), 2);
}

#[test]
fn hostile_beginnings_end_the_connection_and_nothing_else() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a])], &[&a]);
    let huge = [&b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03"[..], &[0; 5000]].concat();
    for bytes in [
        &b"\x16"[..],
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        b"\x80\x2e\x01\x00\x02",
        b"\x16\x03\x01\x00\x00",
        b"\x15\x03\x01\x00\x02\x02\x28",
        &huge,
    ] {
        let mut socket = std::net::TcpStream::connect(bed.address).unwrap();
        socket.write_all(bytes).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    }
    assert!(shown(&bed, &ca, "a.example").starts_with("a.example"));
}

#[test]
fn a_file_that_cannot_be_used_hurts_only_its_own_server() {
    let ca = TestCa::new();
    let (a, b) = (ca.issue(&["a.example"], Kind::P256), ca.issue(&["b.example"], Kind::P256));
    std::fs::write(&b.files().key, "junk").unwrap();
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a]), server(1, &["b.example"], &[&b])], &[]);
    let faults = bed.load_files();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].starts_with("cannot load certificate key \""), "{faults:?}");
    assert!(shown(&bed, &ca, "a.example").starts_with("a.example"));
    assert!(shown(&bed, &ca, "b.example").starts_with("placeholder.invalid"));
    // A mended file takes over; a worse one is held back.
    b.write();
    let names: Vec<Identifier> = vec!["b.example".parse().unwrap()];
    assert!(bed.reload(&b, &names).starts_with("Installed"));
    assert!(bed.reload(&b, &names).starts_with("Same"));
    ca.issue_expired(&["b.example"]).write_to(&b.files());
    assert!(bed.reload(&b, &names).starts_with("HeldBack(Expired"));
    assert!(shown(&bed, &ca, "b.example").starts_with("b.example"));
    assert!(matches!(b.source(), CertificateSource::File(_)));
}

mod upstream {
    //! Towards upstreams: what is verified, what is shown, what is resumed.
    use super::tls_bed::{Bed, Kind, TestCa, server};
    use semper::net::dial::{Target, UpstreamTlsConfigs, dial};
    use semper::plan::tls::{TlsProtocol, UpstreamTls};
    use semper::plan::upstream::UpstreamAddress;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn settings() -> UpstreamTls {
        UpstreamTls {
            server_name: true,
            name: semper::plan::template::Template::default(),
            verify: false,
            verify_depth: 1,
            trusted_certificate: None,
            crl: None,
            certificate: None,
            session_reuse: true,
            protocol: TlsProtocol::default(),
        }
    }

    /// What the server said of the connection, or why there is none.
    fn ask(bed: &Bed, tls: &UpstreamTls, name: &str) -> String {
        let config = bed.tls().config(&Arc::new(tls.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let address = UpstreamAddress::Tcp(bed.address);
            let timeout = Duration::from_secs(5);
            let tls = Some((&config, name.as_bytes()));
            let target = Target { address: &address, timeout, keepalive: false, bind: None, tls };
            let mut stream = match dial(target).await {
                Ok(stream) => stream,
                Err(error) => return error.to_string(),
            };
            stream.write_all(b"x").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        })
    }

    #[test]
    fn nothing_is_verified_unless_asked_for_and_then_chain_name_and_date() {
        let (ca, stranger) = (TestCa::new(), TestCa::new());
        let a = ca.issue(&["a.example"], Kind::P256);
        let bed = Bed::new(vec![server(0, &["a.example"], &[&a])], &[&a]);
        let on = |ca: &TestCa| UpstreamTls { verify: true, trusted_certificate: Some(ca.file()), ..settings() };
        assert!(ask(&bed, &settings(), "other.example").contains("sni=other.example"));
        assert!(ask(&bed, &on(&ca), "a.example").contains("sni=a.example"));
        assert_eq!(
            ask(&bed, &on(&ca), "b.example"),
            "upstream SSL certificate does not match \"b.example\" while SSL handshaking to upstream"
        );
        assert_eq!(
            ask(&bed, &on(&stranger), "a.example"),
            "upstream SSL certificate verify error: (21:unable to verify the first certificate) while SSL handshaking \
             to upstream"
        );
        let nobody = UpstreamTls { verify: true, trusted_certificate: Some("/does/not/exist".into()), ..settings() };
        assert!(ask(&bed, &nobody, "a.example").contains("verify error"), "a missing file lets nobody in");
        bed.install(&a, &ca.issue_expired(&["a.example"]));
        let fresh = UpstreamTls { session_reuse: false, ..on(&ca) };
        assert!(ask(&bed, &fresh, "a.example").contains("(10:certificate has expired)"));
    }

    #[test]
    fn sni_is_sent_and_sessions_are_reused_as_told() {
        let ca = TestCa::new();
        let a = ca.issue(&["a.example"], Kind::P256);
        let bed = Bed::new(vec![server(0, &["a.example"], &[&a])], &[&a]);
        let silent = UpstreamTls { server_name: false, ..settings() };
        assert!(ask(&bed, &silent, "a.example").contains("sni=- "));
        assert!(ask(&bed, &settings(), "a.example").contains("resumed=false"));
        assert!(ask(&bed, &settings(), "a.example").contains("resumed=true"));
        let fresh = UpstreamTls { session_reuse: false, ..settings() };
        for _ in 0..2 {
            assert!(ask(&bed, &fresh, "a.example").contains("resumed=false"));
        }
        let old = UpstreamTls { protocol: TlsProtocol { tls13: false, ..TlsProtocol::default() }, ..settings() };
        assert!(ask(&bed, &old, "a.example").contains("protocol=TLSv1.2"));
    }

    #[test]
    fn our_certificate_is_shown_and_swapped_without_a_new_plan() {
        let ca = TestCa::new();
        let (a, own) = (ca.issue(&["a.example"], Kind::P256), ca.issue(&["proxy"], Kind::P256));
        let strict = super::strict(server(0, &["a.example"], &[&a]), &ca);
        let bed = Bed::new(vec![strict], &[&a]);
        let with = UpstreamTls { certificate: Some(own.files()), session_reuse: false, ..settings() };
        assert!(ask(&bed, &with, "a.example").contains("client=none"), "nothing is held yet");
        bed.install(&own, &own);
        assert!(ask(&bed, &with, "a.example").contains("client=ok"));
        bed.install(&own, &ca.issue_expired(&["proxy"]));
        assert!(ask(&bed, &with, "a.example").contains("client=certificate has expired"));
    }
}

#[test]
fn a_proxy_header_is_read_before_tls_and_demanded_where_it_is_asked_for() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let bed = Bed::with(vec![server(0, &["a.example"], &[&a])], &[&a], true);
    let mut socket = std::net::TcpStream::connect(bed.address).unwrap();
    socket.write_all(b"PROXY TCP4 192.0.2.1 198.51.100.2 5000 443\r\n").unwrap();
    let mut client = tls_bed::connect_over(socket, ca.client(), "a.example");
    let line = client.hello().unwrap();
    assert!(
        line.contains("sni=a.example") && line.contains("proxied=Some((192.0.2.1:5000, 198.51.100.2:443))"),
        "{line}"
    );
    assert!(connect(&bed, ca.client(), "a.example").unwrap().hello().is_err());
}

#[test]
fn a_worker_holds_as_many_connections_as_it_may_and_recovers() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let bed = Bed::limited(vec![server(0, &["a.example"], &[&a])], &[&a], 2);
    let held: Vec<_> = (0..2).map(|_| std::net::TcpStream::connect(bed.address).unwrap()).collect();
    bed.until(|counts| counts.open.load(std::sync::atomic::Ordering::Relaxed) == 2);
    assert!(connect(&bed, ca.client(), "a.example").unwrap().hello().is_err());
    drop(held);
    bed.until(|counts| counts.open.load(std::sync::atomic::Ordering::Relaxed) == 0);
    assert!(shown(&bed, &ca, "a.example").starts_with("a.example"));
}

/// Runs a client program against the bed; its output, both streams.
fn program(name: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new(name)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{name}: {error}; `make deps` installs it"));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn openssl_agrees_about_versions_suites_alerts_and_client_certificates() {
    let ca = TestCa::new();
    let (a, own) = (ca.issue(&["a.example"], Kind::P256), ca.issue(&["client"], Kind::Rsa));
    let strict = strict(server(0, &["a.example"], &[&a]), &ca);
    let mut reject = server(1, &["no.example"], &[]);
    reject.tls = Some(TlsSettings { reject_handshake: true, ..TlsSettings::default() }.with([]).into());
    let bed = Bed::new(vec![strict, reject], &[&a]);
    let (to, root) = (bed.address.to_string(), ca.file());
    let root = root.to_str().unwrap();
    let client = |name: &str, more: &[&str]| {
        let fixed = ["s_client", "-connect", &to, "-servername", name, "-CAfile", root, "-verify_hostname", name];
        program("openssl", &[&fixed[..], more].concat())
    };
    let said = client("a.example", &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"]);
    assert!(said.contains("Verify return code: 0 (ok)") && said.contains("ECDHE-ECDSA-AES128-GCM-SHA256"), "{said}");
    let said = client("a.example", &["-tls1_3"]);
    assert!(said.contains("Verify return code: 0 (ok)"), "{said}");
    assert!(
        said.contains("CN = authority of") || said.contains("CN=authority of"),
        "names of authorities are sent: {said}"
    );
    assert!(client("a.example", &["-tls1_1"]).contains("alert"), "older versions are refused with an alert");
    assert!(client("no.example", &[]).contains("unrecognized name"));
    let (cert, key) = (own.files().certificate.clone(), own.files().key.clone());
    let pair = ["-cert", cert.to_str().unwrap(), "-key", key.to_str().unwrap()];
    assert!(client("a.example", &pair).contains("Verify return code: 0 (ok)"));
}

#[test]
fn curl_gets_through_with_both_versions() {
    let ca = TestCa::new();
    let a = ca.issue(&["a.example"], Kind::P256);
    let bed = Bed::new(vec![server(0, &["a.example"], &[&a])], &[&a]);
    let url = format!("https://a.example:{}/", bed.address.port());
    let resolve = format!("a.example:{}:127.0.0.1", bed.address.port());
    let root = ca.file();
    let common = ["-sv", "--http0.9", "--cacert", root.to_str().unwrap(), "--resolve", &resolve, &url];
    for version in ["1.2", "1.3"] {
        let said = program("curl", &[&["--tlsv1.2", "--tls-max", version], &common[..]].concat());
        assert!(said.contains(&format!("server=a.example protocol=TLSv{version}")), "{said}");
        assert!(said.contains("alpn=http/1.1"), "{said}");
    }
}

//! What if name servers and hooks misbehave? Slow, silent, refusing and lying servers, a wrong key, hooks that hang, flood
//! or fail: each has an end, a word of its own, and leaves no process behind.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use semper::acme::dns01::{Dns01, Wish};
use semper::net::dns::{self, Dns};
use semper::node::clock::RealClock;
use semper::node::secrets::OwnSecrets;
use semper::plan::dns::{DnsProvider, Hook, HookStyle, Method, SeenAt, TsigAlgorithm, TsigKey};
use semper::words::{Place, SecretRef};

use crate::bed::bind::{Bind, SECRET};
use crate::bed::wait_for;

const SECOND: Duration = Duration::from_secs(1);

fn provider(method: Method) -> DnsProvider {
    DnsProvider {
        name: "own".into(),
        method,
        domains: vec![],
        zone: None,
        ttl: SECOND,
        seen_at: SeenAt::Nowhere,
        patience: SECOND,
        place: Place::built_in(),
    }
}

fn updates(servers: &[SocketAddr], name: &str, secret: &str, algorithm: TsigAlgorithm) -> DnsProvider {
    let key = TsigKey { name: name.parse().unwrap(), algorithm, secret: SecretRef::parse(secret) };
    provider(Method::Rfc2136 { servers: servers.to_vec(), key: Some(key) })
}

fn hook(command: &str, timeout: Duration) -> DnsProvider {
    let style = HookStyle::Certbot { auth: command.into(), cleanup: None };
    provider(Method::Exec(Hook { style, timeout, environment: vec![], passed: vec![] }))
}

fn dns01(provider: DnsProvider, resolver: SocketAddr) -> Dns01 {
    let dns = Dns::new(&[resolver]).within(Duration::from_millis(300));
    Dns01::new(&[Arc::new(provider)], Arc::new(OwnSecrets), Arc::new(RealClock), dns)
}

fn wish() -> Wish {
    Wish {
        name: "*.site.test".parse().unwrap(),
        token: "token".into(),
        key_authorization: "token.thumb".into(),
        all: vec!["*.site.test".into()],
        remaining: 0,
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn why(provider: DnsProvider, resolver: SocketAddr) -> String {
    run(async { dns01(provider, resolver).present(wish()).await.unwrap_err().to_string() })
}

/// A server that answers every datagram with what `answer` makes of it.
fn liar(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&answer(&buffer[..length]), from);
        }
    });
    address
}

/// The question as an answer with `code`, and nothing in it.
fn answered(question: &[u8], code: u8) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer[3] = code;
    answer
}

#[test]
fn a_wrong_key_a_wrong_secret_and_a_key_without_rights_have_words_of_their_own() {
    let bind = Bind::start(&[("site.test", "")]);
    let at = [bind.address()];
    let other = "bm90IHRoZSByaWdodCBzZWNyZXQgYXQgYWxs";
    for (name, secret, algorithm, words) in [
        ("nobody", SECRET, TsigAlgorithm::Sha256, "BADKEY"),
        ("semper", other, TsigAlgorithm::Sha256, "BADSIG"),
        ("semper", SECRET, TsigAlgorithm::Sha512, "BADKEY"),
        ("stranger", SECRET, TsigAlgorithm::Sha256, "REFUSED"),
        ("semper", "this is no base64!", TsigAlgorithm::Sha256, "not base64"),
    ] {
        let said = why(updates(&at, name, secret, algorithm), bind.address());
        assert!(said.contains(words), "{name}: {said}");
        assert!(!said.contains(secret), "{said}");
    }
    let unknown = DnsProvider {
        zone: Some("else.test".parse().unwrap()),
        ..updates(&at, "semper", SECRET, TsigAlgorithm::Sha256)
    };
    assert!(why(unknown, bind.address()).contains("does not stand in it"));
}

#[test]
fn an_answer_that_our_key_did_not_sign_counts_for_nothing() {
    // It says yes to everything: an SOA for the zone is configured, so only the update is asked.
    let yes = liar(|question| answered(question, 0));
    let settings = DnsProvider {
        zone: Some("site.test".parse().unwrap()),
        ..updates(&[yes], "semper", SECRET, TsigAlgorithm::Sha256)
    };
    let said = why(settings, yes);
    assert!(said.contains("not signed by our key"), "{said}");
}

#[test]
fn silent_garbled_and_failing_servers_end_in_time_with_their_own_words() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap();
    let garbled = liar(|question| question.iter().map(|byte| byte ^ 0x55).collect());
    let failing = liar(|question| answered(question, 2));
    let name = dns::name("a.site.test").unwrap();
    for (server, words) in [(silent_at, "did not answer"), (garbled, "did not answer"), (failing, "answered Server")] {
        let begun = Instant::now();
        let dns = Dns::new(&[server]).within(Duration::from_millis(400));
        let said = run(dns.addresses(&name)).unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
        assert!(begun.elapsed() < SECOND * 5, "{:?}", begun.elapsed());
    }
    // The next one is asked when the first is silent.
    let bind = Bind::start(&[("site.test", "a IN A 192.0.2.7\na IN AAAA 2001:db8::7\n")]);
    let dns = Dns::new(&[silent_at, bind.address()]).within(Duration::from_millis(400));
    assert_eq!(run(dns.addresses(&name)).unwrap().len(), 2);
}

#[test]
fn chains_zones_and_their_servers_are_found_and_circles_end() {
    let bind = Bind::start(&[
        (
            "site.test",
            "a IN CNAME b.other.test.\nround IN CNAME round2\nround2 IN CNAME round\nsub.deep IN A 192.0.2.1\n",
        ),
        ("other.test", "b IN CNAME c.other.test.\n"),
    ]);
    let dns = Dns::new(&[bind.address()]).with_authority_port(bind.port());
    let name = |text: &str| dns::name(text).unwrap();
    let chain = run(dns.chain(&name("a.site.test"))).unwrap();
    assert_eq!(chain.iter().map(dns::text).collect::<Vec<_>>(), ["a.site.test", "b.other.test", "c.other.test"]);
    assert!(run(dns.chain(&name("round.site.test"))).unwrap_err().to_string().contains("do not end"));
    for below in ["sub.deep.site.test", "nothing.at.all.site.test", "site.test"] {
        assert_eq!(dns::text(&run(dns.zone(&name(below))).unwrap()), "site.test", "{below}");
    }
    assert_eq!(run(dns.authorities(&name("site.test"))).unwrap(), [bind.address()]);
}

#[test]
fn a_record_that_never_appears_is_waited_for_and_no_longer() {
    let bind = Bind::start(&[("site.test", "")]);
    let settings = DnsProvider {
        seen_at: SeenAt::Authorities,
        patience: SECOND * 2,
        // It writes nothing at all.
        ..hook("true", SECOND)
    };
    let dns = Dns::new(&[bind.address()]).with_authority_port(bind.port());
    let dns01 = Dns01::new(&[Arc::new(settings)], Arc::new(OwnSecrets), Arc::new(RealClock), dns);
    run(async {
        let standing = dns01.present(wish()).await.unwrap();
        let begun = Instant::now();
        let said = dns01.wait(&standing, SECOND * 60).await.unwrap_err();
        assert!(said.contains("does not show it"), "{said}");
        assert!(begun.elapsed() < SECOND * 4, "{:?}", begun.elapsed());
    });
}

#[test]
fn a_hook_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pids = folder.path().join("pids");
    let command = format!("sleep 600 & echo $! >> {0}; sleep 601 & echo $! >> {0}; wait", pids.display());
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let said = why(hook(&command, Duration::from_millis(500)), nowhere);
    assert!(said.contains("was killed"), "{said}");
    let text = std::fs::read_to_string(&pids).unwrap();
    let pids: Vec<&str> = text.split_whitespace().collect();
    assert_eq!(pids.len(), 2);
    let gone = |pid: &&str| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    };
    wait_for("its children to end", SECOND * 5, || pids.iter().all(gone));
}

#[test]
fn a_hook_that_floods_its_output_ends_and_is_quoted_in_a_line() {
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let flood = "yes 'a line of the flood' | head -c 20000000; echo 'and the last word' >&2; exit 4";
    let said = why(hook(flood, SECOND * 30), nowhere);
    assert!(said.contains("exit status: 4: and the last word"), "{said}");
    let long = "head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1";
    assert!(why(hook(long, SECOND * 30), nowhere).len() < 1000);
    let missing = why(hook("/no/such/hook", SECOND), nowhere);
    assert!(missing.contains("hook /no/such/hook: exit status: 127"), "{missing}");
}

#[test]
fn something_that_a_hook_leaves_running_holds_nobody_up() {
    let nowhere = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let begun = Instant::now();
    let settings = hook("sleep 8 & echo done", SECOND * 30);
    run(async { dns01(settings, nowhere).present(wish()).await.unwrap() });
    assert!(begun.elapsed() < SECOND * 6, "{:?}", begun.elapsed());
}

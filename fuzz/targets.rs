//! What must hold for any bytes? One function per entrance that strangers reach, shared by cargo-fuzz and by the smoke
//! test of `make test`. Each panics when a promise is broken.
#![allow(dead_code)]

use std::sync::Arc;

use semper::cert::on_demand::fit::fit;
use semper::cert::on_demand::{Desk, Knock, Then, Word};
use semper::cert::revoked::{List, lists};
use semper::clock::{Dice, UnixTime, VirtualClock};
use semper::conf::{MemoryWorld, Options, load};
use semper::fleet::sync::{Effect, Event, Now, Sync, Terms};
use semper::fleet::{Body, Claim, Message, NodeId, State, Subject};
use semper::net::question;
use semper::peer::{Hello, LARGEST, Parser};
use semper::plan::on_demand::{Ask, OnDemand};
use semper::words::{DomainName, Place};
use semper::zone::challenges::{Challenges, HTTP01_PATH, Phase};

/// HTTP/1, both ways: no panic, and the same verdict whole or byte by byte.
pub fn h1(data: &[u8]) {
    semper::h1::fuzz(data);
}

/// The configuration: no panic, no endless nesting; a plan, or an error that names a place in a file that was read.
pub fn conf(data: &[u8]) {
    let path = "/etc/nginx/nginx.conf";
    let mut world = MemoryWorld::with_file(path, data);
    world.files.insert("/etc/nginx/mime.types".to_owned(), b"types { text/html html; }".to_vec());
    let loaded = load(&world, &Options { offline: true, ..Options::new(path, "/etc/nginx/") });
    assert!(loaded.plan.is_some() || loaded.first_error().is_some(), "neither a plan nor a reason");
    let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
    for complaint in &loaded.complaints {
        assert!(!complaint.to_string().contains('\0') || data.contains(&0), "a NUL out of nothing");
        if let Some(line) =
            complaint.to_string().rsplit_once("nginx.conf:").and_then(|(_, line)| line.trim().parse().ok())
        {
            let line: usize = line;
            assert!(line <= lines, "line {line} of {lines}: {complaint}");
        }
    }
}

/// HTTP-01: only an exact path with a sane token is answered, only to GET and HEAD, and the answer is that token, a dot,
/// and what the table or the account says. The first line of `data` is the method, the second the host, the rest the path.
pub fn challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut parts = text.splitn(3, '\n');
    let (method, host, path) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let clock = Arc::new(VirtualClock::default());
    clock.set(UnixTime::from_seconds(1_000));
    let table = Challenges::new(clock);
    let open = "abcdefghijklmnop";
    table.open_http01(open, "abcdefghijklmnop.known", UnixTime::from_seconds(2_000)).expect("the table is empty");
    table.set_thumbprint(Some("thumbprint"));
    for phase in [Phase::BeforeLocation, Phase::AfterUpstream404] {
        let Some(answer) = table.answer(method, path, host, phase) else { continue };
        let token = path.strip_prefix(HTTP01_PATH).expect("only the challenge path is answered");
        assert!(matches!(method, "GET" | "HEAD"), "{method:?} is answered");
        assert!(token.len() >= 16 && token.len() <= 256, "{token:?} is no sane token");
        assert!(token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{token:?} is no token");
        let expected = format!("{token}.{}", if token == open { "known" } else { "thumbprint" });
        assert_eq!(answer.body, expected.as_bytes());
        assert!(token == open || phase == Phase::AfterUpstream404, "{host:?} is nobody we manage");
    }
}

/// The link between nodes: frames are the same however the bytes were cut, none is longer than allowed, nothing comes after
/// one that was; and a hello that is read says what was written.
pub fn link(data: &[u8]) {
    let frames = |step: usize| {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for piece in data.chunks(step) {
            parser.feed(piece);
            loop {
                match parser.next(LARGEST) {
                    Ok(Some(frame)) => frames.push(frame.to_vec()),
                    Ok(None) => break,
                    Err(_) => return (frames, true),
                }
            }
        }
        (frames, false)
    };
    let whole = frames(data.len().max(1));
    assert_eq!(whole, frames(1), "the cut changed what was read");
    let bytes: usize = whole.0.iter().map(|frame| frame.len() + 4).sum();
    assert!(bytes <= data.len(), "more came out than went in");
    if let Some(hello) = Hello::read(data) {
        assert!(data.windows(32).any(|window| window == hello.public));
        assert!(hello.release.len() <= 64 && hello.release.bytes().all(|b| b.is_ascii_graphic()));
    }
}

/// Names on demand: what is no fit name never brings a question, what is one can be asked about as it is, and whatever `ask`
/// answers, only its status counts and only clean words are kept. The first line of `data` is the server name, the rest the
/// answer.
pub fn demand(data: &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let sni = String::from_utf8_lossy(&data[..end]).into_owned();
    let now = UnixTime::from_seconds(1_800_000_000);
    let terms = OnDemand { ask: Ask::parse("http://127.0.0.1:1/"), ..OnDemand::of("any", Place::built_in()) };
    let mut desk = Desk::new(Arc::new(terms));
    let name = sni.parse::<DomainName>();
    match (fit(&sni), &name) {
        (Ok(()), Ok(name)) => {
            assert!(name.as_str().contains('.') && name.as_str().len() <= 253 && !name.is_wildcard());
            assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.'), "{name}");
        }
        (Ok(()), Err(_)) => panic!("{sni:?} is fit and no name"),
        (Err(_), Ok(name)) => assert!(matches!(desk.knock(name, 1, now), Knock::Refused(_)), "{name} is let in"),
        (Err(_), Err(_)) => {}
    }
    let answer = question::read(&data[(end + 1).min(data.len())..]);
    if let Some((answer, _)) = &answer {
        assert!(answer.words.chars().count() <= 160 && !answer.words.chars().any(char::is_control), "{answer:?}");
    }
    if let Ok(name) = &name
        && desk.knock(name, 1, now) == Knock::Ask
    {
        let word = match &answer {
            Some((answer, _)) if answer.status == 200 => Word::Yes,
            Some((answer, _)) => Word::No(answer.words.clone()),
            None => Word::Silence(String::new()),
        };
        let holds = desk.answered(name, word.clone(), now) == Then::Hold;
        assert_eq!(holds, word == Word::Yes);
        assert_eq!(matches!(desk.knock(name, 2, now), Knock::Held), holds);
    }
}

/// What nodes say to each other: a frame that is read is written again as it was; and whatever a member says, frame after
/// frame (two bytes of length before each), a fact stays, no subject grows beyond its bound, digests stay true, and what it
/// is told in return is bounded.
pub fn fleet(data: &[u8]) {
    semper::fleet::message::fuzz(data);
    struct Half;
    impl Dice for Half {
        fn draw(&self) -> f64 {
            0.5
        }
    }
    let (me, rogue, gone) = (NodeId::of_key(b"me"), NodeId::of_key(b"rogue"), NodeId::of_key(b"gone"));
    let mut sync = Sync::new(me, Terms::new("fuzz", 1));
    let mut now = Now { mono: std::time::Duration::from_secs(1), civil: UnixTime::from_seconds(1) };
    for subject in [Subject::Removed(gone), Subject::Ticket(1), Subject::Internal("root".into())] {
        sync.on(now, Event::Claim(Arc::new(Claim::new(subject, 1, me, Body::copy(b"body")))), &Half);
    }
    sync.on(now, Event::Connected(rogue), &Half);
    let (mut rest, mut told, mut frames) = (data, 0, 0);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let (frame, after) = after.split_at(usize::from(u16::from_be_bytes(*length)).min(after.len()));
        rest = after;
        frames += 1;
        semper::fleet::message::fuzz(frame);
        let Ok(Some(message)) = Message::decode(frame) else { continue };
        now.mono += std::time::Duration::from_millis(10);
        for effect in sync.on(now, Event::Received(rogue, message), &Half) {
            match effect {
                Effect::Send { message, .. } => told += message.encode().len(),
                Effect::Store { claims, .. } => assert!(claims.len() <= semper::fleet::state::SIBLINGS),
                _ => {}
            }
        }
    }
    assert!(told <= 64 * 1024 + 8 * 1024 * frames + 16 * data.len(), "{told} bytes told for {}", data.len());
    assert!(sync.state().is_removed(gone), "a fact is gone");
    let mut again = State::default();
    for claim in sync.state().all() {
        let _ = again.admit(claim.clone());
    }
    assert_eq!(again.root(), sync.state().root(), "the digest is not that of what is known");
}

/// Lists of revoked certificates, and certificates that name them: nothing but the one list that the issuer signed is ever
/// believed, and only plain HTTP is gone to.
pub fn revoked(data: &[u8]) {
    const GENUINE: &[u8] = include_bytes!("seeds/revoked/list");
    let chain = [&include_bytes!("seeds/revoked/leaf")[..], &include_bytes!("seeds/revoked/issuer")[..]];
    let now = UnixTime::from_seconds(1_800_000_000);
    if let Ok(list) = List::read(data) {
        let believed = list.revokes(&chain.map(Into::into), now);
        assert!(believed.is_err() || data == GENUINE, "a list that nobody signed is believed");
        assert!(data != GENUINE || believed == Ok(true));
    } else {
        assert!(data != GENUINE);
    }
    let urls = lists(data);
    assert!(urls.len() <= 4 && urls.iter().all(|url| url.to_ascii_lowercase().starts_with("http://")), "{urls:?}");
    let named = lists(chain[0]);
    assert_eq!(named, ["http://lists.example/1.crl"]);
}

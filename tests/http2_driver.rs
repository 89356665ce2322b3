//! Does the HTTP/2 driver keep its promises? A client of the `h2` crate, or raw frames where a client must misbehave.
#![allow(clippy::unwrap_used)]

mod driver;

use bytes::Bytes;
use driver::{Bench, Pieces, answer, local, ok};
use h2::client::SendRequest;
use semper::http::message::{BodyError, Response};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// The service's end runs; ours is given.
fn begin(bench: &Bench) -> DuplexStream {
    let (near, far) = tokio::io::duplex(256 * 1024);
    let serving = semper::http::conn::serve(far, bench.connection(), bench.service(), bench.drain.clone());
    tokio::task::spawn_local(serving);
    near
}

async fn client(bench: &Bench) -> SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(begin(bench)).await.unwrap();
    tokio::task::spawn_local(async move { drop(connection.await) });
    client.ready().await.unwrap()
}

fn get(path: &str) -> http::Request<()> {
    http::Request::builder().uri(format!("https://a.example{path}")).version(http::Version::HTTP_2).body(()).unwrap()
}

async fn fetch(client: &mut SendRequest<Bytes>, request: http::Request<()>) -> Result<(u16, String), h2::Error> {
    let (response, _) = client.send_request(request, true)?;
    let (head, mut body) = response.await?.into_parts();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((head.status.as_u16(), String::from_utf8(all).unwrap()))
}

#[test]
fn requests_are_answered_with_host_and_path() {
    let bench = Bench::new(|request| async move {
        assert_eq!(request.line, "GET /x?y HTTP/2.0");
        assert_eq!(request.host.as_deref(), Some(&b"a.example"[..]));
        assert_eq!(request.content_length, Some(0));
        ok(request.target)
    })
    .alpn("h2");
    let finished = bench.finished.clone();
    local(async {
        let mut client = client(&bench).await;
        assert_eq!(fetch(&mut client, get("/x?y")).await.unwrap(), (200, "/x?y".into()));
        tokio::task::yield_now().await;
    });
    let sent = finished.borrow()[0];
    assert!(sent.complete && sent.body_bytes == 4);
}

#[test]
fn a_large_answer_passes_a_small_window() {
    let bench = Bench::new(|_| async { ok(vec![b'x'; 1 << 20]) }).alpn("h2");
    local(async {
        let mut client = client(&bench).await;
        assert_eq!(fetch(&mut client, get("/")).await.unwrap().1.len(), 1 << 20);
    });
}

#[test]
fn a_body_comes_on_demand_and_trailers_are_no_trouble() {
    let bench = Bench::new(|mut request| async move {
        let mut length = 0;
        while let Some(piece) = request.body.chunk().await {
            length += piece.unwrap().len();
        }
        Response { body: Pieces::of(&["got ", "it"]), content_length: None, ..ok(length.to_string()) }
    })
    .alpn("h2");
    let finished = bench.finished.clone();
    local(async {
        let mut client = client(&bench).await;
        let (response, mut body) = client.send_request(get("/"), false).unwrap();
        for _ in 0..20 {
            body.send_data(vec![b'x'; 50_000].into(), false).unwrap();
        }
        body.send_trailers(http::HeaderMap::new()).unwrap();
        let mut answer = response.await.unwrap().into_body();
        assert_eq!(answer.data().await.unwrap().unwrap(), "got ");
        assert_eq!(answer.data().await.unwrap().unwrap(), "it");
        tokio::task::yield_now().await;
    });
    assert!(finished.borrow()[0].request_length > 1_000_000);
}

#[test]
fn what_nginx_refuses_gets_a_page() {
    let bench = Bench::new(|_| async { ok("x") }).alpn("h2");
    let refused = bench.refused.clone();
    local(async {
        let mut client = client(&bench).await;
        let trace = http::Request::builder().method("TRACE").uri("https://a/").body(()).unwrap();
        assert_eq!(fetch(&mut client, trace).await.unwrap(), (405, "refused".into()));
    });
    assert_eq!(refused.borrow()[0].reason, "client sent TRACE method");
}

#[test]
fn a_client_that_opens_no_window_is_given_up() {
    let bench = Bench::new(|_| async { ok(vec![b'x'; 200_000]) });
    let bench = bench.alpn("h2").limits(|l| l.send_timeout = Duration::from_millis(50));
    let finished = bench.finished.clone();
    local(async {
        let mut client = client(&bench).await;
        let (response, _) = client.send_request(get("/"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        // Never release anything: the window stays shut after 64 KiB.
        let reset = loop {
            match body.data().await.unwrap() {
                Ok(_) => {}
                Err(error) => break error.reason(),
            }
        };
        assert_eq!(reset, Some(h2::Reason::ENHANCE_YOUR_CALM));
    });
    let sent = finished.borrow()[0];
    assert!(!sent.complete && sent.body_bytes < 70_000);
}

#[test]
fn an_answer_that_breaks_off_is_reset() {
    let bench = Bench::new(|_| async {
        let body = Pieces::then(&["abc"], BodyError::UpstreamGone);
        Response { body, content_length: None, ..answer(200, "") }
    })
    .alpn("h2");
    local(async {
        let mut client = client(&bench).await;
        assert_eq!(fetch(&mut client, get("/")).await.unwrap_err().reason(), Some(h2::Reason::INTERNAL_ERROR));
    });
}

#[test]
fn hop_by_hop_fields_are_not_sent() {
    let bench = Bench::new(|_| async {
        let mut response = ok("x");
        response.fields.push("Connection", "close");
        response.fields.push("X-Kept", "1");
        response.fields.push("X-Split", "a\r\nb");
        response
    })
    .alpn("h2");
    local(async {
        let mut client = client(&bench).await;
        let head = client.send_request(get("/"), true).unwrap().0.await.unwrap();
        let names: Vec<_> = head.headers().keys().map(|name| name.as_str()).collect();
        assert_eq!(names, ["x-kept", "content-length"]);
    });
}

#[test]
fn draining_says_goaway_and_finishes_what_was_begun() {
    let bench = Bench::new(|_| async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        ok("done")
    })
    .alpn("h2");
    local(async {
        let (mut client, connection) = h2::client::handshake(begin(&bench)).await.unwrap();
        let ended = tokio::task::spawn_local(connection);
        let answer = fetch(&mut client, get("/"));
        let drain = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            bench.drain.begin();
        };
        let (answer, ()) = tokio::join!(answer, drain);
        assert_eq!(answer.unwrap(), (200, "done".into()));
        drop(client);
        ended.await.unwrap().unwrap();
    });
}

#[test]
fn keepalive_requests_and_timeout_end_a_connection() {
    for requests in [1, 1000] {
        let bench = Bench::new(|_| async { ok("x") }).alpn("h2").limits(|limits| {
            limits.keepalive_requests = requests;
            limits.keepalive_timeout = Duration::from_millis(50);
        });
        local(async {
            let (mut client, connection) = h2::client::handshake(begin(&bench)).await.unwrap();
            let ended = tokio::task::spawn_local(connection);
            assert_eq!(fetch(&mut client, get("/")).await.unwrap().0, 200);
            ended.await.unwrap().unwrap();
        });
    }
}

#[test]
fn without_tls_the_preface_decides() {
    let bench = || Bench::new(|request| async move { ok(format!("{:?}", request.version)) }).http2();
    local(async {
        let bench = bench();
        let mut client = client(&bench).await;
        assert_eq!(fetch(&mut client, get("/")).await.unwrap().1, "Http2");
    });
    bench().run(async |mut client| {
        client.send("P").await;
        tokio::task::yield_now().await;
        client.send("OST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").await;
        assert!(client.answer().await.ends_with("Http11"));
    });
    // Not asked for: a preface is a bad request.
    Bench::new(|_| async { ok("x") }).run(async |mut client| {
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        assert!(client.rest().await.starts_with("HTTP/1.1 400"));
    });
}

#[test]
fn keepalive_timeout_0_leaves_room_for_one_request() {
    let bench = Bench::new(|_| async { ok("x") }).alpn("h2").limits(|l| l.keepalive_timeout = Duration::ZERO);
    local(async {
        let (mut client, connection) = h2::client::handshake(begin(&bench)).await.unwrap();
        let ended = tokio::task::spawn_local(connection);
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(fetch(&mut client, get("/")).await.unwrap().0, 200);
        ended.await.unwrap().unwrap();
    });
}

/// A client's preface and empty SETTINGS.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// HPACK of GET https / and `:authority: a`.
const HEAD: &[u8] = b"\x82\x84\x87\x41\x01a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Whether the server ends the connection when `frames` come, however many it answers.
async fn ends_on(bench: &Bench, frames: impl Iterator<Item = Vec<u8>>) -> bool {
    let (mut read, mut write) = tokio::io::split(begin(bench));
    let reading = tokio::task::spawn_local(async move {
        let mut all = Vec::new();
        let _ = read.read_to_end(&mut all).await;
    });
    if write.write_all(HELLO).await.is_err() {
        return true;
    }
    for frame in frames {
        if write.write_all(&frame).await.is_err() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(Duration::from_millis(300), reading).await.is_ok()
}

#[test]
fn floods_end_the_connection() {
    let bench = Bench::new(|_| async { std::future::pending::<Response>().await }).alpn("h2");
    local(async {
        // Rapid reset (CVE-2023-44487): opened and reset in one breath.
        let resets = (0..2000u32).map(|n| {
            let id = n * 2 + 1;
            [frame(1, 5, id, HEAD), frame(3, 0, id, &[0, 0, 0, 8])].concat()
        });
        let bursts: Vec<_> = resets.collect::<Vec<_>>().chunks(100).map(|burst| burst.concat()).collect();
        assert!(ends_on(&bench, bursts.into_iter()).await, "rapid reset");
        // CONTINUATION without end (CVE-2024-27316).
        let endless = std::iter::once(frame(1, 0, 1, HEAD)).chain((0..5000).map(|_| frame(9, 0, 1, b"\x00\x01x\x01y")));
        assert!(ends_on(&bench, endless).await, "continuation flood");
        // Empty DATA frames.
        let empty = std::iter::once(frame(1, 4, 1, HEAD)).chain((0..200_000).map(|_| frame(0, 0, 1, b"")));
        assert!(ends_on(&bench, empty).await, "empty data flood");
    });
}

#[test]
fn a_huge_head_is_refused_and_the_connection_survives() {
    let bench = Bench::new(|_| async { ok("x") }).alpn("h2");
    local(async {
        let mut client = client(&bench).await;
        let mut crumbs = get("/");
        for _ in 0..2000 {
            crumbs.headers_mut().append("cookie", http::HeaderValue::from_static("a=b"));
        }
        assert!(fetch(&mut client, crumbs).await.is_ok_and(|(status, _)| status == 431));
        assert_eq!(fetch(&mut client, get("/")).await.unwrap().0, 200);
    });
}

#[test]
fn a_client_that_resets_ends_the_work_for_it() {
    let working = Rc::new(());
    let work = working.clone();
    let bench = Bench::new(move |_| {
        let work = work.clone();
        async move {
            let _work = work;
            std::future::pending::<Response>().await
        }
    })
    .alpn("h2");
    local(async {
        let mut client = client(&bench).await;
        let (_response, mut stream) = client.send_request(get("/"), false).unwrap();
        while Rc::strong_count(&working) < 3 {
            tokio::task::yield_now().await;
        }
        stream.send_reset(h2::Reason::CANCEL);
        while Rc::strong_count(&working) > 2 {
            tokio::task::yield_now().await;
        }
    });
}

//! Does the HTTP/1 driver keep its promises to clients? Over in-memory streams, with services made for each promise.
#![allow(clippy::unwrap_used)]

mod driver;

use bytes::Bytes;
use driver::{Bench, Pieces, answer, ok};
use semper::http::message::{Body, BodyError, Response, Sent, Tunnel};
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_plain_request_costs_one_read_and_one_write() {
    Bench::new(|_| async { ok("hello") }).run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = client.answer().await;
        assert_eq!(answer, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello");
        assert_eq!((client.counts.reads.get(), client.counts.writes.get()), (1, 1));
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.answer().await;
        assert_eq!((client.counts.reads.get(), client.counts.writes.get()), (2, 2));
    });
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    Bench::new(|request| async move { ok(request.target) }).run(async |mut client| {
        let one = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        client.send(&format!("{}\r\n{}{}", one("/1"), one("/2"), one("/3"))).await;
        for target in ["/1", "/2", "/3"] {
            assert!(client.answer().await.ends_with(target));
        }
    });
}

#[test]
fn connections_are_kept_as_nginx_keeps_them() {
    for (request, kept) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false),
        ("GET / HTTP/1.0\r\n\r\n", false),
        ("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ("POST / HTTP/1.1\r\nHost: a\r\nUser-Agent: MSIE 6.0;\r\nContent-Length: 0\r\n\r\n", false),
    ] {
        Bench::new(|_| async { ok("x") }).run(async |mut client| {
            client.send(request).await;
            let line = if kept { "Connection: keep-alive\r\n" } else { "Connection: close\r\n" };
            assert!(client.answer().await.contains(line), "{request}");
            if !kept {
                assert_eq!(client.rest().await, "");
            }
        });
    }
}

#[test]
fn keepalive_requests_ends_a_connection() {
    let bench = Bench::new(|_| async { ok("x") }).limits(|limits| limits.keepalive_requests = 2);
    bench.run(async |mut client| {
        client.send(&"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(3)).await;
        let all = client.rest().await;
        assert_eq!(all.matches("HTTP/1.1 200 OK").count(), 2);
        assert!(all.contains("Connection: close"));
    });
}

#[test]
fn an_idle_connection_closes_after_keepalive_timeout() {
    let bench = Bench::new(|_| async { ok("x") }).limits(|l| l.keepalive_timeout = Duration::from_millis(50));
    let finished = bench.finished.clone();
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.answer().await;
        assert_eq!(client.rest().await, "");
    });
    assert_eq!(finished.borrow().len(), 1, "nothing is logged for the idle time");
}

#[test]
fn a_slow_head_is_logged_as_408_and_not_answered() {
    let bench = Bench::new(|_| async { ok("x") }).head(|head| head.timeout = Duration::from_millis(50));
    let refused = bench.refused.clone();
    bench.run(async |mut client| {
        client.send("GET /slow HTTP/1.1\r\nHo").await;
        assert_eq!(client.rest().await, "");
    });
    let refused = refused.borrow();
    assert_eq!((refused[0].status, refused[0].silent), (408, true));
    assert_eq!(refused[0].line, "GET /slow HTTP/1.1");
    assert_eq!(refused[0].reason, "client timed out while reading client request headers");
}

#[test]
fn nothing_is_logged_for_a_connection_without_a_request() {
    let bench = Bench::new(|_| async { ok("x") }).head(|head| head.timeout = Duration::from_millis(50));
    let (refused, finished) = (bench.refused.clone(), bench.finished.clone());
    bench.run(async |mut client| assert_eq!(client.rest().await, ""));
    assert!(refused.borrow().is_empty() && finished.borrow().is_empty());
}

#[test]
fn a_malformed_head_gets_the_services_page_and_the_connection_ends() {
    let bench = Bench::new(|_| async { ok("x") });
    let (refused, finished) = (bench.refused.clone(), bench.finished.clone());
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: A\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n") && answer.contains("Connection: close"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1);
    });
    assert_eq!(refused.borrow()[0].host.as_deref(), Some(&b"a"[..]));
    assert!(finished.borrow()[0].complete);
}

#[test]
fn a_body_is_read_only_when_it_is_asked_for() {
    let bench = Bench::new(|mut request| async move {
        let mut body = Vec::new();
        while let Some(piece) = request.body.chunk().await {
            body.extend_from_slice(&piece.unwrap());
        }
        ok(body)
    });
    let finished = bench.finished.clone();
    bench.run(async |mut client| {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        client.send("2;x=y\r\nde\r\n0\r\nTrailer: z\r\n\r\n").await;
        assert!(client.answer().await.ends_with("\r\n\r\nabcde"));
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n").await;
        client.send(&"x".repeat(200_000)).await;
        assert!(client.answer().await.ends_with("xxxx"));
    });
    assert_eq!(finished.borrow()[1].request_length, 200_000 + 52);
}

#[test]
fn broken_chunks_are_the_clients_fault() {
    Bench::new(|mut request| async move {
        match request.body.chunk().await {
            Some(Err(BodyError::Framing)) => Response { close: true, ..answer(400, "bad") },
            other => panic!("{other:?}"),
        }
    })
    .run(async |mut client| {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n").await;
        assert!(client.rest().await.starts_with("HTTP/1.1 400"));
    });
}

#[test]
fn who_breaks_off_while_sending_is_only_logged() {
    let bench = Bench::new(|mut request| async move {
        match request.body.chunk().await {
            Some(Err(BodyError::ClientGone)) => answer(400, "nobody reads this"),
            other => panic!("{other:?}"),
        }
    });
    let finished = bench.finished.clone();
    bench.run(async |mut client| {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n").await;
        client.io.shutdown().await.unwrap();
        assert_eq!(client.rest().await, "");
    });
    assert_eq!(finished.borrow()[0].bytes, 0);
}

#[test]
fn a_silent_client_times_the_body_out() {
    Bench::new(|mut request| async move {
        request.body.set_timeout(Duration::from_millis(20));
        match request.body.chunk().await {
            Some(Err(BodyError::ClientTimeout)) => Response { close: true, ..answer(408, "slow") },
            other => panic!("{other:?}"),
        }
    })
    .limits(|limits| limits.lingering_timeout = Duration::from_millis(20))
    .run(async |mut client| {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n").await;
        assert!(client.rest().await.starts_with("HTTP/1.1 408"));
    });
}

#[test]
fn continue_is_said_when_the_body_is_wanted() {
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    Bench::new(|mut request| async move { ok(request.body.chunk().await.unwrap().unwrap()) }).run(
        async |mut client| {
            client.send(head).await;
            assert_eq!(client.read_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
            client.send("abc").await;
            assert!(client.answer().await.ends_with("abc"));
        },
    );
    // Not wanted: not said, and what comes next cannot be told from a body.
    Bench::new(|_| async { ok("no") }).limits(|l| l.lingering_timeout = Duration::from_millis(20)).run(
        async |mut client| {
            client.send(head).await;
            let answer = client.rest().await;
            assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Connection: close"), "{answer}");
        },
    );
}

#[test]
fn an_unread_body_never_becomes_a_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    Bench::new(|request| async move { ok(request.target) }).run(async |mut client| {
        let length = smuggled.len();
        client
            .send(&format!("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", &smuggled[..9]))
            .await;
        assert!(client.answer().await.ends_with("/1"));
        client.send(&smuggled[9..]).await;
        client.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.answer().await.ends_with("/2"));
    });
    Bench::new(|request| async move { ok(request.target) }).run(async |mut client| {
        client.send("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 90000000\r\n\r\n").await;
        let head = client.read_head().await;
        assert!(head.contains("Connection: close"), "{head}");
    });
}

#[test]
fn a_body_that_was_kept_reads_nothing_of_the_next_request() {
    let kept: Rc<Cell<Option<Body>>> = Rc::default();
    let keep = kept.clone();
    Bench::new(move |request| {
        let keep = keep.clone();
        async move {
            let target = request.target.clone();
            match keep.take() {
                None => keep.set(Some(request.body)),
                Some(mut body) => assert!(matches!(body.chunk().await, Some(Err(BodyError::ClientGone)))),
            }
            ok(target)
        }
    })
    .run(async |mut client| {
        client.send("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n").await;
        client.answer().await;
        client.send("abcPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
        assert!(client.answer().await.ends_with("/2"));
    });
}

#[test]
fn an_unknown_length_is_chunked_for_1_1_and_until_close_for_1_0() {
    let service = |_| async { Response { body: Pieces::of(&["ab", "cde"]), ..answer(200, "") }.unknown() };
    Bench::new(service).run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.read_head().await;
        assert!(head.contains("Transfer-Encoding: chunked\r\nConnection: keep-alive"), "{head}");
        assert_eq!(client.exactly(20).await, "2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n");
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let head = client.read_head().await;
        assert!(!head.contains("Transfer-Encoding") && head.contains("keep-alive"), "{head}");
        client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await;
        let all = client.rest().await;
        assert!(all.contains("Connection: close") && all.ends_with("\r\n\r\nabcde"), "{all}");
    });
}

#[test]
fn a_status_without_a_body_has_none() {
    let bench = Bench::new(|request| async move { answer(request.target[1..].parse_status(), "none") });
    bench.run(async |mut client| {
        client.send("GET /204 HTTP/1.1\r\nHost: a\r\n\r\nGET /304 HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(!client.read_head().await.contains("Content-Length"));
        assert!(client.read_head().await.starts_with("HTTP/1.1 304"));
    });
}

#[test]
fn an_answer_that_breaks_off_does_not_look_whole() {
    for promised in [None, Some(10)] {
        let bench = Bench::new(move |_| async move {
            let body = Pieces::then(&["abc"], BodyError::UpstreamGone);
            Response { body, content_length: promised, ..answer(200, "").unknown() }
        });
        let finished = bench.finished.clone();
        bench.run(async |mut client| {
            client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
            let all = client.rest().await;
            assert!(all.contains("abc") && !all.ends_with("0\r\n\r\n"), "{all}");
        });
        let sent: Sent = finished.borrow()[0];
        assert!(!sent.complete && !sent.client_gone);
    }
}

#[test]
fn more_than_was_promised_is_never_sent() {
    let bench = Bench::new(|_| async { Response { content_length: Some(3), ..ok("abcHTTP/1.1 200 OK\r\n\r\n") } });
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(client.rest().await.ends_with("\r\n\r\nabc"));
    });
}

#[test]
fn a_client_that_leaves_ends_the_work_for_it() {
    let dropped = Rc::new(Cell::new(false));
    struct Flag(Rc<Cell<bool>>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }
    let seen = dropped.clone();
    Bench::new(move |_| {
        let flag = Flag(seen.clone());
        async move {
            let _flag = flag;
            std::future::pending::<Response>().await
        }
    })
    .run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.io.shutdown().await.unwrap();
        client.rest().await;
    });
    assert!(dropped.get());
}

#[test]
fn a_client_that_takes_nothing_is_given_up() {
    let bench =
        Bench::new(|_| async { ok(vec![b'x'; 1 << 20]) }).limits(|l| l.send_timeout = Duration::from_millis(50));
    let finished = bench.finished.clone();
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.done().await;
    });
    let sent = finished.borrow()[0];
    assert!(!sent.complete && sent.bytes < 1 << 20);
}

#[test]
fn large_bodies_go_out_whole_and_in_few_writes() {
    let bench = Bench::new(|_| async { ok(vec![b'x'; 1 << 20]) });
    let finished = bench.finished.clone();
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        let all = client.rest().await;
        assert!(all.ends_with(&"x".repeat(1 << 20)));
    });
    let sent = finished.borrow()[0];
    assert!(sent.complete && sent.body_bytes == 1 << 20 && sent.bytes > sent.body_bytes);
}

#[test]
fn an_upgrade_happens_only_after_101() {
    struct Shout;
    impl Tunnel for Shout {
        fn run(
            self: Box<Self>,
            mut client: Box<dyn semper::http::message::Duplex>,
        ) -> Pin<Box<dyn Future<Output = (u64, u64)>>> {
            Box::pin(async move {
                let mut said = [0; 5];
                client.read_exact(&mut said).await.unwrap();
                client.write_all(&said.to_ascii_uppercase()).await.unwrap();
                client.shutdown().await.unwrap();
                (5, 5)
            })
        }
    }
    let bench = Bench::new(|request| async move {
        match &request.target[..] {
            b"/ws" => Response { tunnel: Some(Box::new(Shout)), ..answer(101, "") },
            _ => Response { tunnel: Some(Box::new(Shout)), ..ok("no") },
        }
    });
    let finished = bench.finished.clone();
    bench.run(async |mut client| {
        client.send("GET /no HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\n").await;
        assert!(client.answer().await.ends_with("no"));
        client.send("GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\n\r\nhel").await;
        let head = client.read_head().await;
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"), "{head}");
        client.send("lo").await;
        assert_eq!(client.rest().await, "HELLO");
    });
    assert_eq!(finished.borrow()[1].body_bytes, 5);
}

#[test]
fn draining_ends_idle_connections_at_once_and_busy_ones_after_the_answer() {
    let bench = Bench::new(|_| async { ok("x") });
    let drain = bench.drain.clone();
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(!client.answer().await.contains("Connection: close"));
        drain.begin();
        assert_eq!(client.rest().await, "");
    });
    // One that has just been let in may have its request on the way.
    let bench = Bench::new(|_| async { ok("x") });
    let drain = bench.drain.clone();
    bench.run(async |mut client| {
        tokio::task::yield_now().await;
        drain.begin();
        tokio::time::sleep(Duration::from_millis(5)).await;
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let all = client.rest().await;
        assert!(all.contains("Connection: close") && all.ends_with('x'), "{all}");
    });
    let bench = Bench::new(|_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        ok("x")
    });
    let drain = bench.drain.clone();
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
        drain.begin();
        let all = client.rest().await;
        assert!(all.contains("Connection: close") && all.ends_with('x'), "{all}");
    });
}

#[test]
fn status_444_says_nothing() {
    Bench::new(|_| async { answer(444, "") }).run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert_eq!(client.rest().await, "");
    });
}

#[test]
fn a_piece_is_sent_as_soon_as_it_is_there() {
    let bench = Bench::new(|_| async {
        let body = Pieces::slowly(&["one", "two"], Duration::from_millis(30));
        Response { body, ..answer(200, "").unknown() }
    });
    bench.run(async |mut client| {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
        client.read_head().await;
        assert_eq!(client.exactly(8).await, "3\r\none\r\n");
        assert_eq!(client.exactly(13).await, "3\r\ntwo\r\n0\r\n\r\n");
    });
}

#[test]
fn requests_cut_anywhere_are_answered_the_same() {
    let wire =
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET /y HTTP/1.0\r\n\r\n";
    for cut in 1..wire.len() {
        Bench::new(|mut request| async move {
            let mut body = request.target.to_vec();
            while let Some(piece) = request.body.chunk().await {
                body.extend_from_slice(&piece.unwrap());
            }
            ok(Bytes::from(body))
        })
        .run(async |mut client| {
            client.send(&wire[..cut]).await;
            tokio::task::yield_now().await;
            client.send(&wire[cut..]).await;
            let all = client.rest().await;
            assert!(all.contains("\r\n\r\n/xabcHTTP/1.1 200 OK") && all.ends_with("\r\n\r\n/y"), "cut at {cut}: {all}");
        });
    }
}

/// Small conveniences of these tests.
trait Convenient {
    fn unknown(self) -> Self;
}

impl Convenient for Response {
    fn unknown(mut self) -> Response {
        self.content_length = None;
        self
    }
}

trait Status {
    fn parse_status(&self) -> u16;
}

impl Status for [u8] {
    fn parse_status(&self) -> u16 {
        std::str::from_utf8(self).unwrap().parse().unwrap()
    }
}

#[test]
fn an_idle_connection_is_a_small_future_without_a_buffer() {
    let bench = Bench::new(|_| async { ok("x") });
    driver::local(async {
        let (_near, far) = tokio::io::duplex(1024);
        let idle = semper::http::conn::serve(far, bench.connection(), bench.service(), bench.drain.clone());
        assert!(size_of_val(&idle) <= 768, "{}", size_of_val(&idle));
    });
}

#[test]
fn over_tcp_a_refused_upload_still_gets_its_answer() {
    // The client sends on after the answer; a plain close would reset the connection and the answer with it.
    let bench = Bench::new(|_| async { Response { close: true, ..answer(413, "too large") } });
    driver::local(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let (connection, service) = (bench.connection(), bench.service());
        tokio::task::spawn_local(semper::http::conn::serve(server, connection, service, bench.drain.clone()));
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4000000\r\n\r\n").await.unwrap();
        for _ in 0..40 {
            client.write_all(&[b'x'; 100_000]).await.unwrap();
        }
        let mut all = String::new();
        client.read_to_string(&mut all).await.unwrap();
        assert!(all.starts_with("HTTP/1.1 413") && all.ends_with("too large"), "{all}");
    });
}

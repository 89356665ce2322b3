//! What happens when upstreams misbehave?

use super::asked::{Fake, request};
use super::*;

/// A port on which nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn turn_of(script: Vec<Step>) -> (Turn, Vec<String>) {
    let server = Scripted::new(vec![script]).await;
    let mut fake = request();
    let mut proxy = proxy(upstream(&[server.address]));
    proxy.read_timeout = Duration::from_millis(100);
    let turn = ask(&forwarder(), &mut fake, &proxy).await.unwrap_err();
    let address = server.address.to_string();
    (turn, fake.notes.take().into_iter().map(|note| note.replace(&address, "U")).collect())
}

#[test]
fn heads_that_are_none_are_502_in_nginxs_words() {
    run(async {
        for (sent, words) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "upstream sent duplicate header line",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "upstream sent invalid \"Content-Length\" header"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                "upstream sent \"Content-Length\"",
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", "upstream sent unknown \"Transfer-Encoding\""),
            ("HTTP/1.1 200 OK\r\nbad\x01name: x\r\n\r\n", "upstream sent invalid header"),
            ("garbage\r\n\r\n", "upstream sent no valid HTTP/1.0 header"),
            ("", "upstream prematurely closed connection while reading response header from upstream"),
            ("HTTP/1.1 200 OK\r\nX: y", "upstream prematurely closed connection while reading response header"),
            ("HTTP/1.1 101 Why\r\n\r\n", "upstream switched protocols without being asked"),
        ] {
            let (turn, notes) = turn_of(vec![Step::Read(0), Step::Send(sent)]).await;
            assert_eq!(turn, Turn::Status(502), "{sent}");
            assert!(notes[0].starts_with(words), "{sent}: {notes:?}");
            assert!(notes[0].ends_with(", upstream: \"http://U/a?b\""), "{notes:?}");
        }
    });
}

#[test]
fn a_head_beyond_the_buffer_is_too_big() {
    run(async {
        let (turn, notes) = turn_of(vec![Step::Read(0), Step::Send("HTTP/1.1 200 OK\r\nX: "), Step::Fill(9000)]).await;
        assert_eq!(turn, Turn::Status(502));
        assert!(notes[0].starts_with("upstream sent too big header"), "{notes:?}");
    });
}

#[test]
fn silence_is_504_after_read_timeout() {
    run(async {
        let (turn, notes) = turn_of(vec![Step::Read(0), Step::Wait(9000)]).await;
        assert_eq!(turn, Turn::Status(504));
        assert!(notes[0].starts_with("upstream timed out (110: Connection timed out) while reading response header"));
    });
}

#[test]
fn a_refused_connection_is_502_with_the_errno() {
    run(async {
        let mut fake = request();
        let turn = ask(&forwarder(), &mut fake, &proxy(upstream(&[nobody().await]))).await.unwrap_err();
        assert_eq!((turn, statuses(&fake)), (Turn::Status(502), vec![502]));
        assert!(
            fake.notes.take()[0].starts_with("connect() failed (111: Connection refused) while connecting to upstream")
        );
    });
}

#[test]
fn the_next_server_answers_and_the_dead_one_is_left_alone_for_a_while() {
    run(async {
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(OK)]]).await;
        let (forwarder, proxy) = (forwarder(), Arc::new(proxy(upstream(&[nobody().await, server.address]))));
        let mut fake = request();
        let mut answer = forwarder.forward(&mut fake, &proxy).await.unwrap();
        assert_eq!(text(&mut answer.body).await.unwrap(), "hello");
        assert_eq!(statuses(&fake), [502, 200]);
        assert!(fake.notes.take().iter().any(|note| note.starts_with("upstream server temporarily disabled")));
        for _ in 0..4 {
            let mut fake = request();
            forwarder.forward(&mut fake, &proxy).await.unwrap();
            assert_eq!(statuses(&fake), [200]);
        }
    });
}

#[test]
fn when_all_are_down_nobody_is_asked() {
    run(async {
        let (forwarder, proxy) = (forwarder(), Arc::new(proxy(upstream(&[nobody().await, nobody().await]))));
        assert_eq!(forwarder.forward(&mut request(), &proxy).await.unwrap_err(), Turn::Status(502));
        let mut fake = request();
        assert_eq!(forwarder.forward(&mut fake, &proxy).await.unwrap_err(), Turn::Status(502));
        assert_eq!(fake.upstreamed().tries.borrow()[0].address, "app");
        assert!(fake.notes.take()[0].starts_with("no live upstreams while connecting to upstream"));
    });
}

#[test]
fn a_status_goes_on_to_the_next_server_if_named_and_the_last_one_is_shown() {
    run(async {
        let busy = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
        let first = Scripted::new(vec![vec![Step::Read(0), Step::Send(busy)]]).await;
        let second = Scripted::new(vec![vec![Step::Read(0), Step::Send(busy)]]).await;
        let mut proxy = proxy(upstream(&[first.address, second.address]));
        proxy.next.statuses = Box::new([503]);
        let mut fake = request();
        let (answer, body) = get(&forwarder(), &mut fake, &proxy).await;
        assert_eq!((answer.status, &*body, statuses(&fake)), (503, "busy", vec![503, 503]));
        proxy.next.tries = 1;
        let mut fake = request();
        get(&forwarder(), &mut fake, &proxy).await;
        assert_eq!(statuses(&fake), [503]);
    });
}

#[test]
fn a_post_that_was_sent_is_not_sent_again() {
    run(async {
        let dead = Scripted::new(vec![vec![Step::Read(3)]]).await;
        let good = Scripted::new(vec![vec![Step::Read(3), Step::Send(OK)]]).await;
        let mut proxy = proxy(upstream(&[dead.address, good.address]));
        let turn = ask(&forwarder(), &mut Fake::post(&["abc"], true), &proxy).await.unwrap_err();
        assert_eq!((turn, good.connections()), (Turn::Status(502), 0));
        proxy.next.non_idempotent = true;
        let (_, body) = get(&forwarder(), &mut Fake::post(&["abc"], true), &proxy).await;
        assert_eq!(body, "hello");
        assert!(good.text(0).ends_with("\r\n\r\nabc"));
    });
}

#[test]
fn an_idle_connection_that_was_closed_or_spoke_is_not_used() {
    run(async {
        for last in [Step::Wait(0), Step::Send("HTTP/1.1 408 Bye\r\n\r\n")] {
            let server =
                Scripted::new(vec![vec![Step::Read(0), Step::Send(OK), last], vec![Step::Read(0), Step::Send(OK)]])
                    .await;
            let (forwarder, proxy) = (forwarder(), Arc::new(proxy(kept(&[server.address]))));
            for _ in 0..2 {
                let mut fake = Fake::post(&[""], true);
                fake.body = Body::Empty;
                let mut answer = forwarder.forward(&mut fake, &proxy).await.unwrap();
                assert_eq!(text(&mut answer.body).await.unwrap(), "hello");
                assert_eq!(statuses(&fake), [200]);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
}

#[test]
fn a_connection_that_closes_just_as_it_is_used_again_is_replaced_and_counts_no_failure() {
    run(async {
        // It reads the second request and closes: the race that no look at the socket can see.
        let closing = vec![Step::Read(0), Step::Send(OK), Step::Read(0)];
        let server = Scripted::new(vec![closing, vec![Step::Read(0), Step::Send(OK)]]).await;
        let (forwarder, proxy) = (forwarder(), Arc::new(proxy(kept(&[server.address]))));
        forwarder.forward(&mut request(), &proxy).await.unwrap();
        let mut fake = request();
        let mut answer = forwarder.forward(&mut fake, &proxy).await.unwrap();
        assert_eq!(text(&mut answer.body).await.unwrap(), "hello");
        assert_eq!((statuses(&fake), server.connections()), (vec![502, 200], 2));
        // A POST is not repeated: it may have been acted on.
        let closing = vec![Step::Read(0), Step::Send(OK), Step::Read(3)];
        let server = Scripted::new(vec![closing, vec![Step::Read(0), Step::Send(OK)]]).await;
        let proxy = Arc::new(super::proxy(kept(&[server.address])));
        forwarder.forward(&mut request(), &proxy).await.unwrap();
        let turn = forwarder.forward(&mut Fake::post(&["abc"], true), &proxy).await.unwrap_err();
        assert_eq!((turn, server.connections()), (Turn::Status(502), 1));
    });
}

#[test]
fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    run(async {
        let short = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc";
        let cut = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab";
        let junk = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nxyz\r\n";
        for sent in [short, cut, junk] {
            for buffering in [true, false] {
                let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(sent)]]).await;
                let mut proxy = proxy(upstream(&[server.address]));
                proxy.buffering = buffering;
                let mut fake = request();
                let mut answer = ask(&forwarder(), &mut fake, &proxy).await.unwrap();
                let end = text(&mut answer.body).await;
                assert!(matches!(end, Err(BodyError::UpstreamGone)), "{sent} {end:?}");
                let complaints = fake.upstreamed().complaints.take();
                assert!(complaints[0].text.contains("while reading upstream"), "{complaints:?}");
            }
        }
    });
}

#[test]
fn more_than_content_length_is_cut_off_and_the_connection_not_kept() {
    run(async {
        let server = Scripted::new(vec![vec![
            Step::Read(0),
            Step::Send(
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            ),
            Step::Wait(9000),
        ]])
        .await;
        let (forwarder, proxy) = (forwarder(), proxy(kept(&[server.address])));
        let (_, body) = get(&forwarder, &mut request(), &proxy).await;
        assert_eq!((&*body, forwarder.pools.of("app").len()), ("hello", 0));
    });
}

#[test]
fn an_early_answer_to_a_long_upload_reaches_the_client() {
    run(async {
        let early = "HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno";
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(early), Step::Wait(9000)]]).await;
        let piece: &'static str = Box::leak("u".repeat(1 << 20).into_boxed_str());
        let mut fake = Fake::post(&vec![piece; 64], true);
        let forwarder = forwarder();
        let (answer, body) = get(&forwarder, &mut fake, &proxy(kept(&[server.address]))).await;
        assert_eq!((answer.status, &*body, forwarder.pools.of("app").len()), (413, "no", 0));
    });
}

#[test]
fn a_client_that_leaves_closes_the_upstream_unless_told_otherwise() {
    run(async {
        for ignore in [false, true] {
            let script = vec![Step::Read(0), Step::Wait(60), Step::Send(OK), Step::Read(0)];
            let server = Scripted::new(vec![script]).await;
            let forwarder = forwarder();
            let mut proxy = proxy(kept(&[server.address]));
            proxy.ignore_client_abort = ignore;
            let mut fake = request();
            let gone = tokio::time::timeout(Duration::from_millis(30), ask(&forwarder, &mut fake, &proxy)).await;
            assert!(gone.is_err());
            tokio::time::sleep(Duration::from_millis(80)).await;
            let answered = fake.upstreamed().tries.borrow()[0].header_time.is_some();
            assert_eq!(answered, ignore);
        }
    });
}

#[test]
fn no_open_requests_remain_counted_however_they_end() {
    run(async {
        let server = Scripted::new(vec![vec![Step::Read(0)], vec![Step::Read(0), Step::Send(OK)]]).await;
        let forwarder = forwarder();
        let proxy = Arc::new(proxy(upstream(&[server.address, nobody().await])));
        for _ in 0..3 {
            drop(forwarder.forward(&mut request(), &proxy).await);
        }
        forwarder.upstreams.each(|_, address, health| assert_eq!(health.connections(), 0, "{address}"));
    });
}

#[test]
fn a_host_that_did_not_resolve_at_start_is_found_later() {
    run(async {
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(OK)]]).await;
        let mut late = upstream(&[server.address]);
        late.servers[0].addresses = Box::new([]);
        late.servers[0].host = Some(("localhost".into(), server.address.port()));
        let (forwarder, proxy) = (forwarder(), Arc::new(proxy(late)));
        assert_eq!(forwarder.forward(&mut request(), &proxy).await.unwrap_err(), Turn::Status(502));
        let ProxyTo::Upstream(upstream) = &proxy.to else { unreachable!() };
        forwarder.watch(std::slice::from_ref(upstream));
        let live = forwarder.upstreams.live(upstream);
        while live.group().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut answer = forwarder.forward(&mut request(), &proxy).await.unwrap();
        assert_eq!(text(&mut answer.body).await.unwrap(), "hello");
    });
}

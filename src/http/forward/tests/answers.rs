//! What does the client see of an upstream's answer?

use super::asked::request;
use super::*;
use crate::plan::pattern::Pattern;
use crate::plan::proxy::{CookieRewrite, Redirect};
use crate::plan::template::Segment;

async fn answer_to(sent: &'static str, fake: &mut asked::Fake, change: impl FnOnce(&mut Proxy)) -> (Answer, String) {
    let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(sent)]]).await;
    let mut proxy = proxy(upstream(&[server.address]));
    change(&mut proxy);
    get(&forwarder(), fake, &proxy).await
}

fn fields(answer: &Answer) -> Vec<String> {
    let shown = |f: &crate::words::Field| {
        format!("{}: {}", String::from_utf8_lossy(&f.name), String::from_utf8_lossy(&f.value))
    };
    answer.fields.iter().map(shown).collect()
}

#[test]
fn fields_pass_in_order_and_case_less_those_that_are_hidden() {
    run(async {
        let sent = "HTTP/1.1 299 Fine Indeed\r\nServer: own\r\nDate: today\r\nX-A: 1\r\nConnection: close\r\n\
            content-type: text/x\r\nx-a: 2\r\nSet-Cookie: a=1\r\nX-Accel-Expires: 1\r\nContent-Length: 2\r\n\r\nok";
        let (answer, body) = answer_to(sent, &mut request(), |_| ()).await;
        assert_eq!((answer.status, answer.reason.as_deref()), (299, Some(&b"Fine Indeed"[..])));
        assert_eq!(answer.content_type.as_deref(), Some(&b"text/x"[..]));
        assert_eq!((answer.server, answer.date, answer.content_length), (None, None, Some(2)));
        assert_eq!(fields(&answer_to(sent, &mut request(), |_| ()).await.0), ["X-A: 1", "x-a: 2", "Set-Cookie: a=1"]);
        assert_eq!(body, "ok");
    });
}

#[test]
fn chunked_until_close_and_counted_bodies_come_whole() {
    run(async {
        for sent in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            OK,
        ] {
            for buffering in [true, false] {
                let (_, body) = answer_to(sent, &mut request(), |proxy| proxy.buffering = buffering).await;
                assert_eq!(body, "hello");
            }
        }
    });
}

#[test]
fn no_body_is_waited_for_after_head_204_and_304() {
    run(async {
        let mut head = request();
        head.method = "HEAD";
        let (answer, body) = answer_to("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", &mut head, |_| ()).await;
        assert_eq!((answer.content_length, &*body), (Some(99), ""));
        for sent in ["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"] {
            assert_eq!(answer_to(sent, &mut request(), |_| ()).await.1, "");
        }
    });
}

#[test]
fn interim_answers_are_swallowed_but_not_without_end() {
    run(async {
        let sent = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        let (answer, body) = answer_to(sent, &mut request(), |_| ()).await;
        assert_eq!((answer.status, &*body), (200, "ok"));
        let endless: &'static str = Box::leak("HTTP/1.1 102 Wait\r\n\r\n".repeat(50).into_boxed_str());
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(endless), Step::Wait(9000)]]).await;
        let turn = ask(&forwarder(), &mut request(), &proxy(upstream(&[server.address]))).await.unwrap_err();
        assert_eq!(turn, Turn::Status(502));
    });
}

#[test]
fn redirects_are_rewritten_by_prefix_or_pattern() {
    run(async {
        let moved = "HTTP/1.1 302 Found\r\nLocation: http://app/x/y\r\nRefresh: 5; url=http://app/x/z\r\nContent-Length: 0\r\n\r\n";
        let prefix = |proxy: &mut Proxy| {
            let (from, to) = (Template::literal("http://app/x/"), Template::literal("/"));
            proxy.redirects = Box::new([Redirect::Prefix { from, to }]);
        };
        let (answer, _) = answer_to(moved, &mut request(), prefix).await;
        assert_eq!(answer.location.as_deref(), Some(&b"/y"[..]));
        assert_eq!(fields(&answer), ["Refresh: 5; url=/z"]);
        let pattern = |proxy: &mut Proxy| {
            let to = Template { segments: Box::new([Segment::Text("/new".into()), Segment::Capture(1)]) };
            let pattern = Pattern::new("^http://[^/]+(/.*)$", false).unwrap();
            proxy.redirects = Box::new([Redirect::Pattern { pattern, to }]);
        };
        let (answer, _) = answer_to(moved, &mut request(), pattern).await;
        assert_eq!(answer.location.as_deref(), Some(&b"/new/x/y"[..]));
        let (answer, _) = answer_to(moved, &mut request(), |_| ()).await;
        assert_eq!(fields(&answer)[0], "Location: http://app/x/y");
    });
}

#[test]
fn cookies_change_their_domain_and_path() {
    run(async {
        let sent = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1;Domain=.App.local; path=/x/y; Secure\r\nSet-Cookie: b=2; Path=/z\r\nContent-Length: 0\r\n\r\n";
        let (answer, _) = answer_to(sent, &mut request(), |proxy| {
            let literal = |from: &'static str, to: &'static str| CookieRewrite::Literal {
                from: Template::literal(from),
                to: Template::literal(to),
            };
            proxy.cookie_domains = Box::new([literal("app.local", "example.org")]);
            proxy.cookie_paths = Box::new([literal("/x/", "/")]);
        })
        .await;
        let expected = ["Set-Cookie: a=1; Domain=.example.org; path=/y; Secure", "Set-Cookie: b=2; Path=/z"];
        assert_eq!(fields(&answer), expected);
    });
}

#[test]
fn x_accel_fields_act_and_are_ignored_when_told_so() {
    run(async {
        let redirect = "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /file?a=b\r\nContent-Type: image/x\r\nX-Other: no\r\nX-Accel-Limit-Rate: 77\r\nContent-Length: 0\r\n\r\n";
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(redirect)]]).await;
        let (mut fake, mut proxy) = (request(), proxy(upstream(&[server.address])));
        let turn = ask(&forwarder(), &mut fake, &proxy).await.unwrap_err();
        assert_eq!(turn, Turn::Internal("/file".into(), "a=b".into()));
        assert_eq!((fake.carried.len(), fake.carried.has("content-type"), fake.rate), (1, true, Some(77)));
        let unsafe_one = "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /a/%2e%2e/b\r\nContent-Length: 0\r\n\r\n";
        let evil = Scripted::new(vec![vec![Step::Read(0), Step::Send(unsafe_one)]]).await;
        let turn = ask(&forwarder(), &mut request(), &super::proxy(upstream(&[evil.address]))).await.unwrap_err();
        assert_eq!(turn, Turn::Status(404));
        proxy.ignore = Box::new(["x-accel-redirect".into(), "x-accel-limit-rate".into()]);
        let mut fake = request();
        assert_eq!(ask(&forwarder(), &mut fake, &proxy).await.unwrap().status, 200);
        assert_eq!(fake.rate, None);
        let unbuffered = "HTTP/1.1 200 OK\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n";
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(unbuffered), Step::Wait(9000)]]).await;
        let answer = ask(&forwarder(), &mut request(), &super::proxy(upstream(&[server.address]))).await.unwrap();
        assert!(matches!(&answer.body, Body::Stream(source) if source.flush_each()));
    });
}

#[test]
fn an_error_page_takes_over_only_if_errors_are_intercepted() {
    run(async {
        let sent = "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno";
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(sent)]]).await;
        let (mut fake, mut proxy) = (request(), proxy(upstream(&[server.address])));
        fake.error_pages.push(401);
        assert_eq!(get(&forwarder(), &mut fake, &proxy).await.1, "no");
        proxy.intercept_errors = true;
        assert_eq!(ask(&forwarder(), &mut fake, &proxy).await.unwrap_err(), Turn::Status(401));
        assert!(fake.carried.has("WWW-Authenticate"));
    });
}

#[test]
fn a_connection_is_used_again_after_each_kind_of_whole_answer() {
    run(async {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let script = [OK, chunked, OK].into_iter().flat_map(|sent| [Step::Read(0), Step::Send(sent)]);
        let server = Scripted::new(vec![script.chain([Step::Wait(9000)]).collect()]).await;
        let (forwarder, proxy) = (forwarder(), proxy(kept(&[server.address])));
        let proxy = Arc::new(proxy);
        for _ in 0..3 {
            let mut fake = request();
            let mut answer = forwarder.forward(&mut fake, &proxy).await.unwrap();
            assert_eq!(text(&mut answer.body).await.unwrap(), "hello");
        }
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn a_slow_client_does_not_hold_the_upstream() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n";
        let script = vec![Step::Read(0), Step::Send(head), Step::Fill(3_000_000)];
        let done = Rc::new(RefCell::new(false));
        let server = Scripted::new(vec![script]).await;
        let proxy = proxy(upstream(&[server.address]));
        let mut fake = request();
        let mut answer = ask(&forwarder(), &mut fake, &proxy).await.unwrap();
        let first = answer.body.chunk().await.unwrap().unwrap().len();
        // The client takes no more, and yet the upstream gets rid of all.
        while fake.upstreamed().tries.borrow()[0].response_time.is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        *done.borrow_mut() = true;
        let rest = text(&mut answer.body).await.unwrap();
        assert_eq!(first + rest.len(), 3_000_000);
        assert!(rest.bytes().all(|b| b == b'x'));
    });
}

#[test]
fn without_temp_files_the_upstream_waits_for_the_client() {
    run(async {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 30000000\r\n\r\n";
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(head), Step::Fill(30_000_000)]]).await;
        let mut proxy = proxy(upstream(&[server.address]));
        proxy.max_temp_file = 0;
        let mut fake = request();
        let mut answer = ask(&forwarder(), &mut fake, &proxy).await.unwrap();
        let first = answer.body.chunk().await.unwrap().unwrap().len();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(fake.upstreamed().tries.borrow()[0].response_time.is_none());
        assert_eq!(first + text(&mut answer.body).await.unwrap().len(), 30_000_000);
    });
}

#[test]
fn an_upgrade_that_was_asked_for_becomes_a_tunnel() {
    run(async {
        let switch = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nhi";
        let server = Scripted::new(vec![vec![Step::Read(0), Step::Send(switch), Step::Echo]]).await;
        let mut proxy = proxy(upstream(&[server.address]));
        proxy.set_headers = Box::new([("Upgrade".into(), Template::literal("echo"))]);
        let mut fake = request();
        fake.fields.push("Upgrade", "echo");
        let answer = ask(&forwarder(), &mut fake, &proxy).await.unwrap();
        assert_eq!(answer.status, 101);
        let (mut client, ours) = tokio::io::duplex(64);
        let tunnel = tokio::task::spawn_local(answer.tunnel.unwrap().run(Box::new(ours)));
        let mut heard = [0; 2];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hi");
        let long = vec![b'z'; 200_000];
        let (mut from, mut to) = tokio::io::split(client);
        let sent = long.clone();
        let sender = tokio::task::spawn_local(async move {
            to.write_all(&sent).await.unwrap();
            to
        });
        let mut echoed = vec![0; long.len()];
        from.read_exact(&mut echoed).await.unwrap();
        assert!(echoed == long);
        drop((from, sender.await.unwrap()));
        assert_eq!(tunnel.await.unwrap(), (200_002, 200_000));
    });
}

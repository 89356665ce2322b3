//! What does an upstream hear?

use super::asked::{Fake, request};
use super::*;

const READ_AND_ANSWER: [Step; 2] = [Step::Read(0), Step::Send(OK)];

/// What the upstream hears of one request.
async fn heard(fake: &mut Fake, change: impl FnOnce(&mut Proxy)) -> String {
    heard_with_body(fake, 0, change).await
}

async fn heard_with_body(fake: &mut Fake, body: usize, change: impl FnOnce(&mut Proxy)) -> String {
    let server = Scripted::new(vec![vec![Step::Read(body), Step::Send(OK)]]).await;
    let mut proxy = proxy(upstream(&[server.address]));
    change(&mut proxy);
    let (answer, text) = get(&forwarder(), fake, &proxy).await;
    assert_eq!((answer.status, &*text), (200, "hello"));
    server.text(0)
}

#[test]
fn the_target_goes_through_as_it_came_and_hop_fields_do_not() {
    run(async {
        let mut fake = request();
        fake.unparsed = Some("/a%20b//c?d".into());
        for (name, value) in [
            ("Host", "client.example"),
            ("X-CaSe", "kept"),
            ("Connection", "keep-alive"),
            ("Keep-Alive", "5"),
            ("TE", "trailers"),
            ("Upgrade", "h2c"),
            ("Expect", "100-continue"),
            ("Accept", "*/*"),
        ] {
            fake.fields.push(name, value);
        }
        let heard = heard(&mut fake, |_| ()).await;
        assert_eq!(heard, "GET /a%20b//c?d HTTP/1.1\r\nHost: app\r\nX-CaSe: kept\r\nAccept: */*\r\n\r\n");
    });
}

#[test]
fn a_uri_part_replaces_the_prefix_and_is_escaped_again() {
    run(async {
        let mut fake = request();
        fake.uri = "/api/a b".into();
        fake.quoted = true;
        let part = |proxy: &mut Proxy| {
            proxy.uri = Some(Template::literal("/v2/"));
            proxy.replaced = 5;
        };
        assert!(heard(&mut fake, part).await.starts_with("GET /v2/a%20b?b HTTP/1.1\r\n"));
        fake.stands = false;
        assert!(heard(&mut fake, part).await.starts_with("GET /api/a%20b?b HTTP/1.1\r\n"));
        fake.unparsed = None;
        assert!(heard(&mut fake, |_| ()).await.starts_with("GET /api/a%20b?b HTTP/1.1\r\n"));
    });
}

#[test]
fn an_empty_set_header_drops_the_clients_field_and_others_replace_it() {
    run(async {
        let mut fake = request();
        fake.fields.push("Authorization", "secret");
        fake.fields.push("Accept-Encoding", "gzip");
        let heard = heard(&mut fake, |proxy| {
            proxy.http11 = false;
            proxy.set_headers = Box::new([
                ("authorization".into(), Template::default()),
                ("Accept-Encoding".into(), Template::literal("identity")),
            ]);
        })
        .await;
        assert_eq!(heard, "GET /a?b HTTP/1.0\r\nAccept-Encoding: identity\r\n\r\n");
    });
}

#[test]
fn a_small_body_comes_with_the_head_and_a_chunked_one_is_counted() {
    run(async {
        let mut fake = Fake::post(&["one", "two"], false);
        let heard = heard_with_body(&mut fake, 6, |_| ()).await;
        assert_eq!(heard, "POST /a?b HTTP/1.1\r\nHost: app\r\nContent-Length: 6\r\n\r\nonetwo");
    });
}

#[test]
fn without_request_buffering_a_body_is_passed_on_in_chunks_as_it_comes() {
    run(async {
        let mut fake = Fake::post(&["one", "twelve bytes"], false);
        let framed = "3\r\none\r\nc\r\ntwelve bytes\r\n0\r\n\r\n";
        let heard = heard_with_body(&mut fake, framed.len(), |proxy| proxy.request_buffering = false).await;
        assert_eq!(heard, format!("POST /a?b HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n{framed}"));
    });
}

#[test]
fn a_body_beyond_every_budget_waits_in_a_file_and_arrives_whole() {
    run(async {
        let piece: &'static str = Box::leak("0123456789abcdef".repeat(4096).into_boxed_str());
        let count = 3;
        let mut fake = Fake::post(&vec![piece; count], true);
        let server = Scripted::new(vec![vec![Step::Read(piece.len() * count), Step::Send(OK)]]).await;
        let forwarder = forwarder();
        forwarder.held.set(64 << 20);
        let (answer, _) = get(&forwarder, &mut fake, &proxy(upstream(&[server.address]))).await;
        assert_eq!(answer.status, 200);
        assert!(server.text(0).ends_with(&piece.repeat(count)));
        assert_eq!(forwarder.held.get(), 64 << 20);
    });
}

#[test]
fn memory_held_for_bodies_is_given_back() {
    run(async {
        let piece: &'static str = Box::leak("x".repeat(40_000).into_boxed_str());
        let mut fake = Fake::post(&[piece], true);
        let server = Scripted::new(vec![vec![Step::Read(40_000), Step::Send(OK)]]).await;
        let forwarder = forwarder();
        get(&forwarder, &mut fake, &proxy(upstream(&[server.address]))).await;
        assert_eq!(forwarder.held.get(), 0);
    });
}

#[test]
fn nobody_but_us_says_how_a_body_is_framed() {
    run(async {
        let lies = |proxy: &mut Proxy| {
            proxy.set_headers = Box::new([
                ("content-length".into(), Template::literal("99")),
                ("Transfer-Encoding".into(), Template::literal("chunked")),
            ]);
        };
        let said = heard_with_body(&mut Fake::post(&["abc"], true), 3, lies).await;
        assert_eq!(said, "POST /a?b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        let silent = |proxy: &mut Proxy| {
            proxy.pass_body = false;
            proxy.set_headers = Box::new([("Content-Length".into(), Template::default())]);
        };
        assert_eq!(heard(&mut Fake::post(&["abc"], true), silent).await, "POST /a?b HTTP/1.1\r\n\r\n");
    });
}

#[test]
fn set_body_and_method_replace_the_clients() {
    run(async {
        let mut fake = Fake::post(&["gone"], true);
        let heard = heard_with_body(&mut fake, 3, |proxy| {
            proxy.set_body = Some(Template::literal("new"));
            proxy.method = Some(Template::literal("PUT"));
        })
        .await;
        assert_eq!(heard, "PUT /a?b HTTP/1.1\r\nHost: app\r\nContent-Length: 3\r\n\r\nnew");
    });
}

#[test]
fn a_url_with_variables_is_the_whole_uri_and_finds_upstreams_by_name() {
    run(async {
        let server = Scripted::new(vec![READ_AND_ANSWER.to_vec()]).await;
        let mut fake = request();
        let mut proxy = proxy(upstream(&[]));
        proxy.to = ProxyTo::Url(Template::literal(format!("http://{}/x?y", server.address)));
        get(&forwarder(), &mut fake, &proxy).await;
        assert!(server.text(0).starts_with("GET /x?y HTTP/1.1\r\n"));
        let shown = fake.proxied.clone().unwrap();
        assert_eq!(shown, (server.address.to_string().into(), server.address.port().to_string().into()));

        fake.upstreams.push(Arc::new(upstream(&[server.address])));
        proxy.to = ProxyTo::Url(Template::literal("http://app"));
        get(&forwarder(), &mut fake, &proxy).await;
        assert!(server.text(1).starts_with("GET /a?b HTTP/1.1\r\n"));

        proxy.to = ProxyTo::Url(Template::literal("http://nobody.test"));
        assert_eq!(ask(&forwarder(), &mut fake, &proxy).await.unwrap_err(), Turn::Status(502));
        assert_eq!(fake.notes.take(), ["no resolver defined to resolve nobody.test"]);
        proxy.to = ProxyTo::Url(Template::literal("nobody.test"));
        assert_eq!(ask(&forwarder(), &mut fake, &proxy).await.unwrap_err(), Turn::Status(500));
    });
}

#[test]
fn a_client_that_breaks_off_its_body_costs_the_upstream_nothing() {
    run(async {
        let server = Scripted::new(vec![READ_AND_ANSWER.to_vec()]).await;
        let mut fake = Fake::post(&["one"], false);
        let broken = asked::Pieces([Ok("one".into()), Err(BodyError::ClientGone)].into());
        fake.body = Body::Stream(Box::new(broken));
        let turn = ask(&forwarder(), &mut fake, &proxy(upstream(&[server.address]))).await.unwrap_err();
        assert_eq!((turn, server.connections()), (Turn::Status(400), 0));
    });
}

//! What do the rooms that decide cost? Loading a configuration, reading a head, choosing a server among many names.
//! `cargo bench --bench decide`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fmt::Write as _;
use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use semper::conf::{Loaded, MemoryWorld, Options, load};
use semper::h1::{HeadRules, RequestParser};
use semper::plan::listener::NameTable;
use semper::route::{locations, names};

const PATH: &str = "/etc/nginx/nginx.conf";

fn configuration(servers: usize) -> String {
    let mut text =
        "events {} http { acme_issuer ca { uri internal; } upstream app { server 127.0.0.1:3000; keepalive 8; }\n"
            .to_owned();
    for n in 0..servers {
        let _ = write!(
            text,
            "server {{ listen 443 ssl; http2 on; server_name site{n}.example www.site{n}.example; root /srv/site{n};
                acme_certificate ca; ssl_certificate $acme_certificate; ssl_certificate_key $acme_certificate_key;
                location / {{ try_files $uri @app; }}
                location ~* \\.(?:css|js|png)$ {{ expires 7d; add_header Cache-Control public; }}
                location @app {{ proxy_pass http://app; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr; }} }}\n"
        );
    }
    text.push('}');
    text
}

fn loaded(text: &str) -> Loaded {
    let loaded = load(&MemoryWorld::with_file(PATH, text), &Options::new(PATH, "/etc/nginx/"));
    assert!(loaded.is_good(), "{:?}", loaded.first_error().map(ToString::to_string));
    loaded
}

fn conf_load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("conf load");
    for servers in [10, 10_000] {
        let text = configuration(servers);
        group.sample_size(10).throughput(Throughput::Elements(servers as u64));
        group.bench_with_input(BenchmarkId::new("servers", servers), &text, |bench, text| bench.iter(|| loaded(text)));
    }
    group.finish();
}

fn head_parse(criterion: &mut Criterion) {
    let browser = "GET /assets/app.css?v=3 HTTP/1.1\r\nHost: www.site77.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0\r\n\
        Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
        Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n\r\n";
    let mut group = criterion.benchmark_group("head parse");
    for (name, head) in [("smallest", "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"), ("browser", browser)] {
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |bench| {
            let mut parser = RequestParser::new(HeadRules::default());
            bench.iter_batched_ref(
                || BytesMut::from(head.as_bytes()),
                |buf| {
                    parser.reset(HeadRules::default());
                    black_box(parser.parse(buf).unwrap().unwrap())
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn name_table(loaded: &Loaded) -> &NameTable {
    &loaded.plan.as_ref().unwrap().http.as_ref().unwrap().listeners[0].addresses[0].names
}

fn sni_choice(criterion: &mut Criterion) {
    let plan = loaded(&configuration(10_000));
    let table = name_table(&plan);
    let mut group = criterion.benchmark_group("server by name among 20,000");
    for (name, host, known) in
        [("exact", "www.site7777.example", true), ("unknown", "no.such.name.anywhere.example", false)]
    {
        assert_eq!(names::find(table, host.as_bytes()).is_some(), known);
        group.bench_function(name, |bench| {
            bench.iter(|| names::find(black_box(table), black_box(host.as_bytes())).is_some())
        });
    }
    group.finish();
}

fn route_match(criterion: &mut Criterion) {
    let mut text = "events {} http { server { listen 80; location / { } location = /exact { }\n".to_owned();
    for n in 0..200 {
        let _ = writeln!(text, "location /prefix{n}/ {{ location ~ \\.php$ {{ }} }}");
    }
    for n in 0..10 {
        let _ = writeln!(text, "location ~* \\.(?:ext{n}|other{n})$ {{ }}");
    }
    text.push_str("} }");
    let plan = loaded(&text);
    let tree = &plan.plan.as_ref().unwrap().http.as_ref().unwrap().servers[0].locations;
    let mut group = criterion.benchmark_group("location among 200 prefixes and 10 patterns");
    for (name, uri) in
        [("exact", "/exact"), ("prefix", "/prefix77/some/page"), ("pattern", "/some/file.ext9"), ("none", "/else")]
    {
        assert!(locations::find(tree, uri.as_bytes()).location.is_some());
        group.bench_function(name, |bench| {
            bench.iter(|| locations::find(black_box(tree), black_box(uri.as_bytes())).add_slash)
        });
    }
    group.finish();
}

criterion_group!(benches, conf_load, head_parse, sni_choice, route_match);
criterion_main!(benches);

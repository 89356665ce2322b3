//! Does the loader stay upright whatever a file holds? Bytes, words that mean something in places where they do not, deep
//! nesting, files that include themselves.

use proptest::prelude::*;
use semper::conf::table::table;
use semper::conf::{Loaded, MemoryWorld, Options, load};

fn run(text: &[u8]) -> Loaded {
    let world = MemoryWorld::with_file("/c/nginx.conf", text);
    let loaded = load(&world, &Options::new("/c/nginx.conf", "/c"));
    assert!(loaded.plan.is_some() || loaded.first_error().is_some());
    loaded
}

const WORDS: [&str; 40] = [
    "on",
    "off",
    "1",
    "10m",
    "1h",
    "$host",
    "${x}",
    "$1",
    "/a/",
    "/a/b",
    "@n",
    "=",
    "~",
    "~*",
    "^~",
    "^/(?<n>.*)$",
    "(",
    "($host",
    "=404",
    "http://u/",
    "https://127.0.0.1:1",
    "unix:/s",
    "127.0.0.1:80",
    "[::]:1-3",
    "*:80",
    "u",
    ".a.b",
    "*.a",
    "a.*",
    "text/html",
    "default_server",
    "ssl",
    "any",
    "all",
    "internal",
    "shared:z:1m",
    "\"\"",
    "'a b'",
    "é",
    "-f",
];

fn word() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(&WORDS[..]).prop_map(str::to_owned), 1 => "[ -~]{0,6}"]
}

fn name() -> impl Strategy<Value = &'static str> {
    (0..table().rows().len()).prop_map(|index| table().rows()[index].name)
}

fn line() -> impl Strategy<Value = String> {
    (name(), prop::collection::vec(word(), 0..4)).prop_map(|(name, words)| format!("{name} {};\n", words.join(" ")))
}

fn block() -> impl Strategy<Value = String> {
    let inner = prop::collection::vec(line(), 0..4).prop_map(|lines| lines.concat());
    inner.prop_recursive(4, 24, 4, |inner| {
        let heads = [
            "http",
            "server",
            "location /",
            "location ~ x",
            "if ($host)",
            "upstream u",
            "map $host $x",
            "events",
            "limit_except GET",
            "types",
            "acme_issuer i",
            "server_certificates a",
        ];
        (prop::sample::select(heads.to_vec()), prop::collection::vec(inner, 0..3), line())
            .prop_map(|(head, inner, line)| format!("{head} {{ {} {line} }}\n", inner.concat()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_a_plan_or_a_complaint(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        run(&bytes);
    }

    #[test]
    fn any_directives_anywhere_get_a_plan_or_a_complaint(inner in block()) {
        run(inner.as_bytes());
        run(format!("events {{}} http {{ {inner} }}").as_bytes());
        run(format!("events {{}} http {{ server {{ listen 80; {inner} }} }}").as_bytes());
    }

    #[test]
    fn one_line_in_each_context_gets_a_plan_or_a_complaint(line in line()) {
        for (open, close) in [("", ""), ("http {", "}"), ("http { server { listen 80;", "} }"),
            ("http { server { location /x/ {", "} } }"), ("http { server { location /x/ { if ($host) {", "} } } }"),
            ("http { upstream u {", "} }"), ("acme_issuer i {", "}"), ("events {", "} http { }")] {
            let events = if open.starts_with("events") { "" } else { "events {}" };
            run(format!("{events} {open} {line} {close}").as_bytes());
        }
    }
}

#[test]
fn deep_nesting_is_refused_before_it_hurts() {
    let open = "location /a { ".repeat(90);
    let close = "} ".repeat(90);
    let nested = format!("events {{}} http {{ server {{ listen 80; {open} {close} }} }}");
    assert!(run(nested.as_bytes()).plan.is_some());
    let endless = format!("events {{}} http {{ server {{ listen 80; {}", "location /a { ".repeat(10_000));
    assert!(run(endless.as_bytes()).first_error().is_some_and(|error| error.text.contains("blocks in each other")));
}

#[test]
fn a_file_that_includes_itself_ends() {
    let error = run(b"include nginx.conf; include nginx.conf;").first_error().map(ToString::to_string);
    let expected = "nginx: [emerg] open() \"/c/nginx.conf\" failed (24: Too many open files) in /c/nginx.conf:1";
    assert_eq!(error.as_deref(), Some(expected));
}

#[test]
fn ranges_of_ports_are_bounded() {
    let servers: String = (1..6).map(|n| format!("server {{ listen 127.0.0.{n}:1-65535; }}")).collect();
    let loaded = run(format!("events {{}} http {{ {servers} }}").as_bytes());
    assert!(loaded.first_error().is_some_and(|error| error.text.contains("addresses to listen on")));
}

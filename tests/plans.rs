//! Does a configuration come to the plan that nginx would follow? Inheritance, defaults and rules that `-t` cannot show.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use semper::conf::{MemoryWorld, Options, load};
use semper::plan::Plan;
use semper::plan::acme::Authority;
use semper::plan::certificate::Standby;
use semper::plan::headers::Expires;
use semper::plan::listener::ListenAddress;
use semper::plan::location::{Handler, Location, TryLast};
use semper::plan::proxy::{Proxy, ProxyTo, Redirect};
use semper::plan::script::{Condition, Op, Then};
use semper::plan::server::Server;
use semper::plan::template::{Builtin, Segment, Template, Var, VariableSource};
use semper::plan::tls::CertificateSource;

fn plan(text: &str) -> Plan {
    let mut world = MemoryWorld::with_file("/etc/nginx/nginx.conf", text);
    world.hosts.insert("origin.test".to_owned(), vec!["192.0.2.7".parse().unwrap()]);
    let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx"));
    let first = loaded.first_error().map(ToString::to_string);
    assert_eq!(first, None);
    loaded.plan.unwrap()
}

fn http(inner: &str) -> Plan {
    plan(&format!("events {{}} http {{ {inner} }}"))
}

fn server(inner: &str) -> Arc<Server> {
    Arc::clone(&http(&format!("server {{ listen 80; {inner} }}")).http.unwrap().servers[0])
}

fn proxy(location: &Location) -> Arc<Proxy> {
    match &location.handler {
        Handler::Proxy(proxy) => Arc::clone(proxy),
        other => panic!("{other:?}"),
    }
}

fn text(template: &Template) -> String {
    String::from_utf8(template.as_literal().unwrap().to_vec()).unwrap()
}

#[test]
fn a_level_inherits_what_it_leaves_unset_and_lists_are_replaced_as_a_whole() {
    let server = Arc::clone(
        &http(
            "add_header A 1; add_header B 2; gzip on; client_max_body_size 5m; error_page 404 /a;
             server { listen 80; add_header C 3; client_max_body_size 6m;
                 location /plain { }
                 location /own { add_header D 4; error_page 500 /b; gzip off; } }",
        )
        .http
        .unwrap()
        .servers[0],
    );
    let of = |location: &Location| -> Vec<String> {
        location.settings.headers.add.iter().map(|header| header.name.to_string()).collect()
    };
    let own = &server.locations.prefixes[0];
    let plain = &server.locations.prefixes[1];
    assert_eq!((&*own.name, &*plain.name), ("/own", "/plain"));
    assert_eq!((of(&server.root), of(plain), of(own)), (vec!["C".into()], vec!["C".into()], vec!["D".into()]));
    assert!(plain.settings.gzip.on && !own.settings.gzip.on);
    assert_eq!((plain.settings.client.max_body, own.settings.client.max_body), (6 << 20, 6 << 20));
    assert_eq!(plain.settings.error_pages[0].status, 404);
    assert_eq!(own.settings.error_pages.iter().map(|page| page.status).collect::<Vec<_>>(), [500]);
    assert!(Arc::ptr_eq(&plain.settings, &server.root.settings), "nothing said, nothing copied");
}

#[test]
fn proxy_settings_come_from_every_level_and_header_defaults_fill_the_gaps() {
    let server = server(
        "proxy_read_timeout 5s; proxy_set_header X-A a; proxy_hide_header X-Secret; proxy_pass_header Server;
         location /x/ { proxy_connect_timeout 2s; proxy_pass http://origin.test:81/y/; }",
    );
    let location = &server.locations.prefixes[0];
    let proxy = proxy(location);
    assert_eq!((proxy.read_timeout, proxy.connect_timeout), (Duration::from_secs(5), Duration::from_secs(2)));
    assert_eq!((&*proxy.host, &*proxy.port, proxy.replaced), (&b"origin.test:81"[..], &b"81"[..], 3));
    assert_eq!(text(proxy.uri.as_ref().unwrap()), "/y/");
    let names: Vec<&str> = proxy.set_headers.iter().map(|(name, _)| &**name).collect();
    assert!(names.starts_with(&["X-A", "Host", "Connection"]), "{names:?}");
    assert!(proxy.hide.iter().any(|name| &**name == "x-secret") && !proxy.hide.iter().any(|name| &**name == "server"));
    let Redirect::Prefix { from, to } = &proxy.redirects[0] else { panic!("default") };
    assert_eq!((text(from), text(to)), ("http://origin.test:81/y/".into(), "/x/".into()));
    assert!(location.auto_redirect);
    let ProxyTo::Upstream(upstream) = &proxy.to else { panic!("upstream") };
    assert!(upstream.implicit && upstream.servers[0].addresses[0].to_string() == "192.0.2.7:81");
}

#[test]
fn an_if_takes_the_handler_of_its_location_and_settings_of_its_own() {
    let server = server("location / { proxy_pass http://origin.test; if ($arg_x) { add_header A 1; set $y z; } }");
    let [Op::If { condition: Condition::True(_), script, becomes: Some(pseudo) }] =
        &*server.locations.prefixes[0].script
    else {
        panic!("{:?}", server.locations.prefixes[0].script)
    };
    assert!(matches!(**script, [Op::Set { .. }]));
    assert_eq!(pseudo.settings.headers.add.len(), 1);
    assert_eq!(proxy(pseudo).host, proxy(&server.locations.prefixes[0]).host);
}

#[test]
fn limit_except_has_rules_of_its_own_and_the_same_upstream() {
    let server = server("location / { proxy_pass http://origin.test; limit_except GET { deny all; } }");
    let limit = server.locations.prefixes[0].limit_except.as_ref().unwrap();
    assert_eq!(limit.methods.iter().map(|method| &**method).collect::<Vec<_>>(), ["GET"]);
    assert_eq!(limit.otherwise.settings.access.rules.len(), 1);
    assert!(matches!(limit.otherwise.handler, Handler::Proxy(_)));
    assert!(server.locations.prefixes[0].settings.access.rules.is_empty());
}

#[test]
fn an_alias_is_inherited_with_the_length_of_the_location_where_it_was_said() {
    let server = server("root /srv/; location /a { alias /b/; location /a/c { } } location ~ x { alias /y; }");
    let files = |location: &Location| location.settings.files.clone();
    assert_eq!(text(&files(&server.root).root), "/srv");
    let a = &server.locations.prefixes[0];
    let nested = files(&a.nested.prefixes[0]);
    assert_eq!((text(&nested.root), nested.alias, nested.alias_replaces), ("/b/".into(), true, 2));
    assert_eq!(files(&server.locations.patterns[0]).alias_replaces, usize::MAX);
}

#[test]
fn relative_paths_follow_the_prefix_and_config_files_the_main_file() {
    let server = server(
        "root html2; access_log logs/x; auth_basic a; auth_basic_user_file users; listen 443 ssl;
         ssl_certificate c.pem; ssl_certificate_key k.pem;",
    );
    assert_eq!(text(&server.root.settings.files.root), "/usr/share/nginx/html2");
    let basic = server.root.settings.access.basic.as_ref().unwrap();
    assert_eq!(text(&basic.user_file), "/etc/nginx/users");
    let tls = server.tls.as_ref().unwrap();
    let CertificateSource::File(file) = &tls.certificates[0] else { panic!("file") };
    assert_eq!(file.certificate.to_str(), Some("/etc/nginx/c.pem"));
    assert_eq!(format!("{:?}", server.root.settings.logs.access[0].target), "File(\"/usr/share/nginx/logs/x\")");
}

#[test]
fn a_wildcard_socket_absorbs_specific_addresses_unless_they_ask_for_their_own() {
    let http = http(
        "server { listen 8080; server_name a; } server { listen 127.0.0.1:8080; server_name b; }
         server { listen 127.0.0.2:8080 bind; server_name c; } server { listen unix:/s; }",
    )
    .http
    .unwrap();
    let shown: Vec<String> = http
        .listeners
        .iter()
        .map(|listener| match &listener.address {
            ListenAddress::Tcp(address) => format!("{address}/{}", listener.addresses.len()),
            ListenAddress::Unix(path) => format!("{}/{}", path.display(), listener.addresses.len()),
        })
        .collect();
    assert_eq!(shown, ["0.0.0.0:8080/2", "127.0.0.2:8080/1", "/s/1"]);
    let wildcard = &http.listeners[0];
    assert_eq!(wildcard.addresses[0].local, Some("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(&*wildcard.addresses[0].default_server.name, "b");
    assert_eq!(wildcard.addresses[1].local, None);
}

#[test]
fn names_of_all_four_kinds_find_their_table_and_the_first_server_of_a_name_keeps_it() {
    let http = http(
        "server { listen 80; server_name Example.com .dot.test; } server { listen 80 default_server; server_name *.w.test pre.*; }
         server { listen 80; server_name ~^(?<who>\\w+)\\.re\\.test$ example.com; }",
    )
    .http
    .unwrap();
    let address = &http.listeners[0].addresses[0];
    let names = &address.names;
    assert_eq!(names.exact[&b"example.com"[..]].index, 0);
    assert!(names.exact.contains_key(&b"dot.test"[..]) && names.suffixes.contains_key(&b"dot.test"[..]));
    assert_eq!((names.suffixes[&b"w.test"[..]].index, names.prefixes[&b"pre"[..]].index), (1, 1));
    assert_eq!(names.patterns[0].server.index, 2);
    assert_eq!(&*http.variables[names.patterns[0].names[0].1].name, "who");
    assert_eq!(address.default_server.index, 1);
}

#[test]
fn scripts_keep_their_order_and_read_their_flags() {
    let server = server(
        "set $a 1; rewrite ^/x /y? last; rewrite ^/u http://z break; if (-f $request_filename) { break; } return 301 /q$a;",
    );
    let [Op::Set { .. }, Op::Rewrite(last), Op::Rewrite(url), Op::If { becomes: None, .. }, Op::Return(back)] =
        &*server.root.script
    else {
        panic!("{:?}", server.root.script)
    };
    assert!(last.then == Then::Last && last.drop_args && text(&last.replacement) == "/y");
    assert_eq!(url.then, Then::Redirect);
    assert_eq!(back.status, 301);
    assert!(matches!(back.text.as_ref().unwrap().segments[1], Segment::Var(Var::User(_))));
}

#[test]
fn set_of_a_built_in_variable_reaches_the_request() {
    let http = http("server { listen 80; set $args x; return 200 $args; }").http.unwrap();
    let Op::Set { variable, .. } = &http.servers[0].root.script[0] else { panic!("set") };
    assert!(matches!(http.variables[*variable].source, VariableSource::Builtin(Builtin::Args)));
    let Op::Return(back) = &http.servers[0].root.script[1] else { panic!("return") };
    assert_eq!(back.text.as_ref().unwrap().segments[0], Segment::Var(Var::Builtin(Builtin::Args)));
}

#[test]
fn a_map_knows_its_names_patterns_and_default() {
    let http = http(
        "map $host $m { hostnames; default d; a.test 1; .b.test 2; *.long.b.test 3; www.* 4; ~^x(.)$ $1; }
         server { listen 80; return 200 $m; }",
    )
    .http
    .unwrap();
    let VariableSource::Map(map) = &http.variables[0].source else { panic!("map") };
    assert_eq!(text(&map.exact[&b"a.test"[..]]), "1");
    assert_eq!(text(&map.exact[&b"b.test"[..]]), "2");
    let suffixes: Vec<&[u8]> = map.suffixes.iter().map(|(name, _)| &**name).collect();
    assert_eq!(suffixes, [&b".long.b.test"[..], b".b.test"]);
    assert_eq!(&*map.prefixes[0].0, b"www.");
    assert_eq!(map.patterns[0].value.segments[0], Segment::Capture(1));
    assert_eq!(text(&map.default), "d");
}

#[test]
fn expires_and_try_files_are_read_once() {
    let server =
        server("expires 1h; location / { expires $x; set $x 5; try_files $uri $uri/ @app; } location @app { }");
    assert_eq!(server.root.settings.headers.expires, Expires::Access(3600));
    let location = &server.locations.prefixes[0];
    assert!(matches!(location.settings.headers.expires, Expires::Template { modified: false, .. }));
    let try_files = location.try_files.as_ref().unwrap();
    assert_eq!(try_files.files.iter().map(|file| file.directory).collect::<Vec<_>>(), [false, true]);
    assert!(matches!(&try_files.last, TryLast::Named(name) if &**name == "@app"));
    assert!(server.locations.named(b"@app").is_some());
}

#[test]
fn semper_conf_gives_servers_of_nginx_conf_their_certificates() {
    let nginx = "events {} http { server { listen 443 ssl; server_name example.com www.example.com;
        ssl_certificate c.pem; ssl_certificate_key k.pem; } }";
    let mut world = MemoryWorld::with_file("/etc/nginx/nginx.conf", nginx);
    let own = "acme_issuer here { uri internal; leaf_lifetime 60s; }
        server_certificates example.com { acme_certificate here key=ecdsa:384; } state_path /var/s;";
    world.files.insert("/etc/nginx/semper.conf".to_owned(), own.into());
    let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/etc/nginx"));
    let plan = loaded.plan.unwrap();
    assert_eq!(loaded.files.len(), 2);
    assert_eq!(plan.issuers[0].state_path.as_deref(), Some(std::path::Path::new("/var/s")));
    let spec = &plan.certificates[0];
    assert_eq!(
        spec.identifiers.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["example.com", "www.example.com"]
    );
    let http = plan.http.unwrap();
    let sources = &http.servers[0].tls.as_ref().unwrap().certificates;
    assert!(matches!(&sources[..], [CertificateSource::Acme(id), CertificateSource::File(_)] if *id == spec.id));
}

#[test]
fn a_name_without_a_server_does_not_lose_its_certificate_in_silence() {
    let mut world =
        MemoryWorld::with_file("/c/nginx.conf", "events {} http { server { listen 80; server_name a.test; } }");
    let own = "acme_issuer i { uri internal; } server_certificates b.test { acme_certificate i; }";
    world.files.insert("/c/semper.conf".to_owned(), own.into());
    let loaded = load(&world, &Options::new("/c/nginx.conf", "/c"));
    assert_eq!(
        loaded.first_error().unwrap().to_string(),
        "nginx: [emerg] no server has the name \"b.test\" in /c/semper.conf:1"
    );
}

#[test]
fn an_issuer_says_how_patient_to_be_and_where_a_rehearsal_costs_nothing() {
    let acme = |inside: &str| {
        let text = format!("events {{}} acme_issuer i {{ {inside} }}");
        let loaded = load(&MemoryWorld::with_file("/c/nginx.conf", text), &Options::new("/c/nginx.conf", "/c"));
        let error = loaded.first_error().map(ToString::to_string).unwrap_or_default();
        loaded.plan.filter(|_| error.is_empty()).map(|plan| plan.issuers[0].authority.clone()).ok_or(error)
    };
    let Ok(Authority::Acme(server)) =
        acme("uri https://ca.test/dir; order_timeout 30s; retry_interval 2s; staging https://staging.test/dir;")
    else {
        panic!("it is good")
    };
    assert_eq!((server.order_timeout.as_secs(), server.retry_interval.as_secs()), (30, 2));
    assert_eq!(server.staging().as_deref(), Some("https://staging.test/dir"));
    let Ok(Authority::Acme(server)) = acme("uri https://acme-v02.api.letsencrypt.org/directory;") else {
        panic!("it is good")
    };
    assert_eq!((server.order_timeout.as_secs(), server.retry_interval.as_secs()), (900, 60));
    assert!(server.staging().unwrap().contains("staging"), "it is known for Let's Encrypt");
    for bad in ["retry_interval 0", "order_timeout 0", "staging http://a.test/"] {
        assert!(acme(&format!("uri https://ca.test/dir; {bad};")).is_err(), "{bad}");
    }
}

#[test]
fn what_a_start_forgives_leaves_a_plan_and_what_it_does_not_leaves_none() {
    let run = |text: &str| {
        let mut world = MemoryWorld::with_file("/c/nginx.conf", format!("events {{}} http {{ {text} }}"));
        world.lenient = false;
        load(&world, &Options::new("/c/nginx.conf", "/c"))
    };
    let host = run("server { listen 80; location / { proxy_pass http://nowhere.test; } }");
    assert!(host.plan.is_some() && !host.is_good());
    let file = run("server { listen 443 ssl; ssl_certificate a; ssl_certificate_key b; }");
    assert!(file.plan.is_some() && !file.is_good() && file.first_error().unwrap().is_forgivable());
    assert!(run("server { listen 80; location / { limit_req zone=a; } }").plan.is_none());
    assert!(run("server { listen 80; sub_filter a b; }").plan.is_none());
    assert!(run("server { listen 80; location / { auth_request /a; } }").plan.is_none());
}

#[test]
fn quic_is_served_over_tcp_and_http3_is_not_offered() {
    let http = http(
        "ssl_certificate a; ssl_certificate_key b;
         server { listen 443 quic reuseport; listen 443 ssl; http3 on; add_header Alt-Svc 'h3=\":443\"; ma=86400'; add_header A b; }
         server { listen 8443 quic; }",
    )
    .http
    .unwrap();
    assert_eq!(http.listeners.len(), 2);
    assert!(http.listeners.iter().all(|listener| listener.addresses[0].ssl));
    let names: Vec<&str> = http.servers[0].root.settings.headers.add.iter().map(|header| &*header.name).collect();
    assert_eq!(names, ["A"]);
}

#[test]
fn who_is_asked_instead_of_an_authority_and_what_it_allows_is_read() {
    let text = |inside: &str| {
        format!(
            "events {{}} acme_issuer a {{ uri https://a.example/dir; {inside} }} acme_issuer b {{ uri internal; }}
             http {{ server {{ listen 80; server_name a.example; acme_certificate a; }} }}"
        )
    };
    let issuer = plan(&text("fallback b; standby b; limits orders=100/1h set=off row=20;")).issuers[0].clone();
    assert_eq!((&*issuer.fallback[0], issuer.standby.as_deref()), ("b", Some("b")));
    let limits = issuer.limits();
    assert_eq!((limits.set, limits.row), (None, Some(20)));
    assert_eq!(limits.orders.map(|rate| (rate.count, rate.per)), Some((100, Duration::from_secs(3600))));
    assert!(limits.failures.is_some(), "what is left out follows from the directory");
    let rescued = plan(&format!("{} rescue a before=10d names=db.internal,x.internal;", text("limits none;")));
    let rescue = rescued.rescue.unwrap();
    assert_eq!((&*rescue.issuer, rescue.before, rescue.names.len()), ("a", Some(Duration::from_secs(864_000)), 2));
    let line = |line: &str| text("standby b;").replace("acme_certificate a;", line);
    let standby = |text: &str| plan(&line(text)).certificates[0].standby.clone();
    assert_eq!(standby("acme_certificate a;"), Standby::AsIssuer);
    assert_eq!(standby("acme_certificate a standby=off;"), Standby::Off);
    assert_eq!(standby("acme_certificate a standby=b;"), Standby::By("b".into()));
    for wrong in ["standby=a", "standby=c", "standby="] {
        let world =
            MemoryWorld::with_file("/etc/nginx/nginx.conf", line(&format!("acme_certificate a {wrong};")).as_str());
        let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx"));
        assert!(loaded.first_error().is_some(), "{wrong}");
    }
    for wrong in
        ["fallback c;", "fallback a;", "fallback b b;", "standby c;", "limits orders=0/3h;", "limits what=1/3h;"]
    {
        let world = MemoryWorld::with_file("/etc/nginx/nginx.conf", text(wrong).as_str());
        let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx"));
        assert!(loaded.first_error().is_some(), "{wrong}");
    }
    let world = MemoryWorld::with_file("/etc/nginx/nginx.conf", format!("{} rescue c;", text("")).as_str());
    let loaded = load(&world, &Options::new("/etc/nginx/nginx.conf", "/usr/share/nginx"));
    assert!(loaded.first_error().is_some());
}

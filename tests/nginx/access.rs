//! allow/deny, auth_basic, satisfy, and where they stand in the order of things.

use crate::compare::{ask, get, get_with, server};

// user:pass in the forms that nginx reads: {PLAIN}, {SHA}, {SSHA}, apr1, crypt with $5$ and $6$.
const USERS: &str = "plain:{PLAIN}pass
sha:{SHA}nU4eI71bcnBGqeO0t9tXvY1u5oQ=
apr:$apr1$salt1234$EAcAK6AlWog6ZyZq4LOg./
five:$5$salt$BVuUtQaoLQNxrhdvvoTwUW5F0BihI9JdpEEgVrKrp6C
six:$6$salt$3aEJgflnzWuw1O3tr0IYSmhUY0cZ7iBQeBP392T7RXjLP3TKKu3ddIapQaCpbD4p9ioeGaVIjOHaym7HvCuUm0
apr1:$1$saltsalt$9xy1btjgzLYfb7hivXtC//
bcrypt:$2y$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW
yes:$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0
des:abNANd1rDfiNc
odd:$unknown$form
# a comment

broken
other:{PLAIN}x:with a comment
";

#[test]
fn allow_and_deny_take_the_first_match() {
    let inside = "location /all { deny all; } location /me { allow 127.0.0.1; deny all; } location /net { allow 127.0.0.0/8; deny all; }
        location /notme { deny 127.0.0.1; allow all; } location /six { allow ::1; deny all; } location /unix { allow unix:; deny all; }
        location /none { } location /inherit { deny all; location /inherit/open { allow all; } location /inherit/same { } }";
    let mut case = server(inside);
    for name in ["all", "me", "net", "notme", "six", "unix", "none", "inherit/open/x", "inherit/same/x"] {
        case = case.file(&format!("www/{name}"), name);
    }
    case.same(&[
        get("/all", 403),
        get("/me", 200),
        get("/net", 200),
        get("/notme", 403),
        get("/six", 403),
        get("/unix", 403),
        get("/none", 200),
        get("/inherit/open/x", 200),
        get("/inherit/same/x", 403),
    ]);
}

#[test]
fn auth_basic_asks_for_and_checks_a_password() {
    let inside = "auth_basic \"the realm\"; auth_basic_user_file %dir%/users; location /open { auth_basic off; } location /user { proxy_pass http://%origin%; proxy_set_header X-User $remote_user; }";
    let basic = |credentials: &str| {
        use base64::Engine;
        format!("Authorization: Basic {}", base64::engine::general_purpose::STANDARD.encode(credentials))
    };
    server(inside)
        .file("users", USERS)
        .file("www/x", "secret")
        .file("www/open", "open")
        .origin(|request| crate::bed::origin::Reply::ok(request.header("x-user").unwrap_or("-")))
        .same(&[
            get("/x", 401),
            get("/open", 200),
            get_with("/x", &basic("plain:pass"), 200),
            get_with("/x", &basic("plain:wrong"), 401),
            get_with("/x", &basic("plain:"), 401),
            get_with("/x", &basic("sha:pass"), 200),
            get_with("/x", &basic("sha:wrong"), 401),
            get_with("/x", &basic("apr:pass"), 200),
            get_with("/x", &basic("apr:wrong"), 401),
            get_with("/x", &basic("five:pass"), 200),
            get_with("/x", &basic("six:pass"), 200),
            get_with("/x", &basic("six:wrong"), 401),
            get_with("/x", &basic("apr1:secret"), 200),
            get_with("/x", &basic("bcrypt:secret"), 200),
            get_with("/x", &basic("yes:secret"), 200),
            get_with("/x", &basic("yes:wrong"), 401),
            get_with("/x", &basic("des:secret"), 200),
            get_with("/x", &basic("des:Secret"), 401),
            get_with("/x", &basic("odd:secret"), 401),
            get_with("/x", &basic("nobody:pass"), 401),
            get_with("/x", &basic("plain"), 401),
            get_with("/x", &basic("other:x"), 200),
            get_with("/x", &basic("broken:x"), 401),
            get_with("/x", "Authorization: Basic !!!", 401),
            get_with("/x", "Authorization: Bearer abc", 401),
            get_with("/x", "Authorization: basic cGxhaW46cGFzcw==", 200),
            get_with("/user", &basic("plain:pass"), 200),
        ]);
}

#[test]
fn satisfy_joins_addresses_and_passwords() {
    let inside = "auth_basic_user_file %dir%/users;
        location /any { satisfy any; allow 127.0.0.1; deny all; auth_basic r; }
        location /anyno { satisfy any; deny all; auth_basic r; }
        location /all { satisfy all; allow 127.0.0.1; deny all; auth_basic r; }
        location /allno { satisfy all; deny all; auth_basic r; }";
    let pass = "Authorization: Basic cGxhaW46cGFzcw==";
    let mut case = server(inside).file("users", USERS);
    for name in ["any", "anyno", "all", "allno"] {
        case = case.file(&format!("www/{name}"), name);
    }
    case.same(&[
        get("/any", 200),
        get("/anyno", 401),
        get_with("/anyno", pass, 200),
        get("/all", 401),
        get_with("/all", pass, 200),
        get("/allno", 403),
        get_with("/allno", pass, 403),
    ]);
}

#[test]
fn rewrites_come_before_access_and_try_files_after() {
    let inside = "location /ret { deny all; return 200 before; } location /try { deny all; try_files $uri /x; }
        location /page { deny all; error_page 403 /why; } location = /why { return 200 why; }
        location /post { deny all; }";
    server(inside).file("www/x", "x").file("www/try", "t").same(&[
        get("/ret", 200),
        get("/try", 403),
        get("/page", 403),
        ask("POST /post HTTP/1.1\nHost: a.test\nContent-Length: 3\nConnection: close\n\nabc", 403),
    ]);
}

#[test]
fn a_wrong_password_waits_where_that_is_asked_for() {
    let inside = "auth_basic r; auth_basic_user_file %dir%/users; auth_delay 300ms; location /x { }
        location /y { deny all; satisfy any; }";
    let began = std::time::Instant::now();
    let right = get_with("/x", "Authorization: Basic cGxhaW46cGFzcw==", 200);
    server(inside).file("users", USERS).file("www/x", "x").same(&[get("/x", 401), right, get("/y", 401)]);
    // Two answers of two servers.
    assert!(began.elapsed().as_millis() >= 1200);
}

//! Do the example hooks in `config/hooks` do what they say? Each against a stub of its provider's API, as lego would call
//! it: present for two values of one name, cleanup of both, what others have there left alone.
#![allow(clippy::unwrap_used)]

mod bed;

use std::process::Command;
use std::sync::{Arc, Mutex};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use bed::origin::{Origin, Received, Reply};
use bed::root;

const NAME: &str = "_acme-challenge.site.example.";

/// Runs a hook; what it said if it failed.
fn hook(name: &str, arguments: [&str; 3], environment: &[(&str, &str)]) -> Result<(), String> {
    let path = root().join("config/hooks").join(name);
    let mut command = Command::new(path);
    command.args(arguments).env_clear().env("PATH", std::env::var("PATH").unwrap()).envs(environment.iter().copied());
    let out = command.output().unwrap();
    if out.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&out.stderr).into_owned()) }
}

#[test]
fn cloudflare_s_hook_adds_and_removes_its_own_records_alone() {
    let records = Arc::new(Mutex::new(vec![("1".to_owned(), "\"of-others\"".to_owned())]));
    let kept = records.clone();
    let api = Origin::start(move |request| {
        let ok = |result: serde_json::Value| {
            Reply::ok(serde_json::json!({ "success": true, "errors": [], "result": result }).to_string())
        };
        if request.header("authorization") != Some("Bearer right") {
            let errors = r#"{"success": false, "errors": [{"code": 9109, "message": "Invalid access token"}]}"#;
            return Reply::with(403, &[], errors);
        }
        let mut records = kept.lock().unwrap();
        let (method, target) = (request.line.split(' ').next().unwrap(), request.target());
        match (method, target.split('?').next().unwrap()) {
            ("GET", "/zones") if target.contains("name=site.example&") => ok(serde_json::json!([{ "id": "z1" }])),
            ("GET", "/zones") => ok(serde_json::json!([])),
            ("POST", "/zones/z1/dns_records") => {
                let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!((&body["type"], &body["name"]), (&"TXT".into(), &"_acme-challenge.site.example".into()));
                let content = body["content"].as_str().unwrap().to_owned();
                if records.iter().any(|(_, other)| *other == content) {
                    let errors = r#"{"success": false, "errors": [{"code": 81058, "message": "exists"}]}"#;
                    return Reply::with(400, &[], errors);
                }
                let id = (records.len() + 1).to_string();
                records.push((id, content));
                ok(serde_json::json!({}))
            }
            ("GET", "/zones/z1/dns_records") => {
                let all = records.iter().map(|(id, content)| serde_json::json!({ "id": id, "content": content }));
                ok(all.collect())
            }
            ("DELETE", path) => {
                let id = path.strip_prefix("/zones/z1/dns_records/").unwrap();
                records.retain(|(other, _)| other != id);
                ok(serde_json::json!({}))
            }
            other => panic!("{other:?}"),
        }
    });
    let base = format!("http://{}", api.address());
    let right = [("CF_API_BASE", base.as_str()), ("CF_DNS_API_TOKEN", "right\n")];
    // Twice the same: an order that is taken up again presents again.
    for value in ["one", "two", "two"] {
        hook("cloudflare.py", ["present", NAME, value], &right).unwrap();
    }
    assert_eq!(records.lock().unwrap().len(), 3);
    for value in ["one", "two", "two"] {
        hook("cloudflare.py", ["cleanup", NAME, value], &right).unwrap();
    }
    assert_eq!(*records.lock().unwrap(), [("1".to_owned(), "\"of-others\"".to_owned())]);
    let wrong = [("CF_API_BASE", base.as_str()), ("CF_DNS_API_TOKEN", "wrong")];
    let said = hook("cloudflare.py", ["present", NAME, "x"], &wrong).unwrap_err();
    assert!(said.contains("403") && said.contains("Invalid access token") && !said.contains("wrong"), "{said}");
    let said = hook("cloudflare.py", ["present", "_acme-challenge.else.example.", "x"], &right).unwrap_err();
    assert!(said.contains("no zone of this token"), "{said}");
}

/// The signature that AWS would expect (Signature Version 4), computed here from what arrived.
fn signature(request: &Received, secret: &str) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mac =
        |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec();
    let (path, query) = request.target().split_once('?').unwrap_or((request.target(), ""));
    let (host, date) = (request.header("host").unwrap(), request.header("x-amz-date").unwrap());
    let method = request.line.split(' ').next().unwrap();
    let body = hex(digest(&SHA256, &request.body).as_ref());
    let canonical = format!("{method}\n{path}\n{query}\nhost:{host}\nx-amz-date:{date}\n\nhost;x-amz-date\n{body}");
    let scope = format!("{}/us-east-1/route53/aws4_request", &date[..8]);
    let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(digest(&SHA256, canonical.as_bytes()).as_ref()));
    let parts = [&date[..8], "us-east-1", "route53", "aws4_request"];
    let key = parts.iter().fold(format!("AWS4{secret}").into_bytes(), |key, part| mac(&key, part));
    hex(&mac(&key, &text))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split(end).next()).collect()
}

#[test]
fn route_53_s_hook_signs_as_aws_wants_and_keeps_what_others_have() {
    let values = Arc::new(Mutex::new(vec!["\"of-others\"".to_owned()]));
    let kept = values.clone();
    let api = Origin::start(move |request| {
        let authorization = request.header("authorization").unwrap_or_default();
        if !authorization.ends_with(&format!("Signature={}", signature(request, "top-secret"))) {
            return Reply::with(403, &[], "<Error><Code>SignatureDoesNotMatch</Code></Error>");
        }
        assert!(authorization.contains("Credential=AKID/"), "{authorization}");
        let space = "xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"";
        let mut values = kept.lock().unwrap();
        let (method, target) = (request.line.split(' ').next().unwrap(), request.target());
        match (method, target.split('?').next().unwrap()) {
            ("GET", "/2013-04-01/hostedzonesbyname") => {
                let zone = |id: &str, name: &str, private: bool| {
                    format!(
                        "<HostedZone><Id>/hostedzone/{id}</Id><Name>{name}</Name><Config><PrivateZone>{private}</PrivateZone></Config></HostedZone>"
                    )
                };
                let zones = [
                    zone("Z0", "site.example.", true),
                    zone("Z1", "site.example.", false),
                    zone("Z2", "zzz.example.", false),
                ];
                Reply::ok(format!(
                    "<ListHostedZonesByNameResponse {space}><HostedZones>{}</HostedZones></ListHostedZonesByNameResponse>",
                    zones.concat()
                ))
            }
            ("GET", "/2013-04-01/hostedzone/Z1/rrset") => {
                let records: String = values
                    .iter()
                    .map(|value| format!("<ResourceRecord><Value>{value}</Value></ResourceRecord>"))
                    .collect();
                let set = format!(
                    "<ResourceRecordSet><Name>{NAME}</Name><Type>TXT</Type><TTL>60</TTL><ResourceRecords>{records}</ResourceRecords></ResourceRecordSet>"
                );
                let set = if values.is_empty() { String::new() } else { set };
                Reply::ok(format!(
                    "<ListResourceRecordSetsResponse {space}><ResourceRecordSets>{set}</ResourceRecordSets></ListResourceRecordSetsResponse>"
                ))
            }
            ("POST", "/2013-04-01/hostedzone/Z1/rrset") => {
                let body = String::from_utf8(request.body.clone()).unwrap();
                assert_eq!((between(&body, "<Name>", "<"), between(&body, "<TTL>", "<")), (vec![NAME], vec!["60"]));
                let new = between(&body, "<Value>", "<").into_iter().map(str::to_owned).collect();
                match between(&body, "<Action>", "<")[0] {
                    "UPSERT" => *values = new,
                    "DELETE" if *values == new => values.clear(),
                    other => panic!("{other}: {body}"),
                }
                Reply::ok(format!("<ChangeResourceRecordSetsResponse {space}/>"))
            }
            other => panic!("{other:?}"),
        }
    });
    let endpoint = format!("http://{}", api.address());
    let right = [
        ("ROUTE53_ENDPOINT", endpoint.as_str()),
        ("AWS_ACCESS_KEY_ID", "AKID"),
        ("AWS_SECRET_ACCESS_KEY", "top-secret\n"),
    ];
    for value in ["one", "two", "two"] {
        hook("route53.py", ["present", NAME, value], &right).unwrap();
    }
    assert_eq!(*values.lock().unwrap(), ["\"of-others\"", "\"one\"", "\"two\""]);
    for value in ["one", "two", "two"] {
        hook("route53.py", ["cleanup", NAME, value], &right).unwrap();
    }
    assert_eq!(*values.lock().unwrap(), ["\"of-others\""]);
    // The last value: the whole set goes.
    values.lock().unwrap().clear();
    for what in ["present", "cleanup"] {
        hook("route53.py", [what, NAME, "alone"], &right).unwrap();
    }
    assert!(values.lock().unwrap().is_empty());
    let wrong = [right[0], right[1], ("AWS_SECRET_ACCESS_KEY", "wrong-secret")];
    let said = hook("route53.py", ["present", NAME, "x"], &wrong).unwrap_err();
    assert!(said.contains("SignatureDoesNotMatch") && !said.contains("wrong-secret"), "{said}");
}

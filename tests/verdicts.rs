//! Do public configurations get nginx's verdict and words? Runs where the collection of them is at hand (beside the
//! repository, or where `SEMPER_CONFIGURATIONS` points); a directive that a later version honours may be refused as "not
//! yet supported", and `tests/data/not-yet.txt` keeps the list of those.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use semper::conf::world::Kind;
use semper::conf::{Errno, Level, Loaded, Options, World, load};
use semper::plan::listener::ListenAddress;

/// A host on which everything exists that a configuration names: certificates, users, hosts and included files; only
/// what the collection says is missing is missing.
struct GenerousWorld {
    /// The wrapped main file, and the file under test by its name.
    files: Vec<(String, Vec<u8>)>,
}

impl World for GenerousWorld {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, Errno> {
        let path = path.to_string_lossy();
        if let Some((_, bytes)) = self.files.iter().find(|(name, _)| *name == path) {
            return Ok(bytes.clone());
        }
        if path.ends_with("docker.targetHost.map") || path.contains("${core") {
            return Err(Errno::not_found());
        }
        if path.ends_with("semper.conf") {
            return Err(Errno::not_found());
        }
        Ok(Vec::new())
    }

    fn glob(&self, _pattern: &str) -> Result<Vec<String>, Errno> {
        Ok(Vec::new())
    }

    fn metadata(&self, path: &Path) -> Result<Kind, Errno> {
        if path.ends_with("semper.conf") { Err(Errno::not_found()) } else { Ok(Kind::File) }
    }

    fn resolve(&self, host: &str) -> Option<Vec<IpAddr>> {
        // The one name in the collection that does not resolve where it stands: it is the host's own, in `listen`.
        if host == "nginx" { None } else { Some(vec![IpAddr::from([127, 0, 0, 1])]) }
    }
}

/// One line of `VERDICTS.tsv`.
struct Case {
    file: String,
    context: String,
    accept: bool,
    message: String,
    prelude: String,
}

fn cases(folder: &Path) -> Vec<Case> {
    let text = std::fs::read_to_string(folder.join("VERDICTS.tsv")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).skip(1);
    lines
        .map(|line| {
            let cells: Vec<&str> = line.split('\t').collect();
            Case {
                file: cells[0].to_owned(),
                context: cells[1].to_owned(),
                accept: cells[2] == "accept",
                message: cells[3].to_owned(),
                prelude: cells[4].replace("\\n", "\n"),
            }
        })
        .collect()
}

fn run(folder: &Path, case: &Case) -> Loaded {
    let bytes = std::fs::read(folder.join(&case.file)).unwrap();
    let main = "/etc/nginx/nginx.conf".to_owned();
    let mut files = Vec::new();
    if case.context == "main" {
        files.push((main, bytes));
    } else {
        let (open, close) = match case.context.as_str() {
            "http" => ("http {", "}"),
            "server" => ("http { server {", "} }"),
            other => (if other == "stream" { "stream {" } else { "" }, "}"),
        };
        let wrapped = format!("events {{ }}\n{open}\n{}\ninclude {};\n{close}\n", case.prelude, case.file);
        files.push((main, wrapped.into_bytes()));
        files.push((format!("/etc/nginx/{}", case.file), bytes));
    }
    load(&GenerousWorld { files }, &Options::new("/etc/nginx/nginx.conf", "/etc/nginx"))
}

/// nginx's `bind()` of an address that the kernel refuses: a link-local one without its interface.
fn bind_error(loaded: &Loaded) -> Option<String> {
    let listeners = &loaded.plan.as_ref()?.http.as_ref()?.listeners;
    let bad = listeners.iter().find_map(|listener| match listener.address {
        ListenAddress::Tcp(address @ std::net::SocketAddr::V6(v6)) if v6.ip().is_unicast_link_local() => Some(address),
        _ => None,
    })?;
    Some(format!("[emerg] bind() to {bad} failed (22: Invalid argument)"))
}

fn folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/nginx-conf");
    let folder = std::env::var_os("SEMPER_CONFIGURATIONS").map_or(beside, PathBuf::from);
    folder.join("VERDICTS.tsv").exists().then_some(folder)
}

/// What we say of a case: nothing if it is accepted, else the first error in nginx's form, names of files as in the list.
fn said(loaded: &Loaded) -> Option<String> {
    let first = loaded.complaints.iter().find(|complaint| complaint.level == Level::Emerg);
    let text = first.map(|complaint| complaint.to_string()).or_else(|| bind_error(loaded))?;
    Some(text.trim_start_matches("nginx: ").replace("/etc/nginx/0", "0").replace("/etc/nginx/1", "1"))
}

#[test]
fn public_configurations_get_the_verdict_of_nginx() {
    let Some(folder) = folder() else {
        eprintln!("no collection of configurations here: nothing was checked");
        return;
    };
    let (mut wrong, mut not_yet, mut held_back) = (String::new(), BTreeSet::new(), Vec::new());
    for case in cases(&folder) {
        let loaded = run(&folder, &case);
        let said = said(&loaded);
        let refused: Vec<_> = loaded.notes.iter().filter(|note| note.why.is_none()).collect();
        let only_not_yet = said.as_ref().is_some_and(|text| text.contains("is not yet supported"));
        let third_party =
            ["acme_certificate", "brotli", "more_set_headers"].iter().any(|name| case.message.contains(name));
        let right = match &said {
            None => case.accept || third_party,
            Some(_) if only_not_yet => case.accept || third_party || case.message.contains("bind()"),
            Some(text) => !case.accept && (*text == case.message || third_party),
        };
        if only_not_yet {
            not_yet.extend(refused.iter().map(|note| note.directive.clone()));
            held_back.push(case.file.clone());
        }
        if !right {
            writeln!(wrong, "{}:\n  nginx:  {}\n  semper: {}", case.file, case.message, said.unwrap_or_default())
                .unwrap();
        }
    }
    println!("not yet supported: {}", not_yet.iter().cloned().collect::<Vec<_>>().join(", "));
    println!("held back by that: {}", held_back.join(", "));
    assert!(wrong.is_empty(), "\n{wrong}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/not-yet.txt");
    let list: String = not_yet.iter().map(|name| format!("{name}\n")).collect();
    if std::env::var_os("SEMPER_BLESS").is_some() {
        std::fs::write(&path, &list).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(list, kept, "tests/data/not-yet.txt is stale: run this test with SEMPER_BLESS=1");
}

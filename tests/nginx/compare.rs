//! How are two servers compared? A [`Case`] holds a configuration, files and an origin; [`Case::same`] runs it on both and
//! lists every difference at once.

use std::time::{Duration, SystemTime};

use crate::bed::client::{Answer, exchange};
use crate::bed::origin::{Origin, Received, Reply};
use crate::bed::server::{Nginx, Semper, Server, Site, http};
use crate::bed::wait_for;

/// Bytes to send on one connection, and the status that nginx gives (0: no answer at all).
pub struct Ask {
    bytes: Vec<u8>,
    status: u16,
    port: usize,
    here: Option<u16>,
}

/// A GET with `Host: a.test` on a connection of its own.
pub fn get(target: &str, status: u16) -> Ask {
    ask(&format!("GET {target} HTTP/1.1\nHost: a.test\nConnection: close\n\n"), status)
}

/// The same with more header lines.
pub fn get_with(target: &str, headers: &str, status: u16) -> Ask {
    ask(&format!("GET {target} HTTP/1.1\nHost: a.test\n{headers}\nConnection: close\n\n"), status)
}

/// A request as written, each line feed sent as CR LF.
pub fn ask(text: &str, status: u16) -> Ask {
    Ask { bytes: text.replace('\n', "\r\n").into_bytes(), status, port: 1, here: None }
}

/// Exactly these bytes.
pub fn raw(bytes: &[u8], status: u16) -> Ask {
    Ask { bytes: bytes.to_vec(), status, port: 1, here: None }
}

impl Ask {
    /// Sent to `%portN%` instead of the first port.
    pub fn on(mut self, port: usize) -> Ask {
        self.port = port;
        self
    }

    /// semper answers this status, and otherwise as it likes, on purpose: where nginx lets something through that it
    /// should not, or where the difference means nothing.
    pub fn here(mut self, status: u16) -> Ask {
        self.here = Some(status);
        self
    }
}

type Script = fn(&Received) -> Reply;

/// What both servers are started on.
pub struct Case {
    inside: String,
    files: Vec<(String, Vec<u8>)>,
    origin: Option<Script>,
    logs: Vec<&'static str>,
    later: Option<&'static str>,
}

/// A case with this inside of the http block. `%origin%` is the address of the origin, if the case has one.
pub fn case(inside: &str) -> Case {
    Case { inside: inside.to_owned(), files: Vec::new(), origin: None, logs: vec!["access.log"], later: None }
}

/// A case with one server on the first port and this inside of it.
pub fn server(inside: &str) -> Case {
    case(&format!("server {{ listen 127.0.0.1:%port1%; server_name a.test; root %dir%/www; {inside} }}"))
}

impl Case {
    /// A file below the server's folder, all with one date.
    pub fn file(mut self, name: &str, bytes: impl AsRef<[u8]>) -> Case {
        self.files.push((name.to_owned(), bytes.as_ref().to_vec()));
        self
    }

    /// An origin of its own for each of the two, answering as `script` says.
    pub fn origin(mut self, script: Script) -> Case {
        self.origin = Some(script);
        self
    }

    /// Compare these log files instead of `access.log`.
    pub fn logs(mut self, names: &[&'static str]) -> Case {
        self.logs = names.to_vec();
        self
    }

    /// semper does not honour this directive yet: it must refuse the configuration and say so, rather than ignore it.
    pub fn later(mut self, directive: &'static str) -> Case {
        self.later = Some(directive);
        self
    }

    /// Runs the case on nginx and on semper and panics with every difference.
    pub fn same(self, asks: &[Ask]) {
        let expected = self.run("nginx", Nginx::serve, asks);
        let mut faults = Vec::new();
        for (ask, seen) in asks.iter().zip(&expected.answers) {
            if seen.status != ask.status {
                faults.push(format!("the case says {} but nginx gave:\n{}", ask.status, seen.show(ask)));
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        if std::env::var_os("SEMPER_COMPARE_NGINX_ONLY").is_some() {
            return;
        }
        if let Some(directive) = self.later {
            return self.refused(directive);
        }
        let found = self.run("semper", Semper::serve, asks);
        for ((ask, nginx), semper) in asks.iter().zip(&expected.answers).zip(&found.answers) {
            let wanted = ask.here.map_or(nginx == semper, |status| semper.status == status);
            if !wanted {
                faults.push(format!("--- nginx\n{}\n--- semper\n{}", nginx.show(ask), semper.show(ask)));
            }
        }
        let on_purpose = asks.iter().filter(|ask| ask.here.is_some()).count();
        for (nginx, semper) in expected.logs.iter().zip(&found.logs) {
            let differ = nginx.lines().zip(semper.lines()).filter(|(nginx, semper)| nginx != semper).count();
            if differ > on_purpose || nginx.lines().count() != semper.lines().count() {
                faults.push(format!("--- log lines\n{}", changed(nginx, semper)));
            }
        }
        assert!(faults.is_empty(), "{} differences\n{}\n{}", faults.len(), faults.join("\n"), found.complaints);
    }

    fn refused(&self, directive: &str) {
        let site = Site::new(&http(&self.inside.replace("%origin%", "127.0.0.1:1")));
        let (dir, conf) = (site.dir().to_string_lossy(), site.conf());
        let out = Semper::run(&["-t", "-p", &dir, "-c", &conf.to_string_lossy(), "-e", "stderr"]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && said.contains(&format!("\"{directive}\" is not yet supported")), "{said}");
    }

    fn run(&self, name: &str, start: fn(&Site) -> Server, asks: &[Ask]) -> Run {
        let origin = self.origin.map(Origin::start);
        let address = origin.as_ref().map(|origin| origin.address().to_string()).unwrap_or_default();
        let site = Site::new(&http(&self.inside.replace("%origin%", &address)));
        site.file("www/.keep", "");
        for (name, bytes) in &self.files {
            site.file(name, bytes);
        }
        settle_dates(site.dir());
        let server = start(&site);
        let mask = Mask::new(&site, &address);
        let answers: Vec<Seen> = asks
            .iter()
            .map(|ask| {
                let back = exchange(server.port(ask.port), &ask.bytes);
                let heads = ask.bytes.starts_with(b"HEAD ");
                let seen = origin.as_ref().map(Origin::take).unwrap_or_default();
                let end = match (back.closed, back.reset) {
                    (_, true) => "reset",
                    (true, _) => "closed",
                    (false, _) => "left open",
                };
                Seen::new(&mask, &back.bytes, end, heads, &seen)
            })
            .collect();
        let logs = self.logs.iter().map(|log| mask.log(&settled(&server, log))).collect();
        Run { answers, logs, complaints: said(name, &server.complaints()) }
    }
}

/// What a server wrote to its error log, less what it says at every start.
fn said(name: &str, complaints: &str) -> String {
    let lines = complaints.lines().filter(|line| !line.contains("\" is ignored: ") && !line.contains("[notice]"));
    format!("{name} said:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

struct Run {
    answers: Vec<Seen>,
    logs: Vec<String>,
    complaints: String,
}

#[derive(PartialEq, Eq)]
struct Seen {
    status: u16,
    text: String,
    end: &'static str,
    origin: Vec<String>,
}

impl Seen {
    fn new(mask: &Mask, bytes: &[u8], end: &'static str, heads: bool, origin: &[Received]) -> Seen {
        let mut rest = bytes;
        let mut text = String::new();
        let mut status = 0;
        while let Some((answer, after)) = Answer::parse(rest, heads) {
            if status == 0 {
                status = answer.status;
            }
            text.push_str(&mask.answer(&answer));
            rest = after;
        }
        text.push_str(&mask.text(&mask_built_in(&String::from_utf8_lossy(rest))));
        let received = |request: &Received| {
            let body = String::from_utf8_lossy(&request.body).into_owned();
            mask.text(&format!("{}\n{body}", request.head()))
        };
        Seen { status, text, end, origin: origin.iter().map(received).collect() }
    }

    fn show(&self, ask: &Ask) -> String {
        let sent = String::from_utf8_lossy(&ask.bytes[..ask.bytes.len().min(300)]).replace("\r\n", "\n");
        let end = self.end;
        format!("[{}]\n{}[{end}]\n{}", sent.trim_end(), self.text, self.origin.join("\n"))
    }
}

/// What differs between two servers that do the same, and is therefore not compared.
struct Mask {
    words: Vec<(String, String)>,
}

impl Mask {
    fn new(site: &Site, origin: &str) -> Mask {
        let mut words = vec![(site.dir().to_string_lossy().into_owned(), "%dir%".to_owned())];
        if !origin.is_empty() {
            words.push((origin.to_owned(), "%origin%".to_owned()));
            words.extend(origin.split_once(':').map(|(_, port)| (port.to_owned(), "%originport%".to_owned())));
        }
        words.extend((1..=9).map(|number| (site.port(number).to_string(), format!("%port{number}%"))));
        Mask { words }
    }

    fn text(&self, text: &str) -> String {
        self.words.iter().fold(text.to_owned(), |text, (word, mask)| text.replace(word, mask))
    }

    fn answer(&self, answer: &Answer) -> String {
        let body = mask_built_in(&answer.text());
        let built_in = body.contains("<center>*</center>");
        let boundary = answer.header("content-type").and_then(|kind| kind.split("boundary=").nth(1));
        let mut fields: Vec<String> = answer
            .headers
            .iter()
            .map(|(name, value)| match name.as_str() {
                "Date" | "Server" => format!("{name}: *"),
                "Content-Length" if built_in => format!("{name}: *"),
                _ => format!("{name}: {value}"),
            })
            .collect();
        fields.sort();
        let text = self.text(&format!("{}\n{}\n\n{body}\n", answer.line, fields.join("\n")));
        boundary.map_or_else(|| text.clone(), |boundary| text.replace(boundary, "BOUNDARY"))
    }

    fn log(&self, text: &str) -> String {
        let lines = text.lines().map(|line| match (line.find(" ["), line.find("] ")) {
            (Some(from), Some(to)) if from < to => format!("{} [time{}", &line[..from], &line[to..]),
            _ => line.to_owned(),
        });
        self.text(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Built-in pages end in the name of the server.
fn mask_built_in(text: &str) -> String {
    let mark = "<hr><center>";
    let Some(at) = text.find(mark) else { return text.to_owned() };
    let (before, after) = text.split_at(at + mark.len());
    let end = after.find("</center>").unwrap_or(0);
    format!("{before}*{}", mask_built_in(&after[end..]))
}

/// The log once it has stopped growing.
fn settled(server: &Server, name: &str) -> String {
    let mut last = server.read(name);
    wait_for("the log to settle", Duration::from_secs(5), || {
        std::thread::sleep(Duration::from_millis(60));
        let now = server.read(name);
        std::mem::replace(&mut last, now) == last
    });
    last
}

/// The lines that differ, if there are as many on both sides; else all of them.
fn changed(nginx: &str, semper: &str) -> String {
    if nginx.lines().count() != semper.lines().count() {
        return format!("- nginx\n{nginx}\n+ semper\n{semper}");
    }
    let pairs = nginx.lines().zip(semper.lines()).filter(|(nginx, semper)| nginx != semper);
    pairs.map(|(nginx, semper)| format!("- {nginx}\n+ {semper}\n")).collect()
}

/// Gives every file one date, so that validators are equal.
fn settle_dates(folder: &std::path::Path) {
    let date = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            settle_dates(&entry.path());
        }
        let _ = std::fs::File::open(entry.path()).unwrap().set_modified(date);
    }
}

//! What does a configuration mean? `check`, `explain` and `migrate` read it and change nothing.

use std::path::Path;
use std::process::ExitCode;

use crate::conf::complaint::{Complaint, SourceFile};
use crate::conf::world::World;
use crate::node::admin;
use crate::node::layout::Layout;
use crate::node::load::{Broken, Loaded, Wish};
use crate::node::status::Status;
use crate::node::world::{OfflineWorld, RealWorld};
use crate::plan::Plan;
use crate::plan::server::Server;
use crate::plan::tls::CertificateSource;

use super::migrate;

/// `semper check`.
pub fn check(layout: Layout, offline: bool) -> ExitCode {
    let conf = layout.conf.display().to_string();
    let wish = Wish::Conf { layout, directives: None, offline };
    let world: &dyn World = if offline { &OfflineWorld } else { &RealWorld { judge_certificates: true } };
    match wish.judge(world) {
        Ok(loaded) => {
            say(&loaded.complaints, &loaded.files);
            for (directive, why) in &loaded.ignored {
                println!("{directive}: no effect here, {why}");
            }
            println!("{conf}: good");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            say(&broken.complaints, &broken.files);
            println!("{conf}: refused");
            ExitCode::FAILURE
        }
    }
}

fn say(complaints: &[Complaint], files: &[SourceFile]) {
    for complaint in complaints {
        println!("{complaint}");
        if let Some(picture) = complaint.picture(files) {
            println!("{picture}");
        }
    }
}

/// `semper explain NAME`.
pub fn explain(name: &str, layout: Layout, state: &Path) -> ExitCode {
    let conf = layout.conf.display().to_string();
    let wish = Wish::Conf { layout, directives: None, offline: true };
    let plan = match wish.judge(&OfflineWorld) {
        Ok(Loaded { plan, .. }) => plan,
        Err(Broken { complaints, files }) => {
            say(&complaints, &files);
            println!("{conf}: refused");
            return ExitCode::FAILURE;
        }
    };
    let served = serves(&plan, name);
    if served.is_empty() {
        println!("{name}: no server of {conf} has a listener");
    }
    for line in served {
        println!("{line}");
    }
    let status = admin::ask(state, "status").ok().and_then(|answer| serde_json::from_slice::<Status>(&answer).ok());
    match status {
        Some(mut status) => {
            status.certificates.retain(|certificate| certificate.names.iter().any(|own| covers(own, name)));
            print!("{}", status.text());
        }
        None => println!("no running semper answers at {}", admin::path(state).display()),
    }
    ExitCode::SUCCESS
}

fn covers(own: &str, name: &str) -> bool {
    own == name || own.strip_prefix("*.").is_some_and(|zone| name.split_once('.').is_some_and(|(_, rest)| rest == zone))
}

/// One line for each address: which server takes the name there, and what it shows.
fn serves(plan: &Plan, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in plan.http.iter().flat_map(|http| &http.listeners) {
        for address in &listener.addresses {
            let server = crate::tls::terms::meant(address, Some(name));
            let why =
                if std::sync::Arc::ptr_eq(server, &address.default_server) { " (or as default server)" } else { "" };
            let shown = crate::net::listen::shown(&listener.address);
            let certificate = if address.ssl { certificates(server) } else { "plain HTTP".to_owned() };
            lines.push(format!("{name} at {shown}: server at {}{why}; {certificate}", server.place));
        }
    }
    lines
}

fn certificates(server: &Server) -> String {
    let sources = server.tls.iter().flat_map(|tls| &tls.certificates).map(|source| match source {
        CertificateSource::File(files) => format!("certificate from {}", files.certificate.display()),
        CertificateSource::Acme(id) => format!("certificate obtained by semper ({id})"),
    });
    let sources: Vec<String> = sources.collect();
    if sources.is_empty() { "handshakes are refused".to_owned() } else { sources.join(", ") }
}

/// `semper migrate`.
pub fn migrate(layout: Layout, json: bool) -> ExitCode {
    let conf = layout.conf.display().to_string();
    let wish = Wish::Conf { layout, directives: None, offline: false };
    let (plan, complaints) = match wish.judge(&RealWorld { judge_certificates: true }) {
        Ok(Loaded { plan, complaints, .. }) => (Some(plan), complaints),
        Err(Broken { complaints, .. }) => (None, complaints),
    };
    let (refused, noted): (Vec<_>, Vec<_>) =
        complaints.iter().partition(|complaint| complaint.level == crate::conf::complaint::Level::Emerg);
    let words = |list: Vec<&Complaint>| list.into_iter().map(ToString::to_string).collect();
    let report = migrate::survey(&conf, words(refused), words(noted), plan.as_deref(), Path::new("/"));
    if json {
        match serde_json::to_string_pretty(&report) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("semper: {error}"),
        }
    } else {
        print!("{}", report.text());
    }
    ExitCode::SUCCESS
}

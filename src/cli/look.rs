//! What does a configuration mean? `check` and `migrate` read it and change nothing.

use std::path::Path;
use std::process::ExitCode;

use crate::clock::Clock as _;
use crate::conf::complaint::{Complaint, SourceFile};
use crate::conf::world::World;
use crate::net::files::Disk;
use crate::node::clock::RealClock;
use crate::node::layout::Layout;
use crate::node::load::{Broken, Loaded, Wish};
use crate::node::rescue;
use crate::node::world::{OfflineWorld, RealWorld};

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
            if !offline {
                let lines = rescue::forecast(&loaded.plan, &Disk, RealClock.now());
                lines.iter().for_each(|line| println!("{line}"));
            }
            println!("{conf}: good");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            say(&broken.complaints, &broken.files);
            let lines = if offline { vec![] } else { rescue::forecast_refused(&wish) };
            lines.iter().for_each(|line| println!("{line}"));
            println!("{conf}: refused");
            ExitCode::FAILURE
        }
    }
}

/// Prints what a configuration was found to have.
pub fn say(complaints: &[Complaint], files: &[SourceFile]) {
    for complaint in complaints {
        println!("{complaint}");
        if let Some(picture) = complaint.picture(files) {
            println!("{picture}");
        }
    }
}

/// `semper import`.
pub fn import(path: &Path, layout: Layout, write: bool, json: bool) -> ExitCode {
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
    let report = match super::import::survey(path, &plan, RealClock.now(), write) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("semper: {}: {error}", path.display());
            return ExitCode::FAILURE;
        }
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        print!("{}", report.text());
    }
    if report.failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
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

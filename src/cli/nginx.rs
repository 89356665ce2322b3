//! What happens with nginx's flags? Version, test, dump, signal or start, with nginx's messages and exit codes.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use nix::sys::signal::{Signal as Number, kill};
use nix::unistd::Pid;

use crate::clock::Clock as _;
use crate::conf::complaint::{Complaint, Kind, SourceFile};
use crate::conf::world::World;
use crate::net::files::Disk;
use crate::node::clock::RealClock;
use crate::node::errorlog::{ErrorLogs, errno};
use crate::node::layout::Layout;
use crate::node::load::{self, Broken, Loaded, Wish};
use crate::node::start::{self, Launch};
use crate::node::world::{OfflineWorld, RealWorld};
use crate::node::{master, rescue, sockets};
use crate::plan::Plan;
use crate::plan::log::Level;

use super::options::{Options, Signal};
use super::version;

/// Does what `program` (name first) asks for. `detached`: this process was started to be the daemon.
pub fn run(program: Vec<String>, detached: bool) -> ExitCode {
    let name = program.first().cloned().unwrap_or_default();
    let options = match Options::parse(program.get(1..).unwrap_or_default()) {
        Ok(options) => options,
        Err(bad) => {
            eprintln!("nginx: {bad}");
            return ExitCode::FAILURE;
        }
    };
    let layout =
        Layout::choose(&name, options.prefix.as_deref(), options.conf.as_deref(), options.error_log.as_deref());
    if options.version {
        let mut text = version::line();
        if options.help {
            text.push_str(&version::help(&layout));
        }
        if options.configure {
            text.push_str(&version::details(&layout));
        }
        let _ = std::io::stderr().write_all(text.as_bytes());
        if !options.test {
            return ExitCode::SUCCESS;
        }
    }
    let wish = Wish::Conf { layout: layout.clone(), directives: options.directives.clone(), offline: options.offline };
    let error_log = layout.error_log.as_deref().filter(|_| !options.offline);
    let logs = ErrorLogs::install_at(error_log);
    if options.test {
        return test(&options, &layout.conf, &wish, &logs);
    }
    if let Some(signal) = options.signal {
        return send(signal, &wish, &logs);
    }
    start::run(Launch { wish, program, detached }, logs)
}

/// The short list of what the configuration says and semper leaves aside, each name once; nothing if there is none.
fn not_honoured(ignored: &[(String, String)]) -> Option<String> {
    let mut names: Vec<&str> = ignored.iter().map(|(directive, _)| directive.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("semper: not honoured, without harm: {}", names.join(", ")))
}

/// `-t`, `-T`.
fn test(options: &Options, conf: &Path, wish: &Wish, logs: &ErrorLogs) -> ExitCode {
    let world: &dyn World = if options.offline { &OfflineWorld } else { &RealWorld { judge_certificates: true } };
    let conf = conf.display();
    let failed = || {
        eprintln!("nginx: configuration file {conf} test failed");
        ExitCode::FAILURE
    };
    let syntax_is_ok = || {
        if !options.quiet {
            eprintln!("nginx: the configuration file {conf} syntax is ok");
        }
    };
    let loaded = match judge(wish, world, logs, &syntax_is_ok) {
        Some(loaded) => loaded,
        None => {
            let lines = if options.quiet || options.offline { vec![] } else { rescue::forecast_refused(wish) };
            lines.iter().for_each(|line| eprintln!("nginx: {line}"));
            return failed();
        }
    };
    syntax_is_ok();
    if !options.offline
        && let Err(words) = try_out(&loaded.plan)
    {
        logs.line(Level::Emerg, None, &words);
        return failed();
    }
    if !options.quiet {
        if let Some(list) = not_honoured(&loaded.ignored) {
            eprintln!("{list}");
        }
        if !options.offline {
            let now = RealClock.now();
            rescue::forecast(&loaded.plan, &Disk, now).iter().for_each(|line| eprintln!("nginx: {line}"));
        }
        eprintln!("nginx: configuration file {conf} test is successful");
    }
    if options.dump {
        let mut out = std::io::stdout().lock();
        for SourceFile { path, bytes } in &loaded.files {
            // A reader that has gone away wants no more of it.
            let _ = writeln!(out, "# configuration file {path}:")
                .and_then(|()| out.write_all(bytes))
                .and_then(|()| out.write_all(b"\n"));
        }
    }
    ExitCode::SUCCESS
}

/// Everything that `-t` tries beside the language: logs, pid file, sockets.
fn try_out(plan: &Plan) -> Result<(), String> {
    master::prepare_logs(plan, &master::own_files())?;
    let pid = &plan.process.pid;
    let failed = |error| format!("open() \"{}\" failed ({})", pid.display(), errno(&error));
    std::fs::File::options().read(true).write(true).create(true).truncate(false).open(pid).map_err(failed)?;
    sockets::test(plan)
}

/// Judges as nginx does and says what it says; nothing if the configuration is refused.
fn judge(wish: &Wish, world: &dyn World, logs: &ErrorLogs, before_late: &dyn Fn()) -> Option<Loaded> {
    let (judged, complaints, files) = match wish.judge(world) {
        Ok(loaded) => {
            let (complaints, files) = (loaded.complaints.clone(), loaded.files.clone());
            (Some(loaded), complaints, files)
        }
        Err(Broken { complaints, files }) => (None, complaints, files),
    };
    for complaint in &complaints {
        if complaint.kind == Kind::Late {
            before_late();
        }
        load::report(std::slice::from_ref(complaint), logs);
        point(complaint, &files);
    }
    judged
}

/// On a terminal: the line, and a caret under the word.
fn point(complaint: &Complaint, files: &[SourceFile]) {
    if std::io::stderr().is_terminal()
        && let Some(picture) = complaint.picture(files)
    {
        eprintln!("{picture}");
    }
}

/// `-s`.
fn send(signal: Signal, wish: &Wish, logs: &ErrorLogs) -> ExitCode {
    let Some(loaded) = judge(wish, &RealWorld { judge_certificates: true }, logs, &|| {}) else {
        return ExitCode::FAILURE;
    };
    logs.line(Level::Notice, None, "signal process started");
    let error = |words: String| {
        let _ = writeln!(std::io::stderr(), "nginx: [error] {words}");
        ExitCode::FAILURE
    };
    let path = &loaded.plan.process.pid;
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(why) => return error(format!("open() \"{}\" failed ({})", path.display(), errno(&why))),
    };
    let text = text.trim_end_matches(['\r', '\n']);
    let Some(pid) = text.parse::<i32>().ok().filter(|pid| *pid > 0) else {
        return error(format!("invalid PID number \"{text}\" in \"{}\"", path.display()));
    };
    let number = match signal {
        Signal::Stop => Number::SIGTERM,
        Signal::Quit => Number::SIGQUIT,
        Signal::Reopen => Number::SIGUSR1,
        Signal::Reload => Number::SIGHUP,
    };
    match kill(Pid::from_raw(pid), number) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            let words = format!("kill({pid}, {}) failed ({}: {})", number as i32, why as i32, why.desc());
            logs.line(Level::Alert, None, &words);
            ExitCode::FAILURE
        }
    }
}

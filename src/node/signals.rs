//! Which signals came, and from whom? Blocked in every thread and read on one, so that nothing is interrupted and the
//! sender is known.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::SignalFd;

use crate::plan::log::Level;

use super::errorlog::ErrorLogs;

/// A signal that came.
#[derive(Clone, Copy, Debug)]
pub struct Came {
    /// Which.
    pub signal: Signal,
    /// From which process; 0 is the kernel.
    pub from: u32,
}

/// The signals that a master or a server process listens to.
pub const ALL: [Signal; 8] = [
    Signal::SIGTERM,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGHUP,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCHLD,
];

/// Blocks the signals in this thread, and so in every thread that it starts, and hands each to `hear` on a thread of
/// its own. To be called before other threads are started.
///
/// # Errors
/// When no thread or descriptor is to be had.
pub fn listen(hear: impl Fn(Came) + Send + 'static) -> io::Result<()> {
    let mut set = SigSet::empty();
    for signal in ALL {
        set.add(signal);
    }
    set.thread_block()?;
    let source = SignalFd::new(&set)?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        while let Ok(Some(info)) = source.read_signal() {
            let number = i32::try_from(info.ssi_signo).unwrap_or(0);
            if let Ok(signal) = Signal::try_from(number) {
                hear(Came { signal, from: info.ssi_pid });
            }
        }
    })?;
    Ok(())
}

/// nginx's notice of a signal; `action` is what is done about it: `, reconfiguring`.
pub fn note(logs: &ErrorLogs, came: Came, action: &str) {
    let Came { signal, from } = came;
    let from = if from == 0 { String::new() } else { format!(" from {from}") };
    logs.line(Level::Notice, None, &format!("signal {} ({}) received{from}{action}", signal as i32, signal.as_str()));
}

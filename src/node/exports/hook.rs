//! How is a hook run, so that it can do no more than fail? In a process group of its own, with certbot's two variables and
//! a time limit; of what it says the beginning is kept.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of what a hook says on stderr.
const KEPT: usize = 2000;
/// How often it is looked whether it has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `command` in the shell, to its end or for `limit`.
///
/// # Errors
/// How it failed, with the beginning of what it said on stderr.
pub fn run(command: &str, lineage: &Path, domains: &[String], limit: Duration) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", command]).env_clear();
    let path = std::env::var_os("PATH")
        .unwrap_or_else(|| "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    shell.env("PATH", path).env("RENEWED_LINEAGE", lineage).env("RENEWED_DOMAINS", domains.join(" "));
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).current_dir("/").process_group(0);
    let mut child = shell.spawn().map_err(|error| format!("/bin/sh cannot be run: {error}"))?;
    let words = listen(&mut child);
    let begun = Instant::now();
    let ended = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if begun.elapsed() < limit => std::thread::sleep(LOOK),
            Ok(None) => break None,
            Err(error) => return Err(error.to_string()),
        }
    };
    // Whatever it left behind ends with it.
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), nix::sys::signal::Signal::SIGKILL);
    }
    let _ = child.wait();
    let said = words.and_then(|words| words.recv_timeout(Duration::from_secs(1)).ok()).unwrap_or_default();
    let failed = match ended {
        Some(status) if status.success() => return Ok(()),
        Some(status) => status.to_string(),
        None => format!("it was ended after {} s", limit.as_secs()),
    };
    Err(if said.is_empty() { failed } else { format!("{failed}: {said}") })
}

/// Reads all that it says, and keeps the beginning: a pipe that nobody reads would stop it.
fn listen(child: &mut Child) -> Option<std::sync::mpsc::Receiver<String>> {
    let mut stderr = child.stderr.take()?;
    let (say, heard) = std::sync::mpsc::channel();
    let listening = std::thread::Builder::new().name("hook".to_owned()).spawn(move || {
        let (mut kept, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = stderr.read(&mut buffer) {
            let room = KEPT - kept.len();
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
        let text: String =
            String::from_utf8_lossy(&kept).trim().chars().filter(|c| !c.is_control() || *c == '\n').collect();
        let _ = say.send(text.replace('\n', "; "));
    });
    listening.ok().map(|_| heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(command: &str, limit: u64) -> Result<(), String> {
        super::run(
            command,
            Path::new("/live/a.test"),
            &["a.test".into(), "b.test".into()],
            Duration::from_millis(limit),
        )
    }

    #[test]
    fn it_gets_the_variables_of_certbot_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        run(&format!("env > {}", out.display()), 10_000).unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        assert!(text.contains("RENEWED_LINEAGE=/live/a.test\n") && text.contains("RENEWED_DOMAINS=a.test b.test\n"));
        assert!(!text.contains("CARGO"), "{text}");
    }

    #[test]
    fn a_failure_says_how_and_what_it_said() {
        let why = run("echo one >&2; echo two >&2; exit 3", 10_000).unwrap_err();
        assert!(why.contains("3") && why.ends_with("one; two"), "{why}");
        assert!(run("/no/such/program", 10_000).is_err());
    }

    #[test]
    fn one_that_hangs_or_floods_ends_with_all_that_it_started() {
        let begun = Instant::now();
        let why = run("sleep 100 & yes >&2", 300).unwrap_err();
        assert!(why.starts_with("it was ended after") && why.len() < 3 * KEPT, "{why}");
        assert!(begun.elapsed() < Duration::from_secs(50));
    }
}

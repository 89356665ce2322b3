//! How is a record written by somebody's script? As certbot and lego call theirs, so that existing ones run as they are:
//! same arguments, same variables, one at a time. A hook that hangs is killed with all that it started; of what it prints
//! a little is kept, and secrets that we gave it are struck out.

use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::{Dns01, Dns01Error, Standing};
use crate::cert::dns01;
use crate::plan::dns::{Hook, HookStyle};

/// Of what a hook prints, this much is kept; the rest is read and thrown away, so that it never waits for us.
const KEPT: usize = 16 * 1024;
/// What is told of a hook's complaint.
const TOLD: usize = 300;
/// After its end: for what it started and what still holds its output open.
const LINGER: Duration = Duration::from_millis(500);
/// Where programs are looked for if nobody told us.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Writes the record; what the hook printed, for its clean-up.
pub async fn present(ours: &Dns01, hook: &Hook, standing: &Standing) -> Result<String, Dns01Error> {
    let command = match &hook.style {
        HookStyle::Certbot { auth, .. } => shell(auth),
        HookStyle::Lego(command) => lego(command, "present", standing),
        HookStyle::LegoRaw(command) => lego_raw(command, "present", standing),
    };
    run(ours, hook, command, standing, None).await
}

/// Removes it.
pub async fn clear(ours: &Dns01, hook: &Hook, standing: &Standing) -> Result<(), Dns01Error> {
    let command = match &hook.style {
        HookStyle::Certbot { cleanup: None, .. } => return Ok(()),
        HookStyle::Certbot { cleanup: Some(cleanup), .. } => shell(cleanup),
        HookStyle::Lego(command) => lego(command, "cleanup", standing),
        HookStyle::LegoRaw(command) => lego_raw(command, "cleanup", standing),
    };
    run(ours, hook, command, standing, Some(&standing.output)).await.map(drop)
}

fn shell(text: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(text);
    command
}

fn program(words: &[Box<str>]) -> Command {
    let mut command = Command::new(words.first().map_or("", AsRef::as_ref));
    command.args(words.iter().skip(1).map(AsRef::<str>::as_ref));
    command
}

fn lego(words: &[Box<str>], what: &str, standing: &Standing) -> Command {
    let mut command = program(words);
    command.arg(what).arg(format!("{}.", standing.target)).arg(&standing.value);
    command
}

fn lego_raw(words: &[Box<str>], what: &str, standing: &Standing) -> Command {
    let mut command = program(words);
    let wish = &standing.wish;
    command.args([what, "--", dns01::bare(&wish.name), &wish.token, &wish.key_authorization]);
    command
}

/// certbot's variables, for hooks of every style: whoever does not know them does not look.
fn variables(command: &mut Command, standing: &Standing, output: Option<&str>) {
    let wish = &standing.wish;
    let all: Vec<&str> = wish.all.iter().map(|name| name.strip_prefix("*.").unwrap_or(name)).collect();
    command
        .env("CERTBOT_DOMAIN", dns01::bare(&wish.name))
        .env("CERTBOT_IDENTIFIER", dns01::bare(&wish.name))
        .env("CERTBOT_VALIDATION", &standing.value)
        .env("CERTBOT_ALL_DOMAINS", all.join(","))
        .env("CERTBOT_REMAINING_CHALLENGES", wish.remaining.to_string())
        .env("SEMPER_RECORD", &standing.target);
    // CERTBOT_TOKEN is set for HTTP-01 alone; scripts for both look at whether it is there.
    if let Some(output) = output {
        command.env("CERTBOT_AUTH_OUTPUT", output.trim());
    }
}

async fn run(
    ours: &Dns01,
    hook: &Hook,
    mut command: Command,
    standing: &Standing,
    output: Option<&str>,
) -> Result<String, Dns01Error> {
    let shown = command.as_std().get_program().to_string_lossy().into_owned();
    let shown = match &hook.style {
        HookStyle::Certbot { auth, .. } if output.is_none() => auth.to_string(),
        HookStyle::Certbot { cleanup: Some(cleanup), .. } => cleanup.to_string(),
        _ => shown,
    };
    let failed = |detail: String| Dns01Error::Hook { command: shown.clone(), detail };
    // What the server process was started with is none of its business.
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_else(|| PATH.into()));
    let mut secrets = Vec::new();
    for name in hook.passed.iter().map(AsRef::<str>::as_ref).chain(["HOME"]) {
        let Some(value) = std::env::var_os(name) else { continue };
        command.env(name, &value);
        if name != "HOME" {
            secrets.push(zeroize::Zeroizing::new(value.to_string_lossy().into_owned()));
        }
    }
    variables(&mut command, standing, output);
    for (name, secret) in &hook.environment {
        let value = ours.secrets.read(secret).map_err(|error| failed(format!("{name} ({secret}): {error}")))?;
        let text = String::from_utf8(value.to_vec()).map_err(|_| failed(format!("{name} ({secret}) is no text")))?;
        command.env(&**name, &text);
        secrets.push(zeroize::Zeroizing::new(text));
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    let mut group = Group(child.id());
    let ended = tokio::time::timeout(hook.timeout, finish(&mut child)).await;
    let (status, out, err) = match ended {
        // Dropping the group kills it.
        Err(_) => return Err(failed(format!("it did not end within {:?} and was killed", hook.timeout))),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Ok(Ok(ended)) => ended,
    };
    group.0 = None;
    if status.success() {
        return Ok(out);
    }
    let mut complaint = if err.trim().is_empty() { out } else { err };
    for secret in secrets.iter().filter(|secret| secret.len() > 3) {
        complaint = complaint.replace(secret.as_str(), "***");
    }
    let line = complaint.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
    let line: String = line.chars().filter(|c| !c.is_control()).take(TOLD).collect();
    Err(failed(format!("{status}: {line}")))
}

type Ended = (std::process::ExitStatus, String, String);

async fn finish(child: &mut Child) -> std::io::Result<Ended> {
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let (mut kept_out, mut kept_err) = (Vec::new(), Vec::new());
    let status = {
        let mut reading = Box::pin(async { tokio::join!(keep(out, &mut kept_out), keep(err, &mut kept_err)) });
        tokio::select! {
            status = child.wait() => {
                // What it left in the pipes; not what something that it left running may still write.
                let _ = tokio::time::timeout(LINGER, reading).await;
                status?
            }
            // Its output ended first.
            _ = &mut reading => child.wait().await?,
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok((status, text(kept_out), text(kept_err)))
}

async fn keep(from: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let room = KEPT.saturating_sub(kept.len()).min(length);
        kept.extend_from_slice(&buffer[..room]);
    }
}

/// A process group that is killed when this is dropped before its first process has ended by itself.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(id) = self.0.and_then(|id| i32::try_from(id).ok()) {
            // The child is not waited for yet, so the number is still its own.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

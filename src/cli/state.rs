//! How does a node's state move to another machine, or come back after a loss? `semper state export` and `import`: one
//! file, sealed with a passphrase. Neither asks an authority nor disturbs a running semper.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::node::admin;
use crate::store::{archive, seal};

use super::commands::Place;

/// The environment variable that a passphrase may be given in.
const VARIABLE: &str = "SEMPER_PASSPHRASE";
/// Shorter ones are guessed.
const SHORTEST: usize = 8;

/// `semper state …`.
#[derive(Debug, Subcommand)]
pub enum State {
    /// Seals accounts, keys, certificates and journals into one file. The running semper goes on.
    Export(Sealed),
    /// Adds what a sealed file holds and this state path lacks; what is there stays. semper must not run meanwhile.
    Import(Sealed),
}

/// The file, and what opens it.
#[derive(Debug, Args)]
pub struct Sealed {
    /// The sealed file; `-` for standard output or input.
    file: PathBuf,
    #[command(flatten)]
    place: Place,
    /// A file whose first line is the passphrase. Else the environment variable SEMPER_PASSPHRASE, else it is asked for.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// For programs.
    #[arg(long)]
    json: bool,
}

impl State {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let done = match &self {
            State::Export(sealed) => sealed.export(),
            State::Import(sealed) => sealed.import(),
        };
        match done {
            Ok(()) => ExitCode::SUCCESS,
            Err(words) => {
                eprintln!("semper: {words}");
                ExitCode::FAILURE
            }
        }
    }
}

impl Sealed {
    fn export(&self) -> Result<(), String> {
        let state = self.state_path()?;
        let passphrase = self.passphrase(true)?;
        let (content, files) = archive::make(&state).map_err(|error| error.to_string())?;
        if files == 0 {
            return Err(format!("{} holds nothing", state.display()));
        }
        let sealed = seal::seal(&content, &passphrase).map_err(|error| error.to_string())?;
        write(&self.file, &sealed).map_err(|error| format!("{}: {error}", self.file.display()))?;
        // Standard output may be the sealed file itself.
        match self.json {
            true => eprintln!("{}", serde_json::json!({ "state": state, "files": files, "bytes": sealed.len() })),
            false => eprintln!("{files} files of {} are sealed in {}", state.display(), self.file.display()),
        }
        Ok(())
    }

    fn import(&self) -> Result<(), String> {
        let state = self.state_path()?;
        // It takes the lock only with its first write, and would not see what is brought in.
        if [state.clone(), self.place.state_path()]
            .iter()
            .any(|path| admin::ask_once::<serde_json::Value>(path, &admin::Question::Status).is_ok())
        {
            return Err(format!("{} is in use by a running semper: stop it first", state.display()));
        }
        let sealed = read(&self.file).map_err(|error| format!("{}: {error}", self.file.display()))?;
        let passphrase = self.passphrase(false)?;
        let content = seal::open(&sealed, &passphrase).map_err(|error| format!("{}: {error}", self.file.display()))?;
        let restored = archive::restore(&state, &content).map_err(|error| error.to_string())?;
        if self.json {
            println!("{}", serde_json::json!({ "state": state, "added": restored.added, "kept": restored.kept }));
            return Ok(());
        }
        println!("{} certificates and records were added to {}", restored.added, state.display());
        for kept in &restored.kept {
            println!("{kept} was there already and stays");
        }
        Ok(())
    }

    /// The one state path that is meant.
    fn state_path(&self) -> Result<PathBuf, String> {
        if self.place.has_state() {
            return Ok(self.place.state_path());
        }
        let Some(plan) = self.place.plan() else {
            return Err(
                "the configuration cannot be read (`semper -t` says why); name the state path with --state".into()
            );
        };
        let mut paths: Vec<PathBuf> = plan.issuers.iter().filter_map(|issuer| issuer.state_path.clone()).collect();
        paths.sort();
        paths.dedup();
        match paths.as_slice() {
            [] => Ok(plan.process.state_path.clone()),
            [one] => Ok(one.clone()),
            many => {
                let list: Vec<String> = many.iter().map(|path| path.display().to_string()).collect();
                Err(format!("the configuration has several state paths; name one with --state: {}", list.join(", ")))
            }
        }
    }

    fn passphrase(&self, twice: bool) -> Result<Zeroizing<Vec<u8>>, String> {
        let found = if let Some(path) = &self.passphrase_file {
            let text =
                std::fs::read(path).map(Zeroizing::new).map_err(|error| format!("{}: {error}", path.display()))?;
            Zeroizing::new(text.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default().to_vec())
        } else if let Some(text) = std::env::var_os(VARIABLE) {
            Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(text))
        } else {
            let first = prompt("passphrase: ")?;
            if twice && *prompt("once more: ")? != *first {
                return Err("the two differ".into());
            }
            first
        };
        if found.len() < SHORTEST {
            return Err(format!("a passphrase has at least {SHORTEST} characters"));
        }
        Ok(found)
    }
}

/// Asks on the terminal, without showing what is typed.
fn prompt(words: &str) -> Result<Zeroizing<Vec<u8>>, String> {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    let none = || format!("no terminal to ask for the passphrase: use --passphrase-file or {VARIABLE}");
    let terminal = std::fs::File::options().read(true).write(true).open("/dev/tty").map_err(|_| none())?;
    if !terminal.is_terminal() {
        return Err(none());
    }
    let before = tcgetattr(&terminal).map_err(|_| none())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let _ = (&terminal).write_all(words.as_bytes());
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(|_| none())?;
    let mut line = Zeroizing::new(Vec::with_capacity(1024));
    let mut byte = [0];
    let read = loop {
        match (&terminal).read(&mut byte) {
            Ok(1) if byte[0] != b'\n' && line.len() < 1024 => line.push(byte[0]),
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    let _ = (&terminal).write_all(b"\n");
    read.map_err(|error| error.to_string()).map(|()| line)
}

fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if file == Path::new("-") {
        return std::io::stdout().write_all(bytes);
    }
    // Never over a file that is there: it may be the only good one.
    let mut out = std::fs::File::options().write(true).create_new(true).mode(0o600).open(file)?;
    out.write_all(bytes).and_then(|()| out.sync_all())
}

fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    if file == Path::new("-") {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes)?;
        return Ok(bytes);
    }
    std::fs::read(file)
}

//! How does an operator make a fleet, and put a node out of it? `semper fleet keygen` draws its key; nothing else has to be
//! made by hand. `semper fleet remove` is heard by all nodes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use zeroize::Zeroizing;

use crate::node::admin::Question;
use crate::words::FleetKey;

use super::ask;
use super::commands::Place;

/// `semper fleet …`.
#[derive(Debug, Subcommand)]
pub enum Fleet {
    /// Draws the key of a new fleet: `semper fleet keygen > fleet.key`, then the same file on every node.
    Keygen {
        /// Where it is written, readable by its owner alone; a file that exists stays. Default: standard output.
        file: Option<PathBuf>,
    },
    /// Never lets a node in again, on all nodes. What it knows it still knows: change the fleet key then (docs/fleet.md).
    Remove {
        /// Its id as `semper status` shows it, or the beginning of it.
        node: String,
        /// Which semper is asked.
        #[command(flatten)]
        place: Place,
    },
}

impl Fleet {
    /// Does it.
    pub fn run(self) -> ExitCode {
        let file = match self {
            Fleet::Keygen { file } => file,
            Fleet::Remove { node, place } => return remove(&node, &place),
        };
        match keygen(file.as_deref()) {
            Ok(name) => {
                eprintln!("fleet key {name}: whoever has it is a member, so keep it as you keep private keys");
                ExitCode::SUCCESS
            }
            Err(error) => {
                let at = file.map_or_else(|| "standard output".to_owned(), |file| file.display().to_string());
                eprintln!("semper: {at}: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

/// `semper fleet remove`.
fn remove(node: &str, place: &Place) -> ExitCode {
    match ask::ask::<String>(&place.state_path(), &Question::RemoveNode(node.to_owned())) {
        Ok(id) => {
            println!("node {id} is removed: no node links with it from now on");
            println!("whoever has its disk has the fleet key: give the other nodes a new one, then revoke what it had");
            ExitCode::SUCCESS
        }
        Err(code) => code.into(),
    }
}

/// Draws a key and writes it; its name.
fn keygen(file: Option<&Path>) -> io::Result<String> {
    let mut secret = Zeroizing::new([0; 32]);
    aws_lc_rs::rand::fill(&mut *secret).map_err(|_| io::Error::other("the system gives no randomness"))?;
    let key = FleetKey::of(*secret);
    let mut out = match file {
        Some(path) => OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?,
        None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
    };
    if file.is_none() && out.metadata()?.is_file() {
        // The shell made it readable for all, and knows nothing of what is in it.
        out.set_permissions(Permissions::from_mode(0o600))?;
    }
    let mut line = Zeroizing::new(String::with_capacity(80));
    line.push_str(&key.text());
    line.push('\n');
    out.write_all(line.as_bytes())?;
    if file.is_some() {
        out.sync_all()?;
    }
    Ok(key.name())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_for_its_owner_alone_and_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.key");
        let name = keygen(Some(&path)).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let text = std::fs::read(&path).unwrap();
        assert_eq!(FleetKey::parse(&text).unwrap().name(), name);
        assert!(keygen(Some(&path)).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), text);
    }
}

//! What do semper's own commands do? `semper WORD …`: each reads its arguments here and calls the room that does it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::conf::world::World as _;
use crate::node::errorlog::ErrorLogs;
use crate::node::load::Wish;
use crate::node::quick::{self, Quick, Site};
use crate::node::start::{self, Launch};
use crate::node::world::RealWorld;

/// semper's commands. nginx's own flags (`semper -h`) go with no command.
#[derive(Debug, Parser)]
#[command(name = "semper", version, subcommand_required = true, arg_required_else_help = true)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve names without a configuration file: semper serve example.com=127.0.0.1:3000 (`serve` may be left out).
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// NAME=UPSTREAM: a domain name, and the address of what stands behind it (HOST:PORT, or a port of this machine).
    #[arg(required = true)]
    sites: Vec<String>,
    /// Where plain HTTP is taken; may be given several times. Default: port 80 of every address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    http: Vec<SocketAddr>,
    /// Where HTTPS is taken; may be given several times. Default: port 443 of every address.
    #[arg(long, value_name = "ADDRESS:PORT")]
    https: Vec<SocketAddr>,
    /// Who signs the certificates: an ACME directory, or `internal` for an authority of our own. Using an authority means
    /// to accept its terms.
    #[arg(long, value_name = "URL|internal", default_value = quick::LETS_ENCRYPT)]
    authority: String,
    /// An e-mail address for the authority.
    #[arg(long)]
    contact: Option<String>,
    /// Certificates and accounts.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Worker threads. Default: one for each core.
    #[arg(long)]
    workers: Option<usize>,
}

/// Does what `program` (name first) says.
pub fn run(program: &[String]) -> ExitCode {
    let mut words = program.to_vec();
    if words.get(1).is_some_and(|word| word.contains('=')) {
        words.insert(1, "serve".to_owned());
    }
    let line = match Line::try_parse_from(&words) {
        Ok(line) => line,
        Err(said) => {
            let _ = said.print();
            return if said.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match line.command {
        Command::Serve(serve) => serve.run(program),
    }
}

impl Serve {
    fn run(self, program: &[String]) -> ExitCode {
        let world = RealWorld { judge_certificates: false };
        let sites: Result<Vec<Site>, String> =
            self.sites.iter().map(|text| quick::site(text, |host| world.resolve(host))).collect();
        let sites = match sites {
            Ok(sites) => sites,
            Err(words) => {
                eprintln!("semper: {words}");
                return ExitCode::FAILURE;
            }
        };
        let or = |given: Vec<SocketAddr>, port| if given.is_empty() { Quick::everywhere(port) } else { given };
        let quick = Quick {
            sites,
            http: or(self.http, 80),
            https: or(self.https, 443),
            authority: self.authority,
            contact: self.contact.map(|text| if text.contains(':') { text } else { format!("mailto:{text}") }),
            leaf_lifetime: None,
            state: self.state.unwrap_or_else(default_state),
            user: world
                .is_root()
                .then(|| world.user("nobody"))
                .flatten()
                .map(|(uid, gid)| ("nobody".to_owned(), uid, gid)),
            workers: self.workers,
        };
        if let Err(error) = std::fs::create_dir_all(&quick.state) {
            eprintln!("semper: the state folder {} cannot be made: {error}", quick.state.display());
            return ExitCode::FAILURE;
        }
        let logs = ErrorLogs::install_at(None);
        start::run(Launch { wish: Wish::Quick(quick), program: program.to_vec(), detached: false }, logs)
    }
}

/// `/var/lib/semper` for root, else below the home folder.
fn default_state() -> PathBuf {
    if nix::unistd::geteuid().is_root() {
        return "/var/lib/semper".into();
    }
    let home = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = home.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    home.unwrap_or_else(|| ".".into()).join("semper")
}

//! What do semper's own commands do? `semper WORD …`: each reads its arguments here and calls the room that does it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::conf::world::World as _;
use crate::node::errorlog::ErrorLogs;
use crate::node::layout::Layout;
use crate::node::load::Wish;
use crate::node::quick::{self, Quick, Site};
use crate::node::start::{self, Launch};
use crate::node::world::{OfflineWorld, RealWorld};
use crate::plan::Plan;

use super::ca::{Ca, Trust};
use super::certificates::{Account, Explain, Pause, Rehearse, Renew, Revoke};
use super::fleet::Fleet;
use super::state::State;
use super::{ask, look};

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
    /// The product at work on this machine: a sample upstream, semper before it, certificates that live for a minute.
    Demo(super::demo::Demo),
    /// What the running semper serves, until when, and what happens next.
    Status {
        #[command(flatten)]
        place: Place,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// Renews certificates now, and says every step; or tries whether it would succeed (--dry-run).
    Renew(Renew),
    /// Obtains another certificate with a new key, and then has the present one revoked.
    Revoke(Revoke),
    /// Leaves the certificates of a name alone, until `resume`.
    Pause(Pause),
    /// Looks after the certificates of a name again.
    Resume(Pause),
    /// Our accounts at authorities.
    #[command(subcommand)]
    Account(Account),
    /// Judges a configuration as `-t` does, and lists what of it has no effect here.
    Check {
        #[command(flatten)]
        place: Place,
        /// Language and meaning alone: no DNS, no certificate files, no root.
        #[arg(long)]
        offline: bool,
    },
    /// Who answers for a name, with which certificate, and what happens to it next.
    Explain(Explain),
    /// What would happen to the certificates of a name if … ? Plays the rules forward from where things stand; touches nothing.
    Rehearse(Rehearse),
    /// The built-in authority.
    #[command(subcommand)]
    Ca(Ca),
    /// Makes this system trust the built-in authority, or no longer.
    Trust(Trust),
    /// The nodes that belong together.
    #[command(subcommand)]
    Fleet(Fleet),
    /// Accounts, keys and certificates of this node, sealed into one file and brought back.
    #[command(subcommand)]
    State(State),
    /// Shows which certificates and accounts certbot, Caddy or nginx's ACME module keep, and takes over what the
    /// configuration asks for. What is read is never changed.
    Import {
        /// certbot's /etc/letsencrypt, Caddy's storage, or the state path of an issuer of nginx's ACME module.
        path: PathBuf,
        #[command(flatten)]
        place: Place,
        /// Take over what is wanted, so that no order is placed for it. No semper may be running.
        #[arg(long)]
        write: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
    /// What would change if semper took nginx's place here. Changes nothing.
    Migrate {
        #[command(flatten)]
        place: Place,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// Which configuration is meant.
#[derive(Debug, Args)]
pub struct Place {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    conf: Option<String>,
    /// The prefix.
    #[arg(short, long, value_name = "FOLDER")]
    prefix: Option<String>,
    /// The state path of a quick start, instead of a configuration.
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
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
        Command::Demo(demo) => super::demo::run(&demo),
        Command::Status { place, json } => ask::status(&place.state_path(), json),
        Command::Renew(renew) => renew.run(),
        Command::Revoke(revoke) => revoke.run(),
        Command::Pause(pause) => pause.run(true),
        Command::Resume(pause) => pause.run(false),
        Command::Account(account) => account.run(),
        Command::Check { place, offline } => look::check(place.layout(), offline),
        Command::Explain(explain) => explain.run(),
        Command::Rehearse(rehearse) => rehearse.run(),
        Command::Ca(ca) => ca.run(),
        Command::Trust(trust) => trust.run(),
        Command::Fleet(fleet) => fleet.run(),
        Command::State(state) => state.run(),
        Command::Import { path, place, write, json } => look::import(&path, place.layout(), write, json),
        Command::Migrate { place, json } => look::migrate(place.layout(), json),
    }
}

impl Place {
    /// Where its files lie.
    pub fn layout(&self) -> Layout {
        // Only for reading: no log is opened.
        Layout::choose("semper", self.prefix.as_deref(), self.conf.as_deref(), None)
    }

    /// Where the running instance keeps its state: what was given, else what the configuration says.
    pub fn state_path(&self) -> PathBuf {
        if let Some(path) = &self.state {
            return path.clone();
        }
        self.plan().map_or_else(|| self.layout().state, |plan| plan.process.state_path.clone())
    }

    /// Whether a state path was named instead of a configuration.
    pub fn has_state(&self) -> bool {
        self.state.is_some()
    }

    /// What the configuration says, if it can be read.
    pub fn plan(&self) -> Option<Arc<Plan>> {
        let wish = Wish::Conf { layout: self.layout(), directives: None, offline: true };
        wish.judge(&OfflineWorld).ok().map(|loaded| loaded.plan)
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

//! How do the processes stand: who they run as, how many workers, where pid and state live? (nginx's main context.)

use super::log::ErrorLog;
use std::path::PathBuf;
use std::time::Duration;

/// The main context.
#[derive(Clone, Debug)]
pub struct Process {
    /// `user`: the account of the server process when the master is root. Default `nobody`.
    pub user: Option<User>,
    /// `pid`. Default `logs/nginx.pid` below the prefix.
    pub pid: PathBuf,
    /// `daemon`. Default on.
    pub daemon: bool,
    /// `master_process`. Default on; off runs everything in one process.
    pub master: bool,
    /// `worker_processes`: worker threads; `None` is `auto`, one for each core. Default 1.
    pub workers: Option<usize>,
    /// `worker_connections`: most connections of one worker. Default 512.
    pub worker_connections: usize,
    /// `worker_rlimit_nofile`.
    pub open_files: Option<u64>,
    /// `worker_shutdown_timeout`: bounds a graceful exit. Default none.
    pub shutdown_timeout: Option<Duration>,
    /// `working_directory`.
    pub working_directory: Option<PathBuf>,
    /// `error_log` of the main context, in order; at least one.
    pub error_logs: Box<[ErrorLog]>,
    /// `env NAME[=value]`.
    pub environment: Box<[EnvironmentVariable]>,
    /// `state_path` (semper): certificates, accounts, journal. Default `/var/lib/semper`, or `state` below the prefix.
    pub state_path: PathBuf,
    /// `strict_start` (semper): refuse to start where a start would go on with a placeholder. Default off.
    pub strict_start: bool,
    /// `acme_challenge_listen` (semper): where challenges are answered when no listener stands there.
    pub challenge_listen: ChallengeListen,
}

/// `acme_challenge_listen`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChallengeListen {
    /// Port 80 of every address: the default.
    #[default]
    Port80,
    /// `off`: nowhere.
    Off,
    /// An address and port, to which somebody forwards port 80.
    At(std::net::SocketAddr),
}

impl Default for Process {
    /// One process in the foreground with one worker that writes only below the present directory.
    fn default() -> Process {
        Process {
            user: None,
            pid: "logs/nginx.pid".into(),
            daemon: false,
            master: false,
            workers: Some(1),
            worker_connections: 512,
            open_files: None,
            shutdown_timeout: None,
            working_directory: None,
            error_logs: Box::default(),
            environment: Box::default(),
            state_path: "state".into(),
            strict_start: false,
            challenge_listen: ChallengeListen::default(),
        }
    }
}

/// Who the server process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The account's name.
    pub name: Box<str>,
    /// The group's name, if one was given.
    pub group: Option<Box<str>>,
    /// Numeric ids as found when the configuration was read.
    pub uid: u32,
    /// The group's id.
    pub gid: u32,
}

/// `env NAME[=value]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentVariable {
    /// Its name.
    pub name: Box<str>,
    /// The value, if one is given; else it is inherited.
    pub value: Option<Box<str>>,
}

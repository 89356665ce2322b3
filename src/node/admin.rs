//! How do semper's commands reach the running semper? A unix socket in the state path, for its owner (and root) alone: one
//! line of question in JSON (`"status"` also as the bare word), and answers in JSON, a line each. What is asked and
//! answered has its words here; [`super::control`] answers.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::acme::Reason;
use crate::cert::rehearse::Scenario;
use crate::clock::UnixTime;

/// How long a caller may take over one line.
const PATIENCE: Duration = Duration::from_millis(500);
/// Whoever works on an answer says something at least this often.
pub const HEARTBEAT: Duration = Duration::from_secs(2);
/// The longest question.
const LONGEST: usize = 64 << 10;

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Question {
    /// What is served, until when? Answered by [`super::status::Status`].
    Status,
    /// Renew these names' certificates now, or with no name all that are due. Answered by a list of [`Progress`].
    Renew(Vec<String>),
    /// How do these certificates stand? Answered by a list of [`Progress`].
    Progress(Vec<String>),
    /// A whole order at the authority's test side for these names, or with no name for all. Answered by [`Rehearsed`]s.
    DryRun(Vec<String>),
    /// Another certificate for this name now, and then the present one revoked. Answered by a list of [`Progress`].
    Revoke(String, Reason),
    /// Leave this name's certificates alone (true), or look after them again. Answered by the names.
    Pause(String, bool),
    /// Everything about a name. Answered by [`super::explain::Explained`].
    Explain(String),
    /// What would happen to this name's certificates? Answered by a list of [`super::explain::Timeline`].
    Rehearse(String, Scenario),
    /// Another account key for the issuer of this name, or for all. Answered by [`Rehearsed`]s.
    Rollover(Option<String>),
    /// Never let this node (its id, or the beginning of it) into the fleet again. Answered by its id.
    RemoveNode(String),
}

/// How a certificate stands that somebody waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The certificate's identity.
    pub id: String,
    /// Its names.
    pub names: Vec<String>,
    /// The issuer.
    pub issuer: String,
    /// The generation that is held.
    pub epoch: Option<u64>,
    /// It is in force until then.
    pub not_after: Option<UnixTime>,
    /// Attempts over all time.
    pub attempts: u64,
    /// An order runs.
    pub ordering: bool,
    /// What it does.
    pub step: Option<String>,
    /// The last failure, in the authority's words, since something went well.
    pub trouble: Option<String>,
    /// The next attempt.
    pub next: UnixTime,
    /// It is paused.
    pub paused: bool,
    /// What of it still has to be revoked, in words.
    pub revoking: Option<String>,
}

/// A line about something that was tried and changed nothing here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// Whose line it is: the names of a certificate, or an issuer.
    pub name: String,
    /// How it ended; `None` while it goes on.
    pub good: Option<bool>,
    /// In words. Empty: only a sign of life.
    pub words: String,
}

/// An answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Reply<T> {
    /// The question cannot be answered.
    Refused {
        /// Why.
        error: String,
    },
    /// The answer.
    Good(T),
}

/// Where the socket of a state path lies.
pub fn path(state: &Path) -> PathBuf {
    state.join("admin.sock")
}

/// Listens at `path`. Where there is no state path, or another instance answers there, nothing listens.
pub fn open(path: &Path) -> Option<UnixListener> {
    if !path.parent().is_some_and(Path::is_dir) {
        tracing::debug!("no admin socket: there is no folder for \"{}\"", path.display());
        return None;
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        tracing::warn!("no admin socket: another instance listens on \"{}\"", path.display());
        return None;
    }
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path).and_then(|listener| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        Ok(listener)
    });
    listener.map_err(|error| tracing::warn!("no admin socket: bind() to unix:{} failed ({error})", path.display())).ok()
}

/// The next caller; never, without a socket.
pub async fn next(admin: &Option<(PathBuf, UnixListener)>) -> UnixStream {
    loop {
        match admin {
            None => std::future::pending::<()>().await,
            Some((_, listener)) => match listener.accept().await {
                Ok((caller, _)) => return caller,
                Err(error) => {
                    tracing::warn!("accept() on the admin socket failed ({error})");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            },
        }
    }
}

/// Somebody who has asked and waits.
#[derive(Debug)]
pub struct Caller(UnixStream);

impl Caller {
    /// Reads the question; a caller that is slow, gone or talks nonsense is dropped, the last with a word.
    pub async fn hear(mut stream: UnixStream) -> Option<(Caller, Question)> {
        let mut line = Vec::new();
        let read = async {
            let mut byte = [0];
            while line.len() < LONGEST && stream.read(&mut byte).await.is_ok_and(|read| read == 1) && byte[0] != b'\n' {
                line.push(byte[0]);
            }
        };
        tokio::time::timeout(PATIENCE, read).await.ok()?;
        let question = match line.trim_ascii() {
            b"status" => Ok(Question::Status),
            text => serde_json::from_slice(text),
        };
        let mut caller = Caller(stream);
        match question {
            Ok(question) => Some((caller, question)),
            Err(error) => {
                caller.refuse(&format!("this semper does not know that question ({error})")).await;
                None
            }
        }
    }

    /// The account on this machine that asks.
    pub fn who(&self) -> String {
        let Ok(credentials) = self.0.peer_cred() else { return "the operator".to_owned() };
        let known = nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(credentials.uid())).ok().flatten();
        known.map_or_else(|| format!("user {}", credentials.uid()), |user| user.name)
    }

    /// One line of an answer; false if the caller is gone.
    pub async fn say(&mut self, line: &impl Serialize) -> bool {
        let Ok(mut text) = serde_json::to_vec(line) else { return false };
        text.push(b'\n');
        matches!(tokio::time::timeout(PATIENCE * 10, self.0.write_all(&text)).await, Ok(Ok(())))
    }

    /// Says why there is no answer.
    pub async fn refuse(&mut self, error: &str) {
        self.say(&Reply::<()>::Refused { error: error.to_owned() }).await;
    }

    /// Answers in one line, beside whatever else goes on.
    pub fn answer<T: Serialize + Send + Sync + 'static>(mut self, answer: Result<T, String>) {
        tokio::spawn(async move {
            match answer {
                Ok(answer) => drop(self.say(&answer).await),
                Err(error) => self.refuse(&error).await,
            }
        });
    }
}

/// Asks the instance whose state path is `state`; each line of the answer is one item.
///
/// # Errors
/// Nobody listens there.
pub fn ask<T: DeserializeOwned>(
    state: &Path,
    question: &Question,
) -> io::Result<impl Iterator<Item = Result<T, String>> + use<T>> {
    let mut socket = std::os::unix::net::UnixStream::connect(path(state))?;
    socket.set_read_timeout(Some(HEARTBEAT * 15))?;
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    socket.write_all(&line)?;
    Ok(BufReader::new(socket).lines().map(|line| {
        let line = line.map_err(|error| format!("the running semper fell silent: {error}"))?;
        // A refusal is tried first: answers may be maps too.
        match serde_json::from_str::<Reply<serde_json::Value>>(&line) {
            Ok(Reply::Refused { error }) => return Err(error),
            Ok(Reply::Good(_)) => {}
            Err(error) => return Err(format!("the running semper answers oddly: {error}")),
        }
        serde_json::from_str(&line).map_err(|error| format!("the running semper is of another version ({error})"))
    }))
}

/// Asks, and takes the one line of the answer.
///
/// # Errors
/// Nobody listens, or the answer is a refusal.
pub fn ask_once<T: DeserializeOwned>(state: &Path, question: &Question) -> Result<T, Unanswered> {
    let mut lines = ask(state, question).map_err(Unanswered::Nobody)?;
    match lines.next() {
        Some(answer) => answer.map_err(Unanswered::Refused),
        None => Err(Unanswered::Refused("the running semper hung up".to_owned())),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// No semper runs with that state path, or this user may not ask it.
    #[error("{0}")]
    Nobody(io::Error),
    /// It will not, and says why.
    #[error("{0}")]
    Refused(String),
}

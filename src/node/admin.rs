//! How does `semper status` reach the running semper? A unix socket in the state path, for its owner (and root) alone:
//! one line of question, one JSON answer.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::status::Status;

/// How long one caller may take.
const PATIENCE: Duration = Duration::from_millis(500);

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

/// Answers a caller: `status`, or `renew NAME`.
pub async fn answer(mut caller: UnixStream, status: &Status, renew: impl Fn(&str) -> usize) {
    let talk = async {
        let mut question = Vec::new();
        let mut byte = [0];
        while question.len() < 512 && caller.read(&mut byte).await? == 1 && byte[0] != b'\n' {
            question.push(byte[0]);
        }
        let question = String::from_utf8_lossy(&question).into_owned();
        let answer = match question.split_once(' ') {
            None if question == "status" => serde_json::to_vec(status)?,
            Some(("renew", name)) => serde_json::to_vec(&renew(name))?,
            _ => b"null".to_vec(),
        };
        caller.write_all(&answer).await?;
        caller.shutdown().await
    };
    // A caller that is slow or gone is its own affair.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(PATIENCE, talk).await;
}

/// Asks the instance whose state path is `state`.
///
/// # Errors
/// Nobody listens there, or it does not answer.
pub fn ask(state: &Path, question: &str) -> io::Result<Vec<u8>> {
    let mut socket = std::os::unix::net::UnixStream::connect(path(state))?;
    socket.set_read_timeout(Some(PATIENCE * 10))?;
    socket.write_all(format!("{question}\n").as_bytes())?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    Ok(answer)
}

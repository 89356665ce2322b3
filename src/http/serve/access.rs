//! May this client have this? `allow`/`deny` and `auth_basic`, joined by `satisfy`.

use super::password;
use crate::http::answer::Turn;
use crate::http::exchange::Exchange;
use crate::plan::access::AuthBasic;
use crate::plan::log::Level;
use crate::route::access::{Verdict, by_address, hash_of};
use bytes::Bytes;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Checks who asks. `Err`: 401, 403, or 500. A 401 waits as `auth_delay` says, so that passwords cannot be tried fast.
pub(super) async fn check(exchange: &mut Exchange) -> Result<(), Turn> {
    let checked = judge(exchange).await;
    let delay = exchange.settings().access.delay;
    if checked == Err(Turn::Status(401)) && !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    checked
}

async fn judge(exchange: &mut Exchange) -> Result<(), Turn> {
    let settings = exchange.settings().clone();
    let access = &settings.access;
    if access.rules.is_empty() && access.basic.is_none() {
        return Ok(());
    }
    let verdict = by_address(&access.rules, exchange.client.ip());
    let denied = |exchange: &Exchange| {
        exchange.note(Level::Error, "access forbidden by rule");
        Err(Turn::Status(403))
    };
    match (verdict, access.satisfy_any) {
        (Verdict::Denied, false) => return denied(exchange),
        (Verdict::Allowed, true) => return Ok(()),
        _ => {}
    }
    let authorized = match &access.basic {
        Some(basic) => Box::pin(authorize(exchange, basic)).await,
        None => None,
    };
    match authorized {
        Some(Err(Turn::Status(403))) if access.satisfy_any => denied(exchange),
        Some(result) => result,
        None if verdict == Verdict::Denied => denied(exchange),
        None => Ok(()),
    }
}

/// `auth_basic`. `None`: it is off.
async fn authorize(exchange: &mut Exchange, basic: &AuthBasic) -> Option<Result<(), Turn>> {
    let realm = exchange.field_text(&basic.realm);
    if realm == "off" {
        return None;
    }
    let Some((user, password)) = exchange.credentials().cloned() else {
        exchange.note(Level::Info, "no user/password was provided for basic authentication");
        return Some(ask(exchange, &realm));
    };
    let path = exchange.text(&basic.user_file);
    let file = match exchange.worker.parts.opener.read(Path::new(OsStr::from_bytes(&path))) {
        Ok(file) => zeroize::Zeroizing::new(file),
        Err(error) => {
            let missing = error.kind() == ErrorKind::NotFound;
            let (level, status) = if missing { (Level::Error, 403) } else { (Level::Crit, 500) };
            let path = String::from_utf8_lossy(&path);
            exchange.note(level, format_args!("open() \"{path}\" failed ({})", super::files::errno(&error)));
            return Some(Err(Turn::Status(status)));
        }
    };
    let shown = String::from_utf8_lossy(&user).into_owned();
    let Some(hash) = hash_of(&file, &user) else {
        let path = String::from_utf8_lossy(&path);
        exchange.note(Level::Error, format_args!("user \"{shown}\" was not found in \"{path}\""));
        return Some(ask(exchange, &realm));
    };
    match password::verify(&password, hash).await {
        Some(true) => Some(Ok(())),
        Some(false) => {
            exchange.note(Level::Error, format_args!("user \"{shown}\": password mismatch"));
            Some(ask(exchange, &realm))
        }
        None => {
            exchange.note(Level::Crit, format_args!("password of user \"{shown}\" is kept in an unknown form"));
            // As crypt(3): a form that nobody knows is nobody's password.
            Some(ask(exchange, &realm))
        }
    }
}

fn ask(exchange: &mut Exchange, realm: &[u8]) -> Result<(), Turn> {
    let value = [b"Basic realm=\"", realm, b"\""].concat();
    exchange.carried.push("WWW-Authenticate", Bytes::from(value));
    Err(Turn::Status(401))
}

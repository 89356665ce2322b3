//! Is this the password? The forms of nginx's `auth_basic_user_file`: `{PLAIN}`, `{SHA}`, `{SSHA}`, `$apr1$`, and of
//! crypt(3) `$1$`, `$5$`, `$6$`, bcrypt, yescrypt and the old DES. Slow forms are computed off the worker, so that other
//! requests go on.

use super::des_crypt::{self, DIGITS};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use std::sync::OnceLock;
use tokio::sync::Semaphore;
use yescrypt::{PasswordVerifier, Yescrypt};
use zeroize::Zeroizing;

/// Whether `password` gives `hash`; `None`: the hash is of no known form.
pub async fn verify(password: &[u8], hash: &[u8]) -> Option<bool> {
    if let Some(quick) = by_digest(password, hash) {
        return quick;
    }
    let password = Zeroizing::new(password.to_vec());
    let hash = std::str::from_utf8(hash).ok()?.to_owned();
    // Whoever waits and goes away leaves the queue; what has begun keeps its place until it is done.
    let place = room().acquire().await.ok()?;
    let work = move || {
        let found = by_rounds(&password, &hash);
        drop(place);
        found
    };
    tokio::task::spawn_blocking(work).await.ok().flatten()
}

/// Room for slow forms, for the whole process: each may take 16 MiB and a core for as long as its maker liked, so strangers
/// who try passwords in parallel wait for one another.
fn room() -> &'static Semaphore {
    static ROOM: OnceLock<Semaphore> = OnceLock::new();
    ROOM.get_or_init(|| Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from)))
}

/// Forms that cost one digest. The outer `None`: another form.
fn by_digest(password: &[u8], hash: &[u8]) -> Option<Option<bool>> {
    if let Some(plain) = hash.strip_prefix(b"{PLAIN}") {
        return Some(Some(same(password, plain)));
    }
    let sha1 = |salt: &[u8]| digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &[password, salt].concat());
    if let Some(text) = hash.strip_prefix(b"{SHA}") {
        return Some(Some(same(STANDARD.encode(sha1(b"")).as_bytes(), text)));
    }
    if let Some(text) = hash.strip_prefix(b"{SSHA}") {
        let Ok(bytes) = STANDARD.decode(text) else { return Some(None) };
        let Some((sum, salt)) = bytes.split_at_checked(20) else { return Some(None) };
        return Some(Some(same(sha1(salt).as_ref(), sum)));
    }
    None
}

/// Forms that are slow on purpose.
fn by_rounds(password: &[u8], hash: &str) -> Option<bool> {
    if let Some(rest) = hash.strip_prefix("$apr1$").or_else(|| hash.strip_prefix("$1$")) {
        let magic = if hash.starts_with("$1$") { "$1$" } else { "$apr1$" };
        let (salt, expected) = rest.split_once('$')?;
        let salt = salt.get(..salt.len().min(8))?;
        return Some(same(md5_crypt(password, salt.as_bytes(), magic.as_bytes()).as_bytes(), expected.as_bytes()));
    }
    if let Some(rest) = hash.strip_prefix("$5$") {
        let (rounds, salt, expected) = sha_parts(rest)?;
        let params = sha_crypt::Sha256Params::new(rounds).ok()?;
        let found = sha_crypt::sha256_crypt_b64(password, salt.as_bytes(), &params).ok()?;
        return Some(same(found.as_bytes(), expected.as_bytes()));
    }
    if let Some(rest) = hash.strip_prefix("$6$") {
        let (rounds, salt, expected) = sha_parts(rest)?;
        let params = sha_crypt::Sha512Params::new(rounds).ok()?;
        let found = sha_crypt::sha512_crypt_b64(password, salt.as_bytes(), &params).ok()?;
        return Some(same(found.as_bytes(), expected.as_bytes()));
    }
    if ["$2a$", "$2b$", "$2y$", "$2x$"].iter().any(|prefix| hash.starts_with(prefix)) {
        return bcrypt::verify(password, hash).ok();
    }
    if hash.starts_with("$y$") {
        return match Yescrypt::default().verify_password(password, hash) {
            Ok(()) => Some(true),
            Err(yescrypt::password_hash::Error::PasswordInvalid) => Some(false),
            Err(_) => None,
        };
    }
    let found = (hash.len() == 13).then(|| des_crypt::crypt(password, hash.as_bytes())).flatten()?;
    Some(same(found.as_bytes(), hash.as_bytes()))
}

/// Rounds, salt and sum of `[rounds=N$]salt$sum`.
fn sha_parts(rest: &str) -> Option<(usize, &str, &str)> {
    let (rounds, rest) = match rest.strip_prefix("rounds=") {
        Some(rest) => {
            let (number, rest) = rest.split_once('$')?;
            (number.parse::<usize>().ok()?.clamp(1000, 999_999_999), rest)
        }
        None => (5000, rest),
    };
    let (salt, sum) = rest.split_once('$')?;
    Some((rounds, salt.get(..salt.len().min(16))?, sum))
}

fn same(left: &[u8], right: &[u8]) -> bool {
    verify_slices_are_equal(left, right).is_ok()
}

/// MD5-crypt of Poul-Henning Kamp, with FreeBSD's or Apache's magic.
fn md5_crypt(password: &[u8], salt: &[u8], magic: &[u8]) -> String {
    let sum = |parts: &[&[u8]]| parts.iter().fold(Md5::new(), |md5, part| md5.chain_update(part)).finalize();
    let alternate = sum(&[password, salt, password]);
    let mut md5 = Md5::new().chain_update(password).chain_update(magic).chain_update(salt);
    let mut left = password.len();
    while left > 0 {
        md5.update(&alternate[..left.min(16)]);
        left -= left.min(16);
    }
    let mut bits = password.len();
    while bits > 0 {
        md5.update(if bits & 1 == 1 { &[0] } else { &password[..1] });
        bits >>= 1;
    }
    let mut state = md5.finalize();
    for round in 0..1000 {
        let odd = round % 2 == 1;
        let first: &[u8] = if odd { password } else { &state };
        let last: &[u8] = if odd { &state } else { password };
        let salt: &[u8] = if round % 3 != 0 { salt } else { b"" };
        let middle: &[u8] = if round % 7 != 0 { password } else { b"" };
        state = sum(&[first, salt, middle, last]);
    }
    encode(&state)
}

/// crypt(3)'s own base64: six bits at a time, least first, in its own order of bytes.
fn encode(state: &[u8]) -> String {
    let mut out = String::with_capacity(22);
    let mut push = |mut bits: u32, count: usize| {
        for _ in 0..count {
            out.push(char::from(DIGITS[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    let byte = |at: usize| u32::from(state[at]);
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        push(byte(a) << 16 | byte(b) << 8 | byte(c), 4);
    }
    push(byte(11), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_forms_wait_for_one_another_and_quick_ones_do_not() {
        let hash = bcrypt::hash_with_salt("secret", 4, *b"0123456789abcdef").unwrap().to_string();
        let places = std::thread::available_parallelism().map_or(1, usize::from);
        let all = room().acquire_many(u32::try_from(places).unwrap()).await.unwrap();
        let mut slow = Box::pin(verify(b"secret", hash.as_bytes()));
        assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(slow.as_mut().poll(cx).is_pending())).await);
        assert_eq!(verify(b"secret", b"{PLAIN}secret").await, Some(true));
        drop(all);
        assert_eq!(slow.await, Some(true));
    }

    #[tokio::test]
    async fn every_form_takes_its_password_and_no_other() {
        // Made with `openssl passwd`, `htpasswd` and crypt(3).
        let table = [
            "{PLAIN}secret",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0",
            "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0",
            "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
            "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
            "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
            "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$GmcwIgvdUC9qLWcKCi6gklUa1dM3ziD43YxYNURLKy0",
            "abNANd1rDfiNc",
        ];
        for hash in table {
            assert_eq!(verify(b"secret", hash.as_bytes()).await, Some(true), "{hash}");
            assert_eq!(verify(b"Secret", hash.as_bytes()).await, Some(false), "{hash}");
        }
        let bcrypt = bcrypt::hash_with_salt("secret", 4, *b"0123456789abcdef").unwrap().to_string();
        assert_eq!(verify(b"secret", bcrypt.as_bytes()).await, Some(true));
        assert_eq!(verify(b"", bcrypt.as_bytes()).await, Some(false));
        for unknown in ["", "secret", "$9$x$y", "{SSHA}!", "$apr1$only", "$6$", "$y$", "$y$j9T$x", "!!NANd1rDfiNc"] {
            assert_ne!(verify(b"secret", unknown.as_bytes()).await, Some(true), "{unknown}");
        }
    }
}

//! Which path does a request target mean? `%` decoded, `//` merged, `.` and `..` resolved, arguments split off: as
//! nginx normalizes, so that locations are found by what a file system would see.

use bytes::Bytes;

/// A normalized target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri {
    /// `$uri`: decoded; begins with `/`.
    pub path: Bytes,
    /// `$args`: never decoded, without `?` and fragment.
    pub args: Bytes,
    /// There was a `%` escape or a `+` in the path.
    pub escapes: bool,
}

/// A target that means no path: broken escape, `%00`, or above the root. The client's fault: 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("client sent invalid request")]
pub struct BadTarget;

/// Normalizes `target` (origin form). `merge_slashes`: the directive of that name.
///
/// # Errors
/// [`BadTarget`] where nginx answers 400.
pub fn normalize(target: &Bytes, merge_slashes: bool) -> Result<Uri, BadTarget> {
    let end = target.iter().position(|b| *b == b'#').unwrap_or(target.len());
    let question = target[..end].iter().position(|b| *b == b'?');
    let raw = &target[..question.unwrap_or(end)];
    let args = question.map_or_else(Bytes::new, |at| target.slice(at + 1..end));
    if is_plain(raw) {
        return Ok(Uri { path: target.slice(..raw.len()), args, escapes: raw.contains(&b'+') });
    }
    let (path, escapes) = decode(raw, merge_slashes)?;
    Ok(Uri { path: Bytes::from(path), args, escapes })
}

/// Nothing in it needs decoding or resolving, so that it can be shared instead of copied.
fn is_plain(path: &[u8]) -> bool {
    path.first() == Some(&b'/')
        && !path.contains(&b'%')
        && !path.windows(2).any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.'))
}

/// Where the decoder stands within a path segment.
#[derive(Clone, Copy, PartialEq)]
enum State {
    Usual,
    Slash,
    Dot,
    DotDot,
}

fn decode(raw: &[u8], merge_slashes: bool) -> Result<(Vec<u8>, bool), BadTarget> {
    let mut out = Vec::with_capacity(raw.len() + 1);
    let (mut state, mut escapes) = (State::Usual, false);
    if raw.first() != Some(&b'/') {
        out.push(b'/');
        state = State::Slash;
    }
    let mut at = 0;
    while at < raw.len() {
        let mut byte = raw[at];
        at += 1;
        if byte == b'%' {
            let high = raw.get(at).and_then(|b| hex(*b)).ok_or(BadTarget)?;
            let low = raw.get(at + 1).and_then(|b| hex(*b)).ok_or(BadTarget)?;
            (byte, escapes, at) = (high << 4 | low, true, at + 2);
            // These stand for themselves once decoded: they end no path.
            if matches!(byte, b'%' | b'#' | b'?') {
                out.push(byte);
                state = State::Usual;
                continue;
            }
            if byte == 0 {
                return Err(BadTarget);
            }
        }
        escapes |= byte == b'+';
        state = step(state, byte, merge_slashes, &mut out)?;
    }
    match state {
        State::Dot => drop(out.pop()),
        State::DotDot => parent(&mut out)?,
        State::Usual | State::Slash => {}
    }
    Ok((out, escapes))
}

fn step(state: State, byte: u8, merge_slashes: bool, out: &mut Vec<u8>) -> Result<State, BadTarget> {
    Ok(match (state, byte) {
        (State::Usual, b'/') => push(out, byte, State::Slash),
        (State::Slash, b'/') if merge_slashes => State::Slash,
        (State::Slash, b'/') => push(out, byte, State::Slash),
        (State::Slash, b'.') => push(out, byte, State::Dot),
        (State::Dot, b'/') => {
            out.pop();
            State::Slash
        }
        (State::Dot, b'.') => push(out, byte, State::DotDot),
        (State::DotDot, b'/') => {
            parent(out)?;
            State::Slash
        }
        _ => push(out, byte, State::Usual),
    })
}

fn push(out: &mut Vec<u8>, byte: u8, next: State) -> State {
    out.push(byte);
    next
}

/// Takes `/name/..` off the end of `out`, leaving the slash before `name`.
fn parent(out: &mut Vec<u8>) -> Result<(), BadTarget> {
    let slash = out.len().checked_sub(4).ok_or(BadTarget)?;
    let keep = out[..=slash].iter().rposition(|b| *b == b'/').ok_or(BadTarget)?;
    out.truncate(keep + 1);
    Ok(())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Splits `text` at its first `?` into path and arguments.
pub fn split_args(text: &Bytes) -> (Bytes, Bytes) {
    match text.iter().position(|b| *b == b'?') {
        Some(at) => (text.slice(..at), text.slice(at + 1..)),
        None => (text.clone(), Bytes::new()),
    }
}

/// `$uri`'s extension in lower case, for the media type: what follows the last `.` after the last `/`.
pub fn extension(path: &[u8]) -> Option<&[u8]> {
    let at = path.iter().rposition(|b| matches!(b, b'.' | b'/'))?;
    (path[at] == b'.').then(|| &path[at + 1..])
}

/// The URI of an `X-Accel-Redirect` or another internal redirect that an upstream asked for: decoded, without `..`.
///
/// # Errors
/// [`BadTarget`] if it is empty, begins with `?`, or has `..` segments or NUL.
pub fn internal(text: &Bytes) -> Result<(Bytes, Bytes), BadTarget> {
    let (path, args) = split_args(text);
    let climbs = |path: &[u8]| path.split(|b| *b == b'/').any(|part| part == b"..");
    let decoded = super::escape::unescape(&path);
    let bad = path.is_empty() || climbs(&path) || climbs(&decoded) || decoded.contains(&0);
    if bad { Err(BadTarget) } else { Ok((decoded, args)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &'static str) -> Option<String> {
        let uri = normalize(&Bytes::from_static(target.as_bytes()), true).ok()?;
        Some(String::from_utf8_lossy(&uri.path).into_owned())
    }

    #[test]
    fn targets_mean_the_path_that_nginx_sees() {
        let table = [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b/.", "/a/b/"),
            ("/a/b/..", "/a/"),
            ("/a/b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/%2e%2e/b", "/b"),
            ("/a%2f%2Fb", "/a/b"),
            ("/%41%7a", "/Az"),
            ("/a%3Fb?c", "/a?b"),
            ("/a%23b#c", "/a#b"),
            ("/a%25%32%65", "/a%2e"),
            ("/.well-known/x", "/.well-known/x"),
            ("/..a/...", "/..a/..."),
            ("/a..", "/a.."),
            ("/a/.?x", "/a/"),
            ("?x", "/"),
        ];
        for (target, expected) in table {
            assert_eq!(path(target).as_deref(), Some(expected), "{target}");
        }
    }

    #[test]
    fn nothing_leads_above_the_root_and_broken_escapes_are_refused() {
        for target in ["/..", "/../a", "/a/../..", "/%2e%2e/", "/%", "/%4", "/%zz", "/%00", "/a/../../b", "/a/%2"] {
            assert_eq!(path(target), None, "{target}");
        }
    }

    #[test]
    fn slashes_stay_if_they_are_not_merged_and_arguments_end_at_a_fragment() {
        let uri = normalize(&Bytes::from_static(b"/a//b?x=1&y=%20#z?"), false).unwrap();
        assert_eq!((&uri.path[..], &uri.args[..], uri.escapes), (&b"/a//b"[..], &b"x=1&y=%20"[..], false));
        assert!(normalize(&Bytes::from_static(b"/a+b"), true).unwrap().escapes);
        assert!(normalize(&Bytes::from_static(b"/a%62"), true).unwrap().escapes);
    }

    #[test]
    fn extensions_belong_to_the_last_segment() {
        assert_eq!(extension(b"/a.b/c.HTML"), Some(&b"HTML"[..]));
        assert_eq!(extension(b"/a.b/c"), None);
        assert_eq!(extension(b"/c."), Some(&b""[..]));
    }

    #[test]
    fn an_internal_redirect_cannot_climb() {
        for bad in ["", "?a", "/a/../b", "..", "/%2e%2e/x", "/%00"] {
            assert_eq!(internal(&Bytes::from_static(bad.as_bytes())), Err(BadTarget), "{bad}");
        }
        let (path, args) = internal(&Bytes::from_static(b"/files/%41?b=%20")).unwrap();
        assert_eq!((&path[..], &args[..]), (&b"/files/A"[..], &b"b=%20"[..]));
    }
}

//! Which bytes must be escaped where? nginx's own tables for URIs, arguments and HTML.

use bytes::Bytes;

/// Which bytes need an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    /// A path put into a URL (`proxy_pass` with a URI part, redirects).
    Uri,
    /// A capture that becomes part of arguments or of a redirect.
    Args,
    /// A component of a URL (names in directory listings).
    Component,
}

impl Escape {
    fn hits(self, byte: u8) -> bool {
        if byte <= b' ' || byte >= 0x7f {
            return true;
        }
        match self {
            Escape::Component => !(byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)),
            Escape::Uri => b"\"#%<>?\\^`{|}".contains(&byte),
            Escape::Args => b"\"#%<>?\\^`{|}&+;".contains(&byte),
        }
    }
}

/// `text` with every byte escaped that needs it; shared if none does.
pub fn escape(text: &Bytes, what: Escape) -> Bytes {
    if !text.iter().any(|b| what.hits(*b)) {
        return text.clone();
    }
    let mut out = Vec::with_capacity(text.len() + 16);
    escape_into(text, what, &mut out);
    Bytes::from(out)
}

/// As [`escape`], behind `out`.
pub fn escape_into(text: &[u8], what: Escape, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text {
        if what.hits(*byte) {
            out.extend_from_slice(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        } else {
            out.push(*byte);
        }
    }
}

/// Decodes every `%xx`; broken escapes lose their `%`, as nginx has it.
pub fn unescape(text: &Bytes) -> Bytes {
    if !text.contains(&b'%') {
        return text.clone();
    }
    unescape_until(text, |_| false).0.into()
}

/// What a `rewrite … redirect` does to its replacement: escapes of plain characters are decoded up to the first `?`,
/// all other escapes stay.
pub fn unescape_redirect(text: &[u8]) -> Vec<u8> {
    let (mut out, rest) = unescape_until(text, |decoded| decoded <= b'%' || decoded >= 0x7f);
    out.extend_from_slice(rest);
    out
}

/// Decodes; stops behind a `?` if `keep` keeps anything at all. `keep(byte)`: the escape of `byte` stays as it is.
fn unescape_until(text: &[u8], keep: impl Fn(u8) -> bool) -> (Vec<u8>, &[u8]) {
    let stops = keep(0);
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let byte = text[at];
        at += 1;
        if byte != b'%' {
            out.push(byte);
            if byte == b'?' && stops {
                return (out, &text[at..]);
            }
            continue;
        }
        let digit = |at: usize| text.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (digit(at), digit(at + 1)) {
            (Some(high), Some(low)) => {
                let decoded = u8::try_from(high << 4 | low).unwrap_or_default();
                at += 2;
                if decoded == b'?' && stops {
                    out.push(b'?');
                    return (out, &text[at..]);
                }
                if keep(decoded) { out.extend_from_slice(&text[at - 3..at]) } else { out.push(decoded) }
            }
            (Some(_), None) => at = (at + 2).min(text.len()),
            (None, _) => {
                out.extend(text.get(at));
                at += 1;
            }
        }
    }
    (out, &[])
}

/// Escapes `<`, `>`, `&` and `"` for HTML.
pub fn html_into(text: &[u8], out: &mut Vec<u8>) {
    for byte in text {
        match byte {
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            other => out.push(*other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_escapes_its_own_bytes() {
        let text = Bytes::from_static(b"/a b?c&d+e;f%\xff~'");
        assert_eq!(escape(&text, Escape::Uri), "/a%20b%3Fc&d+e;f%25%FF~'");
        assert_eq!(escape(&text, Escape::Args), "/a%20b%3Fc%26d%2Be%3Bf%25%FF~'");
        assert_eq!(escape(&text, Escape::Component), "%2Fa%20b%3Fc%26d%2Be%3Bf%25%FF~%27");
        let mut out = Vec::new();
        html_into(b"<a href=\"&\">", &mut out);
        assert_eq!(out, b"&lt;a href=&quot;&amp;&quot;&gt;");
    }

    #[test]
    fn a_redirect_decodes_only_plain_characters_before_its_arguments() {
        assert_eq!(unescape_redirect(b"/%41%20%25%7e?%41"), b"/A%20%25~?%41");
        assert_eq!(unescape(&Bytes::from_static(b"/%41%20?%42")), "/A ?B");
        for broken in [&b"%"[..], b"%4", b"a%zz", b"%%41"] {
            let _ = unescape(&Bytes::copy_from_slice(broken));
        }
    }
}

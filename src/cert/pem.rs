//! What stands in a PEM text? Sections with their labels, as OpenSSL reads them: text around them is skipped, headers of
//! encrypted keys are kept. Judges nothing but the form.

use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// One section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// What stands behind `BEGIN`.
    pub label: &'a str,
    /// `DEK-Info` of an encrypted key in the old form.
    pub dek_info: Option<&'a str>,
    /// The decoded content; wiped, because it may be a key.
    pub der: Zeroizing<Vec<u8>>,
}

/// Why a PEM text cannot be read; the words of OpenSSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPem {
    /// A section has no end, or another one.
    #[error("bad end line")]
    EndLine,
    /// The content is not base64.
    #[error("bad base64 decode")]
    Base64,
}

/// Writes one section, in lines of 64 as RFC 7468 wants them.
pub fn write(out: &mut String, label: &str, der: &[u8]) {
    let text = Zeroizing::new(STANDARD.encode(der));
    let _ = writeln!(out, "-----BEGIN {label}-----");
    let mut rest = &text[..];
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    let _ = writeln!(out, "-----END {label}-----");
}

/// Reads the sections one after the other; ends after the first that is bad.
pub fn sections(text: &[u8]) -> impl Iterator<Item = Result<Section<'_>, BadPem>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (section, after) = next(rest)?;
        rest = if section.is_ok() { after } else { &[] };
        Some(section)
    })
}

fn next(text: &[u8]) -> Option<(Result<Section<'_>, BadPem>, &[u8])> {
    let mut rest = text;
    let label = loop {
        let (line, after) = line(rest)?;
        rest = after;
        if let Some(label) = marker(line, b"-----BEGIN ") {
            break label;
        }
    };
    let mut dek_info = None;
    let mut base64 = Zeroizing::new(Vec::with_capacity(rest.len().min(8192)));
    loop {
        let Some((line, after)) = line(rest) else {
            return Some((Err(BadPem::EndLine), &[]));
        };
        rest = after;
        if line.starts_with(b"-----") {
            let ends = marker(line, b"-----END ") == Some(label);
            let section = if ends { decode(label, dek_info, &base64) } else { Err(BadPem::EndLine) };
            return Some((section, rest));
        }
        match std::str::from_utf8(line).ok().and_then(|text| text.split_once(": ")) {
            Some((name, value)) if base64.is_empty() => {
                if name == "DEK-Info" {
                    dek_info = Some(value);
                }
            }
            _ => base64.extend_from_slice(line),
        }
    }
}

fn decode<'a>(label: &'a str, dek_info: Option<&'a str>, base64: &[u8]) -> Result<Section<'a>, BadPem> {
    let der = STANDARD.decode(base64).map_err(|_| BadPem::Base64)?;
    Ok(Section { label, dek_info, der: Zeroizing::new(der) })
}

/// The first line without its end and spaces at its end, and what follows; `None` at the end of the text.
fn line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    match text.iter().position(|b| *b == b'\n') {
        Some(end) => Some((text[..end].trim_ascii_end(), &text[end + 1..])),
        None => Some((text.trim_ascii_end(), &[])),
    }
}

fn marker<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a str> {
    std::str::from_utf8(line.strip_prefix(start)?.strip_suffix(b"-----")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Result<(String, Vec<u8>), BadPem>> {
        sections(text.as_bytes()).map(|s| s.map(|s| (s.label.to_owned(), s.der.to_vec()))).collect()
    }

    #[test]
    fn sections_are_found_among_other_text_with_any_line_ends() {
        let text = "subject=x\r\n-----BEGIN A-----\r\naGVs\r\nbG8=\r\n-----END A-----\r\n\nnote\n-----BEGIN B C-----\n-----END B C-----";
        assert_eq!(read(text), [Ok(("A".into(), b"hello".to_vec())), Ok(("B C".into(), vec![]))]);
        assert_eq!(read("nothing"), []);
    }

    #[test]
    fn a_cut_or_damaged_section_is_named_and_ends_the_reading() {
        assert_eq!(read("-----BEGIN A-----\naGVs"), [Err(BadPem::EndLine)]);
        assert_eq!(read("-----BEGIN A-----\naGVs\n-----END B-----\n"), [Err(BadPem::EndLine)]);
        let second = "-----BEGIN A-----\n!!!!\n-----END A-----\n-----BEGIN A-----\n-----END A-----\n";
        assert_eq!(read(second), [Err(BadPem::Base64)]);
    }

    #[test]
    fn headers_of_an_encrypted_key_are_kept_apart() {
        let text =
            "-----BEGIN K-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00ff\n\naGVsbG8=\n-----END K-----\n";
        let section = sections(text.as_bytes()).next().unwrap().unwrap();
        assert_eq!((section.dek_info, &section.der[..]), (Some("AES-256-CBC,00ff"), &b"hello"[..]));
    }
}

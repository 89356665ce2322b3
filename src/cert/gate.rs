//! May this bundle be served? The gate before every swap. Hard for every source: it parses, and the key matches. Hard too
//! for what an authority or another node hands over: the chain leads on, the names cover the specification, it is in
//! force. For files these are warnings, because nginx serves them. Pure: bytes and `now` in, verdict out.

use std::path::Path;

use rustls_pki_types::CertificateDer;

use super::bundle::PrivateKey;
use super::inspect::Leaf;
use super::key_file::{self, BadKey};
use super::pem::{self, BadPem};
use crate::clock::UnixTime;
use crate::words::Identifier;

/// A chain and its key that belong together: what can be served. Made only by this gate.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificates, the leaf first; never empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the leaf.
    pub key: PrivateKey,
    /// What the leaf says.
    pub leaf: Leaf,
}

impl From<super::bundle::Bundle> for Pair {
    fn from(bundle: super::bundle::Bundle) -> Pair {
        Pair { chain: bundle.chain, key: bundle.key, leaf: bundle.leaf }
    }
}

/// Where a bundle comes from; files are judged as nginx judges them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// `ssl_certificate FILE`.
    File,
    /// A certificate authority has just issued it.
    Authority,
    /// Another node has sent it.
    Peer,
}

/// The bytes of a certificate file, its key file, and the password file.
#[derive(Clone, Copy)]
pub struct FileBytes<'a> {
    /// `ssl_certificate`.
    pub certificate: &'a [u8],
    /// `ssl_certificate_key`.
    pub key: &'a [u8],
    /// `ssl_password_file`.
    pub passwords: Option<&'a [u8]>,
}

/// Which of the two files is at fault, and why; printed in nginx's words. The same bytes will never do, others may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFault {
    /// The leaf, or what should be one.
    Leaf(ChainFault),
    /// A certificate behind the leaf.
    Chain(ChainFault),
    /// The key.
    Key(BadKey),
}

/// What is wrong with a chain of certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// There is none.
    #[error("SSL: error:0480006C:PEM routines::no start line:Expecting: TRUSTED CERTIFICATE")]
    None,
    /// A section is cut.
    #[error("SSL: error:04800066:PEM routines::bad end line")]
    EndLine,
    /// A section is no base64.
    #[error("SSL: error:04800064:PEM routines::bad base64 decode")]
    Base64,
    /// A section is no certificate.
    #[error("SSL: error:0688010A:asn1 encoding routines::nested asn1 error")]
    NotACertificate,
}

impl From<BadPem> for ChainFault {
    fn from(bad: BadPem) -> ChainFault {
        match bad {
            BadPem::EndLine => ChainFault::EndLine,
            BadPem::Base64 => ChainFault::Base64,
        }
    }
}

impl FileFault {
    /// The message that nginx prints behind `[emerg]`.
    pub fn message(&self, certificate: &Path, key: &Path) -> String {
        let (certificate, key) = (certificate.display(), key.display());
        match self {
            FileFault::Leaf(fault) => {
                format!("cannot load certificate \"{certificate}\": PEM_read_bio_X509_AUX() failed ({fault})")
            }
            FileFault::Chain(fault) => {
                format!("cannot load certificate \"{certificate}\": PEM_read_bio_X509() failed ({fault})")
            }
            FileFault::Key(BadKey::Mismatch) => format!(
                "SSL_CTX_use_PrivateKey(\"{key}\") failed \
                 (SSL: error:05800074:x509 certificate routines::key values mismatch)"
            ),
            FileFault::Key(fault) => {
                let why = match fault {
                    BadKey::Password => "SSL: error:1C800064:Provider routines::bad decrypt".to_owned(),
                    BadKey::Cipher => fault.to_string(),
                    _ => "SSL: error:1E08010C:DECODER routines::unsupported:\
                          No supported data to decode. Input type: PEM"
                        .to_owned(),
                };
                format!("cannot load certificate key \"{key}\": PEM_read_bio_PrivateKey() failed ({why})")
            }
        }
    }
}

/// The message that nginx prints when a certificate or key file cannot be opened.
pub fn open_failed(what: &str, path: &Path, error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split_once(" (os error").map_or(&text[..], |(words, _)| words);
    let number = 0x8000_0000_u32 | u32::try_from(error.raw_os_error().unwrap_or(0)).unwrap_or(0);
    let path = path.display();
    let mut out = format!(
        "cannot load {what} \"{path}\": BIO_new_file() failed \
         (SSL: error:{number:08X}:system library::{words}:calling fopen({path}, r) error:"
    );
    out.push_str(if error.kind() == std::io::ErrorKind::NotFound {
        "10000080:BIO routines::no such file)"
    } else {
        "10080002:BIO routines::system lib)"
    });
    out
}

/// The hard part for files: they parse, and the key matches.
///
/// # Errors
/// [`FileFault`], which names the culprit.
pub fn read_files(bytes: FileBytes<'_>) -> Result<Pair, FileFault> {
    let (chain, leaf, public) = read_chain(bytes.certificate)?;
    let passwords = bytes.passwords.map(key_file::passwords).unwrap_or_default();
    let key = key_file::read(bytes.key, &passwords, &public).map_err(FileFault::Key)?;
    Ok(Pair { chain, key, leaf })
}

/// Certificates of a PEM text, the leaf first, with what the leaf says and its public key.
fn read_chain(text: &[u8]) -> Result<(Vec<CertificateDer<'static>>, Leaf, Vec<u8>), FileFault> {
    let mut chain: Vec<CertificateDer<'static>> = Vec::new();
    let mut head = None;
    for section in pem::sections(text) {
        let fault = if head.is_some() { FileFault::Chain } else { FileFault::Leaf };
        let section = section.map_err(|bad| fault(bad.into()))?;
        if !matches!(section.label, "CERTIFICATE" | "X509 CERTIFICATE" | "TRUSTED CERTIFICATE") {
            continue;
        }
        let bad = |_| fault(ChainFault::NotACertificate);
        if head.is_none() {
            head = Some(Leaf::read_with_key(&section.der).map_err(bad)?);
        } else {
            x509_parser::parse_x509_certificate(&section.der).map_err(|_| fault(ChainFault::NotACertificate))?;
        }
        chain.push(CertificateDer::from(section.der.to_vec()));
    }
    let (leaf, public) = head.ok_or(FileFault::Leaf(ChainFault::None))?;
    Ok((chain, leaf, public))
}

/// What speaks against a bundle that can be served. Hard or soft: see [`judge`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Objection {
    /// It does not speak for these names.
    #[error("it does not speak for {}", list(.0))]
    Names(Vec<Identifier>),
    /// Its life is over.
    #[error("it expired at {0}")]
    Expired(UnixTime),
    /// Its life has not begun. Never hard: it may be our clock that is wrong.
    #[error("it is not valid before {0}")]
    NotYet(UnixTime),
    /// A certificate of the chain is not the issuer of the one before it, or intermediates are missing.
    #[error("certificate {0} of the chain did not issue the one before it")]
    Chain(usize),
    /// Only the leaf was handed over.
    #[error("the chain consists of the leaf alone")]
    Alone,
    /// The key signs with an algorithm that no client of ours takes.
    #[error("its key is of a kind that is not served here")]
    Key,
}

fn list(names: &[Identifier]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// What the gate says of a bundle that parses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Why it must not be served; empty: it may.
    pub refusals: Vec<Objection>,
    /// What an operator should know.
    pub warnings: Vec<Objection>,
}

impl Verdict {
    /// Whether it may be swapped in.
    pub fn passes(&self) -> bool {
        self.refusals.is_empty()
    }
}

/// Judges `pair` for the names `wanted`. No bundle is refused only because the local clock says "not yet".
pub fn judge(pair: &Pair, wanted: &[Identifier], source: Source, now: UnixTime) -> Verdict {
    let mut objections = Vec::new();
    let missing: Vec<_> = wanted.iter().filter(|name| !pair.leaf.covers(name)).cloned().collect();
    if !missing.is_empty() {
        objections.push(Objection::Names(missing));
    }
    if pair.leaf.not_after <= now {
        objections.push(Objection::Expired(pair.leaf.not_after));
    }
    objections.extend(chain_objection(pair));
    let (refusals, mut warnings) =
        if source == Source::File { (Vec::new(), objections) } else { (objections, Vec::new()) };
    if now < pair.leaf.not_before {
        warnings.push(Objection::NotYet(pair.leaf.not_before));
    }
    if pair.leaf.key == super::inspect::PublicKeyKind::Other {
        warnings.push(Objection::Key);
    }
    Verdict { refusals, warnings }
}

/// Does each certificate of the chain carry the name that issued the one before it? Signatures are left to clients:
/// a wrong one would have to be made on purpose by someone who holds the key.
fn chain_objection(pair: &Pair) -> Option<Objection> {
    if pair.chain.len() == 1 {
        return (!pair.leaf.self_issued).then_some(Objection::Alone);
    }
    let names = |der: &CertificateDer<'_>| {
        let (_, cert) = x509_parser::parse_x509_certificate(der).ok()?;
        Some((cert.subject().as_raw().to_vec(), cert.issuer().as_raw().to_vec()))
    };
    let links: Option<Vec<_>> = pair.chain.iter().map(names).collect();
    let links = links?;
    let broken = links.windows(2).position(|two| two[0].1 != two[1].0)?;
    Some(Objection::Chain(broken + 2))
}

/// What to do with a new file when another certificate is being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replacement {
    /// Swap it in.
    Take,
    /// Keep the present one, and say so loudly: it is valid, and the new one is worse.
    HoldBack(Objection),
}

/// Whether the file certificate `new` replaces `present` for the names that are in use. It is held back only when the
/// present one is in force and the new one is expired or covers fewer of these names. A shorter life alone is no reason.
pub fn replaces(present: Option<&Leaf>, new: &Leaf, in_use: &[Identifier], now: UnixTime) -> Replacement {
    let Some(present) = present.filter(|leaf| leaf.not_after > now) else {
        return Replacement::Take;
    };
    if new.not_after <= now {
        return Replacement::HoldBack(Objection::Expired(new.not_after));
    }
    let lost: Vec<_> = in_use.iter().filter(|name| present.covers(name) && !new.covers(name)).cloned().collect();
    let gained = in_use.iter().filter(|name| !present.covers(name) && new.covers(name)).count();
    if lost.len() > gained { Replacement::HoldBack(Objection::Names(lost)) } else { Replacement::Take }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

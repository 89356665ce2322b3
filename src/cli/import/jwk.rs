//! How is a private key read that is written as a JSON Web Key (RFC 7517, 7518)? certbot keeps account keys so.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::{Zeroize, Zeroizing};

use crate::cert::bundle::PrivateKey;

/// The members of a private key. What else stands there is no matter.
#[derive(serde::Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    d: Option<String>,
    n: Option<String>,
    e: Option<String>,
    p: Option<String>,
    q: Option<String>,
    dp: Option<String>,
    dq: Option<String>,
    qi: Option<String>,
}

impl Drop for Jwk {
    fn drop(&mut self) {
        let secret = [&mut self.d, &mut self.p, &mut self.q, &mut self.dp, &mut self.dq, &mut self.qi];
        secret.into_iter().for_each(Zeroize::zeroize);
    }
}

/// The key, or why it is of no use here.
pub fn key(text: &[u8]) -> Result<PrivateKey, String> {
    let jwk: Jwk = serde_json::from_slice(text).map_err(|_| "not a JSON Web Key".to_owned())?;
    let (label, der) = match (&jwk.kty[..], jwk.crv.as_deref()) {
        ("RSA", _) => ("RSA PRIVATE KEY", rsa(&jwk)),
        ("EC", Some("P-256")) => ("EC PRIVATE KEY", ec(&jwk)),
        _ => return Err("neither an RSA key nor one of ECDSA P-256".to_owned()),
    };
    let damaged = || "a damaged key".to_owned();
    let mut pem = Zeroizing::new(String::with_capacity(8192));
    crate::cert::pem::write(&mut pem, label, &der.ok_or_else(damaged)?);
    PrivateKey::from_pem(pem.as_bytes()).map_err(|_| damaged())
}

fn bytes(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    URL_SAFE_NO_PAD.decode(text).ok().map(Zeroizing::new)
}

/// RFC 5915: version 1, the scalar, the curve prime256v1; the public half follows from it.
fn ec(jwk: &Jwk) -> Option<Zeroizing<Vec<u8>>> {
    let scalar = bytes(jwk.d.as_ref()?).filter(|scalar| scalar.len() == 32)?;
    let mut der = Zeroizing::new(Vec::with_capacity(64));
    der.extend_from_slice(&[0x30, 49, 2, 1, 1, 4, 32]);
    der.extend_from_slice(&scalar);
    der.extend_from_slice(&[0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    Some(der)
}

/// RFC 8017 A.1.2: version 0, then the numbers.
fn rsa(jwk: &Jwk) -> Option<Zeroizing<Vec<u8>>> {
    let secret = [&jwk.d, &jwk.p, &jwk.q, &jwk.dp, &jwk.dq, &jwk.qi];
    let mut body = Zeroizing::new(Vec::with_capacity(8192));
    body.extend_from_slice(&[2, 1, 0]);
    integer(&mut body, &bytes(jwk.n.as_ref()?)?);
    integer(&mut body, &bytes(jwk.e.as_ref()?)?);
    for number in secret {
        integer(&mut body, &bytes(number.as_ref()?)?);
    }
    let mut der = Zeroizing::new(Vec::with_capacity(8192));
    der.push(0x30);
    length(&mut der, body.len());
    der.extend_from_slice(&body);
    Some(der)
}

/// A positive INTEGER of DER.
fn integer(out: &mut Vec<u8>, number: &[u8]) {
    let begin = number.iter().position(|byte| *byte != 0).unwrap_or(number.len());
    let number = &number[begin..];
    let sign = number.first().is_none_or(|first| first & 0x80 != 0);
    out.push(2);
    length(out, number.len() + usize::from(sign));
    if sign {
        out.push(0);
    }
    out.extend_from_slice(number);
}

fn length(out: &mut Vec<u8>, length: usize) {
    match length {
        0..=0x7f => out.push(length as u8),
        0x80..=0xff => out.extend_from_slice(&[0x81, length as u8]),
        _ => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ec_key_is_read_and_others_are_named() {
        // The key of RFC 7517, appendix A.2.
        let text = br#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
            "y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM","d":"870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE"}"#;
        let key = super::key(text).unwrap();
        let pair = rcgen::KeyPair::try_from(&key.der()).unwrap();
        let point = pair.public_key_raw();
        assert_eq!(URL_SAFE_NO_PAD.encode(&point[1..33]), "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4");
        for (bad, word) in [
            (&br#"{"kty":"RSA","n":"AQAB","d":"AQAB"}"#[..], "damaged"),
            (br#"{"kty":"EC","crv":"P-256","d":"AQAB"}"#, "damaged"),
            (br#"{"kty":"EC","crv":"P-384","d":"AQAB"}"#, "neither"),
            (b"<html>", "JSON"),
        ] {
            assert!(super::key(bad).unwrap_err().contains(word), "{word}");
        }
    }
}

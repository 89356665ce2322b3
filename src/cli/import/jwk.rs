//! How is a private key read that is written as a JSON Web Key (RFC 7517, 7518)? certbot keeps account keys so.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::cert::bundle::PrivateKey;

/// The members of a private EC key. What else stands there is no matter.
#[derive(serde::Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    d: Option<String>,
}

/// The key, or why it is of no use here.
pub fn key(text: &[u8]) -> Result<PrivateKey, String> {
    let jwk: Jwk = serde_json::from_slice(text).map_err(|_| "not a JSON Web Key".to_owned())?;
    if jwk.kty == "RSA" {
        return Err("an RSA key: account keys here are ECDSA P-256, so a new account is made".to_owned());
    }
    let secret = jwk.d.filter(|_| jwk.kty == "EC" && jwk.crv.as_deref() == Some("P-256"));
    let secret = secret.map(Zeroizing::new).ok_or("not an ECDSA P-256 key")?;
    let scalar = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret.as_bytes()).map_err(|_| "a damaged key")?);
    if scalar.len() != 32 {
        return Err("a damaged key".to_owned());
    }
    // RFC 5915: version 1, the scalar, the curve prime256v1; the public half follows from it.
    let mut der = Zeroizing::new(vec![0x30, 49, 2, 1, 1, 4, 32]);
    der.extend_from_slice(&scalar);
    der.extend_from_slice(&[0xa0, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]);
    let mut pem = Zeroizing::new(String::new());
    crate::cert::pem::write(&mut pem, "EC PRIVATE KEY", &der);
    PrivateKey::from_pem(pem.as_bytes()).map_err(|_| "a damaged key".to_owned())
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
            (&br#"{"kty":"RSA","n":"AQAB","d":"AQAB"}"#[..], "RSA"),
            (br#"{"kty":"EC","crv":"P-256","d":"AQAB"}"#, "damaged"),
            (br#"{"kty":"EC","crv":"P-384","d":"AQAB"}"#, "P-256"),
            (b"<html>", "JSON"),
        ] {
            assert!(super::key(bad).unwrap_err().contains(word), "{word}");
        }
    }
}

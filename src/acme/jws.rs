//! How is a request signed that instant-acme cannot make? newAccount with a key of our own, contacts and an external
//! account binding at once (RFC 8555 6.2, 7.3.4), a change to a key that we keep first, a revocation by the certificate's
//! own key; and every request of an account whose key is not ECDSA P-256, the one kind that instant-acme signs with: what
//! it made is signed once more on its way out ([`AccountKey::again`]).

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use x509_parser::prelude::FromDer;

use super::Doomed;
use crate::cert::bundle::PrivateKey;

/// The key that signs for an account.
pub struct AccountKey {
    pair: Pair,
    private: PrivateKey,
}

enum Pair {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Rsa(Box<RsaKeyPair>),
}

/// The key is of no kind that authorities take for accounts. The operator's to mend, or a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account key must be ECDSA P-256 or P-384, or RSA")]
pub struct NotAnAccountKey;

impl AccountKey {
    /// Takes a key.
    pub fn new(private: PrivateKey) -> Result<AccountKey, NotAnAccountKey> {
        let der = private.der();
        let der = der.secret_pkcs8_der();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der).map(Pair::P256);
        let pair = pair.or_else(|_| EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, der).map(Pair::P384));
        let pair = pair.or_else(|_| RsaKeyPair::from_pkcs8(der).map(|pair| Pair::Rsa(Box::new(pair))));
        Ok(AccountKey { pair: pair.map_err(|_| NotAnAccountKey)?, private })
    }

    /// The key itself.
    pub fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// Whether instant-acme can sign with it.
    pub fn is_known_to_library(&self) -> bool {
        matches!(self.pair, Pair::P256(_))
    }

    /// The digest that stands behind the dot of every key authorization (RFC 7638).
    pub fn thumbprint(&self) -> String {
        // RFC 7638 3: the members of the JWK in the order of their names, no space.
        let text = self.jwk().to_string();
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
    }

    /// A request that another key has signed, signed by this one; payload, nonce, URL and account stay what they are.
    pub fn again(&self, body: &[u8]) -> Option<Vec<u8>> {
        let body: Value = serde_json::from_slice(body).ok()?;
        let protected = URL_SAFE_NO_PAD.decode(body["protected"].as_str()?).ok()?;
        let mut protected: Value = serde_json::from_slice(&protected).ok()?;
        protected["alg"] = self.algorithm().into();
        if protected.get("jwk").is_some() {
            protected["jwk"] = self.jwk();
        }
        let signed = self.sign_encoded(encode(&protected), body["payload"].as_str()?.to_owned())?;
        serde_json::to_vec(&signed).ok()
    }

    /// A newAccount request as its body: `payload` signed for `url` with `nonce`.
    pub fn new_account(&self, url: &str, nonce: &str, payload: &Value) -> Option<Vec<u8>> {
        let protected = json!({ "alg": self.algorithm(), "jwk": self.jwk(), "nonce": nonce, "url": url });
        serde_json::to_vec(&self.sign(&protected, payload)?).ok()
    }

    /// A request of the account `kid` as its body: `payload` signed for `url` with `nonce`.
    pub fn request(&self, kid: &str, url: &str, nonce: &str, payload: &Value) -> Option<Vec<u8>> {
        let protected = json!({ "alg": self.algorithm(), "kid": kid, "nonce": nonce, "url": url });
        serde_json::to_vec(&self.sign(&protected, payload)?).ok()
    }

    /// What the account `kid` of the key `old` sends to `url`, so that this key takes its place (RFC 8555 7.3.5).
    pub fn takes_over(&self, kid: &str, old: &AccountKey, url: &str) -> Option<Value> {
        let protected = json!({ "alg": self.algorithm(), "jwk": self.jwk(), "url": url });
        self.sign(&protected, &json!({ "account": kid, "oldKey": old.jwk() }))
    }

    fn sign(&self, protected: &Value, payload: &Value) -> Option<Value> {
        self.sign_encoded(encode(protected), encode(payload))
    }

    fn sign_encoded(&self, protected: String, payload: String) -> Option<Value> {
        let (random, message) = (SystemRandom::new(), format!("{protected}.{payload}"));
        let signature = match &self.pair {
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message.as_bytes()).ok()?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).ok()?;
                signature
            }
        };
        let signature = URL_SAFE_NO_PAD.encode(signature);
        Some(json!({ "protected": protected, "payload": payload, "signature": signature }))
    }

    /// The member `externalAccountBinding` of a newAccount request to `url`.
    pub fn binding(&self, kid: &str, secret: &[u8], url: &str) -> Value {
        let protected = encode(&json!({ "alg": "HS256", "kid": kid, "url": url }));
        let payload = encode(&self.jwk());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        json!({ "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(tag) })
    }

    /// RFC 7518 3.1.
    fn algorithm(&self) -> &'static str {
        match self.pair {
            Pair::P256(_) => "ES256",
            Pair::P384(_) => "ES384",
            Pair::Rsa(_) => "RS256",
        }
    }

    fn jwk(&self) -> Value {
        match &self.pair {
            Pair::P256(pair) => point("P-256", pair.public_key().as_ref()),
            Pair::P384(pair) => point("P-384", pair.public_key().as_ref()),
            Pair::Rsa(pair) => modulus(pair.public_key().as_ref()),
        }
    }
}

/// A revocation as its body, signed by the key of the certificate itself (RFC 8555 7.6): ECDSA P-256 and P-384, RSA.
pub fn revocation(doomed: &Doomed, url: &str, nonce: &str, payload: &Value) -> Option<Vec<u8>> {
    AccountKey::new(doomed.key.clone()).ok()?.new_account(url, nonce, payload)
}

/// The JWK of an uncompressed point: 4, then two coordinates of the same length (SEC 1 2.3.3).
fn point(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    json!({ "crv": curve, "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
}

/// The JWK of an RSAPublicKey (RFC 8017 A.1.1).
fn modulus(der: &[u8]) -> Value {
    let plain = |bytes: &[u8]| {
        let begin = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        URL_SAFE_NO_PAD.encode(&bytes[begin..])
    };
    match x509_parser::public_key::RSAPublicKey::from_der(der) {
        Ok((_, key)) => json!({ "e": plain(key.exponent), "kty": "RSA", "n": plain(key.modulus) }),
        Err(_) => Value::Null,
    }
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    };

    use super::*;
    use crate::acme::keys;
    use crate::plan::certificate::KeyKind;

    fn check(key: &AccountKey, body: &[u8]) -> Value {
        let body: Value = serde_json::from_slice(body).unwrap();
        let part = |name: &str| body[name].as_str().unwrap().to_owned();
        let signature = URL_SAFE_NO_PAD.decode(part("signature")).unwrap();
        let message = format!("{}.{}", part("protected"), part("payload"));
        let verified = match &key.pair {
            Pair::P256(pair) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())
                .verify(message.as_bytes(), &signature),
            Pair::P384(pair) => UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, pair.public_key().as_ref())
                .verify(message.as_bytes(), &signature),
            Pair::Rsa(pair) => UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref())
                .verify(message.as_bytes(), &signature),
        };
        verified.unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part("protected")).unwrap()).unwrap()
    }

    #[test]
    fn a_request_is_signed_over_what_it_says_with_keys_of_every_kind() {
        for (kind, algorithm) in
            [(KeyKind::EcdsaP256, "ES256"), (KeyKind::EcdsaP384, "ES384"), (KeyKind::Rsa2048, "RS256")]
        {
            let key = AccountKey::new(keys::generate(kind).unwrap()).unwrap();
            let body = key.new_account("https://ca/new", "n", &json!({ "contact": [] })).unwrap();
            let protected = check(&key, &body);
            assert_eq!((&protected["url"], &protected["nonce"]), (&json!("https://ca/new"), &json!("n")));
            assert_eq!((&protected["alg"], protected["jwk"].is_object()), (&json!(algorithm), true));
            assert_eq!(key.is_known_to_library(), kind == KeyKind::EcdsaP256);
            assert_eq!(key.thumbprint().len(), 43);
        }
    }

    #[test]
    fn what_another_key_signed_is_signed_again_and_says_the_same() {
        let library = AccountKey::new(keys::generate(KeyKind::EcdsaP256).unwrap()).unwrap();
        let ours = AccountKey::new(keys::generate(KeyKind::EcdsaP384).unwrap()).unwrap();
        let body = library.request("https://ca/acct/1", "https://ca/order", "n", &json!({ "a": 1 })).unwrap();
        let again = ours.again(&body).unwrap();
        let protected = check(&ours, &again);
        assert_eq!(
            protected,
            json!({ "alg": "ES384", "kid": "https://ca/acct/1", "nonce": "n", "url": "https://ca/order" })
        );
        let payload = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["payload"].clone();
        assert_eq!(payload(&again), payload(&body));
        assert!(ours.again(b"").is_none() && ours.again(br#"{"protected":"!"}"#).is_none());
    }

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // RFC 7638 3.1.
        let jwk = json!({
            "e": "AQAB", "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        });
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jwk.to_string().as_bytes());
        assert_eq!(URL_SAFE_NO_PAD.encode(digest), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    }
}

//! How is a request signed that instant-acme cannot make? newAccount with a key of our own, contacts and an external
//! account binding at once (RFC 8555 6.2, 7.3.4), a change to a key that we keep first, a revocation by the certificate's
//! own key. ECDSA P-256 accounts only, as instant-acme.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Doomed;
use crate::cert::bundle::PrivateKey;

/// The key that signs for an account.
pub struct AccountKey {
    pair: EcdsaKeyPair,
    private: PrivateKey,
}

/// The key is no ECDSA P-256 key. The operator's to mend, or a damaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an account key must be an ECDSA P-256 key")]
pub struct NotAnAccountKey;

impl AccountKey {
    /// Takes a key.
    pub fn new(private: PrivateKey) -> Result<AccountKey, NotAnAccountKey> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, private.der().secret_pkcs8_der());
        Ok(AccountKey { pair: pair.map_err(|_| NotAnAccountKey)?, private })
    }

    /// The key itself.
    pub fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// The digest that stands behind the dot of every key authorization (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let (x, y) = self.coordinates();
        // RFC 7638 3: these members, in this order, no space.
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        URL_SAFE_NO_PAD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()))
    }

    /// A newAccount request as its body: `payload` signed for `url` with `nonce`.
    pub fn new_account(&self, url: &str, nonce: &str, payload: &Value) -> Option<Vec<u8>> {
        let protected = json!({ "alg": "ES256", "jwk": self.jwk(), "nonce": nonce, "url": url });
        serde_json::to_vec(&self.sign(&protected, payload)?).ok()
    }

    /// A request of the account `kid` as its body: `payload` signed for `url` with `nonce`.
    pub fn request(&self, kid: &str, url: &str, nonce: &str, payload: &Value) -> Option<Vec<u8>> {
        let protected = json!({ "alg": "ES256", "kid": kid, "nonce": nonce, "url": url });
        serde_json::to_vec(&self.sign(&protected, payload)?).ok()
    }

    /// What the account `kid` of the key `old` sends to `url`, so that this key takes its place (RFC 8555 7.3.5).
    pub fn takes_over(&self, kid: &str, old: &AccountKey, url: &str) -> Option<Value> {
        let protected = json!({ "alg": "ES256", "jwk": self.jwk(), "url": url });
        self.sign(&protected, &json!({ "account": kid, "oldKey": old.jwk() }))
    }

    fn sign(&self, protected: &Value, payload: &Value) -> Option<Value> {
        let (protected, payload) = (encode(protected), encode(payload));
        let signed = self.pair.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).ok()?;
        Some(json!({ "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signed) }))
    }

    /// The member `externalAccountBinding` of a newAccount request to `url`.
    pub fn binding(&self, kid: &str, secret: &[u8], url: &str) -> Value {
        let protected = encode(&json!({ "alg": "HS256", "kid": kid, "url": url }));
        let payload = encode(&self.jwk());
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let tag = hmac::sign(&key, format!("{protected}.{payload}").as_bytes());
        json!({ "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(tag) })
    }

    fn jwk(&self) -> Value {
        point("P-256", self.pair.public_key().as_ref())
    }

    fn coordinates(&self) -> (String, String) {
        // The public key is an uncompressed point: 4, then two coordinates of 32 bytes (SEC 1 2.3.3).
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
}

/// Signs a message with a key of some kind.
type Signer = Box<dyn Fn(&[u8]) -> Option<Vec<u8>>>;

/// A revocation as its body, signed by the key of the certificate itself (RFC 8555 7.6): ECDSA P-256 and P-384, RSA.
pub fn revocation(doomed: &Doomed, url: &str, nonce: &str, payload: &Value) -> Option<Vec<u8>> {
    let der = doomed.key.der();
    let der = der.secret_pkcs8_der();
    let ecdsa = |curve: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::from_pkcs8(curve, der).ok();
    let random = SystemRandom::new();
    let (head, signer): (Value, Signer) = if let Some(pair) = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING) {
        (json!({ "alg": "ES256", "jwk": point("P-256", pair.public_key().as_ref()) }), signs(pair, random))
    } else if let Some(pair) = ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING) {
        (json!({ "alg": "ES384", "jwk": point("P-384", pair.public_key().as_ref()) }), signs(pair, random))
    } else {
        let pair = RsaKeyPair::from_pkcs8(der).ok()?;
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).ok()?;
            Some(signature)
        };
        (json!({ "alg": "RS256", "jwk": modulus(&doomed.leaf)? }), Box::new(sign))
    };
    let mut protected = head;
    protected["nonce"] = nonce.into();
    protected["url"] = url.into();
    let (protected, payload) = (encode(&protected), encode(payload));
    let signature = URL_SAFE_NO_PAD.encode(signer(format!("{protected}.{payload}").as_bytes())?);
    serde_json::to_vec(&json!({ "protected": protected, "payload": payload, "signature": signature })).ok()
}

fn signs(pair: EcdsaKeyPair, random: SystemRandom) -> Signer {
    Box::new(move |message| pair.sign(&random, message).ok().map(|signature| signature.as_ref().to_vec()))
}

/// The JWK of an uncompressed point: 4, then two coordinates of the same length (SEC 1 2.3.3).
fn point(curve: &str, point: &[u8]) -> Value {
    let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
    json!({ "crv": curve, "kty": "EC", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y) })
}

/// The JWK of a certificate with an RSA key.
fn modulus(leaf: &[u8]) -> Option<Value> {
    let (_, leaf) = x509_parser::parse_x509_certificate(leaf).ok()?;
    let x509_parser::public_key::PublicKey::RSA(key) = leaf.public_key().parsed().ok()? else { return None };
    let plain = |bytes: &[u8]| {
        let begin = bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len());
        URL_SAFE_NO_PAD.encode(&bytes[begin..])
    };
    Some(json!({ "e": plain(key.exponent), "kty": "RSA", "n": plain(key.modulus) }))
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;
    use crate::acme::keys;
    use crate::plan::certificate::KeyKind;

    #[test]
    fn a_request_is_signed_over_what_it_says() {
        let key = AccountKey::new(keys::generate(KeyKind::EcdsaP256).unwrap()).unwrap();
        let body = key.new_account("https://ca/new", "n", &json!({ "contact": [] })).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let part = |name: &str| body[name].as_str().unwrap().to_owned();
        let signature = URL_SAFE_NO_PAD.decode(part("signature")).unwrap();
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.pair.public_key().as_ref());
        let message = format!("{}.{}", part("protected"), part("payload"));
        public.verify(message.as_bytes(), &signature).unwrap();
        let protected: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part("protected")).unwrap()).unwrap();
        assert_eq!((&protected["url"], &protected["nonce"]), (&json!("https://ca/new"), &json!("n")));
        assert_eq!(protected["jwk"]["x"].as_str().unwrap().len(), 43);
    }

    #[test]
    fn only_p256_keys_are_account_keys() {
        let key = keys::generate(KeyKind::EcdsaP384).unwrap();
        assert!(AccountKey::new(key).is_err());
    }
}

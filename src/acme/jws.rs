//! How is a request signed that instant-acme cannot make? newAccount with a key of our own, contacts and an external
//! account binding at once (RFC 8555 6.2, 7.3.4). ECDSA P-256 accounts only, as instant-acme.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

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
        let (protected, payload) = (encode(&protected), encode(payload));
        let signed = self.pair.sign(&SystemRandom::new(), format!("{protected}.{payload}").as_bytes()).ok()?;
        let body = json!({ "protected": protected, "payload": payload, "signature": URL_SAFE_NO_PAD.encode(signed) });
        serde_json::to_vec(&body).ok()
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
        let (x, y) = self.coordinates();
        json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
    }

    fn coordinates(&self) -> (String, String) {
        // The public key is an uncompressed point: 4, then two coordinates of 32 bytes (SEC 1 2.3.3).
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
        (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y))
    }
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

//! Which certificates are held? One slot for each source of the plan; a slot is swapped as a whole and every worker sees
//! the new one with its next handshake. Keys are loaded when they first sign. Judges nothing: `cert::gate` has.

use crate::cert::bundle::PrivateKey;
use crate::cert::choose::by_schemes;
use crate::cert::gate::Pair;
use crate::cert::inspect::PublicKeyKind;
use crate::clock::UnixTime;
use crate::plan::tls::CertificateSource;
use crate::words::{Fingerprint, Identifier};
use arc_swap::ArcSwapOption;
use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

/// The key cannot sign. Whose fault: whoever made it; the same key will never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private key cannot be used for signing")]
pub struct DeadKey;

/// A bundle that is being served, or can be at once.
#[derive(Debug)]
pub struct Held {
    leaf: Box<[u8]>,
    issuers: Arc<[CertificateDer<'static>]>,
    key: PrivateKey,
    /// The kind of its key.
    pub kind: PublicKeyKind,
    /// In force from this moment on.
    pub not_before: UnixTime,
    /// In force up to this moment.
    pub not_after: UnixTime,
    /// The digest of the leaf.
    pub fingerprint: Fingerprint,
    signer: OnceLock<Option<Arc<CertifiedKey>>>,
}

impl Held {
    /// The whole chain, the leaf first.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        let leaf = CertificateDer::from(self.leaf.to_vec());
        std::iter::once(leaf).chain(self.issuers.iter().cloned()).collect()
    }

    /// The leaf in DER.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    /// Whether this is the same bundle as `pair`: certificate, chain and key.
    pub fn shows(&self, pair: &Pair) -> bool {
        let key = || self.key.der().secret_pkcs8_der() == pair.key.der().secret_pkcs8_der();
        self.fingerprint == pair.leaf.fingerprint && self.issuers[..] == pair.chain[1..] && key()
    }

    /// What rustls signs with; loads the key if this is the first use.
    ///
    /// # Errors
    /// [`DeadKey`].
    pub fn signer(&self) -> Result<Arc<CertifiedKey>, DeadKey> {
        let load = || {
            let key = PrivateKeyDer::Pkcs8(self.key.der());
            let key = any_supported_type(&key).ok();
            if key.is_none() {
                tracing::error!("the private key of certificate {} cannot be used for signing", self.fingerprint);
            }
            let leaf = CertificateDer::from(self.leaf.to_vec());
            let chain = std::iter::once(leaf).chain(self.issuers.iter().cloned()).collect();
            Some(Arc::new(CertifiedKey::new(chain, key?)))
        };
        self.signer.get_or_init(load).clone().ok_or(DeadKey)
    }
}

/// The place of one certificate: what is shown for one source of the plan. Outlives plans.
#[derive(Debug, Default)]
pub struct Slot {
    main: ArcSwapOption<Held>,
    /// Names for which another one is shown; nearly always empty.
    apart: ArcSwapOption<Vec<(Identifier, Arc<Held>)>>,
}

impl Slot {
    /// What it holds now.
    pub fn held(&self) -> Option<Arc<Held>> {
        self.main.load_full()
    }

    /// What it shows to a client that asks for `sni`.
    pub fn shown_for(&self, sni: &str) -> Option<Arc<Held>> {
        self.shown(Some(sni))
    }

    fn shown(&self, sni: Option<&str>) -> Option<Arc<Held>> {
        if let Some(apart) = &*self.apart.load() {
            let asked = |name: &Identifier| match (name, sni) {
                (Identifier::Dns(name), Some(sni)) => name.covers(sni),
                _ => false,
            };
            if let Some((_, held)) = apart.iter().find(|(name, _)| asked(name)) {
                return Some(held.clone());
            }
        }
        self.held()
    }
}

/// All certificates of the process.
#[derive(Debug)]
pub struct Certificates {
    slots: Mutex<HashMap<CertificateSource, Arc<Slot>>>,
    issuers: Mutex<HashMap<Fingerprint, Weak<[CertificateDer<'static>]>>>,
    placeholder: Arc<CertifiedKey>,
}

impl Certificates {
    /// An empty table with a fresh self-signed placeholder, shown where nothing is held.
    ///
    /// # Errors
    /// The system has no randomness, or the cryptographic library refuses to make a key.
    pub fn new() -> Result<Arc<Certificates>, rcgen::Error> {
        let key = rcgen::KeyPair::generate()?;
        let mut params = rcgen::CertificateParams::new(vec!["placeholder.invalid".to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, "semper placeholder: no certificate yet");
        let certificate = params.self_signed(&key)?;
        let der = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let signer = any_supported_type(&der).map_err(|_| rcgen::Error::RemoteKeyError)?;
        let placeholder = Arc::new(CertifiedKey::new(vec![certificate.der().clone()], signer));
        Ok(Arc::new(Certificates { slots: Mutex::default(), issuers: Mutex::default(), placeholder }))
    }

    /// The slot of `source`; made empty if there was none.
    pub fn slot(&self, source: &CertificateSource) -> Arc<Slot> {
        let mut slots = locked(&self.slots);
        if let Some(slot) = slots.get(source) {
            return slot.clone();
        }
        slots.entry(source.clone()).or_default().clone()
    }

    /// What is held for `source`.
    pub fn held(&self, source: &CertificateSource) -> Option<Arc<Held>> {
        locked(&self.slots).get(source)?.held()
    }

    /// Swaps `pair` in for `source`, after its key has been loaded: every handshake that begins from now on shows it.
    ///
    /// # Errors
    /// [`DeadKey`]; what was held stays.
    pub fn install(&self, source: &CertificateSource, pair: Pair) -> Result<Arc<Held>, DeadKey> {
        let held = self.hold(pair);
        held.signer()?;
        self.slot(source).main.store(Some(held.clone()));
        Ok(held)
    }

    /// Shows others than the main one for some names of `source`; those whose key is dead are left out. Replaces what was
    /// shown so before.
    pub fn install_apart(&self, source: &CertificateSource, pairs: Vec<(Identifier, Pair)>) {
        let held = pairs.into_iter().map(|(name, pair)| (name, self.hold(pair)));
        let held: Vec<_> = held.filter(|(_, held)| held.signer().is_ok()).collect();
        self.slot(source).apart.store((!held.is_empty()).then(|| Arc::new(held)));
    }

    /// As [`Certificates::install`], but the key is loaded when it first signs: for the many of a start.
    pub fn install_unloaded(&self, source: &CertificateSource, pair: Pair) -> Arc<Held> {
        let held = self.hold(pair);
        self.slot(source).main.store(Some(held.clone()));
        held
    }

    /// Shows for `source` what is held for `from`, if anything is.
    pub fn lend(&self, from: &CertificateSource, source: &CertificateSource) {
        if let Some(held) = self.held(from) {
            self.slot(source).main.store(Some(held));
        }
    }

    /// Takes away what is held for `source`: the placeholder is shown.
    pub fn withdraw(&self, source: &CertificateSource) {
        self.slot(source).main.store(None);
    }

    /// Forgets the slots of sources that `keep` does not want; handshakes of an older plan still have theirs.
    pub fn retain(&self, keep: impl Fn(&CertificateSource) -> bool) {
        locked(&self.slots).retain(|source, _| keep(source));
        locked(&self.issuers).retain(|_, issuers| issuers.strong_count() > 0);
    }

    /// The shared self-signed certificate.
    pub fn placeholder(&self) -> &Arc<CertifiedKey> {
        &self.placeholder
    }

    fn hold(&self, pair: Pair) -> Arc<Held> {
        let Pair { mut chain, key, leaf } = pair;
        let issuers = chain.split_off(1.min(chain.len()));
        let leaf_der = chain.pop().map(|der| der.as_ref().into()).unwrap_or_default();
        Arc::new(Held {
            leaf: leaf_der,
            issuers: self.shared(issuers),
            key,
            kind: leaf.key,
            not_before: leaf.not_before,
            not_after: leaf.not_after,
            fingerprint: leaf.fingerprint,
            signer: OnceLock::new(),
        })
    }

    /// Thousands of leaves have the same few issuers: kept once.
    fn shared(&self, issuers: Vec<CertificateDer<'static>>) -> Arc<[CertificateDer<'static>]> {
        let mut all = Vec::with_capacity(issuers.iter().map(|der| der.len()).sum());
        issuers.iter().for_each(|der| all.extend_from_slice(der));
        let digest = Fingerprint::of(&all);
        let mut known = locked(&self.issuers);
        if let Some(same) = known.get(&digest).and_then(Weak::upgrade) {
            return same;
        }
        let issuers: Arc<[_]> = issuers.into();
        known.insert(digest, Arc::downgrade(&issuers));
        issuers
    }
}

/// The slots of one server, and what to show from them.
#[derive(Clone, Debug, Default)]
pub struct ServerSlots(Box<[Arc<Slot>]>);

impl ServerSlots {
    /// The slots for `sources`, in order.
    pub fn new(certificates: &Certificates, sources: &[CertificateSource]) -> ServerSlots {
        ServerSlots(sources.iter().map(|source| certificates.slot(source)).collect())
    }

    /// What to show to a client that can verify `schemes`; `None`: nothing is held. If nothing fits the client, the first
    /// is given all the same: the handshake then fails with the proper alert.
    pub fn choose(&self, sni: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        if let [slot] = &self.0[..] {
            if slot.apart.load().is_some() {
                return slot.shown(sni)?.signer().ok();
            }
            return slot.main.load().as_ref()?.signer().ok();
        }
        let held: Vec<_> =
            self.0.iter().filter_map(|slot| slot.shown(sni)).filter(|held| held.signer().is_ok()).collect();
        let kinds: Vec<_> = held.iter().map(|held| held.kind).collect();
        held.get(by_schemes(&kinds, schemes).unwrap_or(0))?.signer().ok()
    }
}

// A panic while a lock is held leaves a whole table: every change is one call of the map.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

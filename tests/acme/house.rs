//! A node in small: keepers with a shelf, a table of challenges, and listeners that answer from it.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use semper::acme::{Around, Ca};
use semper::cert::bundle::Bundle;
use semper::cert::journal::Shelf;
use semper::cert::stage::{Policy, Stage};
use semper::node::clock::{RealClock, RealDice};
use semper::node::keeper::{Desk, Handle, Installed, Keeper, Rules, Tools};
use semper::node::secrets::OwnSecrets;
use semper::plan::acme::{AcmeServer, Authority, Issuer};
use semper::plan::certificate::{CertSpec, KeyKind};
use semper::words::Place;
use semper::zone::challenges::{Challenges, Phase, TLS_ALPN01};
use tokio::runtime::Runtime;
use tokio_rustls::LazyConfigAcceptor;

use crate::bed::origin::{Origin, Reply};
use crate::bed::{PATIENCE, wait_some};

/// Where challenges are answered; outlives the houses that fill it.
pub struct Gate {
    pub challenges: Arc<Challenges>,
    http: Origin,
    tls: u16,
    _runtime: Runtime,
}

impl Gate {
    pub fn open() -> Gate {
        let challenges = Arc::new(Challenges::new(Arc::new(RealClock)));
        let table = challenges.clone();
        let http = Origin::start(move |request| {
            let host = request.header("host").unwrap_or_default();
            let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
            let method = request.line.split(' ').next().unwrap_or_default();
            match table.answer(method, request.target(), host, Phase::BeforeLocation) {
                Some(answer) => Reply::ok(answer.body),
                None => Reply::with(404, &[], "not here"),
            }
        });
        let runtime = runtime();
        let tls = runtime.block_on(serve_tls(challenges.clone()));
        Gate { challenges, http, tls, _runtime: runtime }
    }

    pub fn http(&self) -> u16 {
        self.http.port()
    }

    pub fn tls(&self) -> u16 {
        self.tls
    }
}

/// An issuer by itself, without a keeper.
pub fn ca(gate: &Gate, issuer: &Issuer, shelf: Arc<dyn Shelf>) -> Ca {
    let (challenges, clock) = (gate.challenges.clone(), Arc::new(RealClock));
    Ca::new(issuer, Around { shelf, challenges, secrets: Arc::new(OwnSecrets), clock })
}

/// Runs to the end.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    runtime().block_on(work)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn serve_tls(challenges: Arc<Challenges>) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let challenges = challenges.clone();
            tokio::spawn(async move {
                let started = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await.unwrap();
                let hello = started.client_hello();
                assert_eq!(hello.alpn().unwrap().collect::<Vec<_>>(), [TLS_ALPN01]);
                let shown = challenges.tls_alpn01(hello.server_name().unwrap()).unwrap();
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let mut config = rustls::ServerConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .unwrap()
                    .with_no_client_auth()
                    .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from((*shown).clone())));
                config.alpn_protocols = vec![TLS_ALPN01.to_vec()];
                let _ = started.into_stream(Arc::new(config)).await;
            });
        }
    });
    port
}

pub fn issuer(server: AcmeServer, state: &Path) -> Issuer {
    Issuer::new("test", Some(state.to_owned()), Authority::Acme(server), Place::built_in())
}

pub fn spec(names: &[&str], key: KeyKind) -> CertSpec {
    CertSpec::new("test", names.iter().map(|name| name.parse().unwrap()).collect(), key, Place::built_in())
}

/// One keeper at work.
pub struct House {
    installed: Arc<Mutex<Vec<Arc<Bundle>>>>,
    handle: Handle,
    runtime: Runtime,
}

impl House {
    /// Starts a keeper; `minute` is the unit of its retry ladder.
    pub fn open(gate: &Gate, issuer: &Issuer, spec: &CertSpec, shelf: Arc<dyn Shelf>, minute: Duration) -> House {
        House::with(
            gate,
            issuer,
            spec,
            shelf,
            Policy { minute, ..Policy::of(issuer, &[], spec.identifiers.as_slice()) },
        )
    }

    /// Starts a keeper with rules of its own.
    pub fn with(gate: &Gate, issuer: &Issuer, spec: &CertSpec, shelf: Arc<dyn Shelf>, policy: Policy) -> House {
        let runtime = runtime();
        let installed = Arc::new(Mutex::new(Vec::new()));
        let seen = installed.clone();
        let publish = move |new: Vec<Installed>| seen.lock().unwrap().extend(new.into_iter().map(|new| new.bundle));
        let clock = Arc::new(RealClock);
        let tools =
            Tools { clock: clock.clone(), dice: Arc::new(RealDice), publish: Arc::new(publish), beats: Arc::default() };
        gate.challenges.manage(&spec.identifiers);
        let around =
            Around { shelf: shelf.clone(), challenges: gate.challenges.clone(), secrets: Arc::new(OwnSecrets), clock };
        let ca = Arc::new(Ca::new(issuer, around));
        let rules = Rules { spec: Arc::new(spec.clone()), policy, issuers: vec![(issuer.name.to_string(), ca)] };
        let held = shelf.bundle(&spec.id).unwrap();
        let (keeper, mut handle) = Keeper::new(rules, tools, Desk::over(shelf), held.as_ref());
        handle.attach(runtime.spawn(keeper.run()));
        House { installed, handle, runtime }
    }

    /// The generations that came into force so far.
    pub fn installed(&self) -> Vec<Arc<Bundle>> {
        self.installed.lock().unwrap().clone()
    }

    /// Waits for the generation after `before` others.
    pub fn wait(&self, before: usize, patience: Duration) -> Arc<Bundle> {
        wait_some(&format!("a certificate; {:?}", self.stage()), patience, || self.installed().get(before).cloned())
    }

    pub fn stage(&self) -> Stage {
        self.handle.stage()
    }

    /// Ends everything, wherever it stands; what is being written to the shelf is written to its end first, so that
    /// whoever clears the folder afterwards clears all of it.
    pub fn close(self) {
        drop(self.handle);
        self.runtime.shutdown_timeout(PATIENCE);
    }
}

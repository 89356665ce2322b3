//! What do tests of handshakes need? A worker that accepts for a plan and answers each connection with one line about it,
//! an authority, and clients.
#![allow(dead_code)]

use arc_swap::ArcSwap;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};
use semper::cert::gate::{FileBytes, read_files};
use semper::clock::{Clock, UnixTime};
use semper::net::accept::{Counts, End, Listening, Worker, run};
use semper::net::connection::Connection;
use semper::net::files::Disk;
use semper::net::listen;
use semper::net::stream::ClientStream;
use semper::net::terms::Terms;
use semper::plan::listener::{AddressServers, ListenAddress, Listener, NameTable, SocketOptions};
use semper::plan::server::Server;
use semper::plan::tls::{CertificateSource, FileCertificate, ServerTls};
use semper::plan::{Http, Plan};
use semper::tls::build::Tls;
use semper::tls::certificates::Certificates;
use semper::tls::terms::PlanTls;
use semper::words::Identifier;
use semper::zone::challenges::Challenges;
use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Clone, Copy)]
pub enum Kind {
    P256,
    Rsa,
}

/// The clock on the wall.
pub struct Wall;

impl Clock for Wall {
    fn now(&self) -> UnixTime {
        UnixTime(time::OffsetDateTime::now_utc().unix_timestamp() * 1000)
    }
}

pub struct TestCa {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: Arc<tempfile::TempDir>,
}

/// A leaf with its key, also as files.
#[derive(Clone)]
pub struct Issued {
    pub chain: String,
    pub key: String,
    der: CertificateDer<'static>,
    files: Arc<FileCertificate>,
    _dir: Arc<tempfile::TempDir>,
}

impl Issued {
    pub fn source(&self) -> CertificateSource {
        CertificateSource::File(self.files.clone())
    }

    pub fn files(&self) -> Arc<FileCertificate> {
        self.files.clone()
    }

    pub fn leaf(&self) -> Vec<u8> {
        self.der.to_vec()
    }

    pub fn write(&self) {
        self.write_to(&self.files);
    }

    pub fn write_to(&self, files: &FileCertificate) {
        std::fs::write(&files.certificate, &self.chain).unwrap();
        std::fs::write(&files.key, &self.key).unwrap();
    }

    pub fn pair(&self) -> semper::cert::gate::Pair {
        let (certificate, key) = (self.chain.as_bytes(), self.key.as_bytes());
        read_files(FileBytes { certificate, key, passwords: None }).unwrap()
    }
}

impl TestCa {
    pub fn new() -> TestCa {
        let mut params = CertificateParams::default();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        params.distinguished_name.push(DnType::CommonName, format!("authority of {}", dir.path().display()));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        TestCa { issuer, dir }
    }

    pub fn file(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn issue(&self, names: &[&str], kind: Kind) -> Issued {
        self.issue_until(names, kind, 30)
    }

    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        self.issue_until(names, Kind::P256, -1)
    }

    fn issue_until(&self, names: &[&str], kind: Kind, days: i64) -> Issued {
        let key = match kind {
            Kind::P256 => KeyPair::generate().unwrap(),
            Kind::Rsa => KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap(),
        };
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        let now = time::OffsetDateTime::now_utc();
        params.not_before = now - time::Duration::days(2);
        params.not_after = now + time::Duration::days(days);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        self.issued(leaf.pem(), leaf.der().clone(), &key)
    }

    fn issued(&self, chain: String, der: CertificateDer<'static>, key: &KeyPair) -> Issued {
        let number = std::fs::read_dir(self.dir.path()).unwrap().count();
        let at = |kind: &str| self.dir.path().join(format!("{number}.{kind}"));
        let files = FileCertificate { certificate: at("crt").into(), key: at("key").into(), passwords: None };
        let files = Arc::new(files);
        let issued = Issued { chain, key: key.serialize_pem(), der, files, _dir: self.dir.clone() };
        issued.write();
        issued
    }

    /// A leaf of X.509 version 1: no extensions, no version field. Put together by hand, since rcgen makes version 3.
    pub fn issue_version1(&self, name: &str) -> Issued {
        fn wrap(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
            let content = parts.concat();
            let mut out = vec![tag];
            match content.len() {
                n @ 0..=0x7f => out.push(n as u8),
                n @ 0x80..=0xff => out.extend([0x81, n as u8]),
                n => out.extend([0x82, (n >> 8) as u8, n as u8]),
            }
            out.extend(content);
            out
        }
        let key = KeyPair::generate().unwrap();
        let template = self.issue(&[name], Kind::P256);
        let (_, parsed) = x509_parser::parse_x509_certificate(&template.der).unwrap();
        let ecdsa_sha256 = [0x30, 0x0a, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
        let time = |t: time::OffsetDateTime| {
            let text = format!(
                "{:02}{:02}{:02}{:02}{:02}{:02}Z",
                t.year() % 100,
                u8::from(t.month()),
                t.day(),
                t.hour(),
                t.minute(),
                t.second()
            );
            wrap(0x17, &[text.as_bytes()])
        };
        let now = time::OffsetDateTime::now_utc();
        let validity = wrap(0x30, &[&time(now - time::Duration::days(1)), &time(now + time::Duration::days(1))]);
        let spki = rcgen::PublicKeyData::subject_public_key_info(&key);
        let tbs = wrap(
            0x30,
            &[&[2, 1, 1], &ecdsa_sha256, parsed.issuer().as_raw(), &validity, parsed.subject().as_raw(), &spki],
        );
        let signature = self.issuer.key().sign(&tbs).unwrap();
        let der = wrap(0x30, &[&tbs, &ecdsa_sha256, &wrap(3, &[&[0], &signature])]);
        let der = CertificateDer::from(der);
        self.issued(String::new(), der, &key)
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_of(ProtocolVersion::TLSv1_3)
    }

    pub fn client_of(&self, version: ProtocolVersion) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        Arc::new(
            builder
                .with_protocol_versions(&[version_of(version)])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(semper::net::proof::AnyServer::default()))
                .with_no_client_auth(),
        )
    }

    pub fn client_with(&self, version: ProtocolVersion, own: &Issued) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
        let key: PrivateKeyDer<'static> =
            rustls::pki_types::pem::PemObject::from_pem_slice(own.key.as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let certified = rustls::sign::CertifiedKey::new(vec![own.der.clone()], key);
        Arc::new(
            builder
                .with_protocol_versions(&[version_of(version)])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(semper::net::proof::AnyServer::default()))
                .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(certified))),
        )
    }

    /// A client of TLS 1.2 that knows these suites only.
    pub fn client_with_suites(&self, suites: &[&str]) -> Arc<ClientConfig> {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|suite| suites.contains(&suite.suite().as_str().unwrap()));
        Arc::new(
            ClientConfig::builder_with_provider(Arc::new(provider))
                .with_protocol_versions(&[&rustls::version::TLS12])
                .unwrap()
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(semper::net::proof::AnyServer::default()))
                .with_no_client_auth(),
        )
    }
}

fn version_of(version: ProtocolVersion) -> &'static rustls::SupportedProtocolVersion {
    if version == ProtocolVersion::TLSv1_3 { &rustls::version::TLS13 } else { &rustls::version::TLS12 }
}

/// A server with these names and certificates; `*.x` is a suffix.
pub fn server(index: usize, names: &[&str], certificates: &[&Issued]) -> Server {
    let tls =
        ServerTls { certificates: certificates.iter().map(|issued| issued.source()).collect(), ..ServerTls::default() };
    let mut server = Server::bare(index, names.first().copied().unwrap_or_default(), Some(tls.into()));
    server.names = names.iter().map(|name| (*name).into()).collect();
    server
}

/// One worker that accepts on one address.
pub struct Bed {
    pub address: SocketAddr,
    pub terms: Arc<PlanTls>,
    counts: Arc<Counts>,
    tls: Arc<Tls>,
    challenges: Arc<Challenges>,
    plan: Arc<Plan>,
    listen: ListenAddress,
    current: Arc<ArcSwap<Terms>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bed {
    /// Connections that were counted so far.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Accepts for `servers`, the first of which is the default; `held` are installed.
    pub fn new(servers: Vec<Server>, held: &[&Issued]) -> Bed {
        Bed::with(servers, held, false)
    }

    pub fn limited(servers: Vec<Server>, held: &[&Issued], connections: usize) -> Bed {
        Bed::made(servers, held, false, connections)
    }

    pub fn with(servers: Vec<Server>, held: &[&Issued], proxy_protocol: bool) -> Bed {
        Bed::made(servers, held, proxy_protocol, 512)
    }

    fn made(servers: Vec<Server>, held: &[&Issued], proxy_protocol: bool, connections: usize) -> Bed {
        let counts = Arc::new(Counts::default());
        let clock: Arc<dyn Clock> = Arc::new(Wall);
        let challenges = Arc::new(Challenges::new(clock.clone()));
        let tls = Arc::new(Tls::new(Certificates::new().unwrap(), challenges.clone(), clock, Arc::new(Disk)));
        for issued in held {
            tls.certificates().install(&issued.source(), issued.pair()).unwrap();
        }
        let any = ListenAddress::Tcp(([127, 0, 0, 1], 0).into());
        let socket = listen::open(&any, &SocketOptions::default(), 1).unwrap().remove(0);
        let address = std::net::TcpListener::from(socket.try_clone().unwrap()).local_addr().unwrap();
        let listen = ListenAddress::Tcp(address);
        let plan = Arc::new(plan(servers, &listen, proxy_protocol));
        let (terms, faults) = tls.terms(&plan);
        assert_eq!(faults, []);
        let now = Terms { epoch: 1, plan: plan.clone(), tls: terms.clone() };
        let current = Arc::new(ArcSwap::from_pointee(now));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (shared, own, counted) = (current.clone(), listen.clone(), counts.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            tokio::task::LocalSet::new().block_on(&runtime, async {
                let listening = Listening::new(own, socket).unwrap();
                let worker = Worker::new(connections, counted);
                let stop = async {
                    let _ = stopped.await;
                    End::HandedOver
                };
                run(listening, shared, worker, answer, stop).await;
            });
        });
        let (stop, thread) = (Some(stop), Some(thread));
        Bed { address, terms, counts, tls, challenges, plan, listen, current, stop, thread }
    }

    /// Another plan for the same process.
    pub fn replan(mut self, servers: Vec<Server>) -> Bed {
        self.plan = Arc::new(plan(servers, &self.listen, false));
        let (terms, faults) = self.tls.terms(&self.plan);
        assert_eq!(faults, []);
        self.terms = terms.clone();
        self.current.store(Arc::new(Terms { epoch: 2, plan: self.plan.clone(), tls: terms }));
        self
    }

    /// Waits for what the worker has counted.
    pub fn until(&self, done: impl Fn(&Counts) -> bool) {
        for _ in 0..1000 {
            if done(&self.counts) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("never: {:?}", self.counts);
    }

    pub fn tls(&self) -> &Arc<Tls> {
        &self.tls
    }

    pub fn install(&self, place: &Issued, issued: &Issued) {
        self.tls.certificates().install(&place.source(), issued.pair()).unwrap();
    }

    pub fn load_files(&self) -> Vec<String> {
        self.tls.load_files(&self.plan).into_iter().map(|fault| fault.0).collect()
    }

    pub fn reload(&self, place: &Issued, names: &[Identifier]) -> String {
        format!("{:?}", self.tls.reload_file(&place.files(), names, Wall.now()))
    }

    pub fn challenge(&self, name: &str, proof: &Issued) {
        let key: PrivateKeyDer<'static> =
            rustls::pki_types::pem::PemObject::from_pem_slice(proof.key.as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let certified = Arc::new(rustls::sign::CertifiedKey::new(vec![proof.der.clone()], key));
        let until = UnixTime(Wall.now().0 + 60_000);
        self.challenges.open_tls_alpn01(name, certified, until).unwrap();
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn plan(servers: Vec<Server>, listen: &ListenAddress, proxy_protocol: bool) -> Plan {
    let servers: Vec<Arc<Server>> = servers.into_iter().map(Arc::new).collect();
    let mut names = NameTable::default();
    for server in &servers {
        for name in &server.names {
            match name.strip_prefix("*.") {
                Some(suffix) => names.suffixes.insert(suffix.as_bytes().into(), server.clone()),
                None => names.exact.insert(name.as_bytes().into(), server.clone()),
            };
        }
    }
    let default_server = servers[0].clone();
    let ssl = servers.iter().any(|server| server.tls.is_some());
    let address = AddressServers { local: None, ssl, http2: false, proxy_protocol, default_server, names };
    let listener = Listener {
        address: listen.clone(),
        options: SocketOptions::default(),
        addresses: Box::new([Arc::new(address)]),
    };
    let http = Http { listeners: Box::new([listener]), servers: servers.into(), ..Http::default() };
    Plan { http: Some(http), ..Plan::default() }
}

/// Says in one line what is known of a connection, after its first byte, and closes.
async fn answer(mut stream: ClientStream, connection: Rc<Connection>) {
    let mut read = [0; 16];
    let count = stream.read(&mut read).await.unwrap_or(0);
    let server = connection.bound().unwrap().server.name.clone();
    let tls = connection.tls.clone().unwrap_or_default();
    let client = match &tls.client {
        None => "none".to_owned(),
        Some(client) => match (&client.failed, client.only_untrusted) {
            (None, _) => "ok".to_owned(),
            (Some(why), true) => format!("{why} (untrusted)"),
            (Some(why), false) => why.to_string(),
        },
    };
    let line = format!(
        "server={server} protocol={} cipher={} curve={} sni={} alpn={} resumed={} client={client} plain_on_tls={} read={} proxied={:?}\n",
        tls.protocol,
        tls.cipher,
        tls.curve,
        tls.sni.as_deref().unwrap_or("-"),
        tls.alpn.as_deref().unwrap_or_default().escape_ascii(),
        tls.resumed,
        connection.plain_on_tls,
        read[..count].escape_ascii(),
        connection.proxied,
    );
    let _ = stream.write_all(line.as_bytes()).await;
    let _ = stream.flush().await;
    let _ = stream.shutdown().await;
    // Reads what is still on its way, so that the close is no reset.
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

pub struct Client(StreamOwned<ClientConnection, TcpStream>);

impl Client {
    /// The line of the server; an error of the handshake is given as it is.
    pub fn hello(&mut self) -> io::Result<String> {
        io::Write::write_all(&mut self.0, b"x")?;
        let mut answer = String::new();
        self.0.read_to_string(&mut answer)?;
        Ok(answer)
    }

    pub fn leaf(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }
}

pub fn connect(bed: &Bed, config: Arc<ClientConfig>, name: &str) -> io::Result<Client> {
    Ok(connect_over(TcpStream::connect(bed.address)?, config, name))
}

pub fn connect_over(socket: TcpStream, config: Arc<ClientConfig>, name: &str) -> Client {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    Client(StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket))
}

/// The first name of the certificate that is shown for `name`, the protocol and the server.
pub fn shown(bed: &Bed, ca: &TestCa, name: &str) -> String {
    let mut client = connect(bed, ca.client(), name).unwrap();
    let line = client.hello().unwrap();
    let field = |key: &str| line.split(' ').find_map(|w| w.strip_prefix(key)).unwrap_or_default().to_owned();
    let leaf = semper::cert::inspect::Leaf::read(&client.leaf()).unwrap();
    format!("{} over {}, server {}", leaf.identifiers[0], field("protocol="), field("server="))
}

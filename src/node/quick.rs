//! What is served without a configuration file? `semper example.com=127.0.0.1:3000 …`: HTTPS with a certificate for each
//! name, HTTP that redirects to it and answers challenges, and a plan built from nothing else. `semper demo` too.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plan::acme::{AcmeServer, Authority, InternalAuthority, Issuer};
use crate::plan::certificate::{CertSpec, KeyKind};
use crate::plan::listener::{AddressServers, ListenAddress, Listener, NameTable, SocketOptions};
use crate::plan::location::{Handler, Location, LocationKind, LocationTree, Settings};
use crate::plan::log::{ErrorLog, Level, LogTarget};
use crate::plan::map::Map;
use crate::plan::process::{Process, User};
use crate::plan::proxy::{Proxy, ProxyTo};
use crate::plan::script::{Op, Return};
use crate::plan::server::Server;
use crate::plan::template::{Asks, Builtin, Segment, Template, UserVariable, Var, VariableSource};
use crate::plan::tls::{CertificateSource, ServerTls};
use crate::plan::upstream::{Upstream, UpstreamAddress, UpstreamKeepalive, UpstreamServer};
use crate::plan::{Http, Plan};
use crate::words::{Identifier, Place};

/// Where certificates come from if nobody says: the best-known free authority.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const ISSUER: &str = "default";

/// A quick start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quick {
    /// Names and what stands behind each.
    pub sites: Vec<Site>,
    /// Where plain HTTP is taken.
    pub http: Vec<SocketAddr>,
    /// Where HTTPS is taken.
    pub https: Vec<SocketAddr>,
    /// The directory of an authority, or `internal`.
    pub authority: String,
    /// `mailto:…` for the authority.
    pub contact: Option<String>,
    /// How long certificates of the built-in authority live.
    pub leaf_lifetime: Option<Duration>,
    /// Certificates, accounts, pid file.
    pub state: PathBuf,
    /// The account of the server process, if we are root.
    pub user: Option<(String, u32, u32)>,
    /// Worker threads; `None`: one for each core.
    pub workers: Option<usize>,
}

/// One name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The name.
    pub name: Identifier,
    /// Its upstream.
    pub upstream: SocketAddr,
}

impl Quick {
    /// The default places of HTTP and HTTPS: every address of this machine.
    pub fn everywhere(port: u16) -> Vec<SocketAddr> {
        let mut addresses = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
        if std::path::Path::new("/proc/net/if_inet6").exists() {
            addresses.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
        }
        addresses
    }

    /// What is to be run.
    pub fn plan(&self) -> Plan {
        let certificates: Vec<CertSpec> = self.sites.iter().map(certificate).collect();
        let mut servers: Vec<Arc<Server>> = Vec::new();
        for (site, spec) in self.sites.iter().zip(&certificates) {
            let certificates = Box::new([CertificateSource::Acme(spec.id.clone())]);
            let tls = ServerTls { certificates, ..ServerTls::default() };
            servers.push(server(servers.len(), site, Some(tls), Vec::new(), self.proxy(site)));
        }
        let secure = servers.clone();
        let port = self.https.first().map_or(443, SocketAddr::port);
        for site in &self.sites {
            servers.push(server(servers.len(), site, None, vec![to_https(port)], Handler::Static));
        }
        let plain = servers[secure.len()..].to_vec();
        let listeners = self.http.iter().map(|at| listener(*at, false, &plain));
        let listeners = listeners.chain(self.https.iter().map(|at| listener(*at, true, &secure)));
        let http = Http {
            listeners: listeners.collect(),
            upstreams: self.sites.iter().map(|site| Arc::new(upstream(site))).collect(),
            servers: servers.into(),
            variables: Box::new([connection_upgrade()]),
            asks: Asks::default(),
        };
        Plan {
            process: self.process(),
            http: Some(http),
            issuers: Box::new([self.issuer()]),
            certificates: certificates.into(),
            ..Plan::default()
        }
    }

    fn process(&self) -> Process {
        let user = self.user.as_ref().map(|(name, uid, gid)| User {
            name: name.as_str().into(),
            group: None,
            uid: *uid,
            gid: *gid,
        });
        Process {
            user,
            pid: self.state.join("semper.pid"),
            daemon: false,
            master: true,
            workers: self.workers,
            worker_connections: 16_384,
            open_files: None,
            shutdown_timeout: Some(Duration::from_secs(10)),
            working_directory: None,
            error_logs: Box::new([ErrorLog { target: LogTarget::Stderr, level: Level::Notice }]),
            environment: Box::default(),
            state_path: self.state.clone(),
            strict_start: false,
            challenge_listen: Default::default(),
        }
    }

    fn issuer(&self) -> Issuer {
        let authority = if self.authority == "internal" {
            let default = InternalAuthority::default();
            let leaf_lifetime = self.leaf_lifetime.unwrap_or(default.leaf_lifetime);
            Authority::Internal(InternalAuthority { leaf_lifetime, ..default })
        } else {
            Authority::Acme(AcmeServer {
                contacts: self.contact.iter().cloned().collect(),
                terms_accepted: true,
                ..AcmeServer::at(self.authority.as_str())
            })
        };
        Issuer::new(ISSUER, Some(self.state.clone()), authority, Place::built_in())
    }

    fn proxy(&self, site: &Site) -> Handler {
        let to = ProxyTo::Upstream(Arc::new(upstream(site)));
        Handler::Proxy(Arc::new(Proxy { temp_path: self.state.join("temp"), ..proxy(site, to) }))
    }
}

fn certificate(site: &Site) -> CertSpec {
    CertSpec::new(ISSUER, vec![site.name.clone()], KeyKind::default(), Place::built_in())
}

fn server(index: usize, site: &Site, tls: Option<ServerTls>, script: Vec<Op>, handler: Handler) -> Arc<Server> {
    let name: Box<str> = site.name.to_string().into();
    let root = Location {
        name: "".into(),
        kind: LocationKind::Server,
        place: Place::built_in(),
        handler,
        script: script.into(),
        try_files: None,
        internal: false,
        auto_redirect: false,
        limit_except: None,
        settings: Arc::new(settings()),
        nested: LocationTree::default(),
    };
    let whole = Location { name: "/".into(), kind: LocationKind::Prefix, script: Box::default(), ..root.clone() };
    Arc::new(Server {
        index,
        place: Place::built_in(),
        names: Box::new([name.clone()]),
        name,
        http2: tls.is_some(),
        tls: tls.map(Arc::new),
        http2_settings: Default::default(),
        root: Arc::new(root),
        locations: LocationTree::new(vec![Arc::new(whole)]),
        head: Default::default(),
    })
}

fn settings() -> Settings {
    let mut settings = Settings { absolute_redirect: true, port_in_redirect: true, ..Settings::default() };
    // A quick start stands before somebody's application: uploads are its business.
    settings.client.max_body = 0;
    settings.gzip.on = false;
    settings
}

fn listener(at: SocketAddr, ssl: bool, servers: &[Arc<Server>]) -> Listener {
    let exact = servers.iter().map(|server| (server.name.as_bytes().into(), server.clone())).collect();
    // There is a site, else there would be no quick start.
    let default_server = servers[0].clone();
    Listener {
        address: ListenAddress::Tcp(at),
        options: SocketOptions::default(),
        addresses: Box::new([Arc::new(AddressServers {
            local: None,
            ssl,
            http2: false,
            proxy_protocol: false,
            default_server,
            names: NameTable { exact, ..NameTable::default() },
        })]),
    }
}

/// `return 301 https://$host[:port]$request_uri;`
fn to_https(port: u16) -> Op {
    let colon_port = if port == 443 { String::new() } else { format!(":{port}") };
    let mut segments = vec![text("https://"), builtin(Builtin::Host)];
    if !colon_port.is_empty() {
        segments.push(Segment::Text(colon_port.into()));
    }
    segments.push(builtin(Builtin::RequestUri));
    Op::Return(Return { status: 301, text: Some(Template { segments: segments.into() }) })
}

fn text(text: &'static str) -> Segment {
    Segment::Text(bytes::Bytes::from_static(text.as_bytes()))
}

fn builtin(builtin: Builtin) -> Segment {
    Segment::Var(Var::Builtin(builtin))
}

fn upstream(site: &Site) -> Upstream {
    let server = UpstreamServer::new(site.upstream.to_string(), [UpstreamAddress::Tcp(site.upstream)]);
    Upstream { keepalive: Some(UpstreamKeepalive::of(32)), ..Upstream::implicit(server, Place::built_in()) }
}

/// The index of the variable that [`connection_upgrade`] makes.
const CONNECTION_UPGRADE: usize = 0;

/// `map $http_upgrade $connection_upgrade { default upgrade; "" ""; }`
fn connection_upgrade() -> UserVariable {
    let map = Map {
        source: Template { segments: Box::new([Segment::Var(Var::RequestHeader("upgrade".into()))]) },
        exact: HashMap::from([(Box::default(), Template::default())]),
        default: Template::literal("upgrade"),
        ..Map::default()
    };
    UserVariable { name: "connection_upgrade".into(), source: VariableSource::Map(Arc::new(map)) }
}

/// As nginx's, with what an application behind a proxy wants to know, and WebSockets.
fn proxy(site: &Site, to: ProxyTo) -> Proxy {
    let var = |variable| Template { segments: Box::new([Segment::Var(variable)]) };
    let known = |variable| var(Var::Builtin(variable));
    Proxy {
        port: site.upstream.port().to_string().into(),
        http11: true,
        set_headers: Box::new([
            ("Host".into(), known(Builtin::Host)),
            ("X-Forwarded-For".into(), known(Builtin::ProxyAddXForwardedFor)),
            ("X-Forwarded-Proto".into(), known(Builtin::Scheme)),
            ("X-Real-IP".into(), known(Builtin::RemoteAddr)),
            ("Upgrade".into(), var(Var::RequestHeader("upgrade".into()))),
            ("Connection".into(), var(Var::User(CONNECTION_UPGRADE))),
        ]),
        request_buffering: false,
        buffer_size: 16 * 1024,
        buffers: (8, 16 * 1024),
        ..Proxy::to(to, site.upstream.to_string())
    }
}

/// `NAME=UPSTREAM` as the command line gives it; the upstream is an address, `PORT` or `:PORT` on this machine, or a host
/// that `resolve` knows.
///
/// # Errors
/// What is wrong, for the person who typed it.
pub fn site(text: &str, resolve: impl Fn(&str) -> Option<Vec<IpAddr>>) -> Result<Site, String> {
    let (name, upstream) = text.split_once('=').ok_or_else(|| format!("\"{text}\" is not NAME=UPSTREAM"))?;
    let name: Identifier = name.parse().map_err(|_| format!("\"{name}\" is no domain name and no address"))?;
    let upstream = upstream.trim_start_matches("http://").trim_end_matches('/');
    if let Ok(upstream) = upstream.parse() {
        return Ok(Site { name, upstream });
    }
    let (host, port) = upstream.rsplit_once(':').unwrap_or(("", upstream));
    let port: u16 = port.parse().map_err(|_| format!("\"{upstream}\" is no address with a port"))?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    let address = resolve(host).and_then(|found| found.first().copied());
    let address = address.or_else(|| host.parse().ok()).ok_or_else(|| format!("\"{host}\" is not found"))?;
    Ok(Site { name, upstream: SocketAddr::new(address, port) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quick() -> Quick {
        Quick {
            sites: vec![site("example.com=3000", |_| None).unwrap()],
            http: vec!["0.0.0.0:80".parse().unwrap()],
            https: vec!["0.0.0.0:8443".parse().unwrap()],
            authority: LETS_ENCRYPT.to_owned(),
            contact: None,
            leaf_lifetime: None,
            state: "/var/lib/semper".into(),
            user: None,
            workers: None,
        }
    }

    #[test]
    fn one_line_gives_https_a_certificate_and_a_redirect() {
        let plan = quick().plan();
        let http = plan.http.unwrap();
        assert_eq!(http.listeners.len(), 2);
        assert!(http.listeners[1].addresses[0].ssl);
        let spec = &plan.certificates[0];
        let tls = http.servers[0].tls.as_ref().unwrap();
        assert_eq!(*tls.certificates, [CertificateSource::Acme(spec.id.clone())]);
        assert_eq!(plan.issuers[0].name, spec.issuer);
        assert!(matches!(&http.servers[1].root.script[0], Op::Return(Return { status: 301, .. })));
    }

    #[test]
    fn upstreams_are_read_in_every_form_and_nonsense_is_named() {
        let resolve = |host: &str| (host == "app").then(|| vec![IpAddr::from([192, 0, 2, 7])]);
        let at = |text: &str| site(text, resolve).map(|site| site.upstream.to_string());
        assert_eq!(at("a.test=3000").unwrap(), "127.0.0.1:3000");
        assert_eq!(at("a.test=:3000").unwrap(), "127.0.0.1:3000");
        assert_eq!(at("a.test=[::1]:3000").unwrap(), "[::1]:3000");
        assert_eq!(at("a.test=http://app:3000/").unwrap(), "192.0.2.7:3000");
        for bad in ["a.test", "a b=1:2", "a.test=x", "a.test=nobody:80"] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}

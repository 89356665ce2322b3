//! What if an authority comes to look and nobody listens on port 80? Then a listener is opened for challenges alone
//! (`acme_challenge_listen`): every other request gets 404. An address that cannot be bound stops nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::plan::Plan;
use crate::plan::acme::{Authority, ChallengeKind};
use crate::plan::listener::{AddressServers, ListenAddress, Listener, NameTable, SocketOptions};
use crate::plan::location::{Handler, Location, LocationKind, LocationTree, Settings};
use crate::plan::process::ChallengeListen;
use crate::plan::script::{Op, Return};
use crate::plan::server::Server;
use crate::words::Place;

use super::quick::Quick;

/// How these servers are told from those of the configuration.
const NAME: &str = "acme_challenge_listen";

/// Adds what is missing to `plan`.
pub fn add(plan: &mut Plan) {
    let asked = plan.issuers.iter().any(|issuer| {
        let on_demand = plan.on_demand.as_ref().is_some_and(|terms| terms.issuer == issuer.name);
        let wanted = on_demand || plan.certificates.iter().any(|spec| spec.issuer == issuer.name);
        let http01 = |kinds: &[ChallengeKind]| kinds.contains(&ChallengeKind::Http01);
        wanted && matches!(&issuer.authority, Authority::Acme(server) if http01(&server.challenges))
    });
    if !asked {
        return;
    }
    let Some(http) = &mut plan.http else { return };
    let there = |at: &SocketAddr| {
        http.listeners.iter().any(|listener| match &listener.address {
            ListenAddress::Tcp(own) => own == at || own.port() == at.port(),
            ListenAddress::Unix(_) => false,
        })
    };
    let wanted = match &plan.process.challenge_listen {
        ChallengeListen::Off => return,
        ChallengeListen::Port80 => Quick::everywhere(80),
        ChallengeListen::At(at) => vec![*at],
    };
    let missing: Vec<SocketAddr> = wanted.into_iter().filter(|at| !there(at)).collect();
    if missing.is_empty() {
        return;
    }
    let server = server(http.servers.len());
    let mut servers = std::mem::take(&mut http.servers).into_vec();
    servers.push(server.clone());
    http.servers = servers.into();
    let mut listeners = std::mem::take(&mut http.listeners).into_vec();
    listeners.extend(missing.into_iter().map(|at| listener(at, &server)));
    http.listeners = listeners.into();
}

/// Whether a listener stands for challenges alone, so that a failure to bind it is no reason to stop.
pub fn is_optional(listener: &Listener) -> bool {
    listener.addresses.iter().all(|address| &*address.default_server.place.file == NAME)
}

fn listener(at: SocketAddr, server: &Arc<Server>) -> Listener {
    let address = AddressServers {
        local: None,
        ssl: false,
        http2: false,
        proxy_protocol: false,
        default_server: server.clone(),
        names: NameTable::default(),
    };
    let addresses = Box::new([Arc::new(address)]);
    Listener { address: ListenAddress::Tcp(at), options: SocketOptions::default(), addresses }
}

fn server(index: usize) -> Arc<Server> {
    let place = Place { file: NAME.into(), line: 0 };
    let root = Location {
        name: "".into(),
        kind: LocationKind::Server,
        place: place.clone(),
        handler: Handler::Static,
        script: Box::new([Op::Return(Return { status: 404, text: None })]),
        try_files: None,
        internal: false,
        auto_redirect: false,
        limit_except: None,
        settings: Arc::new(Settings::default()),
        nested: LocationTree::default(),
    };
    Arc::new(Server {
        index,
        place,
        name: "".into(),
        names: Box::default(),
        tls: None,
        http2: false,
        http2_settings: Default::default(),
        root: Arc::new(root),
        locations: LocationTree::default(),
        head: Default::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::quick::{LETS_ENCRYPT, site};

    fn plan(http: &[&str], listen: ChallengeListen, authority: &str) -> Plan {
        let quick = Quick {
            sites: vec![site("a.test=3000", |_| None).unwrap()],
            http: http.iter().map(|at| at.parse().unwrap()).collect(),
            https: vec!["127.0.0.1:443".parse().unwrap()],
            authority: authority.to_owned(),
            contact: None,
            leaf_lifetime: None,
            state: "/tmp".into(),
            user: None,
            workers: Some(1),
        };
        let mut plan = quick.plan();
        plan.process.challenge_listen = listen;
        add(&mut plan);
        plan
    }

    fn added(plan: &Plan) -> Vec<String> {
        let listeners = plan.http.as_ref().unwrap().listeners.iter().filter(|listener| is_optional(listener));
        listeners.map(|listener| crate::net::listen::shown(&listener.address)).collect()
    }

    #[test]
    fn a_listener_for_challenges_is_added_where_an_authority_would_find_nobody() {
        let at = || ChallengeListen::At("127.0.0.1:5002".parse().unwrap());
        assert_eq!(added(&plan(&[], at(), LETS_ENCRYPT)), ["127.0.0.1:5002"]);
        assert!(added(&plan(&[], ChallengeListen::Port80, LETS_ENCRYPT)).contains(&"0.0.0.0:80".to_owned()));
        assert!(added(&plan(&["10.0.0.1:80"], ChallengeListen::Port80, LETS_ENCRYPT)).is_empty());
        assert!(added(&plan(&[], ChallengeListen::Off, LETS_ENCRYPT)).is_empty());
        assert!(added(&plan(&[], ChallengeListen::Port80, "internal")).is_empty());
    }
}

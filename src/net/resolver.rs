//! Which addresses has a name now? Asks the servers of `resolver`, or the system's; answers are kept as long as they say
//! (or as `valid=` says), for one worker. Knows no upstream.

use crate::plan::resolver::Resolver as Settings;
use hickory_resolver::config::{ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::{Resolver, TokioResolver};
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No server answered within `resolver_timeout`. Trying again may help.
    #[error("110: Operation timed out")]
    Timeout,
    /// The name does not exist, or has no address of the families asked for.
    #[error("3: Host not found")]
    NotFound,
    /// The servers failed.
    #[error("2: Server failure")]
    Failed(String),
}

/// Names that are asked about rarely (upstreams that did not resolve at start) wait this long for the system's servers.
const SYSTEM_TIMEOUT: Duration = Duration::from_secs(30);

/// The resolvers of one worker: one for each `resolver` setting, kept over reloads while the setting is the same.
#[derive(Default)]
pub struct Resolvers {
    known: RefCell<Vec<Known>>,
}

type Known = (Option<Arc<Settings>>, Rc<TokioResolver>);

/// Settings that are kept at once; a reload may bring others.
const KNOWN: usize = 16;

impl Resolvers {
    /// The addresses of `host`. `settings`: whom to ask; `None`: the system's servers and its hosts file.
    ///
    /// # Errors
    /// See [`ResolveError`].
    pub async fn resolve(&self, settings: Option<&Arc<Settings>>, host: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(literal) = host.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(vec![literal]);
        }
        let resolver = self.resolver(settings)?;
        // A name with a dot at its end is never completed with a search domain: nginx knows none.
        let name = format!("{}.", host.trim_end_matches('.'));
        let within = settings.map_or(SYSTEM_TIMEOUT, |s| s.timeout);
        let lookup = tokio::time::timeout(within, resolver.lookup_ip(name)).await;
        match lookup {
            Err(_) => Err(ResolveError::Timeout),
            Ok(Ok(found)) => {
                let found: Vec<_> = found.iter().collect();
                if found.is_empty() { Err(ResolveError::NotFound) } else { Ok(found) }
            }
            Ok(Err(error)) if error.is_no_records_found() || error.is_nx_domain() => Err(ResolveError::NotFound),
            Ok(Err(hickory_resolver::net::NetError::Timeout)) => Err(ResolveError::Timeout),
            Ok(Err(error)) => Err(ResolveError::Failed(error.to_string())),
        }
    }

    fn resolver(&self, settings: Option<&Arc<Settings>>) -> Result<Rc<TokioResolver>, ResolveError> {
        let mut known = self.known.borrow_mut();
        if let Some((_, resolver)) = known.iter().find(|(s, _)| s.as_ref() == settings) {
            return Ok(resolver.clone());
        }
        let built = settings.map_or_else(system, |settings| configured(settings));
        let resolver = Rc::new(built.map_err(|error| ResolveError::Failed(error.to_string()))?);
        if known.len() == KNOWN {
            known.remove(0);
        }
        known.push((settings.cloned(), resolver.clone()));
        Ok(resolver)
    }
}

fn system() -> Result<TokioResolver, hickory_resolver::net::NetError> {
    TokioResolver::builder_tokio()?.build()
}

fn configured(settings: &Settings) -> Result<TokioResolver, hickory_resolver::net::NetError> {
    let servers = settings.servers.iter().map(|server| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        // The next server is asked when one does not know the name: nginx takes turns too.
        NameServerConfig::new(server.ip(), true, connections.into())
    });
    let config = ResolverConfig::from_name_servers(servers.collect());
    let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options(settings, std::mem::take(builder.options_mut()));
    builder.build()
}

fn options(settings: &Settings, mut options: ResolverOpts) -> ResolverOpts {
    use hickory_resolver::config::ResolveHosts;
    options.use_hosts_file = ResolveHosts::Never;
    options.ip_strategy = match (settings.ipv4, settings.ipv6) {
        (true, false) => LookupIpStrategy::Ipv4Only,
        (false, true) => LookupIpStrategy::Ipv6Only,
        _ => LookupIpStrategy::Ipv4AndIpv6,
    };
    // `valid=` overrides what the answer says; nginx forgets failures at once.
    options.positive_min_ttl = settings.valid;
    options.positive_max_ttl = settings.valid;
    options.negative_max_ttl = Some(Duration::from_secs(1));
    options
}

#[cfg(test)]
mod tests;

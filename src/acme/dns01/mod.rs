//! How is a record of DNS-01 put where an authority will look? Finds the provider of a name, follows the CNAMEs, writes,
//! waits until the name servers show it, and clears it away. How it is written stands in `rfc2136`, `exec`, `acme_dns`.

mod acme_dns;
mod exec;
mod rfc2136;
mod seen;

use std::sync::Arc;
use std::time::Duration;

use super::Secrets;
use crate::cert::dns01::{self, Stranger};
use crate::clock::Clock;
use crate::net::dns::{self, Dns, DnsError};
use crate::plan::dns::{DnsProvider, Method, SeenAt};
use crate::words::DomainName;

/// Clearing a record away, all providers alike, on top of a hook's own limit.
const TIDY: Duration = Duration::from_secs(60);

/// Why a record could not be put in place. No validation was spent.
#[derive(Debug, thiserror::Error)]
pub enum Dns01Error {
    /// No provider writes this name. The configuration's fault.
    #[error("no dns_provider of the issuer writes {0}")]
    NoProvider(String),
    /// The CNAME leads to somebody else.
    #[error(transparent)]
    Stranger(#[from] Stranger),
    /// Name servers, ours or theirs.
    #[error("{what}: {source}")]
    Dns {
        /// What was asked of them.
        what: String,
        /// What went wrong.
        source: DnsError,
    },
    /// The server refused the update.
    #[error("{server} refuses the update of {zone}: {detail}")]
    Refused {
        /// The server.
        server: std::net::SocketAddr,
        /// The zone.
        zone: String,
        /// Its code, and what it means.
        detail: String,
    },
    /// The hook failed, hung or is not there.
    #[error("hook {command}: {detail}")]
    Hook {
        /// The program.
        command: String,
        /// What happened.
        detail: String,
    },
    /// The acme-dns server refused or was not reached.
    #[error("acme-dns: {0}")]
    AcmeDns(String),
    /// A secret cannot be read or is none.
    #[error("{0}")]
    Secret(String),
}

/// What a challenge asks for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The name, with `*.` if it is a wildcard.
    pub name: DomainName,
    /// The token of the challenge.
    pub token: String,
    /// The key authorization; hooks of some styles want it whole.
    pub key_authorization: String,
    /// All names of the order, for hooks.
    pub all: Vec<String>,
    /// Challenges of this order that come after this one, for hooks.
    pub remaining: usize,
}

/// A record that stands, and what its removal needs.
#[derive(Debug)]
pub struct Standing {
    provider: usize,
    wish: Wish,
    /// Where it was written: the end of the CNAMEs, without the last dot.
    pub target: String,
    /// What it says.
    pub value: String,
    /// What the hook printed.
    output: String,
}

impl Standing {
    /// Whether it answers the same challenge.
    pub fn is_for(&self, wish: &Wish) -> bool {
        self.wish.name == wish.name && self.wish.key_authorization == wish.key_authorization
    }
}

/// The providers of one issuer.
pub struct Dns01 {
    providers: Vec<Arc<DnsProvider>>,
    /// Hooks are run one at a time: that is what they were written for.
    turns: Vec<tokio::sync::Mutex<()>>,
    secrets: Arc<dyn Secrets>,
    clock: Arc<dyn Clock>,
    dns: Dns,
}

impl Dns01 {
    /// Nothing is read or asked yet.
    pub fn new(providers: &[Arc<DnsProvider>], secrets: Arc<dyn Secrets>, clock: Arc<dyn Clock>, dns: Dns) -> Dns01 {
        let turns = providers.iter().map(|_| tokio::sync::Mutex::new(())).collect();
        Dns01 { providers: providers.to_vec(), turns, secrets, clock, dns }
    }

    /// Why the record of DNS-01 for `name` cannot be written where the CNAMEs of `chain` lead, as far as that can be told
    /// without writing. An empty chain, or a secret that cannot be read now, says nothing.
    pub fn stranger(&self, name: &DomainName, chain: &[String]) -> Option<Dns01Error> {
        if chain.is_empty() {
            return None;
        }
        let settings = match self.provider(chain) {
            Ok(provider) => &self.providers[provider],
            Err(error) => return Some(error),
        };
        let wanted = match &settings.method {
            Method::AcmeDns { accounts, .. } => Some(acme_dns::full_domain(self, accounts, name).ok()?),
            _ => None,
        };
        dns01::target(chain, &settings.domains, wanted.as_deref()).err().map(Dns01Error::from)
    }

    /// Writes the record that `wish` asks for.
    ///
    /// # Errors
    /// Why it does not stand.
    pub async fn present(&self, wish: Wish) -> Result<Standing, Dns01Error> {
        let record = dns01::record_name(&wish.name);
        let (chain, known) = self.chain(&record).await?;
        let provider = self.provider(&chain)?;
        let settings = &self.providers[provider];
        let value = dns01::record_value(&wish.key_authorization);
        let wanted = match &settings.method {
            Method::AcmeDns { accounts, .. } => Some(acme_dns::full_domain(self, accounts, &wish.name)?),
            _ => None,
        };
        let target = match &wanted {
            // Nobody here could tell where the CNAME leads; the authority can.
            Some(wanted) if !known => wanted.clone(),
            wanted => dns01::target(&chain, &settings.domains, wanted.as_deref())?.to_owned(),
        };
        let mut standing = Standing { provider, wish, target, value, output: String::new() };
        match &settings.method {
            Method::Rfc2136 { .. } => rfc2136::change(self, settings, &standing, rfc2136::Change::Add).await?,
            Method::Exec(hook) => {
                let _turn = self.turns[provider].lock().await;
                standing.output = exec::present(self, hook, &standing).await?;
            }
            Method::AcmeDns { .. } => acme_dns::present(self, settings, &standing).await?,
        }
        tracing::debug!("the record {} stands by dns_provider {}", standing.target, settings.name);
        Ok(standing)
    }

    /// Waits until the name servers show `standing`, `at_most` so long; says who does not show it yet.
    pub async fn wait(&self, standing: &Standing, at_most: Duration) -> Result<(), String> {
        let settings = &self.providers[standing.provider];
        let patience = settings.patience.min(at_most);
        match &settings.seen_at {
            SeenAt::Nowhere => Ok(()),
            SeenAt::Servers(servers) => seen::wait(servers, standing, patience).await,
            SeenAt::Authorities => {
                let servers = seen::authorities(&self.dns, &standing.target).await;
                match servers {
                    Ok(servers) if !servers.is_empty() => seen::wait(&servers, standing, patience).await,
                    Ok(_) => Err(format!("no name server of {} is known", standing.target)),
                    Err(error) => Err(error.to_string()),
                }
            }
        }
    }

    /// Removes a record. What cannot be removed is said, and stays: it harms nobody.
    pub async fn clear(&self, standing: Standing) {
        let settings = &self.providers[standing.provider];
        let work = async {
            match &settings.method {
                Method::Rfc2136 { .. } => rfc2136::change(self, settings, &standing, rfc2136::Change::Remove).await,
                Method::Exec(hook) => {
                    let _turn = self.turns[standing.provider].lock().await;
                    exec::clear(self, hook, &standing).await
                }
                // acme-dns keeps the last two values of each name, and has no way to remove one.
                Method::AcmeDns { .. } => Ok(()),
            }
        };
        let limit = match &settings.method {
            Method::Exec(hook) => hook.timeout * 4 + TIDY,
            _ => TIDY,
        };
        match tokio::time::timeout(limit, work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("the record {} stays behind: {error}", standing.target),
            Err(_) => tracing::warn!("the record {} stays behind: it could not be removed in time", standing.target),
        }
    }

    /// The name of the challenge and all that its CNAMEs lead to, as text. If no resolver can tell: the name alone, and
    /// false.
    async fn chain(&self, record: &str) -> Result<(Vec<String>, bool), Dns01Error> {
        let failed = |source| Dns01Error::Dns { what: format!("the CNAME of {record}"), source };
        let name = dns::name(record).map_err(failed)?;
        match self.dns.chain(&name).await {
            Ok(chain) => Ok((chain.iter().map(dns::text).collect(), true)),
            Err(error @ DnsError::Endless(_)) => Err(failed(error)),
            Err(error) => {
                tracing::info!("whether {record} is a CNAME cannot be told from here: {error}");
                Ok((vec![record.to_owned()], false))
            }
        }
    }

    /// Who writes for this chain: the longest match of the name itself, else of where it leads.
    fn provider(&self, chain: &[String]) -> Result<usize, Dns01Error> {
        let reach = |provider: &DnsProvider, name: &str| match provider.domains.is_empty() {
            true => Some(0),
            false => {
                let fit = provider.domains.iter().filter(|domain| dns01::below(name, domain.as_str()));
                fit.map(|domain| domain.as_str().len()).max()
            }
        };
        let best = |name: &String| {
            let fit = self.providers.iter().enumerate().filter_map(|(at, p)| Some((reach(p, name)?, at)));
            fit.max_by_key(|(length, at)| (*length, usize::MAX - at)).map(|(_, at)| at)
        };
        let (first, last) = (chain.first(), chain.last());
        // Where the record really stands counts first; a name that leads to strangers is told by its own provider.
        let found = last.and_then(best).or_else(|| first.and_then(best));
        found.ok_or_else(|| Dns01Error::NoProvider(first.cloned().unwrap_or_default()))
    }
}

//! acme_dns_provider, dns_provider, acme_resolver: who writes the records of DNS-01, for which issuer, and whom names are
//! asked of before that.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::{Level, directive_is};
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::plan::acme::{Authority, ChallengeKind};
use crate::plan::dns::{DnsProvider, Hook, HookStyle, Method, SeenAt, TsigAlgorithm, TsigKey};
use crate::words::{DomainName, Place, SecretRef};

use super::resolver;

const TTL: Duration = Duration::from_secs(60);
const PROPAGATION: Duration = Duration::from_secs(180);
const EXEC: Duration = Duration::from_secs(120);

/// What has been said of DNS while the files were read.
#[derive(Debug, Default)]
pub struct Draft {
    providers: Vec<Arc<DnsProvider>>,
    /// `dns_provider` of issuers: the issuer's name, the providers' names, where; with a `challenge` of its own or without.
    wanted: Vec<Wanted>,
    /// `acme_resolver`.
    pub resolver: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Wanted {
    issuer: Box<str>,
    providers: Vec<Box<str>>,
    challenges_said: bool,
    place: Place,
}

impl Draft {
    /// Notes what an issuer said with `dns_provider`.
    pub fn want(&mut self, issuer: &str, providers: Vec<Box<str>>, challenges_said: bool, place: &Place) {
        self.wanted.push(Wanted { issuer: issuer.into(), providers, challenges_said, place: place.clone() });
    }

    /// Whether an issuer can show control by DNS.
    pub fn serves(&self, issuer: &str) -> bool {
        self.wanted.iter().any(|wanted| *wanted.issuer == *issuer)
    }
}

/// What one block says.
struct ProviderDraft {
    level: Level,
    method: Option<Method>,
    key: Option<TsigKey>,
    environment: Vec<(Box<str>, SecretRef)>,
    passed: Vec<Box<str>>,
    domains: Vec<DomainName>,
    accounts: Option<SecretRef>,
    seen_at: SeenAt,
}

/// Takes `acme_dns_provider`.
///
/// # Errors
/// What is wrong with it.
pub fn provider(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let (place, name) = (&directive.place, &directive.args[0]);
    let wrong = |text: String| Complaint::emerg(text, place);
    if reader.shared.dns.providers.iter().any(|provider| *provider.name == **name) {
        return Err(wrong(format!("duplicate acme_dns_provider \"{name}\"")));
    }
    let mut draft = ProviderDraft {
        level: Level::default(),
        method: None,
        key: None,
        environment: Vec::new(),
        passed: Vec::new(),
        domains: Vec::new(),
        accounts: None,
        seen_at: SeenAt::default(),
    };
    let block = directive.block.as_ref().expect("the reader lets `acme_dns_provider` through only with a block");
    reader.walk(block, &mut draft)?;
    let level = &draft.level;
    let needs = |what: &str, method: &str| wrong(format!("\"{what}\" goes with \"{method}\" alone"));
    let is = |name: &str| level.has(name);
    let mut method = draft
        .method
        .ok_or_else(|| wrong(format!("acme_dns_provider \"{name}\" needs \"rfc2136\", \"exec\" or \"acme_dns\"")))?;
    if is("tsig") && !is("rfc2136") {
        return Err(needs("tsig", "rfc2136"));
    }
    if (is("exec_timeout") || is("exec_env")) && !is("exec") {
        return Err(needs(if is("exec_env") { "exec_env" } else { "exec_timeout" }, "exec"));
    }
    if is("accounts") && !is("acme_dns") {
        return Err(needs("accounts", "acme_dns"));
    }
    match &mut method {
        Method::Rfc2136 { key, .. } => *key = draft.key,
        Method::Exec(hook) => {
            (hook.environment, hook.passed) = (draft.environment, draft.passed);
            hook.timeout = level.time("exec_timeout").filter(|time| !time.is_zero()).unwrap_or(EXEC);
        }
        Method::AcmeDns { accounts, trusted, .. } => {
            *accounts = draft.accounts.ok_or_else(|| wrong("\"acme_dns\" needs \"accounts\"".to_owned()))?;
            *trusted = level.text("ssl_trusted_certificate").map(|path| reader.conf_path(path));
        }
    }
    let zone = level.text("zone").map(|text| domain(text, place)).transpose()?;
    reader.shared.dns.providers.push(Arc::new(DnsProvider {
        name: (**name).into(),
        method,
        domains: draft.domains,
        zone,
        ttl: level.time("ttl").unwrap_or(TTL),
        seen_at: draft.seen_at,
        patience: level.time("propagation_timeout").unwrap_or(PROPAGATION),
        place: place.clone(),
    }));
    Ok(())
}

impl Scope for ProviderDraft {
    fn home(&self) -> Home {
        Home::AcmeDnsProvider
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        let place = &directive.place;
        if self.level.has(row.name) && row.name != "exec_env" {
            return Err(directive_is(directive, "is duplicate"));
        }
        self.level.set(row, directive, &mut reader.variables, &mut reader.complaints)?;
        let args = &directive.args;
        match row.name {
            "rfc2136" => {
                let servers = resolver::server(&args[0], reader, directive)?;
                self.method(Method::Rfc2136 { servers, key: None }, directive)?;
            }
            "tsig" => {
                let algorithm = TsigAlgorithm::parse(&args[1]).ok_or_else(|| {
                    let known = "hmac-sha256, hmac-sha384 or hmac-sha512";
                    Complaint::emerg(format!("unsupported algorithm \"{}\" in \"tsig\": {known}", args[1]), place)
                })?;
                let (name, secret) = (domain(&args[0], place)?, secret(reader, &args[2], place)?);
                self.key = Some(TsigKey { name, algorithm, secret });
            }
            "exec" => {
                let hook =
                    Hook { style: style(args, place)?, timeout: EXEC, environment: Vec::new(), passed: Vec::new() };
                self.method(Method::Exec(hook), directive)?;
            }
            "exec_env" => {
                if args[0].is_empty() || args[0].contains(['=', '\0']) {
                    return Err(Complaint::emerg(format!("invalid variable \"{}\" in \"exec_env\"", args[0]), place));
                }
                match args.get(1) {
                    Some(value) => self.environment.push((args[0].clone(), secret(reader, value, place)?)),
                    None => self.passed.push(args[0].clone()),
                }
            }
            "acme_dns" => {
                if !args[0].starts_with("https://") && !args[0].starts_with("http://") {
                    return Err(Complaint::emerg(format!("invalid URL \"{}\" in \"acme_dns\"", args[0]), place));
                }
                // Given in the block; checked at its end.
                let accounts = SecretRef::Env(String::new());
                self.method(Method::AcmeDns { url: args[0].to_string(), accounts, trusted: None }, directive)?;
            }
            "accounts" => self.accounts = Some(secret(reader, &args[0], place)?),
            "domains" => {
                for text in args {
                    self.domains.push(domain(text.strip_prefix("*.").unwrap_or(text), place)?);
                }
            }
            "propagation" => self.seen_at = propagation(reader, directive)?,
            _ => {}
        }
        Ok(())
    }
}

impl ProviderDraft {
    fn method(&mut self, method: Method, directive: &Directive) -> Result<(), Complaint> {
        match self.method.replace(method) {
            None => Ok(()),
            Some(_) => Err(directive_is(directive, "is the second way to write records")),
        }
    }
}

/// `lego COMMAND …`, `lego-raw COMMAND …` or `certbot AUTH [CLEANUP]`.
fn style(args: &[Box<str>], place: &Place) -> Result<HookStyle, Complaint> {
    let command: Box<[Box<str>]> = args[1..].into();
    match (&*args[0], &args[1..]) {
        ("lego", _) => Ok(HookStyle::Lego(command)),
        ("lego-raw", _) => Ok(HookStyle::LegoRaw(command)),
        ("certbot", [auth]) => Ok(HookStyle::Certbot { auth: auth.clone(), cleanup: None }),
        ("certbot", [auth, cleanup]) => Ok(HookStyle::Certbot { auth: auth.clone(), cleanup: Some(cleanup.clone()) }),
        ("certbot", _) => {
            Err(Complaint::emerg("\"exec certbot\" takes two commands: quote those with arguments", place))
        }
        (other, _) => {
            let text = format!("unknown kind of hook \"{other}\" in \"exec\": lego, lego-raw or certbot");
            Err(Complaint::emerg(text, place))
        }
    }
}

fn propagation(reader: &Reader<'_>, directive: &Directive) -> Result<SeenAt, Complaint> {
    match &directive.args[..] {
        [one] if &**one == "off" => Ok(SeenAt::Nowhere),
        [one] if &**one == "authorities" => Ok(SeenAt::Authorities),
        servers => {
            let mut found = Vec::new();
            for text in servers {
                found.extend(resolver::server(text, reader, directive)?);
            }
            Ok(SeenAt::Servers(found))
        }
    }
}

fn domain(text: &str, place: &Place) -> Result<DomainName, Complaint> {
    text.parse().map_err(|_| Complaint::emerg(format!("invalid domain name \"{text}\""), place))
}

/// A secret stands somewhere else than in the configuration, which many may read.
fn secret(reader: &Reader<'_>, text: &str, place: &Place) -> Result<SecretRef, Complaint> {
    match SecretRef::parse(text) {
        SecretRef::Literal(_) => Err(Complaint::emerg("a secret is given as file:PATH, env:NAME or cred:NAME", place)),
        SecretRef::File(path) => Ok(SecretRef::File(reader.conf_path(&path.to_string_lossy()))),
        other => Ok(other),
    }
}

/// Takes `acme_resolver`.
///
/// # Errors
/// When an address is none.
pub fn resolver(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    if !reader.shared.dns.resolver.is_empty() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let mut found = Vec::new();
    for text in &directive.args {
        found.extend(resolver::server(text, reader, directive)?);
    }
    reader.shared.dns.resolver = found;
    Ok(())
}

/// Gives every issuer its providers and its resolver.
///
/// # Errors
/// When a provider is unknown, or an issuer that shall go by DNS has none.
pub fn settle(reader: &mut Reader<'_>) -> Result<(), Complaint> {
    let draft = std::mem::take(&mut reader.shared.dns);
    reader.shared.checks.resolver.clone_from(&draft.resolver);
    for wanted in &draft.wanted {
        let issuer = reader.shared.issuers.iter_mut().find(|issuer| *issuer.name == *wanted.issuer);
        let Some(Authority::Acme(server)) = issuer.map(|issuer| &mut issuer.authority) else {
            return Err(Complaint::emerg("\"dns_provider\" does not go with \"uri internal\"", &wanted.place));
        };
        for name in &wanted.providers {
            let known = draft.providers.iter().find(|provider| *provider.name == **name);
            let missing = || Complaint::emerg(format!("unknown acme_dns_provider \"{name}\""), &wanted.place);
            server.dns.push(known.ok_or_else(missing)?.clone());
        }
        if !wanted.challenges_said {
            server.challenges.push(ChallengeKind::Dns01);
        }
    }
    for issuer in &mut reader.shared.issuers {
        let Authority::Acme(server) = &mut issuer.authority else { continue };
        server.resolver.clone_from(&draft.resolver);
        if server.dns.is_empty() && server.challenges.contains(&ChallengeKind::Dns01) {
            return Err(Complaint::emerg("\"challenge dns-01\" needs \"dns_provider\"", &issuer.place));
        }
    }
    Ok(())
}

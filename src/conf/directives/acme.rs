//! acme_issuer, acme_certificate, server_certificates: certificates that are obtained rather than read. Names and meaning
//! as in nginx's ACME module, and what semper adds: `uri internal`, terms of time, `staging`, certificates for servers by
//! name.

use std::collections::HashSet;
use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::{Level, directive_is};
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::plan::acme::{
    AccountKey, AcmeServer, Authority, ChallengeKind, ExternalAccount, InternalAuthority, Issuer, Profile,
};
use crate::plan::certificate::{CertId, CertSpec, KeyKind, Standby};
use crate::plan::limits::Limits;
use crate::words::{Identifier, Place, SecretRef};

use super::acme_limits;
use super::names::{Wildcard, wildcard};
use super::server::ServerDraft;

/// `acme_certificate ISSUER [identifier …] [key=alg[:size]] [standby=ISSUER|off]`.
#[derive(Clone, Debug)]
pub struct Line {
    issuer: Box<str>,
    identifiers: Vec<Identifier>,
    key: KeyKind,
    standby: Standby,
    place: Place,
}

/// `server_certificates NAME … { acme_certificate …; }`: for the servers of nginx.conf that have one of the names.
#[derive(Debug)]
pub struct Named {
    names: Vec<Box<str>>,
    lines: Vec<Line>,
    place: Place,
}

/// Takes `acme_certificate`.
///
/// # Errors
/// What is wrong with it.
pub fn certificate(_reader: &mut Reader<'_>, directive: &Directive) -> Result<Line, Complaint> {
    let mut line = Line {
        issuer: directive.args[0].clone(),
        identifiers: Vec::new(),
        key: KeyKind::default(),
        standby: Standby::default(),
        place: directive.place.clone(),
    };
    for text in directive.args.iter().skip(1) {
        if let Some(key) = text.strip_prefix("key=") {
            let known = KeyKind::parse(key);
            line.key = known.ok_or_else(|| Complaint::emerg(format!("invalid key type \"{key}\""), &line.place))?;
        } else if let Some(name) = text.strip_prefix("standby=") {
            line.standby = if name == "off" { Standby::Off } else { Standby::By(name.into()) };
        } else {
            let identifier = text.strip_prefix("dns:").or_else(|| text.strip_prefix("ip:")).unwrap_or(text);
            let identifier = identifier
                .parse()
                .map_err(|_| Complaint::emerg(format!("invalid identifier \"{text}\""), &line.place))?;
            line.identifiers.push(identifier);
        }
    }
    Ok(line)
}

/// Takes `server_certificates`.
///
/// # Errors
/// What is wrong inside.
pub fn named(reader: &mut Reader<'_>, directive: &Directive) -> Result<Named, Complaint> {
    let names = directive.args.iter().map(|name| name.to_ascii_lowercase().into()).collect();
    let mut named = Named { names, lines: Vec::new(), place: directive.place.clone() };
    let block = directive.block.as_ref().expect("the reader lets `server_certificates` through only with a block");
    reader.walk(block, &mut named)?;
    Ok(named)
}

impl Scope for Named {
    fn home(&self) -> Home {
        Home::ServerCertificates
    }

    fn take(&mut self, reader: &mut Reader<'_>, _row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        self.lines.push(certificate(reader, directive)?);
        Ok(())
    }
}

/// The certificates that are wished for, each once.
pub struct Wishes<'a> {
    /// With whether a server was found.
    named: Vec<(&'a Named, bool)>,
    specs: Vec<CertSpec>,
    known: HashSet<CertId>,
}

impl<'a> Wishes<'a> {
    /// Nothing is wished for yet.
    pub fn new(named: &'a [Named]) -> Wishes<'a> {
        Wishes { named: named.iter().map(|named| (named, false)).collect(), specs: Vec::new(), known: HashSet::new() }
    }

    /// The lines that hold for a server: its own, and those of `server_certificates` with one of its names.
    pub fn lines(&mut self, server: &ServerDraft) -> Vec<Line> {
        let mut lines = server.acme.clone();
        for (named, used) in &mut self.named {
            if server.names.iter().any(|name| named.names.contains(&name.text)) {
                *used = true;
                lines.extend(named.lines.iter().cloned());
            }
        }
        lines
    }

    /// Wishes for the certificate of a line; two lines with the same names and key are one certificate.
    ///
    /// # Errors
    /// When the issuer is unknown, or no name can be certified.
    pub fn wish(&mut self, line: &Line, server: &ServerDraft, reader: &mut Reader<'_>) -> Result<CertId, Complaint> {
        let Some(issuer) = reader.shared.issuers.iter().find(|issuer| *issuer.name == *line.issuer) else {
            return Err(Complaint::emerg(format!("unknown acme_issuer \"{}\"", line.issuer), &line.place));
        };
        let issuer_name = Arc::clone(&issuer.name);
        let internal = matches!(issuer.authority, Authority::Internal(_));
        let mut identifiers = line.identifiers.clone();
        if identifiers.is_empty() {
            identifiers = server.names.iter().flat_map(|name| of_server_name(&name.text)).collect();
        }
        if identifiers.is_empty() {
            let text = "\"acme_certificate\" has no identifiers, and \"server_name\" has none that can be certified";
            return Err(Complaint::emerg(text, &line.place));
        }
        for identifier in &identifiers {
            let wildcard = matches!(identifier, Identifier::Dns(name) if name.is_wildcard());
            if wildcard && !internal && !reader.shared.dns.serves(&issuer_name) {
                let text = format!(
                    "acme_certificate for {identifier} needs \"dns_provider\" in acme_issuer \"{issuer_name}\""
                );
                return Err(Complaint::emerg(text, &line.place));
            }
        }
        if let Standby::By(name) = &line.standby {
            if *name == issuer_name {
                return Err(Complaint::emerg(format!("acme_issuer \"{name}\" stands in for itself"), &line.place));
            }
            if !reader.shared.issuers.iter().any(|issuer| issuer.name == *name) {
                return Err(Complaint::emerg(format!("unknown acme_issuer \"{name}\""), &line.place));
            }
        }
        let spec = CertSpec::new(issuer_name, identifiers, line.key, line.place.clone());
        let spec = CertSpec { standby: line.standby.clone(), ..spec };
        let id = spec.id.clone();
        if self.known.insert(id.clone()) {
            self.specs.push(spec);
        }
        Ok(id)
    }

    /// Every `server_certificates` must have found a server.
    ///
    /// # Errors
    /// When one found none: a misspelt name would leave a server without its certificate.
    pub fn check_used(&self) -> Result<(), Complaint> {
        match self.named.iter().find(|(_, used)| !used) {
            None => Ok(()),
            Some((named, _)) => {
                let names = named.names.join("\" or \"");
                Err(Complaint::emerg(format!("no server has the name \"{names}\""), &named.place))
            }
        }
    }

    /// The certificates.
    pub fn specs(self) -> Vec<CertSpec> {
        self.specs
    }
}

/// What a `server_name` asks a certificate for; nothing for regular expressions and `name.*`.
fn of_server_name(text: &str) -> Vec<Identifier> {
    if text.starts_with('~') || text.is_empty() || text == "_" {
        return Vec::new();
    }
    let names: Vec<String> = match wildcard(text) {
        Ok(Wildcard::Exact) => vec![text.to_owned()],
        Ok(Wildcard::Dot(name)) => vec![name.to_owned(), format!("*.{name}")],
        Ok(Wildcard::Suffix(_)) => vec![text.to_owned()],
        Ok(Wildcard::Prefix(_)) | Err(_) => Vec::new(),
    };
    names.iter().filter_map(|name| name.parse().ok()).collect()
}

/// What an `acme_issuer` block has said.
struct IssuerDraft {
    level: Level,
    server: AcmeServer,
    state_path: Option<Option<std::path::PathBuf>>,
    fallback: Vec<Arc<str>>,
    limits: Option<Directive>,
}

/// Takes `acme_issuer`.
///
/// # Errors
/// What is wrong with it.
pub fn issuer(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    let place = &directive.place;
    let name = &directive.args[0];
    if reader.shared.issuers.iter().any(|issuer| *issuer.name == **name) {
        return Err(Complaint::emerg(format!("duplicate acme_issuer \"{name}\""), place));
    }
    let mut draft = IssuerDraft {
        level: Level::default(),
        server: AcmeServer::at(""),
        state_path: None,
        fallback: Vec::new(),
        limits: None,
    };
    let block = directive.block.as_ref().expect("the reader lets `acme_issuer` through only with a block");
    reader.walk(block, &mut draft)?;
    let Some(uri) = draft.level.text("uri") else {
        return Err(Complaint::emerg(format!("\"uri\" is missing in acme_issuer \"{name}\""), &block.end));
    };
    let lifetime = draft.level.time("leaf_lifetime");
    let authority = if uri == "internal" {
        let mut internal = InternalAuthority::default();
        internal.leaf_lifetime = lifetime.unwrap_or(internal.leaf_lifetime);
        Authority::Internal(internal)
    } else {
        if !uri.starts_with("https://") {
            return Err(Complaint::emerg(format!("invalid uri \"{uri}\" in acme_issuer \"{name}\""), place));
        }
        if lifetime.is_some() {
            return Err(Complaint::emerg("\"leaf_lifetime\" goes with \"uri internal\" alone", place));
        }
        terms_of_time(&draft.level, &mut draft.server, place)?;
        let limits = draft.limits.as_ref().map(|said| acme_limits::limits(said, Limits::of_directory(uri)));
        Authority::Acme(AcmeServer { directory: uri.into(), limits: limits.transpose()?.map(Box::new), ..draft.server })
    };
    if let Some(providers) = draft.level.args("dns_provider") {
        reader.shared.dns.want(name, providers.to_vec(), draft.level.has("challenge"), place);
    }
    let standby = draft.level.text("standby").map(Into::into);
    if draft.state_path.is_none() {
        reader.shared.default_state.push(reader.shared.issuers.len());
    }
    let state_path = draft.state_path.flatten();
    let issuer = Issuer::new(&**name, state_path, authority, place.clone());
    reader.shared.issuers.push(Issuer { fallback: draft.fallback, standby, ..issuer });
    Ok(())
}

impl Scope for IssuerDraft {
    fn home(&self) -> Home {
        Home::AcmeIssuer
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        let place = &directive.place;
        let repeated = self.level.has(row.name) && row.name != "contact";
        if repeated {
            return Err(directive_is(directive, "is duplicate"));
        }
        self.level.set(row, directive, &mut reader.variables, &mut reader.complaints)?;
        let first = directive.args.first().map_or("", AsRef::as_ref);
        match row.name {
            "account_key" => self.server.account_key = account_key(reader, first, place)?,
            "challenge" => {
                self.server.challenges.clear();
                for text in &directive.args {
                    let wrong = || Complaint::emerg(format!("unsupported challenge \"{text}\""), place);
                    self.server.challenges.push(ChallengeKind::parse(text).ok_or_else(wrong)?);
                }
            }
            "contact" => {
                let scheme = first.split_once(':').is_some_and(|(scheme, _)| !scheme.contains(['@', '/']));
                self.server.contacts.push(if scheme { first.to_owned() } else { format!("mailto:{first}") });
            }
            "external_account_key" => {
                let secret = directive.args[1].strip_prefix("data:").unwrap_or(&directive.args[1]);
                let key = match secret.split_once(':') {
                    Some(("file" | "env" | "cred", _)) => SecretRef::parse(secret),
                    _ if directive.args[1].starts_with("data:") => SecretRef::parse(secret),
                    _ => SecretRef::File(reader.conf_path(secret)),
                };
                self.server.external_account = Some(ExternalAccount { kid: first.to_owned(), key });
            }
            "preferred_chain" => self.server.preferred_chain = Some(first.to_owned()),
            "profile" => {
                let required = match directive.args.get(1).map(AsRef::as_ref) {
                    None => false,
                    Some("require") => true,
                    Some(other) => {
                        return Err(Complaint::emerg(format!("invalid parameter \"{other}\""), place));
                    }
                };
                self.server.profile = Some(Profile { name: first.to_owned(), required });
            }
            "ssl_trusted_certificate" => self.server.trusted_certificate = Some(reader.conf_path(first)),
            "ssl_verify" => self.server.verify = self.level.flag("ssl_verify").unwrap_or(true),
            "state_path" => self.state_path = Some((first != "off").then(|| reader.prefix_path(first))),
            "accept_terms_of_service" => self.server.terms_accepted = true,
            "common_name_in_csr" => self.server.common_name_in_csr = first != "off",
            "staging" if !first.starts_with("https://") => {
                return Err(Complaint::emerg(format!("invalid staging \"{first}\": a URL of https is needed"), place));
            }
            "staging" => self.server.staging = Some(first.into()),
            "fallback" => self.fallback = acme_limits::fallback(directive)?,
            "limits" => self.limits = Some(directive.clone()),
            _ => {}
        }
        Ok(())
    }
}

/// `order_timeout` and `retry_interval`: neither may be so short that an authority is asked in a circle.
fn terms_of_time(level: &Level, server: &mut AcmeServer, place: &Place) -> Result<(), Complaint> {
    let second = std::time::Duration::from_secs(1);
    let short = |name: &str| Complaint::emerg(format!("\"{name}\" must be a second or more"), place);
    if let Some(time) = level.time("order_timeout") {
        server.order_timeout = Some(time).filter(|time| *time >= second).ok_or_else(|| short("order_timeout"))?;
    }
    if let Some(time) = level.time("retry_interval") {
        server.retry_interval = Some(time).filter(|time| *time >= second).ok_or_else(|| short("retry_interval"))?;
    }
    Ok(())
}

fn account_key(reader: &Reader<'_>, text: &str, place: &Place) -> Result<AccountKey, Complaint> {
    if let Some(kind) = KeyKind::parse(text) {
        return Ok(AccountKey::Own(kind));
    }
    let algorithm = text.split_once(':').map_or(text, |(algorithm, _)| algorithm);
    match algorithm {
        "ecdsa" | "rsa" => Err(Complaint::emerg(format!("unsupported account key \"{text}\""), place)),
        "" => Err(Complaint::emerg(format!("invalid account key \"{text}\""), place)),
        _ => Ok(AccountKey::File(reader.conf_path(text))),
    }
}

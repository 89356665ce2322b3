//! ssl_* and proxy_ssl_*: which certificates a server has, and how TLS is spoken towards clients and upstreams.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::conf::complaint::{Complaint, Kind};
use crate::conf::read::Reader;
use crate::conf::settings::{clamp, directive_is};
use crate::conf::table::Row;
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::conf::world::PairOnDisk;
use crate::plan::template::{Builtin, Segment, Template, Var};
use crate::plan::tls::{
    CertificateSource, FileCertificate, ServerTls, TlsProtocol, TlsSettings, UpstreamTls, VerifyClient,
};
use crate::words::Place;

use super::acme::{Line, Wishes};
use super::server::ServerDraft;
use super::{Chain, Said, cipher};

/// Takes one of the `ssl_` directives of `http` or a server.
///
/// # Errors
/// nginx's words.
pub fn take(
    said: &mut Said,
    reader: &mut Reader<'_>,
    row: &'static Row,
    directive: &Directive,
) -> Result<(), Complaint> {
    match row.name {
        "ssl_session_cache" => session_cache(reader, directive)?,
        "ssl_conf_command" => return conf_command(said, reader, row, directive),
        "ssl_password_file" => {
            if said.level.has(row.name) {
                return Err(directive_is(directive, "is duplicate"));
            }
            let path = reader.conf_path(&directive.args[0]);
            if !reader.options.offline {
                reader.world.read_file(&path).map_err(|errno| {
                    let text = format!("open() \"{}\" failed ({errno})", path.display());
                    Complaint::emerg(text, &directive.place)
                })?;
            }
        }
        "ssl_ciphers" => say_ciphers(reader, directive),
        "ssl_ecdh_curve" => say_lacking(reader, cipher::read_curves(&directive.args[0]).1, directive),
        "ssl_protocols" => {
            for old in ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"] {
                if directive.args.iter().any(|name| name.eq_ignore_ascii_case(old)) {
                    reader.warn(format!("\"{old}\" is never spoken"), &directive.place);
                }
            }
        }
        "ssl_certificate" | "ssl_certificate_key" => {
            let path = &*directive.args[0];
            if path.contains('$') && !is_acme(path) {
                reader.not_yet(&format!("{} with variables", row.name), &directive.place);
            }
        }
        _ => {}
    }
    said.generic(reader, row, directive)
}

fn is_acme(path: &str) -> bool {
    ["$acme_certificate", "${acme_certificate}", "$acme_certificate_key", "${acme_certificate_key}"].contains(&path)
}

fn say_ciphers(reader: &mut Reader<'_>, directive: &Directive) {
    let ciphers = cipher::read(&directive.args[0]);
    say_lacking(reader, ciphers.lacking, directive);
}

fn say_lacking(reader: &mut Reader<'_>, lacking: Vec<String>, directive: &Directive) {
    if !lacking.is_empty() {
        let text = format!("not spoken, left out of \"{}\": {}", directive.name, lacking.join(":"));
        reader.warn(text, &directive.place);
    }
}

/// Takes `ssl_conf_command` or `proxy_ssl_conf_command`.
///
/// # Errors
/// None of its own.
pub fn conf_command(
    said: &mut Said,
    reader: &mut Reader<'_>,
    row: &'static Row,
    directive: &Directive,
) -> Result<(), Complaint> {
    match (&*directive.args[0], &*directive.args[1]) {
        ("Ciphersuites", suites) => say_lacking(reader, cipher::read_13(suites).1, directive),
        ("Options", "PrioritizeChaCha" | "ServerPreference,PrioritizeChaCha" | "KTLS" | "NoRenegotiation") => {}
        (command, _) => reader.not_yet(&format!("{} {command}", row.name), &directive.place),
    }
    said.generic(reader, row, directive)
}

/// Checks `ssl_session_cache`.
fn session_cache(reader: &mut Reader<'_>, directive: &Directive) -> Result<(), Complaint> {
    for text in &directive.args {
        let invalid = || Complaint::emerg(format!("invalid session cache \"{text}\""), &directive.place);
        match text.split_once(':') {
            None if ["off", "none", "builtin"].contains(&&**text) => {}
            Some(("builtin", number)) => drop(value::number(number).ok_or_else(invalid)?),
            Some(("shared", zone)) => {
                let (name, size) = zone.split_once(':').filter(|(name, _)| !name.is_empty()).ok_or_else(invalid)?;
                let size = value::size(size).ok_or_else(invalid)?;
                if size < 8 * 4096 {
                    let text = format!("session cache \"{text}\" is too small");
                    return Err(Complaint::emerg(text, &directive.place));
                }
                zone_size(reader, name, size, directive)?;
            }
            _ => return Err(invalid()),
        }
    }
    Ok(())
}

fn zone_size(reader: &mut Reader<'_>, name: &str, size: u64, directive: &Directive) -> Result<(), Complaint> {
    let known = *reader.shared.session_zones.entry(name.into()).or_insert(size);
    if known == size {
        return Ok(());
    }
    let text = format!("the size {size} of shared memory zone \"{name}\" conflicts with already declared size {known}");
    Err(Complaint::emerg(text, &directive.place))
}

/// The certificates of one server.
#[derive(Debug)]
pub struct Certificates {
    sources: Vec<CertificateSource>,
    reject: bool,
    on_demand: bool,
}

/// What [`check_listens`] needs to know of a server's certificates.
#[derive(Clone, Copy, Debug)]
pub struct Has {
    any: bool,
    reject: bool,
}

impl Certificates {
    /// Whether there is any, and whether handshakes are rejected anyway.
    pub fn has(&self) -> Has {
        Has { any: !self.sources.is_empty() || self.on_demand, reject: self.reject }
    }
}

/// Finds the certificates of a server, and checks their files; with `acme_on_demand` in it, or without.
///
/// # Errors
/// nginx's words. A certificate that cannot be loaded is said, and forgiven by a start.
pub fn certificates(
    chain: Chain<'_>,
    (server, on_demand): (&ServerDraft, bool),
    lines: &[Line],
    wishes: &mut Wishes<'_>,
    reader: &mut Reader<'_>,
) -> Result<Certificates, Complaint> {
    let list = |name: &'static str| -> Vec<&str> {
        let said = chain.find(|said| said.level.has(name).then_some(said));
        said.map(|said| said.level.all_args(name)).into_iter().flatten().map(|(args, _)| &*args[0]).collect()
    };
    let (files, keys) = (list("ssl_certificate"), list("ssl_certificate_key"));
    let reject = chain.flag("ssl_reject_handshake", false);
    if let Some(last) = files.last().filter(|_| keys.len() < files.len()) {
        let text = format!("no \"ssl_certificate_key\" is defined for certificate \"{last}\"");
        return Err(Complaint::placeless(text));
    }
    let mut sources = Vec::new();
    for line in lines {
        sources.push(CertificateSource::Acme(wishes.wish(line, server, reader)?));
    }
    let passwords = chain.text("ssl_password_file").map(|path| Arc::from(reader.conf_path(path)));
    for (certificate, key) in files.iter().zip(&keys) {
        // `$acme_certificate` stands for what the lines wish for, and for nothing where there are none.
        if !certificate.contains('$') {
            let file = file(certificate, key, passwords.clone(), reader);
            sources.push(CertificateSource::File(file));
        }
    }
    if !sources.is_empty() || reject || on_demand {
        check_clients(chain, reader)?;
    }
    // nginx refuses a default server with neither certificate nor `ssl_reject_handshake on`. Names on demand have to get
    // through; all others are rejected as ever.
    if reject && on_demand {
        return Ok(Certificates { sources: Vec::new(), reject: false, on_demand });
    }
    Ok(Certificates { sources, reject, on_demand })
}

/// A pair of files, made absolute and checked.
fn file(certificate: &str, key: &str, passwords: Option<Arc<Path>>, reader: &mut Reader<'_>) -> Arc<FileCertificate> {
    let plain = |text: &str| text.starts_with("data:") || text.starts_with("engine:") || text.starts_with("store:");
    let path = |text: &str| if plain(text) { PathBuf::from(text) } else { reader.conf_path(text) };
    let file = FileCertificate { certificate: path(certificate).into(), key: path(key).into(), passwords };
    if let Some(known) = reader.shared.pairs.get(&file) {
        return Arc::clone(known);
    }
    let file = Arc::new(file);
    reader.shared.pairs.insert(Arc::clone(&file));
    if !reader.options.offline {
        let (certificate, key) = (file.certificate.to_string_lossy(), file.key.to_string_lossy());
        let pair = PairOnDisk { certificate: &certificate, key: &key, passwords: file.passwords.as_deref() };
        if let Err(text) = reader.world.check_pair(&pair) {
            reader.complaints.push(Complaint::placeless(text).of_kind(Kind::CertificateBad));
        }
    }
    file
}

fn check_clients(chain: Chain<'_>, reader: &mut Reader<'_>) -> Result<(), Complaint> {
    let trusted = chain.text("ssl_trusted_certificate").filter(|path| !path.is_empty());
    let client = chain.text("ssl_client_certificate").filter(|path| !path.is_empty());
    let verify = verify_client(chain);
    if matches!(verify, VerifyClient::On | VerifyClient::Optional) && trusted.is_none() && client.is_none() {
        let text = "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client";
        return Err(Complaint::placeless(text));
    }
    let client = client.filter(|_| verify != VerifyClient::Off);
    let crl = chain.text("ssl_crl").filter(|path| !path.is_empty());
    for path in [client, trusted, crl].into_iter().flatten() {
        check_trusted(&reader.conf_path(path), reader)?;
    }
    Ok(())
}

fn check_trusted(path: &Path, reader: &mut Reader<'_>) -> Result<(), Complaint> {
    if reader.options.offline || !reader.shared.checked_trust.insert(path.to_owned()) {
        return Ok(());
    }
    reader.world.check_trusted(path).map_err(Complaint::placeless)
}

fn verify_client(chain: Chain<'_>) -> VerifyClient {
    match chain.word("ssl_verify_client") {
        Some("on") => VerifyClient::On,
        Some("optional") => VerifyClient::Optional,
        Some("optional_no_ca") => VerifyClient::OptionalNoCa,
        _ => VerifyClient::Off,
    }
}

/// TLS of a server that listens with `ssl`.
///
/// # Errors
/// When no version or cipher suite is left that we can speak.
pub fn server(chain: Chain<'_>, certificates: Certificates, reader: &mut Reader<'_>) -> Result<ServerTls, Complaint> {
    let path = |name: &str| chain.text(name).filter(|path| !path.is_empty()).map(|path| reader.conf_path(path));
    let tickets = chain.find(|said| said.level.has("ssl_session_ticket_key").then_some(said));
    let tickets = tickets.map(|said| said.level.all_args("ssl_session_ticket_key")).into_iter().flatten();
    let ticket_keys = tickets.map(|(args, _)| reader.conf_path(&args[0])).collect();
    let verify_depth = u32::try_from(chain.number("ssl_verify_depth", 1)).unwrap_or(u32::MAX);
    let settings = TlsSettings {
        prefer_server_ciphers: chain.flag("ssl_prefer_server_ciphers", false),
        session_cache: sessions(chain),
        session_timeout: chain.time("ssl_session_timeout", Duration::from_secs(300)),
        tickets: chain.flag("ssl_session_tickets", true),
        ticket_keys,
        reject_handshake: certificates.reject,
        verify_client: verify_client(chain),
        verify_depth,
        client_certificate: path("ssl_client_certificate"),
        trusted_certificate: path("ssl_trusted_certificate"),
        crl: path("ssl_crl"),
        protocol: protocol(chain, "", reader)?,
    };
    let shared = &mut reader.shared.tls;
    let settings = shared.get(&settings).cloned().unwrap_or_else(|| {
        let settings = Arc::new(settings);
        shared.insert(Arc::clone(&settings));
        settings
    });
    Ok(ServerTls { certificates: certificates.sources.into(), on_demand: certificates.on_demand, settings })
}

/// Sessions that the cache holds: about 4000 a megabyte when shared, as many as it says when built in.
fn sessions(chain: Chain<'_>) -> usize {
    let args = chain.find(|said| said.level.args("ssl_session_cache")).unwrap_or_default();
    let each = args.iter().map(|text| match text.split_once(':') {
        None if &**text == "builtin" => 20_480,
        Some(("builtin", number)) => value::number(number).map_or(0, clamp),
        Some(("shared", zone)) => {
            let size = zone.split_once(':').and_then(|(_, size)| value::size(size)).unwrap_or(0);
            clamp(size / 262)
        }
        _ => 0,
    });
    each.max().unwrap_or(0)
}

/// Versions, suites and groups. `prefix`: empty, or `proxy_`.
fn protocol(chain: Chain<'_>, prefix: &str, reader: &mut Reader<'_>) -> Result<TlsProtocol, Complaint> {
    let name = |rest: &str| format!("{prefix}ssl_{rest}");
    let versions = chain.find(|said| said.level.words(&name("protocols")));
    let has = |version: &str| versions.as_ref().is_none_or(|versions| versions.contains(&version));
    let (mut tls12, tls13) = (has("TLSv1.2"), has("TLSv1.3"));
    let said_ciphers = chain.find(|said| said.level.get(&name("ciphers")).zip(said.level.text(&name("ciphers"))));
    let mut suites = Vec::new();
    if let Some((setting, text)) = said_ciphers {
        suites = cipher::read(text).suites;
        if suites.is_empty() && tls12 {
            if !tls13 {
                let text = format!("\"{}\" names no cipher suite that is spoken", name("ciphers"));
                return Err(Complaint::emerg(text, &setting.place));
            }
            tls12 = false;
            let text = format!("\"{}\" names no cipher suite of TLSv1.2 that is spoken", name("ciphers"));
            reader.warn(text, &setting.place);
        }
    }
    if !tls12 && !tls13 {
        let what = name("protocols");
        let place = chain.find(|said| said.level.get(&what)).map(|setting| setting.place.clone());
        reader.not_yet(&format!("{what} without TLSv1.2 and TLSv1.3"), &place.unwrap_or_else(Place::built_in));
    }
    let commands = chain.find(|said| said.level.has(&name("conf_command")).then_some(said));
    let suites_13 = commands.and_then(|said| {
        let what = name("conf_command");
        let mut all = said.level.all_args(&what);
        all.find(|(args, _)| &*args[0] == "Ciphersuites").map(|(args, _)| cipher::read_13(&args[1]).0)
    });
    let curves = if prefix.is_empty() { chain.text("ssl_ecdh_curve") } else { None };
    let boxed = |names: Vec<&str>| names.into_iter().map(Box::from).collect();
    Ok(TlsProtocol {
        tls12,
        tls13,
        ciphers: boxed(suites),
        ciphersuites: boxed(suites_13.unwrap_or_default()),
        curves: boxed(curves.map(|text| cipher::read_curves(text).0).unwrap_or_default()),
    })
}

/// TLS towards the upstreams of a `proxy_pass`.
///
/// # Errors
/// nginx's words.
pub fn upstream(chain: Chain<'_>, reader: &mut Reader<'_>, _end: &Place) -> Result<UpstreamTls, Complaint> {
    let literal = |name: &str| {
        let template = chain.find(|said| said.level.template(name))?;
        let text = String::from_utf8_lossy(template.as_literal()?).into_owned();
        (!text.is_empty()).then_some(text)
    };
    let passwords = chain.text("proxy_ssl_password_file").map(|path| Arc::from(reader.conf_path(path)));
    let certificate = match (literal("proxy_ssl_certificate"), literal("proxy_ssl_certificate_key")) {
        (None, _) => None,
        (Some(certificate), Some(key)) => Some(file(&certificate, &key, passwords, reader)),
        (Some(certificate), None) => {
            let text = format!("no \"proxy_ssl_certificate_key\" is defined for certificate \"{certificate}\"");
            return Err(Complaint::placeless(text));
        }
    };
    let verify = chain.flag("proxy_ssl_verify", false);
    let path = |name: &str| chain.text(name).filter(|path| !path.is_empty()).map(|path| reader.conf_path(path));
    let (trusted_certificate, crl) = (path("proxy_ssl_trusted_certificate"), path("proxy_ssl_crl"));
    if verify {
        let Some(trusted) = &trusted_certificate else {
            return Err(Complaint::placeless("no proxy_ssl_trusted_certificate for proxy_ssl_verify"));
        };
        check_trusted(trusted, reader)?;
        crl.as_deref().map_or(Ok(()), |crl| check_trusted(crl, reader))?;
    }
    let proxy_host = Template { segments: Box::new([Segment::Var(Var::Builtin(Builtin::ProxyHost))]) };
    Ok(UpstreamTls {
        server_name: chain.flag("proxy_ssl_server_name", false),
        name: chain.template("proxy_ssl_name").unwrap_or(proxy_host),
        verify,
        verify_depth: u32::try_from(chain.number("proxy_ssl_verify_depth", 1)).unwrap_or(u32::MAX),
        trusted_certificate,
        crl,
        certificate,
        session_reuse: chain.flag("proxy_ssl_session_reuse", true),
        protocol: protocol(chain, "proxy_", reader)?,
    })
}

/// Every address with `ssl` must have a certificate to show.
///
/// # Errors
/// nginx's words.
pub fn check_listens(servers: &[Has], places: &[Place], reader: &Reader<'_>) -> Result<(), Complaint> {
    for (default, all) in reader.shared.ports.tls_servers() {
        if servers[default].any {
            continue;
        }
        let bare = match servers[default].reject {
            false => Some(default),
            true => all.iter().copied().find(|index| !servers[*index].any && !servers[*index].reject),
        };
        if let Some(index) = bare {
            let text = "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive";
            return Err(Complaint::emerg(text, &places[index]));
        }
    }
    Ok(())
}

//! http { … }: its servers and what they share; how the whole becomes a plan once all is read.

use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::settings::directive_is;
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::plan::Http;
use crate::plan::certificate::CertSpec;
use crate::words::Place;

use super::location::Builder;
use super::server::{self, ServerDraft};
use super::{Chain, Said, Spot, acme, geo, limit, listen, log, map, on_demand, proxy_pass, settings, ssl, upstream};

/// The `http` block as it was read.
#[derive(Debug)]
pub struct HttpDraft {
    said: Said,
    servers: Vec<ServerDraft>,
    /// `server_certificates` that stand in `http`.
    pub named: Vec<acme::Named>,
    end: Place,
}

/// Reads the `http` block.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive, earlier: bool) -> Result<HttpDraft, Complaint> {
    if earlier {
        return Err(directive_is(directive, "is duplicate"));
    }
    let block = directive.block.as_ref().expect("the reader lets `http` through only with a block");
    let said = Said::at(Spot::outside(Home::Http));
    let mut http = HttpDraft { said, servers: Vec::new(), named: Vec::new(), end: block.end.clone() };
    reader.shared.formats.combined(&mut reader.variables)?;
    reader.walk(block, &mut http)?;
    Ok(http)
}

impl Scope for HttpDraft {
    fn home(&self) -> Home {
        Home::Http
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        match row.name {
            "server" => {
                let index = self.servers.len();
                self.servers.push(server::take(reader, directive, index)?);
                Ok(())
            }
            "upstream" => upstream::take(reader, directive),
            "map" => map::take(reader, directive),
            "geo" => geo::take(reader, directive),
            "split_clients" => geo::split_clients(reader, directive),
            "charset_map" => Ok(()),
            "limit_req_zone" | "limit_conn_zone" => limit::zone(reader, row, directive),
            "log_format" => log::format(reader, directive),
            name if super::OF_CERTIFICATES.contains(&name) => super::of_certificates(reader, name, directive),
            "server_certificates" => {
                self.named.push(acme::named(reader, directive)?);
                Ok(())
            }
            name if name.starts_with("ssl_") => ssl::take(&mut self.said, reader, row, directive),
            _ => self.said.take(reader, row, directive),
        }
    }
}

/// What the `http` block becomes.
pub struct Built {
    /// The plan of `http`.
    pub http: Http,
    /// Certificates that are obtained.
    pub certificates: Vec<CertSpec>,
}

/// Builds the plan: inheritance, and everything that nginx checks only when all is read.
///
/// # Errors
/// nginx's words.
pub fn finish(mut draft: HttpDraft, named: Vec<acme::Named>, reader: &mut Reader<'_>) -> Result<Built, Complaint> {
    let chain = Chain { said: &draft.said, above: None };
    upstream::finish(reader, draft.said.resolver.is_some())?;
    draft.named.extend(named);
    let drafts = std::mem::take(&mut draft.servers);
    let mut wishes = acme::Wishes::new(&draft.named);
    let mut certificates = Vec::with_capacity(drafts.len());
    let defaults = reader.shared.ports.tls_servers().map(|(default, _)| default);
    let on_demand = on_demand::servers(reader.shared.on_demand.as_ref(), &drafts, defaults)?;
    for server in &drafts {
        let server_chain = Chain { said: &server.said, above: Some(&chain) };
        let lines = wishes.lines(server);
        let on_demand = on_demand.contains(&server.index);
        certificates.push(ssl::certificates(server_chain, (server, on_demand), &lines, &mut wishes, reader)?);
    }
    wishes.check_used()?;
    reader.shared.ports.settle_quic();
    let servers_with: Vec<ssl::Has> = certificates.iter().map(ssl::Certificates::has).collect();
    let protocols = reader.shared.ports.protocols(drafts.len());
    let places: Vec<Place> = drafts.iter().map(|server| server.place.clone()).collect();
    let http_settings = Arc::new(settings(chain, reader));
    if !drafts.is_empty() {
        proxy_pass::check(chain, &draft.end)?;
    }
    let mut builder = Builder { reader, end: draft.end.clone() };
    let (mut servers, mut names) = (Vec::with_capacity(drafts.len()), Vec::with_capacity(drafts.len()));
    for (server, certificates) in drafts.into_iter().zip(certificates) {
        let protocols = protocols[server.index];
        let built = server::build(server, protocols, &chain, &http_settings, certificates, &mut builder)?;
        servers.push(built.server);
        names.push(built.names);
    }
    ssl::check_listens(&servers_with, &places, reader)?;
    if let Some(complaint) = reader.variables.undefined() {
        return Err(complaint);
    }
    if reader.shared.charsets == (true, true) {
        reader.not_yet("source_charset", &draft.end);
    }
    limit::finish(reader, &draft.end)?;
    let listeners = listen::finish(reader, &servers, &names)?;
    let variables = std::mem::take(&mut reader.variables);
    for (name, place) in variables.not_yet() {
        reader.not_yet(&format!("${name}"), place);
    }
    let http = Http {
        listeners,
        servers: servers.into(),
        upstreams: reader.shared.upstreams.all(),
        asks: variables.asks(),
        variables: variables.finish(),
    };
    Ok(Built { http, certificates: wishes.specs() })
}

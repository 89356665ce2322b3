//! server { … } of http: its names, addresses, locations and certificates.

use std::sync::Arc;

use crate::conf::complaint::Complaint;
use crate::conf::read::{Reader, Scope};
use crate::conf::table::{Home, Row};
use crate::conf::tree::Directive;
use crate::plan::location::{Handler, Location, LocationKind, Settings, TryFiles};
use crate::plan::server::Server;
use crate::words::Place;

use super::acme;
use super::location::{self, Above, Builder, Draft};
use super::names::{self, Name};
use super::referer;
use super::rewrite::{self, Step};
use super::ssl::{self, Certificates};
use super::{Chain, Said, Spot, client, listen, proxy_pass, settings};

/// A server that was read and has not inherited anything yet.
#[derive(Debug)]
pub struct ServerDraft {
    /// What it said.
    pub said: Said,
    /// Position among the servers.
    pub index: usize,
    /// Where it stands.
    pub place: Place,
    /// Its names; one empty name if it has none.
    pub names: Vec<Name>,
    /// `acme_certificate` lines.
    pub acme: Vec<acme::Line>,
    listens: bool,
    script: Vec<Step>,
    try_files: Option<Box<TryFiles>>,
    locations: Vec<Draft>,
}

/// Reads a `server` block.
///
/// # Errors
/// nginx's words.
pub fn take(reader: &mut Reader<'_>, directive: &Directive, index: usize) -> Result<ServerDraft, Complaint> {
    let mut server = ServerDraft {
        said: Said::at(Spot::outside(Home::Server)),
        index,
        place: directive.place.clone(),
        names: Vec::new(),
        acme: Vec::new(),
        listens: false,
        script: Vec::new(),
        try_files: None,
        locations: Vec::new(),
    };
    let block = directive.block.as_ref().expect("the reader lets `server` through only with a block");
    reader.walk(block, &mut server)?;
    if !server.listens {
        listen::add_default(reader, index, &block.end)?;
    }
    if server.names.is_empty() {
        server.names.push(Name { text: "".into(), pattern: None });
    }
    if reader.shared.referers_want_names {
        server.said.referers.names.clone_from(&server.names);
    }
    Ok(server)
}

impl Scope for ServerDraft {
    fn home(&self) -> Home {
        Home::Server
    }

    fn take(&mut self, reader: &mut Reader<'_>, row: &'static Row, directive: &Directive) -> Result<(), Complaint> {
        match row.name {
            "listen" => {
                self.listens = true;
                listen::take(reader, directive, self.index)
            }
            "server_name" => names::take(&mut self.names, reader, directive),
            "location" => {
                self.locations.push(location::take(reader, directive, None)?);
                Ok(())
            }
            "if" => {
                self.script.push(location::take_if(reader, directive, &self.said.spot)?);
                Ok(())
            }
            "rewrite" | "return" | "set" | "break" => {
                self.script.push(rewrite::take(reader, directive)?);
                Ok(())
            }
            "try_files" => location::try_files(&mut self.try_files, reader, directive),
            "acme_certificate" => {
                self.acme.push(acme::certificate(reader, directive)?);
                Ok(())
            }
            name if name.starts_with("ssl_") => ssl::take(&mut self.said, reader, row, directive),
            _ => self.said.take(reader, row, directive),
        }
    }
}

/// A server that has all but its TLS settled, with what `listen` needs to know of it.
pub struct Built {
    /// The server.
    pub server: Arc<Server>,
    /// Its names.
    pub names: Vec<Name>,
}

/// Builds a server out of its draft, the protocols of its addresses (`ssl`, `http2`) and what `http` says.
///
/// # Errors
/// nginx's words for what it checks when levels are merged.
pub fn build(
    draft: ServerDraft,
    (ssl, http2_listen): (bool, bool),
    http: &Chain<'_>,
    http_settings: &Arc<Settings>,
    certificates: Certificates,
    builder: &mut Builder<'_, '_>,
) -> Result<Built, Complaint> {
    let chain = Chain { said: &draft.said, above: Some(http) };
    let settings: Arc<Settings> =
        if draft.said.is_silent() { Arc::clone(http_settings) } else { Arc::new(settings(chain, builder.reader)) };
    let head = client::head(chain);
    client::check_head(&head, chain, &builder.end)?;
    proxy_pass::check(*http, &builder.end)?;
    proxy_pass::check(chain, &builder.end)?;
    referer::check(&draft.said)?;
    let above =
        Above { chain: Some(&chain), settings: Some(&settings), pass: None, stub_status: false, internal: false };
    let script = builder.script(draft.script, above)?;
    let locations = builder.tree(draft.locations, above)?;
    let root = Location {
        name: "".into(),
        kind: LocationKind::Server,
        place: draft.place.clone(),
        handler: Handler::Static,
        script,
        try_files: draft.try_files,
        internal: false,
        auto_redirect: false,
        limit_except: None,
        settings: Arc::clone(&settings),
        nested: Default::default(),
    };
    let server = Server {
        index: draft.index,
        place: draft.place.clone(),
        name: names::first(&draft.names),
        names: draft.names.iter().map(|name| name.text.clone()).filter(|name| !name.is_empty()).collect(),
        tls: if ssl { Some(Arc::new(ssl::server(chain, certificates, builder.reader)?)) } else { None },
        http2: chain.flag("http2", false) || http2_listen,
        http2_settings: client::http2(chain),
        root: Arc::new(root),
        locations,
        head,
    };
    Ok(Built { server: Arc::new(server), names: draft.names })
}

//! Who is the client, where a trusted proxy stands before us? Once for each request: at the server's level, and else in
//! the location that was found. Everything after that (access, logs, variables, upstreams) sees that client.

use crate::http::exchange::Exchange;
use crate::net::connection::Endpoint;
use crate::plan::geo::Geo;
use crate::plan::realip::RealIpHeader;
use crate::route::geo;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

impl Exchange {
    /// Takes the word of a trusted proxy for who the client is, unless one was taken before.
    pub(super) fn find_client(&mut self) {
        let Some(rules) = self.settings().realip.clone() else { return };
        if self.client_told {
            return;
        }
        let from = self.client.ip();
        let mut told = match &rules.header {
            RealIpHeader::ForwardedFor => self.forwarded_for(from, &rules.from, rules.recursive),
            RealIpHeader::Field(name) => {
                let field = self.head.fields.get(name).map(|value| &value[..]);
                geo::forwarded(from, field.into_iter(), &rules.from, rules.recursive)
            }
            RealIpHeader::ProxyProtocol => self.connection.proxied.and_then(|(source, _)| {
                let text = source.ip().to_string();
                geo::forwarded(from, [text.as_bytes()].into_iter(), &rules.from, rules.recursive)
            }),
        };
        if let (RealIpHeader::ProxyProtocol, Some((_, port)), Some((source, _))) =
            (&rules.header, &mut told, self.connection.proxied)
        {
            *port = Some(source.port());
        }
        if let Some((ip, port)) = told {
            self.client = Endpoint::Tcp(SocketAddr::new(ip, port.unwrap_or(0)));
            self.client_told = true;
        }
    }

    fn forwarded_for(
        &self,
        from: Option<IpAddr>,
        proxies: &[crate::plan::access::Whom],
        all: bool,
    ) -> Option<geo::Told> {
        let fields: Vec<&[u8]> = self.head.fields.get_all("x-forwarded-for").map(|value| &value[..]).collect();
        geo::forwarded(from, fields.into_iter(), proxies, all)
    }

    /// The value that a `geo` has for this request.
    pub(crate) fn geo(&self, geo: &Geo) -> Bytes {
        let address = match &geo.address {
            None => Some(self.client.ip()),
            Some(var) => {
                use crate::route::values::Values as _;
                let text = self.value(var).unwrap_or_default();
                std::str::from_utf8(&text).ok().and_then(|text| text.parse().ok()).map(Some)
            }
        };
        // A text that is no address is not behind anybody.
        let Some(address) = address else { return geo::value(geo, None) };
        let told = match geo.proxies.is_empty() {
            true => None,
            false => self.forwarded_for(address, &geo.proxies, geo.recursive),
        };
        geo::value(geo, told.map_or(address, |(ip, _)| Some(ip)))
    }
}

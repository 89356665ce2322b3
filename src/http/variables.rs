//! What are the values of the variables that nginx knows by name? Read from the exchange; nothing is changed here.

use super::client_certificate;
use super::exchange::Exchange;
use super::upstreamed::append_time;
use crate::net::connection::{Endpoint, Offered};
use crate::net::descriptor::TcpFacts;
use crate::plan::location::Handler;
use crate::plan::template::Builtin;
use crate::route::query;
use bytes::Bytes;
use std::cell::Cell;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// Writes to memory, which cannot fail.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => { drop(write!($out, $($arg)*)) };
}

thread_local! {
    /// Where values are written before their length is known. Taken out while in use, for values are made of others.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Exchange {
    /// The value of a built-in variable; `None` if it is not set.
    pub(super) fn builtin(&self, which: Builtin) -> Option<Bytes> {
        if let Some(shared) = self.shared(which) {
            return shared;
        }
        // Written where there is room already, then kept in as much memory as it needs.
        let mut out = SCRATCH.take();
        out.clear();
        let value = self.append_builtin(which, &mut out).then(|| Bytes::copy_from_slice(&out));
        SCRATCH.set(out);
        value
    }

    /// Values that are at hand as [`Bytes`]. The outer `None`: this variable is made of digits or parts.
    fn shared(&self, which: Builtin) -> Option<Option<Bytes>> {
        Some(match which {
            Builtin::Uri | Builtin::DocumentUri => Some(self.uri.clone()),
            Builtin::Args | Builtin::QueryString => Some(self.args.clone()),
            Builtin::IsArgs => Some(Bytes::from_static(if self.args.is_empty() { b"" } else { b"?" })),
            Builtin::RequestUri => Some(self.head.target.clone()),
            Builtin::Request => Some(self.head.line.clone()),
            Builtin::RequestMethod => Some(self.head.method.clone()),
            Builtin::ServerProtocol => Some(Bytes::from_static(self.head.version.as_str().as_bytes())),
            Builtin::Scheme => Some(Bytes::from_static(if self.is_tls() { b"https" } else { b"http" })),
            Builtin::Https => Some(Bytes::from_static(if self.is_tls() { b"on" } else { b"" })),
            Builtin::Http2 => Some(Bytes::from_static(match (self.is_http2(), self.is_tls()) {
                (true, true) => b"h2",
                (true, false) => b"h2c",
                (false, _) => b"",
            })),
            Builtin::Host => match &self.head.host {
                Some(host) if !host.is_empty() => Some(host.clone()),
                _ => Some(self.server_name()),
            },
            Builtin::ContentType => query::header(&self.head.fields, "content_type"),
            Builtin::InvalidReferer => Some(Bytes::from_static(self.invalid_referer())),
            Builtin::LimitReqStatus => {
                self.limited.as_ref().and_then(|limited| limited.requests).map(|s| Bytes::from_static(s.as_bytes()))
            }
            Builtin::LimitConnStatus => {
                self.limited.as_ref().and_then(|limited| limited.connections).map(|s| Bytes::from_static(s.as_bytes()))
            }
            Builtin::RequestBody => self.request_body.clone(),
            Builtin::RemoteUser => self.credentials().map(|(user, _)| user.clone()),
            Builtin::TimeLocal => Some(self.worker.time().local()),
            Builtin::TimeIso8601 => Some(self.worker.time().iso8601()),
            Builtin::ProxyHost => self.proxied_to().map(|(host, _)| host.clone()),
            Builtin::ProxyPort => self.proxied_to().map(|(_, port)| port.clone()),
            Builtin::Hostname => Some(self.worker.parts.hostname.clone()),
            Builtin::DocumentRoot => Some(self.text(&self.settings().files.root)),
            Builtin::SslProtocol => self.connection.tls.as_ref().map(|tls| Bytes::from_static(tls.protocol.as_bytes())),
            Builtin::SslCipher => self.connection.tls.as_ref().map(|tls| Bytes::from_static(tls.cipher.as_bytes())),
            Builtin::SslCurve => self.connection.tls.as_ref().map(|tls| Bytes::from_static(tls.curve.as_bytes())),
            Builtin::SslCiphers => self.offered().map(|offered| offered.ciphers.clone()),
            Builtin::SslCurves => self.offered().map(|offered| offered.curves.clone()),
            Builtin::SslAlpnProtocol => self.connection.tls.as_ref().and_then(|tls| tls.alpn.clone()),
            _ => return None,
        })
    }

    /// Writes the value of a built-in variable behind `out`; tells whether it is set.
    pub(super) fn append_builtin(&self, which: Builtin, out: &mut Vec<u8>) -> bool {
        if let Some(shared) = self.shared(which) {
            return shared.is_some_and(|value| append_to(out, &value));
        }
        match which {
            Builtin::RemoteAddr => append_address(self.client, out),
            Builtin::RemotePort => append_port(self.client.port(), out),
            Builtin::BinaryRemoteAddr => append_binary(self.client.ip(), out),
            Builtin::RealipRemoteAddr => append_address(self.connection.remote, out),
            Builtin::RealipRemotePort => append_port(self.connection.remote.port(), out),
            Builtin::ServerAddr => append_address(self.connection.local, out),
            Builtin::ServerPort => append_port(self.connection.local.port(), out),
            Builtin::ServerName => append_to(out, &self.server_name()),
            Builtin::RequestPort => append_port(self.head.host_port.unwrap_or_default(), out),
            Builtin::IsRequestPort => append_to(out, if self.head.host_port.is_some() { b":" } else { b"" }),
            Builtin::ProxyProtocolAddr => self.proxied_end(|(source, _)| source, out, append_ip),
            Builtin::ProxyProtocolPort => self.proxied_end(|(source, _)| source, out, append_socket_port),
            Builtin::ProxyProtocolServerAddr => self.proxied_end(|(_, to)| to, out, append_ip),
            Builtin::ProxyProtocolServerPort => self.proxied_end(|(_, to)| to, out, append_socket_port),
            Builtin::ProxyAddXForwardedFor => self.append_forwarded_for(out),
            Builtin::RequestFilename => self.file_path().is_some_and(|path| append_to(out, &path)),
            Builtin::RealpathRoot => self.append_realpath(out),
            Builtin::RequestId => append_to(out, &self.request_id_text()),
            Builtin::ContentLength => self.append_content_length(out),
            Builtin::LimitRate => {
                put!(out, "{}", self.limit_rate.unwrap_or_default());
                true
            }
            Builtin::Msec => {
                let now = self.worker.parts.clock.now().0;
                put!(out, "{}.{:03}", now.div_euclid(1000), now.rem_euclid(1000));
                true
            }
            Builtin::NginxVersion => append_to(out, crate::http::serve::pages::NGINX_VERSION.as_bytes()),
            Builtin::Pid => append_display(std::process::id(), out),
            Builtin::Pipe => append_to(out, b"."),
            Builtin::DateGmt => append_to(out, &self.worker.time().date_gmt()),
            Builtin::DateLocal => append_to(out, &self.worker.time().date_local()),
            _ => self.append_measure(which, out),
        }
    }

    /// Variables that count or measure: connection, answer, upstreams.
    fn append_measure(&self, which: Builtin, out: &mut Vec<u8>) -> bool {
        let sent = self.shown.sent.get();
        match which {
            Builtin::Status => match self.shown.status.get() {
                0 => append_to(out, b"000"),
                status => append_display(format_args!("{status:03}"), out),
            },
            Builtin::BodyBytesSent => append_display(sent.body_bytes, out),
            Builtin::BytesSent => append_display(sent.bytes, out),
            Builtin::RequestLength => append_display(sent.request_length.max(self.head.head_length), out),
            Builtin::RequestCompletion => append_to(out, if sent.complete { b"OK" } else { b"" }),
            Builtin::RequestTime => {
                let spent = tokio::time::Instant::now().saturating_duration_since(self.head.started);
                append_time(Some(spent), out);
                true
            }
            Builtin::Connection => append_display(self.connection.id, out),
            Builtin::ConnectionRequests => append_display(self.connection.requests.get(), out),
            Builtin::ConnectionTime => {
                let spent = tokio::time::Instant::now().saturating_duration_since(self.connection.accepted);
                append_time(Some(spent), out);
                true
            }
            Builtin::ConnectionsActive => append_display(self.worker.connections().active, out),
            Builtin::ConnectionsReading => append_display(self.worker.connections().reading, out),
            Builtin::ConnectionsWriting => append_display(self.worker.connections().writing, out),
            Builtin::ConnectionsWaiting => append_display(self.worker.connections().waiting, out),
            Builtin::GzipRatio => self.append_gzip_ratio(out),
            Builtin::UpstreamAddr => self.upstream.append(out, |t, out| out.extend_from_slice(&t.address)),
            Builtin::UpstreamStatus => self.upstream.append(out, |t, out| match t.status {
                0 => out.push(b'-'),
                status => put!(out, "{status}"),
            }),
            Builtin::UpstreamConnectTime => self.upstream.append(out, |t, out| append_time(t.connect_time, out)),
            Builtin::UpstreamHeaderTime => self.upstream.append(out, |t, out| append_time(t.header_time, out)),
            Builtin::UpstreamResponseTime => self.upstream.append(out, |t, out| append_time(t.response_time, out)),
            Builtin::UpstreamResponseLength => self.upstream.append(out, |t, out| put!(out, "{}", t.response_length)),
            Builtin::UpstreamBytesReceived => self.upstream.append(out, |t, out| put!(out, "{}", t.bytes_received)),
            Builtin::UpstreamBytesSent => self.upstream.append(out, |t, out| put!(out, "{}", t.bytes_sent)),
            Builtin::TcpinfoRtt => self.append_tcp(|facts| facts.rtt, out),
            Builtin::TcpinfoRttvar => self.append_tcp(|facts| facts.rttvar, out),
            Builtin::TcpinfoSndCwnd => self.append_tcp(|facts| facts.snd_cwnd, out),
            Builtin::TcpinfoRcvSpace => self.append_tcp(|facts| facts.rcv_space, out),
            _ => self.append_tls(which, out),
        }
    }

    /// `1` if the `Referer` is not one of `valid_referers`.
    fn invalid_referer(&self) -> &'static [u8] {
        let Some(rules) = &self.settings().referers else { return b"" };
        let referer = self.head.fields.get("referer");
        if crate::route::referer::is_valid(rules, referer.map(|value| &value[..])) { b"" } else { b"1" }
    }

    fn append_tcp(&self, pick: impl Fn(TcpFacts) -> u32, out: &mut Vec<u8>) -> bool {
        self.connection.descriptor.tcp_facts().is_some_and(|facts| append_display(pick(facts), out))
    }

    fn offered(&self) -> Option<&Offered> {
        self.connection.tls.as_ref()?.offered.as_deref()
    }

    /// `$ssl_…` that are made of parts. What is not known here has no value.
    fn append_tls(&self, which: Builtin, out: &mut Vec<u8>) -> bool {
        let Some(tls) = &self.connection.tls else { return false };
        match which {
            Builtin::SslServerName => tls.sni.as_ref().is_some_and(|name| append_to(out, name.as_bytes())),
            Builtin::SslSessionReused => append_to(out, if tls.resumed { b"r" } else { b"." }),
            Builtin::SslClientVerify => match &tls.client {
                None => append_to(out, b"NONE"),
                Some(client) => match &client.failed {
                    None => append_to(out, b"SUCCESS"),
                    Some(why) => append_display(format_args!("FAILED:{why}"), out),
                },
            },
            which => tls.client.as_ref().is_some_and(|client| {
                client_certificate::append(which, &client.der, self.worker.parts.clock.now(), out)
            }),
        }
    }

    /// Whether the client came over TLS.
    pub fn is_tls(&self) -> bool {
        self.connection.tls.is_some()
    }

    fn is_http2(&self) -> bool {
        self.head.version == super::message::Version::Http2
    }

    /// `$server_name`.
    pub fn server_name(&self) -> Bytes {
        match self.server() {
            Some(server) => Bytes::copy_from_slice(server.name.as_bytes()),
            None => self.kept_name.clone(),
        }
    }

    /// User and password of `Authorization: Basic`; read once.
    pub fn credentials(&self) -> Option<&(Bytes, Bytes)> {
        self.user.get_or_init(|| crate::route::access::credentials(self.head.fields.get("authorization")?)).as_ref()
    }

    /// `$request_id`: 32 hex digits, drawn once.
    fn request_id_text(&self) -> [u8; 32] {
        if let Some(known) = self.request_id.get() {
            return known;
        }
        let mut text = [0; 32];
        for digits in text.chunks_exact_mut(8) {
            let draw = (self.worker.parts.dice.draw() * 4_294_967_296.0) as u32;
            let mut rest = &mut digits[..];
            put!(rest, "{draw:08x}");
        }
        self.request_id.set(Some(text));
        text
    }

    /// The file that the URI names below root or alias; `None` where `alias` has lost its prefix to a rewrite.
    pub fn file_path(&self) -> Option<Vec<u8>> {
        self.file_path_and_root().map(|(path, _)| path)
    }

    /// As [`Exchange::file_path`], with the length of the root's own part.
    pub fn file_path_and_root(&self) -> Option<(Vec<u8>, usize)> {
        let files = &self.settings().files;
        let mut path = self.text(&files.root).to_vec();
        let root = path.len();
        if !files.alias {
            path.extend_from_slice(&self.uri);
            return Some((path, root));
        }
        if !self.valid_location {
            return None;
        }
        match files.alias_replaces {
            usize::MAX if self.add_uri_to_alias => path.extend_from_slice(&self.uri),
            usize::MAX => {}
            prefix => path.extend_from_slice(self.uri.get(prefix..)?),
        }
        Some((path, root))
    }

    fn proxied_end(
        &self,
        pick: impl Fn((SocketAddr, SocketAddr)) -> SocketAddr,
        out: &mut Vec<u8>,
        append: impl Fn(SocketAddr, &mut Vec<u8>) -> bool,
    ) -> bool {
        self.connection.proxied.is_some_and(|ends| append(pick(ends), out))
    }

    fn append_forwarded_for(&self, out: &mut Vec<u8>) -> bool {
        for value in self.head.fields.get_all("x-forwarded-for") {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
        append_address(self.client, out)
    }

    /// `$proxy_host` and `$proxy_port`.
    fn proxied_to(&self) -> Option<(&Bytes, &Bytes)> {
        if let Some((name, port)) = &self.proxied {
            return Some((name, port));
        }
        match self.location().map(|location| &location.handler) {
            Some(Handler::Proxy(proxy)) => Some((&proxy.host, &proxy.port)),
            _ => None,
        }
    }

    fn append_realpath(&self, out: &mut Vec<u8>) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let root = self.text(&self.settings().files.root);
        let real = std::fs::canonicalize(std::ffi::OsStr::from_bytes(&root));
        real.is_ok_and(|path| append_to(out, path.as_os_str().as_bytes()))
    }

    fn append_content_length(&self, out: &mut Vec<u8>) -> bool {
        if let Some(sent) = self.head.fields.get("content-length") {
            return append_to(out, sent);
        }
        false
    }

    fn append_gzip_ratio(&self, out: &mut Vec<u8>) -> bool {
        let (before, after) = self.shown.compressed.get();
        if before == 0 || after == 0 {
            return false;
        }
        // Two digits, the third rounds up: as nginx prints it.
        let thousandths = before * 1000 / after % 1000;
        let (whole, hundredths) = (before / after, thousandths / 10 + u64::from(thousandths % 10 > 4));
        let (whole, hundredths) = if hundredths > 99 { (whole + 1, 0) } else { (whole, hundredths) };
        append_display(format_args!("{whole}.{hundredths:02}"), out)
    }
}

fn append_to(out: &mut Vec<u8>, value: &[u8]) -> bool {
    out.extend_from_slice(value);
    true
}

fn append_display(value: impl std::fmt::Display, out: &mut Vec<u8>) -> bool {
    put!(out, "{value}");
    true
}

fn append_address(end: Endpoint, out: &mut Vec<u8>) -> bool {
    match end {
        Endpoint::Tcp(address) => append_ip(address, out),
        Endpoint::Unix => append_to(out, b"unix:"),
    }
}

fn append_ip(address: SocketAddr, out: &mut Vec<u8>) -> bool {
    append_display(address.ip(), out)
}

fn append_socket_port(address: SocketAddr, out: &mut Vec<u8>) -> bool {
    append_display(address.port(), out)
}

/// nginx gives an empty text for port 0.
fn append_port(port: u16, out: &mut Vec<u8>) -> bool {
    if port > 0 { append_display(port, out) } else { true }
}

fn append_binary(ip: Option<IpAddr>, out: &mut Vec<u8>) -> bool {
    match ip {
        Some(IpAddr::V4(ip)) => append_to(out, &ip.octets()),
        Some(IpAddr::V6(ip)) => append_to(out, &ip.octets()),
        None => append_to(out, b"unix:"),
    }
}

//! What is a text with variables, compiled? Segments that `route` evaluates for a request, without parsing anything again.

/// A text with variables. No segment: the empty text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Template {
    /// In order; neighbouring literals are merged.
    pub segments: Box<[Segment]>,
}

/// One piece of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// Bytes as they are.
    Text(bytes::Bytes),
    /// The value of a variable; nothing if it is not set.
    Var(Var),
    /// `$1` to `$9`: a capture of the last regular expression that matched.
    Capture(u8),
}

impl Template {
    /// A template without variables.
    pub fn literal(text: impl Into<bytes::Bytes>) -> Template {
        let text = text.into();
        if text.is_empty() { Template::default() } else { Template { segments: Box::new([Segment::Text(text)]) } }
    }

    /// The text, if no variable stands in it.
    pub fn as_literal(&self) -> Option<&[u8]> {
        match &*self.segments {
            [] => Some(b""),
            [Segment::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// A variable, found at load time. An unknown name never becomes one: the loader refuses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Var {
    /// A variable that nginx knows by its whole name.
    Builtin(Builtin),
    /// `$http_NAME`: a request header. The name is lower case with `_` for `-`, as written.
    RequestHeader(Box<str>),
    /// `$sent_http_NAME`: a header of the answer.
    SentHeader(Box<str>),
    /// `$sent_trailer_NAME`.
    SentTrailer(Box<str>),
    /// `$upstream_http_NAME`: a header of the upstream's answer.
    UpstreamHeader(Box<str>),
    /// `$upstream_trailer_NAME`.
    UpstreamTrailer(Box<str>),
    /// `$upstream_cookie_NAME`.
    UpstreamCookie(Box<str>),
    /// `$cookie_NAME`; names of cookies are compared with their case.
    Cookie(Box<str>),
    /// `$arg_NAME`; compared without case.
    Arg(Box<str>),
    /// A variable of the configuration: `set`, `map`, named captures…; index into `Http::variables`.
    User(usize),
}

/// Which variables stand anywhere in the configuration, where their values must be kept in time for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asks {
    /// `$ssl_ciphers` or `$ssl_curves`: what clients offer.
    pub offers: bool,
    /// `$request_body`.
    pub request_body: bool,
}

/// What stands behind a variable of the configuration.
#[derive(Clone, Debug)]
pub struct UserVariable {
    /// Without the `$`.
    pub name: Box<str>,
    /// How its value comes about.
    pub source: VariableSource,
}

/// How the value of a [`UserVariable`] comes about.
#[derive(Clone, Debug)]
pub enum VariableSource {
    /// By `set`, a named capture, `auth_request_set`…: empty until then.
    Slot,
    /// By a `map`, evaluated when first asked for.
    Map(std::sync::Arc<super::map::Map>),
    /// By a `geo`.
    Geo(std::sync::Arc<super::geo::Geo>),
    /// By a `split_clients`.
    Split(std::sync::Arc<super::geo::Split>),
    /// A built-in variable that `set` changes (`$args`, `$limit_rate`): setting it changes the request itself. Texts
    /// that read it hold [`Var::Builtin`].
    Builtin(Builtin),
}

macro_rules! builtins {
    ($($variant:ident $name:literal,)*) => {
        /// The variables that nginx knows by their whole names (ngx_http_core, log, proxy, upstream, ssl, realip… modules).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Builtin { $(
            #[doc = concat!("`$", $name, "`")]
            $variant,
        )* }

        impl Builtin {
            /// Every one of them.
            pub const ALL: &'static [Builtin] = &[$(Builtin::$variant),*];

            /// The variable called `name` (without `$`).
            pub fn by_name(name: &str) -> Option<Builtin> {
                match name { $($name => Some(Builtin::$variant),)* _ => None }
            }

            /// Its name, without `$`.
            pub fn name(self) -> &'static str {
                match self { $(Builtin::$variant => $name,)* }
            }
        }
    };
}

builtins! {
    Args "args",
    BinaryRemoteAddr "binary_remote_addr",
    BodyBytesSent "body_bytes_sent",
    BytesSent "bytes_sent",
    Connection "connection",
    ConnectionRequests "connection_requests",
    ConnectionTime "connection_time",
    ConnectionsActive "connections_active",
    ConnectionsReading "connections_reading",
    ConnectionsWaiting "connections_waiting",
    ConnectionsWriting "connections_writing",
    ContentLength "content_length",
    ContentType "content_type",
    DateGmt "date_gmt",
    DateLocal "date_local",
    DocumentRoot "document_root",
    DocumentUri "document_uri",
    GzipRatio "gzip_ratio",
    Host "host",
    Hostname "hostname",
    Http2 "http2",
    Https "https",
    InvalidReferer "invalid_referer",
    IsArgs "is_args",
    IsRequestPort "is_request_port",
    LimitConnStatus "limit_conn_status",
    LimitRate "limit_rate",
    LimitReqStatus "limit_req_status",
    Msec "msec",
    NginxVersion "nginx_version",
    Pid "pid",
    Pipe "pipe",
    ProxyAddXForwardedFor "proxy_add_x_forwarded_for",
    ProxyHost "proxy_host",
    ProxyPort "proxy_port",
    ProxyProtocolAddr "proxy_protocol_addr",
    ProxyProtocolPort "proxy_protocol_port",
    ProxyProtocolServerAddr "proxy_protocol_server_addr",
    ProxyProtocolServerPort "proxy_protocol_server_port",
    QueryString "query_string",
    RealipRemoteAddr "realip_remote_addr",
    RealipRemotePort "realip_remote_port",
    RealpathRoot "realpath_root",
    RemoteAddr "remote_addr",
    RemotePort "remote_port",
    RemoteUser "remote_user",
    Request "request",
    RequestBody "request_body",
    RequestBodyFile "request_body_file",
    RequestCompletion "request_completion",
    RequestFilename "request_filename",
    RequestId "request_id",
    RequestLength "request_length",
    RequestMethod "request_method",
    RequestPort "request_port",
    RequestTime "request_time",
    RequestUri "request_uri",
    Scheme "scheme",
    ServerAddr "server_addr",
    ServerName "server_name",
    ServerPort "server_port",
    ServerProtocol "server_protocol",
    SslAlpnProtocol "ssl_alpn_protocol",
    SslCipher "ssl_cipher",
    SslCiphers "ssl_ciphers",
    SslClientCert "ssl_client_cert",
    SslClientEscapedCert "ssl_client_escaped_cert",
    SslClientFingerprint "ssl_client_fingerprint",
    SslClientIDn "ssl_client_i_dn",
    SslClientIDnLegacy "ssl_client_i_dn_legacy",
    SslClientRawCert "ssl_client_raw_cert",
    SslClientSDn "ssl_client_s_dn",
    SslClientSDnLegacy "ssl_client_s_dn_legacy",
    SslClientSerial "ssl_client_serial",
    SslClientVEnd "ssl_client_v_end",
    SslClientVRemain "ssl_client_v_remain",
    SslClientVStart "ssl_client_v_start",
    SslClientVerify "ssl_client_verify",
    SslCurve "ssl_curve",
    SslCurves "ssl_curves",
    SslEarlyData "ssl_early_data",
    SslProtocol "ssl_protocol",
    SslServerName "ssl_server_name",
    SslSessionId "ssl_session_id",
    SslSessionReused "ssl_session_reused",
    Status "status",
    TcpinfoRtt "tcpinfo_rtt",
    TcpinfoRttvar "tcpinfo_rttvar",
    TcpinfoSndCwnd "tcpinfo_snd_cwnd",
    TcpinfoRcvSpace "tcpinfo_rcv_space",
    TimeIso8601 "time_iso8601",
    TimeLocal "time_local",
    UpstreamAddr "upstream_addr",
    UpstreamBytesReceived "upstream_bytes_received",
    UpstreamBytesSent "upstream_bytes_sent",
    UpstreamCacheStatus "upstream_cache_status",
    UpstreamConnectTime "upstream_connect_time",
    UpstreamHeaderTime "upstream_header_time",
    UpstreamResponseLength "upstream_response_length",
    UpstreamResponseTime "upstream_response_time",
    UpstreamStatus "upstream_status",
    Uri "uri",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_is_found_by_its_name() {
        assert!(Builtin::ALL.iter().all(|v| Builtin::by_name(v.name()) == Some(*v)));
        assert_eq!(Builtin::by_name("nothing_like_it"), None);
    }
}

//! How much time and room does a client get? (ngx_http_core_module, ngx_http_v2_module.)

use std::time::Duration;

/// Limits of request heads; server level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// `client_header_timeout`: from the first byte to the end of the head. Default 60 s.
    pub timeout: Duration,
    /// `client_header_buffer_size`, bytes. Default 1k.
    pub buffer: usize,
    /// `large_client_header_buffers`: number and bytes of each. Default 4 8k.
    pub large_buffers: (usize, usize),
    /// `ignore_invalid_headers`. Default on.
    pub ignore_invalid: bool,
    /// `underscores_in_headers`. Default off.
    pub underscores: bool,
    /// `merge_slashes`. Default on.
    pub merge_slashes: bool,
}

impl Default for HeadLimits {
    fn default() -> HeadLimits {
        HeadLimits {
            timeout: Duration::from_secs(60),
            buffer: 1024,
            large_buffers: (4, 8192),
            ignore_invalid: true,
            underscores: false,
            merge_slashes: true,
        }
    }
}

/// Limits of bodies and connections; location level.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientLimits {
    /// `client_max_body_size`, bytes; 0 is no limit. Default 1m.
    pub max_body: u64,
    /// `client_body_timeout`: longest gap between two reads. Default 60 s.
    pub body_timeout: Duration,
    /// `client_body_buffer_size`, bytes; beyond it a buffered body goes to a temp file. Default 16k.
    pub body_buffer: usize,
    /// `client_body_temp_path`.
    pub body_temp_path: std::path::PathBuf,
    /// `send_timeout`: longest gap between two writes. Default 60 s.
    pub send_timeout: Duration,
    /// `keepalive_timeout`: how long an idle connection stays; zero closes after each answer. Default 75 s.
    pub keepalive_timeout: Duration,
    /// The second argument of `keepalive_timeout`: value of the `Keep-Alive` header.
    pub keepalive_header: Option<Duration>,
    /// `keepalive_requests`. Default 1000.
    pub keepalive_requests: u64,
    /// `keepalive_time`. Default 1 h.
    pub keepalive_time: Duration,
    /// `keepalive_disable msie6`: no connection is kept after a POST of old MSIE. Default on.
    pub keepalive_disable_msie6: bool,
    /// `keepalive_disable safari`: none is kept with Safari on macOS. Default off.
    pub keepalive_disable_safari: bool,
    /// `lingering_close`.
    pub lingering_close: LingeringClose,
    /// `lingering_time`. Default 30 s.
    pub lingering_time: Duration,
    /// `lingering_timeout`. Default 5 s.
    pub lingering_timeout: Duration,
    /// `reset_timedout_connection`. Default off.
    pub reset_timedout: bool,
    /// `limit_rate`, bytes a second; empty or 0 is no limit.
    pub limit_rate: super::template::Template,
    /// `limit_rate_after`, bytes.
    pub limit_rate_after: super::template::Template,
    /// `chunked_transfer_encoding`. Default on.
    pub chunked: bool,
    /// `tcp_nodelay`. Default on.
    pub nodelay: bool,
}

impl Default for ClientLimits {
    fn default() -> ClientLimits {
        ClientLimits {
            max_body: 1 << 20,
            body_timeout: Duration::from_secs(60),
            body_buffer: 16 * 1024,
            body_temp_path: std::env::temp_dir(),
            send_timeout: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(75),
            keepalive_header: None,
            keepalive_requests: 1000,
            keepalive_time: Duration::from_secs(3600),
            keepalive_disable_msie6: true,
            keepalive_disable_safari: false,
            lingering_close: LingeringClose::On,
            lingering_time: Duration::from_secs(30),
            lingering_timeout: Duration::from_secs(5),
            reset_timedout: false,
            limit_rate: Default::default(),
            limit_rate_after: Default::default(),
            chunked: true,
            nodelay: true,
        }
    }
}

/// `lingering_close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LingeringClose {
    /// Close at once.
    Off,
    /// When more data may come.
    On,
    /// Whatever the request was.
    Always,
}

/// Settings of HTTP/2 connections; server level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http2 {
    /// `http2_max_concurrent_streams`. Default 128.
    pub max_concurrent_streams: u32,
    /// `http2_body_preread_size`: initial window of a stream, bytes. Default 64k.
    pub body_preread: u32,
}

impl Default for Http2 {
    fn default() -> Http2 {
        Http2 { max_concurrent_streams: 128, body_preread: 65536 }
    }
}

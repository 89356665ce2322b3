//! Limits of clients: bodies, timeouts, keep-alive, lingering, rates; and of request heads and HTTP/2 connections.

use std::path::PathBuf;
use std::time::Duration;

use crate::conf::complaint::Complaint;
use crate::conf::read::Reader;
use crate::conf::settings::{clamp, directive_is};
use crate::conf::tree::Directive;
use crate::conf::value;
use crate::plan::client::{ClientLimits, HeadLimits, Http2, LingeringClose};

use super::{Chain, Said};

/// Takes `keepalive_timeout`.
///
/// # Errors
/// nginx's words.
pub fn keepalive(said: &mut Said, directive: &Directive) -> Result<(), Complaint> {
    if said.keepalive.is_some() {
        return Err(directive_is(directive, "is duplicate"));
    }
    let invalid = || directive_is(directive, "invalid value");
    let timeout = value::milliseconds(&directive.args[0]).ok_or_else(invalid)?;
    let header = match directive.args.get(1) {
        Some(text) => Some(value::seconds(text).ok_or_else(invalid)?),
        None => None,
    };
    said.keepalive = Some((timeout, header));
    Ok(())
}

/// What a chain says about bodies and connections.
pub fn settle(chain: Chain<'_>, reader: &Reader<'_>) -> ClientLimits {
    let second = Duration::from_secs(1);
    let disabled = chain.find(|said| said.level.words("keepalive_disable"));
    ClientLimits {
        max_body: chain.number("client_max_body_size", 1 << 20),
        body_timeout: chain.time("client_body_timeout", second * 60),
        body_buffer: chain.size("client_body_buffer_size", 16 * 1024),
        body_temp_path: temp_path(chain, "client_body_temp_path", reader, &reader.options.defaults.client_body_temp),
        send_timeout: chain.time("send_timeout", second * 60),
        keepalive_timeout: chain.find(|said| said.keepalive).map_or(second * 75, |(timeout, _)| timeout),
        keepalive_header: chain.find(|said| said.keepalive.and_then(|(_, header)| header)).filter(|h| !h.is_zero()),
        keepalive_requests: chain.number("keepalive_requests", 1000),
        keepalive_time: chain.time("keepalive_time", second * 3600),
        keepalive_disable_msie6: disabled.as_ref().is_none_or(|words| words.contains(&"msie6")),
        keepalive_disable_safari: disabled.is_some_and(|words| words.contains(&"safari")),
        lingering_close: match chain.word("lingering_close") {
            Some("off") => LingeringClose::Off,
            Some("always") => LingeringClose::Always,
            _ => LingeringClose::On,
        },
        lingering_time: chain.time("lingering_time", second * 30),
        lingering_timeout: chain.time("lingering_timeout", second * 5),
        reset_timedout: chain.flag("reset_timedout_connection", false),
        limit_rate: chain.template("limit_rate").unwrap_or_default(),
        limit_rate_after: chain.template("limit_rate_after").unwrap_or_default(),
        chunked: chain.flag("chunked_transfer_encoding", true),
        nodelay: chain.flag("tcp_nodelay", true),
    }
}

/// A `*_temp_path`, made absolute against the prefix.
pub fn temp_path(chain: Chain<'_>, name: &str, reader: &Reader<'_>, default: &str) -> PathBuf {
    let text = chain.text(name).unwrap_or(default);
    reader.prefix_path(text.strip_suffix('/').unwrap_or(text))
}

/// What a server and `http` say about request heads.
pub fn head(chain: Chain<'_>) -> HeadLimits {
    let defaults = HeadLimits::default();
    let buffers = chain.find(|said| said.level.buffers("large_client_header_buffers"));
    HeadLimits {
        timeout: chain.time("client_header_timeout", defaults.timeout),
        buffer: chain.size("client_header_buffer_size", defaults.buffer),
        large_buffers: buffers.unwrap_or(defaults.large_buffers),
        ignore_invalid: chain.flag("ignore_invalid_headers", true),
        underscores: chain.flag("underscores_in_headers", false),
        merge_slashes: chain.flag("merge_slashes", true),
    }
}

/// What a server and `http` say about HTTP/2 connections.
pub fn http2(chain: Chain<'_>) -> Http2 {
    let defaults = Http2::default();
    let number = |name, default: u32| u32::try_from(chain.number(name, default.into())).unwrap_or(u32::MAX);
    Http2 {
        max_concurrent_streams: number("http2_max_concurrent_streams", defaults.max_concurrent_streams),
        body_preread: number("http2_body_preread_size", defaults.body_preread),
    }
}

/// Checks that nginx makes when levels are merged.
///
/// # Errors
/// nginx's words, at the end of `http`.
pub fn check_head(head: &HeadLimits, chain: Chain<'_>, end: &crate::words::Place) -> Result<(), Complaint> {
    let pool = clamp(chain.number("connection_pool_size", 512));
    if head.large_buffers.1 < pool {
        let text = "the \"large_client_header_buffers\" size must be equal to or greater than \"connection_pool_size\"";
        return Err(Complaint::emerg(text, end));
    }
    Ok(())
}

//! What is said to the upstream? Request line and header fields by nginx's rules, written once for all tries.

use super::asked::Asked;
use super::destination::Destination;
use super::error::ForwardError;
use super::upload::Upload;
use crate::h1;
use crate::http::message::Version;
use crate::plan::proxy::Proxy;
use crate::route::escape::{Escape, escape_into};
use bytes::{BufMut, Bytes, BytesMut};

/// A request as it is put on the wire.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Line and fields, and the body behind them if it is small.
    pub bytes: Bytes,
    /// The URI in the request line; the error log shows it.
    pub uri: Bytes,
    /// HEAD: the answer has no body, whatever it says.
    pub to_head: bool,
    /// An upgrade was asked for, by the client and by us.
    pub upgrade: bool,
    /// POST, LOCK, PATCH.
    pub non_idempotent: bool,
}

/// Fields of the client that go no further unless `proxy_set_header` sends them, besides those that it names.
const DROPPED: [&str; 8] =
    ["Host", "Connection", "Content-Length", "Transfer-Encoding", "TE", "Keep-Alive", "Expect", "Upgrade"];

/// Writes the request. `upload` decides how its body is framed; a small one is written behind the head and taken out.
pub(super) fn write(
    asked: &impl Asked,
    proxy: &Proxy,
    destination: &Destination,
    upload: &mut Upload,
) -> Result<Outgoing, ForwardError> {
    let client_method = asked.method();
    let method = proxy.method.as_ref().map_or_else(|| client_method.clone(), |method| asked.text(method));
    let uri = uri(asked, proxy, destination);
    if uri.is_empty() {
        return Err(ForwardError::NoUri);
    }
    let mut out = BytesMut::with_capacity(1024);
    let version = if proxy.http11 { h1::Version::HTTP_11 } else { h1::Version::HTTP_10 };
    h1::write_request_line(&mut out, &method, &uri, version)?;
    let upgrade = fields(asked, proxy, upload, &mut out)?;
    out.put_slice(b"\r\n");
    upload.append_if_small(&mut out);
    Ok(Outgoing {
        bytes: out.freeze(),
        uri,
        to_head: method.eq_ignore_ascii_case(b"HEAD"),
        // HTTP/2 has no such thing.
        upgrade: upgrade && asked.version() <= Version::Http11 && asked.fields().has("upgrade"),
        non_idempotent: matches!(&client_method[..], b"POST" | b"LOCK" | b"PATCH"),
    })
}

/// Writes the fields; tells whether an Upgrade is among them.
fn fields(asked: &impl Asked, proxy: &Proxy, upload: &Upload, out: &mut BytesMut) -> Result<bool, ForwardError> {
    let (mut upgrade, mut unframed) = (false, false);
    for (name, template) in &proxy.set_headers {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let value = asked.field_text(template);
        // How a body is framed is for us to say; `proxy_set_header Content-Length ""` only silences the length of none.
        if is("content-length") || is("transfer-encoding") {
            unframed |= is("content-length") && value.is_empty();
            continue;
        }
        if value.is_empty() {
            continue;
        }
        upgrade |= is("upgrade");
        h1::write_field(out, name.as_bytes(), &value)?;
    }
    if !(unframed && upload.is_none()) {
        upload.write_framing(out);
    }
    if proxy.pass_headers {
        for field in asked.fields() {
            let is = |known: &str| field.name.eq_ignore_ascii_case(known.as_bytes());
            if !DROPPED.iter().any(|name| is(name)) && !proxy.set_headers.iter().any(|(name, _)| is(name)) {
                h1::write_field(out, &field.name, &field.value)?;
            }
        }
    }
    Ok(upgrade)
}

/// The URI of the request line.
fn uri(asked: &impl Asked, proxy: &Proxy, destination: &Destination) -> Bytes {
    if let Some(uri) = &destination.uri {
        return uri.clone();
    }
    let part = proxy.uri.as_ref().map(|uri| asked.text(uri)).filter(|uri| !uri.is_empty());
    if part.is_none()
        && let Some(unparsed) = asked.unparsed()
    {
        return unparsed.clone();
    }
    let (uri, args) = (asked.uri(), asked.args());
    let mut out = Vec::with_capacity(part.as_ref().map_or(0, Bytes::len) + uri.len() + args.len() + 1);
    let mut replaced = 0;
    if let Some(part) = &part
        && asked.stands_in_location()
    {
        replaced = proxy.replaced.min(uri.len());
        out.extend_from_slice(part);
    }
    let rest = &uri[replaced..];
    if asked.is_quoted() {
        escape_into(rest, Escape::Uri, &mut out);
    } else {
        out.extend_from_slice(rest);
    }
    if !args.is_empty() {
        out.push(b'?');
        out.extend_from_slice(args);
    }
    out.into()
}

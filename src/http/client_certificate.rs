//! What do `$ssl_client_…` say of a client's certificate? Distinguished names in RFC 2253 form, PEM in nginx's three
//! shapes, the SHA-1 fingerprint, serial and dates as OpenSSL prints them.

use crate::clock::UnixTime;
use crate::plan::template::Builtin;
use base64::Engine;
use bytes::Bytes;
use std::io::Write;
use x509_parser::prelude::*;

/// Writes the value of `which` for the certificate `der` behind `out`; tells whether it is set.
pub fn append(which: Builtin, der: &Bytes, now: UnixTime, out: &mut Vec<u8>) -> bool {
    match which {
        Builtin::SslClientRawCert => pem_into(der, out),
        Builtin::SslClientCert => {
            let mut raw = Vec::new();
            pem_into(der, &mut raw);
            // nginx puts a tab before every line but the first, so that it may stand in a header.
            let text = raw.strip_suffix(b"\n").unwrap_or(&raw);
            for (number, line) in text.split(|b| *b == b'\n').enumerate() {
                out.extend_from_slice(if number > 0 { b"\n\t" } else { b"" });
                out.extend_from_slice(line);
            }
        }
        Builtin::SslClientEscapedCert => {
            let mut raw = Vec::new();
            pem_into(der, &mut raw);
            crate::route::escape::escape_into(&raw, crate::route::escape::Escape::Component, out);
        }
        Builtin::SslClientFingerprint => {
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, der);
            for byte in digest.as_ref() {
                drop(write!(out, "{byte:02x}"));
            }
        }
        which => {
            let Ok((_, certificate)) = X509Certificate::from_der(der) else { return false };
            return append_parsed(which, &certificate, now, out);
        }
    }
    true
}

fn append_parsed(which: Builtin, certificate: &X509Certificate<'_>, now: UnixTime, out: &mut Vec<u8>) -> bool {
    match which {
        Builtin::SslClientSDn => name_into(certificate.subject(), out),
        Builtin::SslClientIDn => name_into(certificate.issuer(), out),
        Builtin::SslClientSDnLegacy => legacy_name_into(certificate.subject(), out),
        Builtin::SslClientIDnLegacy => legacy_name_into(certificate.issuer(), out),
        Builtin::SslClientSerial => {
            let serial = certificate.raw_serial();
            let serial = serial.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(serial);
            for byte in serial {
                drop(write!(out, "{byte:02X}"));
            }
        }
        Builtin::SslClientVStart => date_into(certificate.validity().not_before, out),
        Builtin::SslClientVEnd => date_into(certificate.validity().not_after, out),
        Builtin::SslClientVRemain => {
            let left = certificate.validity().not_after.timestamp() - now.seconds();
            drop(write!(out, "{}", left.max(0) / 86400));
        }
        _ => return false,
    }
    true
}

fn pem_into(der: &[u8], out: &mut Vec<u8>) {
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    out.extend_from_slice(b"-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.extend_from_slice(b"-----END CERTIFICATE-----\n");
}

/// `Nov  2 06:36:47 2026 GMT`: as OpenSSL prints a time.
fn date_into(time: ASN1Time, out: &mut Vec<u8>) {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = time.to_datetime();
    let month = MONTHS[usize::from(u8::from(at.month())) - 1];
    drop(write!(
        out,
        "{month} {:2} {:02}:{:02}:{:02} {} GMT",
        at.day(),
        at.hour(),
        at.minute(),
        at.second(),
        at.year()
    ));
}

/// RFC 2253: last part first, joined by `,`.
fn name_into(name: &X509Name<'_>, out: &mut Vec<u8>) {
    let parts: Vec<_> = name.iter_rdn().collect();
    for (number, part) in parts.iter().rev().enumerate() {
        out.extend_from_slice(if number > 0 { b"," } else { b"" });
        for (number, attribute) in part.iter().enumerate() {
            out.extend_from_slice(if number > 0 { b"+" } else { b"" });
            out.extend_from_slice(short_name(attribute).as_bytes());
            out.push(b'=');
            escaped_into(attribute.as_slice(), out);
        }
    }
}

/// The form before nginx 1.11.6: `/C=…/O=…/CN=…`.
fn legacy_name_into(name: &X509Name<'_>, out: &mut Vec<u8>) {
    for part in name.iter_rdn() {
        for attribute in part.iter() {
            out.push(b'/');
            out.extend_from_slice(short_name(attribute).as_bytes());
            out.push(b'=');
            out.extend_from_slice(attribute.as_slice());
        }
    }
}

fn short_name(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    match oid2abbrev(oid, oid_registry()) {
        Ok("Email") => "emailAddress".to_owned(),
        Ok(name) => name.to_owned(),
        Err(_) => oid.to_id_string(),
    }
}

fn escaped_into(value: &[u8], out: &mut Vec<u8>) {
    for (at, byte) in value.iter().enumerate() {
        let edge_space = *byte == b' ' && (at == 0 || at + 1 == value.len());
        let leading_hash = *byte == b'#' && at == 0;
        if b",+\"\\<>;".contains(byte) || edge_space || leading_hash {
            out.extend_from_slice(&[b'\\', *byte]);
        } else if *byte < b' ' || *byte >= 0x7f {
            drop(write!(out, "\\{byte:02X}"));
        } else {
            out.push(*byte);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_shows_its_names_as_openssl_writes_them() {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CountryName, "DE");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "A, B");
        params.distinguished_name.push(rcgen::DnType::CommonName, "me");
        params.not_after = rcgen::date_time_ymd(2030, 1, 2);
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x0a, 0xff]));
        let key = rcgen::KeyPair::generate().unwrap();
        let der = Bytes::copy_from_slice(params.self_signed(&key).unwrap().der());
        let show = |which| {
            let mut out = Vec::new();
            assert!(append(which, &der, UnixTime::from_seconds(1_893_369_600), &mut out));
            String::from_utf8(out).unwrap()
        };
        assert_eq!(show(Builtin::SslClientSDn), r"CN=me,O=A\, B,C=DE");
        assert_eq!(show(Builtin::SslClientSDnLegacy), "/C=DE/O=A, B/CN=me");
        assert_eq!(show(Builtin::SslClientSerial), "0AFF");
        assert_eq!(show(Builtin::SslClientVEnd), "Jan  2 00:00:00 2030 GMT");
        assert_eq!(show(Builtin::SslClientVRemain), "2");
        assert_eq!(show(Builtin::SslClientFingerprint).len(), 40);
        assert!(show(Builtin::SslClientCert).starts_with("-----BEGIN CERTIFICATE-----\n\tMII"));
        assert!(show(Builtin::SslClientEscapedCert).starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"));
    }
}

//! Which page stands for a status? nginx's own fixed HTML, with our name in the last line.

use crate::plan::headers::ServerTokens;
use bytes::Bytes;

/// The version of nginx that configurations see (`$nginx_version`).
pub const NGINX_VERSION: &str = "1.28.3";

/// Name and version, for `server_tokens on`.
pub const FULL_NAME: &str = concat!("semper/", env!("CARGO_PKG_VERSION"));

/// `Server` and the last line of a page.
pub fn server_name(tokens: &ServerTokens) -> &'static str {
    match tokens {
        ServerTokens::Off => "semper",
        ServerTokens::On | ServerTokens::Build => FULL_NAME,
    }
}

/// Title and, where they differ, heading and explanation. `None`: no page is sent for this status.
fn words(status: u16) -> Option<(&'static str, Option<&'static str>)> {
    Some(match status {
        301 => ("301 Moved Permanently", None),
        302 => ("302 Found", None),
        303 => ("303 See Other", None),
        307 => ("307 Temporary Redirect", None),
        308 => ("308 Permanent Redirect", None),
        400 => ("400 Bad Request", None),
        401 => ("401 Authorization Required", None),
        402 => ("402 Payment Required", None),
        403 => ("403 Forbidden", None),
        404 => ("404 Not Found", None),
        405 => ("405 Not Allowed", None),
        406 => ("406 Not Acceptable", None),
        408 => ("408 Request Time-out", None),
        409 => ("409 Conflict", None),
        410 => ("410 Gone", None),
        411 => ("411 Length Required", None),
        412 => ("412 Precondition Failed", None),
        413 => ("413 Request Entity Too Large", None),
        414 => ("414 Request-URI Too Large", None),
        415 => ("415 Unsupported Media Type", None),
        416 => ("416 Requested Range Not Satisfiable", None),
        421 => ("421 Misdirected Request", None),
        429 => ("429 Too Many Requests", None),
        494 => ("400 Request Header Or Cookie Too Large", Some("Request Header Or Cookie Too Large")),
        495 => ("400 The SSL certificate error", Some("The SSL certificate error")),
        496 => ("400 No required SSL certificate was sent", Some("No required SSL certificate was sent")),
        497 => {
            ("400 The plain HTTP request was sent to HTTPS port", Some("The plain HTTP request was sent to HTTPS port"))
        }
        500 => ("500 Internal Server Error", None),
        501 => ("501 Not Implemented", None),
        502 => ("502 Bad Gateway", None),
        503 => ("503 Service Temporarily Unavailable", None),
        504 => ("504 Gateway Time-out", None),
        505 => ("505 HTTP Version Not Supported", None),
        507 => ("507 Insufficient Storage", None),
        _ => return None,
    })
}

/// The status that is sent where nginx's own codes are kept from clients.
pub fn sent_status(status: u16) -> u16 {
    if matches!(status, 494..=497) { 400 } else { status }
}

/// The page of `status`; `None`: the answer has no body. `padded`: for browsers that replace short error pages.
pub fn page(status: u16, tokens: &ServerTokens, padded: bool) -> Option<Bytes> {
    let (title, explained) = words(status)?;
    let mut out = String::with_capacity(700);
    out.push_str("<html>\r\n<head><title>");
    out.push_str(title);
    out.push_str("</title></head>\r\n<body>\r\n<center><h1>");
    out.push_str(if explained.is_some() { "400 Bad Request" } else { title });
    out.push_str("</h1></center>\r\n");
    if let Some(explained) = explained {
        out.push_str("<center>");
        out.push_str(explained);
        out.push_str("</center>\r\n");
    }
    out.push_str("<hr><center>");
    out.push_str(server_name(tokens));
    out.push_str("</center>\r\n</body>\r\n</html>\r\n");
    if padded && status >= 400 {
        for _ in 0..6 {
            out.push_str("<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n");
        }
    }
    Some(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_those_of_nginx() {
        let page = |status| String::from_utf8(page(status, &ServerTokens::Off, false).unwrap().to_vec()).unwrap();
        assert_eq!(
            page(404),
            "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body>\r\n<center><h1>404 Not Found</h1></center>\r\n\
             <hr><center>semper</center>\r\n</body>\r\n</html>\r\n"
        );
        assert!(page(497).contains("<h1>400 Bad Request</h1></center>\r\n<center>The plain HTTP request was sent"));
        assert_eq!(super::page(204, &ServerTokens::On, true), None);
        assert_eq!((sent_status(494), sent_status(404)), (400, 404));
    }
}

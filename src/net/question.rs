//! How is a yes-or-no question put to an HTTP server? One GET over a connection of its own, over TLS where wanted, bounded in
//! time and bytes. Follows no redirect and believes no body: the status is the answer, and the first words of the body are
//! for people. Decides nothing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Of an answer no more is read.
const LARGEST: u64 = 16 << 10;
/// Of its body no more is shown.
const SHOWN: usize = 120;

/// Whom to ask, and what.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Host name or address, without brackets.
    pub host: &'a str,
    /// Its port.
    pub port: u16,
    /// TLS, if it is spoken: by whose roots the server is known.
    pub tls: Option<Arc<ClientConfig>>,
    /// The value of Host.
    pub authority: &'a str,
    /// Path and query. Visible ASCII.
    pub target: &'a str,
    /// For all of it: look-up, connection, handshake, answer.
    pub patience: Duration,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The first words of the body, or where a redirect leads: one line of visible characters.
    pub words: String,
}

/// Why nothing came back. The other side's fault, or the way's; asking again is safe.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// Not in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// No connection, no handshake, or it broke.
    #[error("{0}")]
    Broken(#[from] io::Error),
    /// What came back is not HTTP.
    #[error("not an answer in HTTP")]
    NotHttp,
}

/// Asks.
///
/// # Errors
/// [`Unanswered`].
pub async fn ask(question: &Question<'_>) -> Result<Answer, Unanswered> {
    let patience = question.patience;
    timeout(patience, exchange(question)).await.unwrap_or(Err(Unanswered::TimedOut(patience)))
}

async fn exchange(question: &Question<'_>) -> Result<Answer, Unanswered> {
    let stream = TcpStream::connect((question.host, question.port)).await?;
    let _ = stream.set_nodelay(true);
    let Some(config) = &question.tls else { return talk(stream, question).await };
    let name = ServerName::try_from(question.host.to_owned()).map_err(io::Error::other)?;
    talk(tokio_rustls::TlsConnector::from(config.clone()).connect(name, stream).await?, question).await
}

async fn talk(mut stream: impl AsyncRead + AsyncWrite + Unpin, question: &Question<'_>) -> Result<Answer, Unanswered> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: semper/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        question.target,
        question.authority,
        env!("CARGO_PKG_VERSION")
    );
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let mut limited = (&mut stream).take(LARGEST);
    loop {
        let end = match limited.read_buf(&mut bytes).await {
            Ok(count) => count == 0,
            // Whoever ends a TLS connection without saying so has still said what it said.
            Err(error) if bytes.is_empty() => return Err(error.into()),
            Err(_) => true,
        };
        if let Some((answer, whole)) = read(&bytes)
            && (whole || end)
        {
            return Ok(answer);
        }
        if end {
            return Err(Unanswered::NotHttp);
        }
    }
}

/// Reads what has come so far: the answer, and whether enough of its body is there. `None`: no whole head, or none at all.
/// Answers of 1xx are passed over.
pub fn read(mut bytes: &[u8]) -> Option<(Answer, bool)> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut fields);
        let httparse::Status::Complete(length) = head.parse(bytes).ok()? else { return None };
        let status = head.code?;
        let body = bytes.get(length..)?;
        if (100..200).contains(&status) && status != 101 {
            bytes = body;
            continue;
        }
        let field = |name: &str| head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        let length =
            field("content-length").and_then(|field| std::str::from_utf8(field.value).ok()?.trim().parse().ok());
        let chunked = field("transfer-encoding").is_some();
        let location = field("location").filter(|_| (300..400).contains(&status));
        let words = match location {
            Some(to) => format!("it redirects to {}, which is not followed", shown(to.value)),
            None if chunked => shown(first_chunk(body)),
            None => shown(body),
        };
        let enough = location.is_some() || body.len() >= length.unwrap_or(usize::MAX).min(SHOWN * 4);
        return Some((Answer { status, words }, enough || status == 200 || status == 204));
    }
}

/// The first line, without what could paint a terminal or break a log.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN * 4)]);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
}

fn first_chunk(body: &[u8]) -> &[u8] {
    match httparse::parse_chunk_size(body) {
        Ok(httparse::Status::Complete((start, size))) => {
            let end = usize::try_from(size).unwrap_or(usize::MAX).saturating_add(start).min(body.len());
            &body[start.min(end)..end]
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_the_answer_and_the_body_only_words() {
        for (text, status, words) in [
            ("HTTP/1.1 200 OK\r\n\r\n", 200, ""),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 No\r\nContent-Length: 12\r\n\r\nno such shop",
                403,
                "no such shop",
            ),
            ("HTTP/1.0 404 Not Found\r\n\r\n\r\n  gone\x1b[31m\nsecond", 404, "gone[31m"),
            ("HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef", 500, "abc"),
            ("HTTP/1.1 500 E\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc", 500, "abc"),
            (
                "HTTP/1.1 302 F\r\nLocation: http://b/\r\n\r\n200",
                302,
                "it redirects to http://b/, which is not followed",
            ),
        ] {
            let (answer, _) = read(text.as_bytes()).unwrap();
            assert_eq!(answer, Answer { status, words: words.into() }, "{text:?}");
        }
        for none in [
            "",
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\n",
            "yes",
            "\0\0",
            "HTTP/9.9 200 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
        ] {
            assert_eq!(read(none.as_bytes()), None, "{none:?}");
        }
        let long = format!("HTTP/1.1 400 B\r\n\r\n{}", "ü".repeat(10_000));
        assert_eq!(read(long.as_bytes()).unwrap().0.words.chars().count(), SHOWN);
    }
}

//! What lies at the place where an authority says which certificates it has revoked? One GET over plain HTTP, redirects
//! followed to plain HTTP alone, bounded in bytes, hops and time. Believes nothing of it: `cert::revoked` judges.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Until a connection stands.
const CONNECT: Duration = Duration::from_secs(10);
/// For everything together.
const PATIENCE: Duration = Duration::from_secs(60);
/// The lists of large authorities are a few MiB; the lengths in ours end here too.
pub const LARGEST: usize = 16 << 20;
/// Redirects that are followed.
const HOPS: usize = 3;

/// Why there is no list. Asking again later is safe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoList {
    /// The URL, or one that it redirects to, is none that is gone to.
    #[error("{0} is not a URL of plain HTTP")]
    Url(String),
    /// The server cannot be reached, or fell silent.
    #[error("{host} does not answer: {detail}")]
    Silent {
        /// Whom we asked.
        host: String,
        /// What happened.
        detail: String,
    },
    /// The server answered with something else.
    #[error("{host} answers {status}")]
    Status {
        /// Whom we asked.
        host: String,
        /// What came.
        status: StatusCode,
    },
    /// More than [`LARGEST`].
    #[error("what {host} sends is larger than {} MiB", LARGEST >> 20)]
    TooLarge {
        /// Whom we asked.
        host: String,
    },
    /// It leads on and on.
    #[error("{0} redirects too often")]
    Endless(String),
}

/// Fetches what lies at `url`.
///
/// # Errors
/// See [`NoList`].
pub async fn fetch(url: &str) -> Result<Vec<u8>, NoList> {
    let silent = |_| NoList::Silent { host: url.to_owned(), detail: format!("not done within {PATIENCE:?}") };
    timeout(PATIENCE, follow(url)).await.map_err(silent)?
}

async fn follow(url: &str) -> Result<Vec<u8>, NoList> {
    let mut next = url.to_owned();
    for _ in 0..=HOPS {
        let place = Place::of(&next)?;
        let response = place.ask().await?;
        let status = response.status();
        if status == StatusCode::OK {
            return place.body(response).await;
        }
        let location = response.headers().get(header::LOCATION).filter(|_| status.is_redirection());
        let Some(location) = location.and_then(|value| value.to_str().ok()) else {
            return Err(NoList::Status { host: place.authority, status });
        };
        next = match location.strip_prefix('/').filter(|rest| !rest.starts_with('/')) {
            Some(path) => format!("http://{}/{path}", place.authority),
            None => location.to_owned(),
        };
    }
    Err(NoList::Endless(url.to_owned()))
}

/// Where to ask for what.
struct Place {
    authority: String,
    host: String,
    port: u16,
    path: Uri,
}

impl Place {
    fn of(url: &str) -> Result<Place, NoList> {
        let bad = || NoList::Url(url.chars().take(200).collect());
        let uri: Uri = url.parse().map_err(|_| bad())?;
        if uri.scheme_str() != Some("http") {
            return Err(bad());
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(bad)?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Place {
            authority: authority.to_string(),
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port: authority.port_u16().unwrap_or(80),
            path: path.parse().map_err(|_| bad())?,
        })
    }

    fn silent(&self, detail: &impl ToString) -> NoList {
        NoList::Silent { host: self.authority.clone(), detail: detail.to_string() }
    }

    async fn ask(&self) -> Result<Response<Incoming>, NoList> {
        let connected = timeout(CONNECT, TcpStream::connect((&*self.host, self.port))).await;
        let stream = connected.map_err(|late| self.silent(&late))?.map_err(|error| self.silent(&error))?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| self.silent(&error))?;
        // It ends with the response, or with the one who waits for it.
        let connection = tokio::spawn(connection);
        let request = Request::get(self.path.clone())
            .header(header::HOST, &self.authority)
            .header(header::USER_AGENT, concat!("semper/", env!("CARGO_PKG_VERSION")))
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.silent(&error))?;
        let response = sender.send_request(request).await;
        if response.is_err() {
            connection.abort();
        }
        response.map_err(|error| self.silent(&error))
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Vec<u8>, NoList> {
        let too_large = || NoList::TooLarge { host: self.authority.clone() };
        let length = response.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        if length.and_then(|text| text.parse::<u64>().ok()).is_some_and(|length| length > LARGEST as u64) {
            return Err(too_large());
        }
        let (mut body, mut content) = (response.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|error| self.silent(&error))?.into_data() else { continue };
            if content.len() + data.len() > LARGEST {
                return Err(too_large());
            }
            content.extend_from_slice(&data);
        }
        Ok(content)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every connection with what `say` makes of the request's path.
    async fn server(say: impl Fn(&str, SocketAddr) -> Vec<u8> + Send + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = vec![0; 4096];
                let read = stream.read(&mut head).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let path = text.split(' ').nth(1).unwrap_or_default().to_owned();
                // Whoever has seen enough hangs up.
                let _ = stream.write_all(&say(&path, address)).await;
            }
        });
        address
    }

    fn redirect(to: &str) -> Vec<u8> {
        format!("HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    }

    #[tokio::test]
    async fn a_list_is_fetched_also_where_it_has_moved_to() {
        let address = server(|path, own| match path {
            "/old" => redirect(&format!("http://{own}/new")),
            "/older" => redirect("/new"),
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlist".to_vec(),
        })
        .await;
        for path in ["new", "old", "older"] {
            assert_eq!(fetch(&format!("http://{address}/{path}")).await.unwrap(), b"list");
        }
    }

    #[tokio::test]
    async fn whoever_sends_us_elsewhere_or_sends_too_much_is_left() {
        let address = server(|path, _| match path {
            "/tls" => redirect("https://127.0.0.1/x"),
            "/file" => redirect("file:///etc/passwd"),
            "/round" => redirect("/round"),
            "/user" => redirect("http://me@127.0.0.1/"),
            "/said" => b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx".to_vec(),
            "/huge" => [&b"HTTP/1.1 200 OK\r\n\r\n"[..], &vec![b'x'; LARGEST + 1]].concat(),
            "/cut" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx".to_vec(),
            "/garbage" => b"\0\0\0\0 nothing".to_vec(),
            "/none" => Vec::new(),
            _ => b"HTTP/1.1 404 x\r\nContent-Length: 0\r\n\r\n".to_vec(),
        })
        .await;
        let mut found = Vec::new();
        for path in ["tls", "file", "round", "user", "said", "huge", "cut", "garbage", "none", "else"] {
            let kind = match fetch(&format!("http://{address}/{path}")).await.unwrap_err() {
                NoList::Url(_) => "url",
                NoList::Silent { .. } => "silent",
                NoList::Status { .. } => "status",
                NoList::TooLarge { .. } => "large",
                NoList::Endless(_) => "endless",
            };
            found.push(kind);
        }
        let wanted = ["url", "url", "endless", "url", "large", "large", "silent", "silent", "silent", "status"];
        assert_eq!(found, wanted);
        assert!(matches!(fetch("https://127.0.0.1/x").await, Err(NoList::Url(_))));
    }
}

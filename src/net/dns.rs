//! What do name servers say? One question to one server (UDP, then TCP), and what is built of it: look-ups through a
//! resolver, chains of CNAMEs, the zone of a name and the servers that answer for it. Knows no certificate. For questions
//! whose answer is judged, not only used: it keeps what a stub resolver hides (response codes, chains, who answered).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

/// A question over UDP is sent again after this time.
const AGAIN: Duration = Duration::from_millis(1200);
/// CNAMEs that are followed.
const LONGEST_CHAIN: usize = 10;
/// Name servers of a zone that are asked.
const MOST_SERVERS: usize = 16;
/// What we can take over UDP (RFC 9715).
const LARGEST_DATAGRAM: u16 = 1232;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// Nobody answered in time: the way there is closed, or the server is down.
    #[error("{server} did not answer")]
    Silent {
        /// Who was asked.
        server: SocketAddr,
    },
    /// The server cannot be reached.
    #[error("{server} cannot be reached: {detail}")]
    Unreachable {
        /// Who was asked.
        server: SocketAddr,
        /// What the system said.
        detail: String,
    },
    /// The server answered with an error.
    #[error("{server} answered {code}")]
    Failed {
        /// Who was asked.
        server: SocketAddr,
        /// The code (RFC 1035 4.1.1).
        code: ResponseCode,
    },
    /// What came is no answer.
    #[error("{server} sent what is no answer: {detail}")]
    Garbage {
        /// Who was asked.
        server: SocketAddr,
        /// What is wrong with it.
        detail: String,
    },
    /// The text is no name, or the name cannot be asked for.
    #[error("{0:?} is no name")]
    NoName(String),
    /// CNAMEs that lead in a circle, or on and on.
    #[error("the CNAMEs of {0} do not end")]
    Endless(String),
    /// No zone was found above the name.
    #[error("no zone was found for {0}")]
    NoZone(String),
    /// There is no name server to ask.
    #[error("no name server is known")]
    NobodyToAsk,
}

impl DnsError {
    /// Whether the fault may be the way from here to the server rather than what the server has to say.
    pub fn is_from_here(&self) -> bool {
        matches!(self, DnsError::Silent { .. } | DnsError::Unreachable { .. } | DnsError::NobodyToAsk)
    }
}

/// A response, read and as it came (signatures cover the bytes).
#[derive(Clone, Debug)]
pub struct Response {
    /// The message.
    pub message: Message,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// The records of the kind that was asked for.
    pub records: Vec<Record>,
    /// The name exists, whether or not it has such records.
    pub exists: bool,
}

/// The name of a text, absolute.
///
/// # Errors
/// [`DnsError::NoName`].
pub fn name(text: &str) -> Result<Name, DnsError> {
    let mut name = Name::from_ascii(text).map_err(|_| DnsError::NoName(text.to_owned()))?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name as people write it: lower case, without the dot at its end.
pub fn text(name: &Name) -> String {
    let text = name.to_lowercase().to_ascii();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// A question; `recursive`: the server shall find the answer wherever it is.
pub fn question(name: &Name, kind: RecordType, recursive: bool) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = recursive;
    message.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(LARGEST_DATAGRAM).set_version(0);
    message.set_edns(edns);
    message
}

/// Asks one server: over UDP, again if nothing comes, over TCP if the answer is cut. Datagrams that do not belong to the
/// question are not looked at, whoever sends them.
///
/// # Errors
/// Nothing came `within` that time, or nothing that is an answer. A response code is no error here.
pub async fn exchange(server: SocketAddr, request: &Message, within: Duration) -> Result<Response, DnsError> {
    let end = Instant::now() + within;
    let bytes = encode(server, request)?;
    let asked = timeout(within, over_udp(server, request, &bytes)).await;
    match asked {
        Err(_) => Err(DnsError::Silent { server }),
        Ok(Ok(response)) if response.message.truncation => {
            let left = end.saturating_duration_since(Instant::now());
            by_stream(server, request, &bytes, left).await
        }
        Ok(done) => done,
    }
}

/// Asks one server over TCP; for what must not be sent twice lightly, or is large.
///
/// # Errors
/// As [`exchange`].
pub async fn exchange_by_stream(server: SocketAddr, request: &Message, within: Duration) -> Result<Response, DnsError> {
    let bytes = encode(server, request)?;
    by_stream(server, request, &bytes, within).await
}

fn encode(server: SocketAddr, request: &Message) -> Result<Vec<u8>, DnsError> {
    request.to_vec().map_err(|error| DnsError::Garbage { server, detail: error.to_string() })
}

async fn over_udp(server: SocketAddr, request: &Message, bytes: &[u8]) -> Result<Response, DnsError> {
    let unreachable = |error: std::io::Error| DnsError::Unreachable { server, detail: error.to_string() };
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await.map_err(unreachable)?;
    // Connected: what others send does not arrive at all.
    socket.connect(server).await.map_err(unreachable)?;
    let mut buffer = vec![0; 65_535];
    loop {
        socket.send(bytes).await.map_err(unreachable)?;
        let again = Instant::now() + AGAIN;
        while let Ok(received) = tokio::time::timeout_at(again, socket.recv(&mut buffer)).await {
            let length = received.map_err(unreachable)?;
            if let Some(message) = belongs(request, &buffer[..length]) {
                return Ok(Response { message, bytes: buffer[..length].to_vec() });
            }
        }
    }
}

async fn by_stream(
    server: SocketAddr,
    request: &Message,
    bytes: &[u8],
    within: Duration,
) -> Result<Response, DnsError> {
    let unreachable = |error: std::io::Error| DnsError::Unreachable { server, detail: error.to_string() };
    let talk = async {
        let mut stream = TcpStream::connect(server).await.map_err(unreachable)?;
        let too_long = |_| DnsError::Garbage { server, detail: "the question is too long".into() };
        let mut framed = u16::try_from(bytes.len()).map_err(too_long)?.to_be_bytes().to_vec();
        framed.extend_from_slice(bytes);
        stream.write_all(&framed).await.map_err(unreachable)?;
        let length = stream.read_u16().await.map_err(unreachable)?;
        let mut answer = vec![0; usize::from(length)];
        stream.read_exact(&mut answer).await.map_err(unreachable)?;
        match belongs(request, &answer) {
            Some(message) => Ok(Response { message, bytes: answer }),
            None => Err(DnsError::Garbage { server, detail: "it answers another question".into() }),
        }
    };
    timeout(within, talk).await.unwrap_or(Err(DnsError::Silent { server }))
}

/// The message, if it is the answer to `request`. A server that refuses may leave the question out.
fn belongs(request: &Message, bytes: &[u8]) -> Option<Message> {
    let message = Message::from_vec(bytes).ok()?;
    let same = message.id == request.id
        && message.message_type == MessageType::Response
        && message.op_code == request.op_code
        && (message.queries == request.queries
            || (message.queries.is_empty()
                && (message.response_code != ResponseCode::NoError || request.op_code == OpCode::Update)));
    same.then_some(message)
}

/// A resolver: servers that find answers for us, asked in turn.
#[derive(Clone, Debug)]
pub struct Dns {
    servers: Vec<SocketAddr>,
    within: Duration,
    authority_port: u16,
}

impl Dns {
    /// Asks `servers`; the system's (`/etc/resolv.conf`) if there are none.
    pub fn new(servers: &[SocketAddr]) -> Dns {
        let servers = if servers.is_empty() { of_system() } else { servers.to_vec() };
        Dns { servers, within: Duration::from_secs(4), authority_port: 53 }
    }

    /// The same, but servers of zones are asked on another port than 53: for a split horizon behind redirections, and tests.
    pub fn with_authority_port(self, authority_port: u16) -> Dns {
        Dns { authority_port, ..self }
    }

    /// The same with another patience for each server.
    pub fn within(self, within: Duration) -> Dns {
        Dns { within, ..self }
    }

    /// The records of `kind` that `name` has, over any CNAMEs.
    ///
    /// # Errors
    /// No server could say: the error of the last one that was asked.
    pub async fn find(&self, name: &Name, kind: RecordType) -> Result<Found, DnsError> {
        let message = self.ask(name, kind).await?;
        let exists = message.response_code != ResponseCode::NXDomain;
        let records = message.answers.into_iter().filter(|record| record.record_type() == kind).collect();
        Ok(Found { records, exists })
    }

    async fn ask(&self, name: &Name, kind: RecordType) -> Result<Message, DnsError> {
        let mut last = DnsError::NobodyToAsk;
        for server in &self.servers {
            match exchange(*server, &question(name, kind, true), self.within).await {
                Ok(response) => match response.message.response_code {
                    ResponseCode::NoError | ResponseCode::NXDomain => return Ok(response.message),
                    code => last = DnsError::Failed { server: *server, code },
                },
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The addresses of a name, IPv4 first.
    ///
    /// # Errors
    /// As [`Dns::find`].
    pub async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, DnsError> {
        let (four, six) = tokio::join!(self.find(name, RecordType::A), self.find(name, RecordType::AAAA));
        let records = four?.records.into_iter().chain(six?.records);
        Ok(records
            .filter_map(|record| match record.data {
                RData::A(a) => Some(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
                _ => None,
            })
            .collect())
    }

    /// The name and every name that its CNAMEs lead to, in order; the last has no CNAME.
    ///
    /// # Errors
    /// As [`Dns::find`], and [`DnsError::Endless`].
    pub async fn chain(&self, start: &Name) -> Result<Vec<Name>, DnsError> {
        let mut chain = vec![start.clone()];
        loop {
            let last = chain.last().unwrap_or(start);
            let found = self.find(last, RecordType::CNAME).await?;
            let next = found.records.iter().find(|record| record.name == *last).and_then(|record| match &record.data {
                RData::CNAME(to) => Some(to.0.clone()),
                _ => None,
            });
            match next {
                None => return Ok(chain),
                Some(next) if chain.len() > LONGEST_CHAIN || chain.contains(&next) => {
                    return Err(DnsError::Endless(text(start)));
                }
                Some(next) => chain.push(next),
            }
        }
    }

    /// The zone that `name` stands in: the nearest name above it, or itself, with an SOA.
    ///
    /// # Errors
    /// As [`Dns::find`], and [`DnsError::NoZone`].
    pub async fn zone(&self, name: &Name) -> Result<Name, DnsError> {
        let mut at = name.clone();
        while !at.is_root() {
            let message = self.ask(&at, RecordType::SOA).await?;
            if let Some(zone) = zone_in(&message, &at) {
                return Ok(zone);
            }
            at = at.base_name();
        }
        Err(DnsError::NoZone(text(name)))
    }

    /// The servers that answer for `zone`: host and addresses.
    ///
    /// # Errors
    /// As [`Dns::find`].
    pub async fn authorities(&self, zone: &Name) -> Result<Vec<SocketAddr>, DnsError> {
        let mut found = Vec::new();
        for record in self.find(zone, RecordType::NS).await?.records.into_iter().take(MOST_SERVERS) {
            let RData::NS(host) = record.data else { continue };
            // One host without addresses is not the others' fault.
            let addresses = self.addresses(&host.0).await.unwrap_or_default();
            found.extend(addresses.into_iter().map(|ip| SocketAddr::new(ip, self.authority_port)));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }
}

/// The zone that an answer to a question for the SOA of `at` names, if it names one at or above it.
pub fn zone_in(message: &Message, at: &Name) -> Option<Name> {
    let soa = |record: &&Record| record.record_type() == RecordType::SOA && record.name.zone_of(at);
    let own = message.answers.iter().find(soa).filter(|record| record.name == *at);
    own.or_else(|| message.authorities.iter().find(soa)).map(|record| record.name.clone())
}

/// The texts of TXT records: the strings of each put together (RFC 7208 3.3).
pub fn texts(records: &[Record]) -> Vec<String> {
    let text = |record: &Record| match &record.data {
        RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
        _ => None,
    };
    records.iter().filter_map(text).collect()
}

/// The servers of `/etc/resolv.conf`; this machine if it names none (resolv.conf(5)).
fn of_system() -> Vec<SocketAddr> {
    let text = std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    let mut servers: Vec<SocketAddr> =
        servers.filter_map(|rest| rest.trim().parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53)).collect();
    servers.truncate(3);
    if servers.is_empty() {
        servers.push(([127, 0, 0, 1], 53).into());
    }
    servers
}

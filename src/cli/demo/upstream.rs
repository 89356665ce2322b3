//! What stands behind the demo? A sample upstream: a few lines of HTTP/1.1 on threads of its own.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

const PAGE: &str = "Hello. This page comes from a sample upstream, through semper.\n";

/// Starts it on a port that the kernel gives.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::Builder::new().name("sample".to_owned()).spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || serve(client));
        }
    })?;
    Ok(address)
}

/// Answers requests without a body until the client goes.
fn serve(client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut lines = BufReader::new(client.try_clone()?);
    let mut client = client;
    let mut line = String::new();
    let mut begun = false;
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line.trim_end().is_empty() {
            if begun {
                let head =
                    format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", PAGE.len());
                client.write_all(format!("{head}{PAGE}").as_bytes())?;
            }
            begun = false;
        } else {
            begun = true;
        }
    }
}

//! What stands behind the proxies? A small HTTP/1.1 server that answers from memory and swallows uploads.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Starts it on a thread of its own; it lives as long as the process.
pub fn start() -> SocketAddr {
    let (tell, hear) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            loop {
                if let Ok((client, _)) = listener.accept().await {
                    let _ = client.set_nodelay(true);
                    tokio::task::spawn_local(async move {
                        let _ = serve(client).await;
                    });
                }
            }
        });
    });
    hear.recv().unwrap()
}

fn answer(bytes: usize) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {bytes}\r\n\r\n")
            .into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    answer
}

async fn serve(mut client: TcpStream) -> std::io::Result<()> {
    let (small, middle, large, none) = (answer(1024), answer(64 << 10), answer(1 << 20), answer(2));
    let mut buffer = vec![0; 256 << 10];
    let mut filled = 0;
    loop {
        let head = loop {
            if let Some(end) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            match client.read(&mut buffer[filled..]).await? {
                0 => return Ok(()),
                got => filled += got,
            }
        };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let value = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)).map(|v| v.trim().to_owned());
        let mut body: usize = value("content-length:").and_then(|v| v.parse().ok()).unwrap_or(0);
        let chunked = value("transfer-encoding:").is_some();
        let closes =
            text.starts_with("get") && text.contains("http/1.0") || value("connection:").as_deref() == Some("close");
        let answer = match text.split(' ').nth(1).unwrap_or("") {
            "/1k" => &small,
            "/64k" => &middle,
            "/1m" => &large,
            _ => &none,
        };
        let mut rest = filled - head;
        if chunked {
            let mut tail = buffer[head..filled].to_vec();
            while !tail.ends_with(b"0\r\n\r\n") {
                let got = client.read(&mut buffer).await?;
                if got == 0 {
                    return Ok(());
                }
                tail.extend_from_slice(&buffer[..got]);
                let keep = tail.len().saturating_sub(16);
                tail.drain(..keep);
            }
            rest = 0;
        } else {
            let here = rest.min(body);
            body -= here;
            rest -= here;
            buffer.copy_within(head + here..filled, 0);
            while body > 0 {
                let got = client.read(&mut buffer).await?;
                if got == 0 {
                    return Ok(());
                }
                body -= got.min(body);
            }
        }
        filled = rest;
        client.write_all(answer).await?;
        if closes {
            return client.shutdown().await;
        }
    }
}

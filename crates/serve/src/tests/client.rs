//! A client that does as it is told, over a real socket.

use serde_json::Value;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer whose body is read on demand.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    socket: BufReader<TcpStream>,
    /// Bytes to come; `None`: to the end of the connection.
    length: Option<usize>,
    chunked: bool,
    body: Vec<u8>,
    over: bool,
}

/// A line of a stream, over whatever transport it came.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Said {
    pub(crate) event: String,
    pub(crate) cursor: String,
    pub(crate) object: Value,
}

/// Sends `request` over a socket that takes little at once, and reads so many `bytes` of the answer at once.
pub(crate) async fn connect(address: SocketAddr, request: &str, bytes: usize) -> Answer {
    let read = async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        answer(BufReader::with_capacity(bytes, socket)).await
    };
    timeout(PATIENCE, read).await.unwrap()
}

pub(crate) async fn send(address: SocketAddr, request: String) -> Answer {
    let read = async {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        answer(BufReader::new(socket)).await
    };
    timeout(PATIENCE, read).await.unwrap()
}

/// Asks for `path`, with more `headers`, each ended with a line break.
pub(crate) async fn get(address: SocketAddr, path: &str, headers: &str) -> Answer {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n");
    send(address, format!("{head}{}\r\n", headers.replace('\n', "\r\n"))).await
}

async fn answer(mut socket: BufReader<TcpStream>) -> Answer {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(socket.read_line(&mut head).await.unwrap() > 0, "{head}");
    }
    let head = head.to_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |name: &str| {
        let at = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        at.map(str::to_owned)
    };
    let length = header("content-length").map(|length| length.parse().unwrap());
    let chunked = header("transfer-encoding").is_some_and(|coding| coding == "chunked");
    Answer { status, socket, length, chunked, body: Vec::new(), over: false, head }
}

impl Answer {
    /// Reads more of the body; nothing at its end.
    async fn more(&mut self) {
        let mut bytes = Vec::new();
        if self.chunked {
            let mut size = String::new();
            if self.socket.read_line(&mut size).await.unwrap_or(0) == 0 {
                self.over = true;
                return;
            }
            let size = usize::from_str_radix(size.trim(), 16).unwrap();
            bytes.resize(size + 2, 0);
            self.socket.read_exact(&mut bytes).await.unwrap();
            bytes.truncate(size);
            self.over = size == 0;
        } else {
            bytes.resize(self.length.unwrap_or(usize::MAX).min(8 * 1024), 0);
            let read = self.socket.read(&mut bytes).await.unwrap_or(0);
            bytes.truncate(read);
            self.length = self.length.map(|left| left - read);
            self.over = read == 0 || self.length == Some(0);
        }
        self.body.extend_from_slice(&bytes);
    }

    /// Up to and with `end`; `None` if the body ends before.
    async fn until(&mut self, end: &[u8]) -> Option<String> {
        let read = async {
            loop {
                if let Some(at) = self.body.windows(end.len()).position(|bytes| bytes == end) {
                    let found: Vec<_> = self.body.drain(..at + end.len()).collect();
                    return Some(String::from_utf8(found).unwrap());
                }
                if self.over {
                    return None;
                }
                self.more().await;
            }
        };
        timeout(PATIENCE, read).await.unwrap()
    }

    /// All of it, as text.
    pub(crate) async fn text(self) -> String {
        String::from_utf8(self.bytes().await).unwrap()
    }

    /// All of it.
    pub(crate) async fn bytes(mut self) -> Vec<u8> {
        let read = async {
            while !self.over && self.length != Some(0) {
                self.more().await;
            }
        };
        timeout(PATIENCE, read).await.unwrap();
        self.body
    }

    pub(crate) async fn json(self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// The next line of a stream; `None` at its end.
    pub(crate) async fn said(&mut self) -> Option<Said> {
        if !self.head.contains("text/event-stream") {
            let object: Value = serde_json::from_str(&self.until(b"\n").await?).unwrap();
            let word = |name: &str| object[name].as_str().unwrap().to_owned();
            return Some(Said { event: word("event"), cursor: word("cursor"), object });
        }
        let block = self.until(b"\n\n").await?;
        let field = |name: &str| {
            let at = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            at.unwrap_or_else(|| panic!("no {name}: {block}")).to_owned()
        };
        let object: Value = serde_json::from_str(&field("data")).unwrap();
        assert_eq!(object["event"], *field("event"));
        assert_eq!(object["cursor"], *field("id"));
        Some(Said { event: field("event"), cursor: field("id"), object })
    }

    /// The next line but bookmarks.
    pub(crate) async fn event(&mut self) -> Option<Said> {
        loop {
            let said = self.said().await?;
            if said.event != "bookmark" {
                return Some(said);
            }
        }
    }

    /// Words of the next `count` lines but bookmarks.
    pub(crate) async fn words(&mut self, count: usize) -> Vec<String> {
        let mut words = Vec::new();
        while words.len() < count {
            words.push(self.event().await.unwrap().event);
        }
        words
    }
}

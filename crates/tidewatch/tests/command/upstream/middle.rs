//! Stands between two followers, and lies.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// What is done to the answers that carry certificates and blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A byte of the certificate is another one.
    Certificate,
    /// The last byte of the block is another one.
    Block,
    /// There is none.
    Withheld,
}

#[derive(Debug)]
pub(crate) struct Middle {
    address: SocketAddr,
    lying: Arc<AtomicBool>,
    lies: Receiver<()>,
}

impl Middle {
    /// Passes on what the server at `url` answers, with `lie`. Push connections are refused.
    pub(crate) fn before(url: &str, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let lying = Arc::new(AtomicBool::new(true));
        let behind: SocketAddr = url.trim_start_matches("http://").parse().unwrap();
        let (told, lies) = channel();
        let going = lying.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (going, told) = (going.clone(), told.clone());
                thread::spawn(move || {
                    let lie = || going.load(Ordering::Relaxed).then_some(lie);
                    pass(client, behind, lie, &told)
                });
            }
        });
        Self { address, lying, lies }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it has lied `times` more.
    pub(crate) fn lied(&self, times: usize) {
        for _ in 0..times {
            self.lies.recv_timeout(Duration::from_secs(60)).unwrap();
        }
    }

    pub(crate) fn heal(&self) {
        self.lying.store(false, Ordering::Relaxed);
    }
}

/// One request; the connection ends with its answer.
fn pass(
    mut client: TcpStream,
    behind: SocketAddr,
    lie: impl Fn() -> Option<Lie>,
    told: &Sender<()>,
) -> std::io::Result<()> {
    client.set_read_timeout(Some(Duration::from_secs(30)))?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let none = b"HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let certified =
        ["/finalization/", "/block/", "/notarization/", "/v1/certificate", "/v1/range?"];
    let lie = lie().filter(|_| certified.iter().any(|start| path.starts_with(start)));
    if lie.is_some() {
        let _ = told.send(()); // The test may have seen enough.
    }
    if path == "/consensus/ws" || lie == Some(Lie::Withheld) {
        return client.write_all(none);
    }
    let mut server = TcpStream::connect(behind)?;
    write!(server, "GET {path} HTTP/1.1\r\nhost: {behind}\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    let body = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(0, |at| at + 4);
    let at = match lie {
        // Behind epoch, view and parent view begins what was signed.
        Some(Lie::Certificate) => Some(body + 20),
        Some(Lie::Block) => answer.len().checked_sub(1),
        _ => None,
    };
    if let Some(byte) = at.and_then(|at| answer.get_mut(at)) {
        *byte ^= 1;
    }
    client.write_all(&answer)
}

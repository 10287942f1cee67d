//! A port that answers short questions over HTTP, whoever connects to it.
//!
//! # Limits
//!
//! A connection is answered once and closed. One that does not ask within [`Limits::ask`], asks in more than
//! [`HEAD_MAX`] bytes, or does not take its answer within [`Limits::answer`] is closed without one. No more
//! than [`Limits::connections`] are there at once, others are closed at once: however many clients connect
//! and say nothing, the port costs no more than that many descriptors, and the store has the rest.

use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};

/// Longest question, with all of its headers, in bytes.
const HEAD_MAX: usize = 8 * 1024;

/// Wait after a connection could not be accepted, for want of descriptors.
const REFUSED: Duration = Duration::from_millis(100);

/// What a port grants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once.
    pub(super) connections: usize,
    /// Time to ask.
    pub(super) ask: Duration,
    /// Time to take the answer.
    pub(super) answer: Duration,
}

impl Default for Limits {
    /// 32 connections; 5 s to ask and 10 s to take the answer.
    fn default() -> Self {
        Self { connections: 32, ask: Duration::from_secs(5), answer: Duration::from_secs(10) }
    }
}

/// What is at a path.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) content_type: &'static str,
    pub(super) body: String,
}

/// Answers at `listener` until the runtime ends; `page` gives what is at a path, if anything is.
pub(super) async fn serve(
    context: Context,
    listener: TcpListener,
    limits: Limits,
    page: impl Fn(&str) -> Option<Page> + Send + Sync + 'static,
) {
    let (room, page) = (Arc::new(Semaphore::new(limits.connections)), Arc::new(page));
    loop {
        let connection = match listener.accept().await {
            Ok((connection, _)) => connection,
            Err(error) => {
                tracing::debug!(%error, "a connection was not accepted");
                context.sleep(REFUSED).await;
                continue;
            }
        };
        let Ok(permit) = room.clone().try_acquire_owned() else { continue };
        let page = page.clone();
        context.child("connection").spawn(move |_| async move {
            if let Err(error) = answer(connection, limits, &*page).await {
                tracing::debug!(%error, "a question was not answered");
            }
            drop(permit);
        });
    }
}

async fn answer(
    mut connection: TcpStream,
    limits: Limits,
    page: &(impl Fn(&str) -> Option<Page> + Sync),
) -> io::Result<()> {
    let head = timeout(limits.ask, head(&mut connection)).await??;
    let answer = respond(&head, page);
    timeout(limits.answer, async {
        connection.write_all(answer.as_bytes()).await?;
        connection.shutdown().await
    })
    .await?
}

/// What a client sends up to the first empty line.
async fn head(connection: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut bytes = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = connection.read(&mut bytes).await?;
        if read == 0 || head.len() + read > HEAD_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&bytes[..read]);
    }
    Ok(head)
}

/// The answer to what begins with `head`.
fn respond(head: &[u8], page: impl Fn(&str) -> Option<Page>) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let found = matches!(method, "GET" | "HEAD").then(|| page(path));
    let (status, Page { content_type, body }) = match found {
        Some(Some(page)) => ("200 OK", page),
        Some(None) => ("404 Not Found", Page { content_type: "text/plain", body: String::new() }),
        None => {
            ("405 Method Not Allowed", Page { content_type: "text/plain", body: String::new() })
        }
    };
    let length = body.len();
    let body = if method == "HEAD" { "" } else { &body };
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, tokio::Runner};
    use std::{future::Future, net::SocketAddr};

    const PATIENCE: Duration = Duration::from_secs(30);

    fn page(path: &str) -> Option<Page> {
        (path == "/page").then(|| Page { content_type: "text/x", body: "words".into() })
    }

    /// Runs `test` against a port with `limits`.
    fn run<F: Future<Output = ()>>(limits: Limits, test: impl FnOnce(SocketAddr) -> F) {
        Runner::default().start(|context| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            context.child("port").spawn(move |context| serve(context, listener, limits, page));
            timeout(PATIENCE, test(address)).await.unwrap();
        });
    }

    /// Everything that comes after `question`; nothing where the port closes.
    async fn ask(address: SocketAddr, question: &[u8]) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let mut text = Vec::new();
        // A port that closes while it is written to resets the connection.
        let _ = connection.write_all(question).await;
        let _ = connection.read_to_end(&mut text).await;
        String::from_utf8(text).unwrap()
    }

    const PAGE: &[u8] = b"GET /page?x=1 HTTP/1.1\r\nhost: here\r\n\r\n";

    #[test]
    fn a_question_is_answered_and_the_connection_closed() {
        run(Limits::default(), |address| async move {
            let answer = ask(address, PAGE).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 5\r\n";
            assert!(answer.starts_with(head) && answer.ends_with("\r\n\r\nwords"), "{answer}");
            let head = ask(address, b"HEAD /page HTTP/1.1\r\n\r\n").await;
            assert!(head.contains("content-length: 5\r\n") && head.ends_with("\r\n\r\n"), "{head}");
            let other = ask(address, b"GET /other HTTP/1.1\r\n\r\n").await;
            assert!(other.starts_with("HTTP/1.1 404"), "{other}");
            let post = ask(address, b"POST /page HTTP/1.1\r\n\r\n").await;
            assert!(post.starts_with("HTTP/1.1 405"), "{post}");
            assert_eq!(ask(address, &[b'x'; 2 * HEAD_MAX]).await, "", "it has no end");
            assert!(ask(address, b"\xff\xfe\r\n\r\n").await.starts_with("HTTP/1.1 405"));
        });
    }

    #[test]
    fn clients_that_say_nothing_hold_few_connections_and_not_for_long() {
        let ask_within = Duration::from_millis(300);
        let limits = Limits { connections: 4, ask: ask_within, ..Limits::default() };
        run(limits, |address| async move {
            let mut silent = Vec::new();
            for _ in 0..200 {
                silent.push(TcpStream::connect(address).await.unwrap());
            }
            // Those that there is no room for are closed at once, the others when their time is over.
            for connection in &mut silent {
                assert_eq!(connection.read(&mut [0; 1]).await.unwrap_or(0), 0);
            }
            while ask(address, PAGE).await.is_empty() {}
        });
    }

    #[test]
    fn one_who_asks_slowly_has_no_more_time_than_others() {
        let ask_within = Duration::from_millis(300);
        run(Limits { ask: ask_within, ..Limits::default() }, |address| async move {
            let mut slow = TcpStream::connect(address).await.unwrap();
            // A byte now and then: the deadline is of the whole question.
            while slow.write_all(b"x").await.is_ok() {
                let byte = timeout(Duration::from_millis(20), slow.read(&mut [0; 1])).await;
                if byte.is_ok_and(|read| read.unwrap_or(0) == 0) {
                    break;
                }
            }
        });
    }
}

//! One WebSocket: requests that are answered in any order, and subscriptions.
//!
//! The task owns the socket, and ends when nobody holds a handle or when the connection is lost; whoever
//! waits is told. What cannot be read is refused to whoever waits the longest, and costs no connection.

use super::{
    Answer, Call, NodeError,
    http::Refused,
    spoken::{self, Ids, Incoming, Pushed},
};
use commonware_runtime::Clock;
use futures::{SinkExt as _, StreamExt as _};
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tidewatch_core::within;
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use tracing::debug;

/// How often a quiet connection is pinged.
const PING: Duration = Duration::from_secs(10);

/// Pings in a row without a sign of life after which the peer is gone.
const MISSED_MAX: u32 = 3;

/// Commands that wait for the task, and heads that wait to be heard. Of several heads one ring is as good
/// as many.
const QUEUE: usize = 16;

/// Requests that wait for an answer. Each that nobody waits for any longer makes room first.
const WAITING_MAX: usize = 64;

/// The longest answer to a subscription, in bytes.
const ID_MAX: usize = 64 * 1024;

pub(super) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;
pub(super) type Answered = Result<Vec<Option<Answer>>, Refused>;
type Heads = mpsc::Receiver<Option<u64>>;

enum Reply {
    Answers(oneshot::Sender<Answered>),
    Heads(oneshot::Sender<Result<Heads, Refused>>),
}

impl Reply {
    fn refuse(self, refused: Refused) {
        // Whoever asked may have left.
        match self {
            Self::Answers(reply) => drop(reply.send(Err(refused))),
            Self::Heads(reply) => drop(reply.send(Err(refused))),
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Answers(reply) => reply.is_closed(),
            Self::Heads(reply) => reply.is_closed(),
        }
    }
}

struct Command {
    text: String,
    waiting: Waiting,
}

struct Waiting {
    ids: Ids,
    /// The longest answer, in bytes.
    max: usize,
    reply: Reply,
}

/// Talks to the task of one connection. Cheap to clone; the last one that is dropped closes it.
#[derive(Clone, Debug)]
pub(super) struct Socket {
    commands: mpsc::Sender<Command>,
    /// The next id.
    next: Arc<AtomicU64>,
}

fn lost(why: &str) -> Refused {
    NodeError::Lost(why.into()).into()
}

impl Socket {
    /// Takes a connection that is open. A message may take `patience` to be written.
    pub(super) fn open<E: Clock>(clock: Arc<E>, stream: Stream, patience: Duration) -> Self {
        let (commands, queue) = mpsc::channel(QUEUE);
        let task = Task { clock, stream, patience, waiting: VecDeque::new(), heads: Vec::new() };
        #[allow(clippy::disallowed_methods, reason = "it lives as long as its socket is used")]
        tokio::spawn(task.run(queue));
        Self { commands, next: Arc::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        !self.commands.is_closed()
    }

    /// What the node answers to `calls`, in `max` bytes at the most.
    pub(super) async fn ask(&self, calls: &[Call], max: usize) -> Answered {
        let (reply, answer) = oneshot::channel();
        self.command(calls, max, Reply::Answers(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(lost("it was closed")))
    }

    /// The heads of a subscription that `call` asks for: their heights, where they have one.
    pub(super) async fn subscribe(&self, call: Call) -> Result<Heads, Refused> {
        let (reply, answer) = oneshot::channel();
        self.command(&[call], ID_MAX, Reply::Heads(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(lost("it was closed")))
    }

    async fn command(&self, calls: &[Call], max: usize, reply: Reply) -> Result<(), Refused> {
        let count = calls.len();
        let first = self.next.fetch_add(count as u64, Ordering::Relaxed);
        let text = spoken::request(first, calls)?;
        let waiting = Waiting { ids: Ids { first, calls: count }, max, reply };
        let sent = self.commands.send(Command { text, waiting }).await;
        sent.map_err(|_| lost("it was closed"))
    }
}

struct Task<E> {
    clock: Arc<E>,
    stream: Stream,
    patience: Duration,
    /// In the order in which they were asked.
    waiting: VecDeque<Waiting>,
    /// Subscriptions by id, as it is written.
    heads: Vec<(String, mpsc::Sender<Option<u64>>)>,
}

impl<E: Clock> Task<E> {
    async fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let why = self.serve(&mut queue).await;
        queue.close();
        debug!(why, "a WebSocket was closed");
        while let Ok(command) = queue.try_recv() {
            command.waiting.reply.refuse(lost(&why));
        }
        for waiting in self.waiting.drain(..) {
            waiting.reply.refuse(lost(&why));
        }
    }

    /// Until the connection ends, and why it did.
    async fn serve(&mut self, queue: &mut mpsc::Receiver<Command>) -> String {
        let mut missed = 0;
        let mut ping = Box::pin(self.clock.sleep(PING));
        loop {
            let outgoing = tokio::select! {
                message = self.stream.next() => {
                    missed = 0;
                    match message {
                        Some(Ok(Message::Text(text))) => self.hear(text.as_bytes()),
                        Some(Ok(Message::Binary(bytes))) => self.hear(&bytes),
                        Some(Ok(Message::Close(_))) | None => return "the node closed it".into(),
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return error.to_string(),
                    }
                    continue;
                }
                command = queue.recv() => match command {
                    None => return "nobody needs it".into(),
                    Some(Command { text, waiting }) => {
                        self.waiting.retain(|waiting| !waiting.reply.is_closed());
                        if self.waiting.len() >= WAITING_MAX {
                            let error = NodeError::Unreachable("too many requests wait".into());
                            waiting.reply.refuse(error.into());
                            continue;
                        }
                        self.waiting.push_back(waiting);
                        Message::text(text)
                    }
                },
                () = &mut ping => {
                    missed += 1;
                    if missed > MISSED_MAX {
                        return "no sign of life".into();
                    }
                    ping = Box::pin(self.clock.sleep(PING));
                    Message::Ping(Vec::new().into())
                }
            };
            match within(&*self.clock, self.patience, self.stream.send(outgoing)).await {
                Some(Ok(())) => {}
                Some(Err(error)) => return error.to_string(),
                None => return "it takes no message".into(),
            }
        }
    }

    fn hear(&mut self, message: &[u8]) {
        let at = match spoken::incoming(message) {
            Ok(Incoming::Pushed(pushed)) => return self.ring(&pushed),
            // One to a request that nobody waits for any longer is found nowhere.
            Ok(Incoming::Answer(Some(id))) => self.waiting.iter().position(|it| it.ids.has(id)),
            Ok(Incoming::Answer(None)) | Err(_) => Some(0),
        };
        let Some(Waiting { ids, max, reply }) = at.and_then(|at| self.waiting.remove(at)) else {
            debug!("an answer to nobody");
            return;
        };
        let answers = if message.len() > max {
            Err(Refused::from(NodeError::TooLarge { max }).too_many())
        } else {
            spoken::answers(message, ids).map_err(|odd| Refused::odd(odd, ids))
        };
        match reply {
            Reply::Answers(reply) => drop(reply.send(answers)),
            Reply::Heads(reply) => {
                let heads = answers.and_then(|answers| self.subscribed(answers));
                drop(reply.send(heads));
            }
        }
    }

    fn subscribed(&mut self, answers: Vec<Option<Answer>>) -> Result<Heads, Refused> {
        self.heads.retain(|(_, heads)| !heads.is_closed());
        match answers.into_iter().flatten().next() {
            Some(Ok(id)) if id.get() != "null" => {
                let (sender, heads) = mpsc::channel(QUEUE);
                self.heads.push((id.get().to_owned(), sender));
                Ok(heads)
            }
            Some(Err(error)) => Err(NodeError::Batch(error).into()),
            _ => Err(NodeError::NotJsonRpc("a subscription without an id".into()).into()),
        }
    }

    fn ring(&mut self, pushed: &Pushed) {
        self.heads.retain(|(id, heads)| {
            if *id == pushed.subscription {
                // Of several that wait one is as good as many.
                let _ = heads.try_send(pushed.height);
            }
            !heads.is_closed()
        });
    }
}

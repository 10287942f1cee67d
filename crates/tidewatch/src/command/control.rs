//! How a command asks the process of tidewatch that has a data directory: over a socket in that directory.
//!
//! A question is one JSON line, and after it the bytes that it is about; then the asker closes its side. The answer
//! is one JSON line, with bytes after it likewise. The socket is its owner's alone, as the directory is.

use super::data_dir::{self, DataDir, pause};
use crate::{Outcome, command::Problem};
use bytes::Bytes;
use commonware_runtime::{Clock as _, Spawner as _, Supervisor as _, tokio::Context};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    io::{Read as _, Write as _},
    net::Shutdown,
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixListener,
    sync::Semaphore,
    time::timeout,
};

/// Longest question and longest answer, in bytes: a line, and the largest proof.
const EXCHANGE_MAX: u64 = (4 + 64) * 1024 * 1024;
/// How long a question and its answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Questions at once.
const ASKERS: usize = 4;
/// Wait after a connection could not be accepted.
const REFUSED: Duration = Duration::from_millis(100);

/// How long a process that has the directory may take to listen.
const STARTING: Duration = Duration::from_secs(10);
/// Wait between two questions to it.
const AGAIN: Duration = Duration::from_millis(100);

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    message: String,
    hint: Option<String>,
}

impl Refused {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let problem = Self::failure(refused.message);
        match refused.hint {
            Some(hint) => problem.hint(hint),
            None => problem,
        }
    }
}

/// What goes over the socket.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer<T> {
    Told(T),
    Refused(Refused),
}

/// Whoever answers.
pub(super) trait Desk: Send + Sync + 'static {
    type Ask: DeserializeOwned + Send;
    type Told: Serialize + Send;

    /// The answer, with the bytes that belong to it.
    fn answer(
        &self,
        ask: Self::Ask,
        bytes: Bytes,
    ) -> impl Future<Output = Result<(Self::Told, Bytes), Refused>> + Send;
}

/// A socket by its name, and the command that listens at it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub(super) socket: &'static str,
    pub(super) owner: &'static str,
}

impl Control {
    /// Asks whoever has the directory `data`, and where nobody does, the directory itself, which `open` opens.
    pub(super) fn ask_wherever<T: DeserializeOwned>(
        self,
        data: &Path,
        (ask, bytes): (&impl Serialize, &[u8]),
        open: impl Fn(&Path) -> Result<DataDir, data_dir::Refused>,
        offline: impl FnOnce(&DataDir) -> Outcome<(T, Bytes)>,
    ) -> Outcome<(T, Bytes)> {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(answer) = self.ask(data, ask, bytes)? {
                return Ok(answer);
            }
            match open(data) {
                Ok(data) => return offline(&data),
                // Whoever has it may be about to listen.
                Err(data_dir::Refused::InUse(_)) if waited < STARTING => {
                    pause(AGAIN);
                    waited += AGAIN;
                }
                Err(refused) => return Err(refused.into()),
            }
        }
    }

    /// Asks whoever listens in `data`; `None` if nobody does.
    pub(super) fn ask<T: DeserializeOwned>(
        self,
        data: &Path,
        ask: &impl Serialize,
        bytes: &[u8],
    ) -> Outcome<Option<(T, Bytes)>> {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        let path = data.join(self.socket);
        let failed = |error: io::Error| {
            let owner = self.owner;
            Problem::failure(format!("cannot ask `{owner}` at {}: {error}", path.display()))
                .hint(format!("ask as the user that `{owner}` runs as, or stop it and ask again"))
        };
        let stream = match UnixStream::connect(&path) {
            Ok(stream) => stream,
            // One that was killed leaves its socket behind.
            Err(error) if matches!(error.kind(), NotFound | ConnectionRefused) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let (line, rest) = exchange(stream, ask, bytes).map_err(failed)?;
        match serde_json::from_slice(&line).map_err(|error| failed(error.into()))? {
            Answer::Told(told) => Ok(Some((told, rest))),
            Answer::Refused(refused) => Err(refused.into()),
        }
    }

    /// Listens in `data`, which is locked for this process.
    pub(super) fn listen(self, data: &Path) -> Outcome<Socket> {
        let path = data.join(self.socket);
        let failed = |error: io::Error| {
            let problem = Problem::failure(format!("cannot listen at {}: {error}", path.display()));
            match error.kind() {
                io::ErrorKind::InvalidInput => problem.hint(
                    "a socket's path has about 100 characters at the most: name a shorter --data-dir",
                ),
                _ => problem.hint("check that the data directory is writable"),
            }
        };
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        Ok(Socket { path, listener: Some(listener) })
    }
}

/// The line of the answer, and what comes after it.
fn exchange(
    mut stream: UnixStream,
    ask: &impl Serialize,
    bytes: &[u8],
) -> io::Result<(Bytes, Bytes)> {
    stream.set_read_timeout(Some(2 * PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = serde_json::to_vec(ask)?;
    question.push(b'\n');
    question.extend_from_slice(bytes);
    stream.write_all(&question)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.take(EXCHANGE_MAX).read_to_end(&mut answer)?;
    split(answer).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// The first line, and the rest.
fn split(text: Vec<u8>) -> Option<(Bytes, Bytes)> {
    let at = text.iter().position(|byte| *byte == b'\n')?;
    let mut line = Bytes::from(text);
    let rest = line.split_off(at + 1);
    Some((line, rest))
}

/// A socket that answers until it is dropped.
pub(super) struct Socket {
    path: PathBuf,
    listener: Option<UnixListener>,
}

impl Socket {
    /// Answers from `desk` until the runtime ends.
    pub(super) fn serve<D: Desk>(&mut self, context: &Context, desk: D) {
        let Some(listener) = self.listener.take() else { return };
        let (room, desk) = (Arc::new(Semaphore::new(ASKERS)), Arc::new(desk));
        context.child("control").spawn(move |context| async move {
            loop {
                let Ok((connection, _)) = listener.accept().await else {
                    context.sleep(REFUSED).await;
                    continue;
                };
                let Ok(permit) = room.clone().try_acquire_owned() else { continue };
                let desk = desk.clone();
                context.child("question").spawn(move |_| async move {
                    if let Ok(Err(error)) = timeout(PATIENCE, answer(connection, &*desk)).await {
                        tracing::debug!(%error, "a question was not answered");
                    }
                    drop(permit);
                });
            }
        });
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path); // One that stays is taken away by the next.
    }
}

async fn answer<D: Desk>(mut connection: tokio::net::UnixStream, desk: &D) -> io::Result<()> {
    let mut question = Vec::new();
    (&mut connection).take(EXCHANGE_MAX).read_to_end(&mut question).await?;
    let (line, bytes) = split(question).ok_or(io::ErrorKind::InvalidData)?;
    let answered = match serde_json::from_slice(&line) {
        Ok(ask) => desk.answer(ask, bytes).await,
        Err(error) => Err(Refused::new(format!("the question is not understood: {error}"))
            .hint("ask with the same version of tidewatch")),
    };
    let (answer, bytes) = match answered {
        Ok((told, bytes)) => (Answer::Told(told), bytes),
        Err(refused) => (Answer::Refused(refused), Bytes::new()),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    connection.write_all(&line).await?;
    connection.write_all(&bytes).await?;
    connection.shutdown().await
}

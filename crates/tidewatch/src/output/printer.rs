//! The thread that owns standard output.

use crate::{Outcome, command::Problem};
use commonware_utils::channel::oneshot;
use std::{
    fs::File,
    io::Write,
    os::{
        fd::{AsFd, AsRawFd as _},
        unix::fs::FileExt as _,
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
};

/// Lines that wait for a slow reader; what is not an event is left out beyond that, and counted.
const WAITING_MAX: usize = 1024;

struct Job {
    text: String,
    written: Option<oneshot::Sender<std::io::Result<()>>>,
}

/// Whether `out` goes on in a file behind a line without an end, which a process that was killed left there.
/// What cannot be found out is taken for a whole line.
pub(crate) fn is_torn(out: &impl AsFd) -> bool {
    let last = || -> std::io::Result<Option<u8>> {
        let file = File::from(out.as_fd().try_clone_to_owned()?);
        let metadata = file.metadata()?;
        let Some(last) = metadata.len().checked_sub(1).filter(|_| metadata.is_file()) else {
            return Ok(None);
        };
        // It may be open for writing alone: it is opened once more, by its descriptor.
        let file = File::open(format!("/dev/fd/{}", file.as_raw_fd()))?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, last)?;
        Ok(Some(byte[0]))
    };
    last().ok().flatten().is_some_and(|byte| byte != b'\n')
}

/// Writes to standard output from a thread of its own. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Printer {
    jobs: SyncSender<Job>,
    left_out: Arc<AtomicU64>,
}

impl Printer {
    /// The thread of standard output.
    pub(crate) fn stdout() -> Outcome<Self> {
        Self::start(std::io::stdout())
            .map_err(|error| Problem::failure(format!("cannot start printing: {error}")))
    }

    /// Starts the thread. It ends with the last clone of the printer.
    pub(crate) fn start(out: impl Write + Send + 'static) -> std::io::Result<Self> {
        let (jobs, inbox) = sync_channel(WAITING_MAX);
        thread::Builder::new().name("stdout".into()).spawn(move || write_all(out, &inbox))?;
        Ok(Self { jobs, left_out: Arc::default() })
    }

    /// Prints `text` if there is room, and returns at once.
    pub(crate) fn hint(&self, text: String) {
        if let Err(TrySendError::Full(_)) = self.jobs.try_send(Job { text, written: None }) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many hints found no room.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// Prints `text` and waits until it was written and flushed, or until it could not be.
    pub(crate) async fn print(&self, text: String) -> std::io::Result<()> {
        let (written, wait) = oneshot::channel();
        let gone = || std::io::Error::other("standard output is closed");
        // A full queue means that the reader is slow: an event is tried again later, by its delivery.
        self.jobs.try_send(Job { text, written: Some(written) }).map_err(|error| match error {
            TrySendError::Full(_) => std::io::Error::from(std::io::ErrorKind::WouldBlock),
            TrySendError::Disconnected(_) => gone(),
        })?;
        wait.await.unwrap_or_else(|_| Err(gone()))
    }
}

fn write_all(mut out: impl Write, inbox: &Receiver<Job>) {
    while let Ok(Job { text, written }) = inbox.recv() {
        let result = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let broken = result.is_err();
        if let Some(written) = written {
            let _ = written.send(result); // Whoever waited may have been stopped.
        }
        if broken {
            return; // The reader is gone; every later job fails by the closed channel.
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;
    use std::sync::{Condvar, Mutex};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_printed_was_written_in_order() {
        let out = Shared::default();
        let printer = Printer::start(out.clone()).unwrap();
        printer.hint("a\n".into());
        block_on(printer.print("b\n".into())).unwrap();
        assert_eq!(*out.0.lock().unwrap(), b"a\nb\n");
    }

    /// Does not take a byte until it is opened.
    struct Gate(Arc<(Mutex<bool>, Condvar)>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let (open, changed) = &*self.0;
            drop(changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_who_does_not_read_holds_nobody_up() {
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        let printer = Printer::start(Gate(gate.clone())).unwrap();
        for _ in 0..WAITING_MAX * 3 {
            printer.hint("status\n".into());
        }
        assert!(printer.left_out() >= WAITING_MAX as u64);
        let refused = block_on(printer.print("event\n".into())).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
    }

    #[test]
    fn a_line_that_has_no_end_is_seen_in_a_file_and_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        for (text, torn) in [("", false), ("a\n", false), ("a\nb", true), ("b", true)] {
            std::fs::write(&path, text).unwrap();
            let append = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            assert_eq!(is_torn(&append), torn, "{text:?}");
        }
        assert!(!is_torn(&File::open("/dev/null").unwrap()));
        assert!(!is_torn(&std::os::unix::net::UnixStream::pair().unwrap().0));
    }

    #[test]
    fn a_reader_who_left_is_an_error() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let printer = Printer::start(Broken).unwrap();
        assert!(block_on(printer.print("a".into())).is_err());
        assert!(block_on(printer.print("b".into())).is_err());
    }
}

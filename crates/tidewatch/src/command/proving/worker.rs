//! `tidewatch prover-worker`: proves for whoever asks over HTTP, or what a queue on NATS has, and answers Miden's sequencers.

use super::{
    args::Worker as Options,
    miden,
    prover::BYTES_MAX,
    statement::{Statement, statement},
};
use crate::{
    Outcome,
    command::{Problem, data_dir::DataDir, logs, metrics, nats, signals::Stop},
    output::{Printer, report},
};
use bytes::Bytes;
use commonware_macros::select;
use commonware_runtime::{Clock as _, Runner as _, Supervisor as _, tokio::Context};
use commonware_utils::{NZUsize, sync::Mutex};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    num::NonZeroUsize,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tidewatch_core::{Actor as _, Fault, Monitor, Running, Stopper};
use tidewatch_nats::{client, jobs};
use tidewatch_prover::{
    Key, Pool, Program as _, Prove, Released, disk,
    remote::{Calls, Jobs, Kept, Limits, Miden, Observe, Token, Worker, serve},
};
use tokio::net::TcpListener;

/// Finished proofs that are kept. At a block every five seconds these are twenty minutes.
const KEPT: NonZeroUsize = NZUsize!(256);
/// Prefix of the partitions.
const PARTITION: &str = "tidewatch-worker";

/// Proves for others until it is stopped.
pub(in crate::command) fn run(options: Options) -> Outcome<()> {
    logs::start();
    let statement = match statement() {
        // What Miden's sequencers are answered is in every build.
        Err(_) if options.miden => None,
        statement => Some(statement?),
    };
    let token = options.token_file.as_deref().map(token).transpose()?;
    if token.is_none() && !options.open && !options.listen.ip().is_loopback() {
        return Err(Problem::usage(format!(
            "{} is not on loopback, and whoever reaches it could use this machine",
            options.listen
        ))
        .hint(
            "name a file with a token with --token-file, such as `openssl rand -hex 32` prints, or trust the \
             network with --open",
        ));
    }
    let data = DataDir::open(&options.data_dir)?;
    let printer = Printer::stdout()?;
    commonware_runtime::tokio::Runner::new(data.runtime()).start(|context| async move {
        let context = metrics::named(&context);
        let mut stop = Stop::new()?;
        if let Some(address) = options.metrics {
            let address = metrics::serve(&context, address).await?;
            printer.hint(format!("metrics at http://{address}/metrics\n"));
        }
        let face = Face::of(&options).await?;
        let announced = Arc::new(Announced::new(&context, printer.clone()));
        let program = statement.as_ref().map(Statement::id);
        let prove = Spoken { statement, announced: announced.clone() };
        let pool = Arc::new(Pool::new(context.child("pool"), "pool", prove, options.slots));
        let jobs = match program {
            None => None,
            Some(program) => {
                let kept = Kept::open(
                    context.child("kept"),
                    pool.clone(),
                    (program, KEPT),
                    disk::Config::new(PARTITION),
                    announced,
                );
                let kept = kept.await.map_err(|error| {
                    Problem::ended(Fault::new("the finished proofs", error), data.path())
                })?;
                printer.hint(format!(
                    "{}: {} at once, {} kept, program {program}\n",
                    face.proving(),
                    options.slots,
                    kept.count()
                ));
                Some(Jobs { prover: Arc::new(kept), program })
            }
        };
        let ended = match face {
            Face::Http(listener, address) => {
                let miden = options.miden.then(|| {
                    printer.hint(format!(
                        "answering sequencers of Miden 0.15 at http://{address}: the block proofs of that version are \
                         empty, and prove nothing\n"
                    ));
                    let calls = Calls { slots: options.slots, ..Calls::default() };
                    let version = format!("tidewatch {}", env!("CARGO_PKG_VERSION"));
                    Miden::new(&context.child("miden"), pool, miden::key, version, calls)
                });
                let limits = Limits { inputs_max: BYTES_MAX as usize, ..Limits::default() };
                let worker = Worker { jobs, miden, limits, token };
                let (stopper, stopping) = Stopper::new();
                let asked = async {
                    stop.asked().await;
                    stopper.stop();
                };
                tokio::join!(asked, serve(listener, worker, stopping));
                Ok(())
            }
            Face::Queue(queue) => match jobs {
                Some(Jobs { prover, program }) => {
                    let config = jobs::WorkerConfig {
                        options: queue,
                        program,
                        prover,
                        slots: options.slots,
                        replicas: options.nats_replicas.map(u32::from),
                        inputs_max: BYTES_MAX,
                    };
                    take(&context, config, &mut stop).await
                }
                // Without a statement the command has ended before.
                None => Ok(()),
            },
        };
        drop(data);
        crate::leave(ended)
    })
}

/// Where jobs come from.
enum Face {
    /// Over HTTP.
    Http(TcpListener, SocketAddr),
    /// From a queue on NATS.
    Queue(client::Options),
}

impl Face {
    async fn of(options: &Options) -> Outcome<Self> {
        if options.nats.is_empty() {
            let (listener, address) = listen(options).await?;
            return Ok(Self::Http(listener, address));
        }
        Ok(Self::Queue(nats::read(&options.nats, options.nats_creds.as_ref())?))
    }

    fn proving(&self) -> String {
        match self {
            Self::Http(_, address) => format!("proving at http://{address}"),
            Self::Queue(queue) => format!("proving what is queued at {}", queue.shown()),
        }
    }
}

/// Takes jobs from a queue until it is stopped.
async fn take(context: &Context, config: jobs::WorkerConfig, stop: &mut Stop) -> Outcome<()> {
    let worker = jobs::Worker::new(
        context.child("nats").child("jobs"),
        config,
        Arc::new(Reported(Mutex::default())),
    );
    let (stopper, mut running) = (worker.stopper(), Running::start(worker));
    let ended = select! {
        ended = &mut running => ended,
        () = stop.asked() => {
            stopper.stop();
            running.await
        },
    };
    ended.map_err(nats::refused)
}

/// Reports what fails, once for each time that it is something else.
struct Reported(Mutex<String>);

impl Monitor for Reported {
    fn fault(&self, fault: &Fault) {
        let text = fault.to_string();
        let before = std::mem::replace(&mut *self.0.lock(), text.clone());
        if before != text {
            report(&nats::refused(fault.clone()));
        }
    }
}

/// The token in a file.
pub(super) fn token(path: &Path) -> Outcome<Token> {
    Token::read(path).map_err(|error| {
        Problem::usage(format!("--token-file: {error}"))
            .hint("it holds one token, such as `openssl rand -hex 32` prints")
    })
}

async fn listen(options: &Options) -> Outcome<(TcpListener, SocketAddr)> {
    let refuse = |error: std::io::Error| {
        Problem::usage(format!("cannot listen at {}: {error}", options.listen))
            .hint("name a free address of this machine with --listen, such as 127.0.0.1:8700")
    };
    let listener = TcpListener::bind(options.listen).await.map_err(refuse)?;
    let address = listener.local_addr().map_err(refuse)?;
    Ok((listener, address))
}

/// Says what is begun, and what is finished and on disk.
struct Announced {
    clock: Mutex<Context>,
    printer: Printer,
    /// How long those took that are not kept yet, by height.
    took: Mutex<BTreeMap<u64, Duration>>,
}

/// Proofs that are finished and not kept yet, at the most: released ones never are.
const TOOK_MAX: usize = 64;

impl Announced {
    fn new(context: &Context, printer: Printer) -> Self {
        Self { clock: Mutex::new(context.child("clock")), printer, took: Mutex::default() }
    }

    fn now(&self) -> SystemTime {
        self.clock.lock().current()
    }
}

impl Observe for Announced {
    fn kept(&self, key: &Key, bytes: usize) {
        let took = self.took.lock().remove(&key.height()).unwrap_or_default().as_secs_f64();
        let height = key.block.height;
        self.printer.hint(format!("proved {height} in {took:.1} s, {bytes} bytes\n"));
    }
}

/// What is proven, with what it does said.
struct Spoken {
    /// None, where this build has none.
    statement: Option<Statement>,
    announced: Arc<Announced>,
}

impl Prove for Spoken {
    fn prove(&self, key: &Key, inputs: &[u8], released: &Released) -> Result<Bytes, String> {
        let Announced { printer, took, .. } = &*self.announced;
        if key.program == miden::PROGRAM {
            let height = key.block.height;
            printer.hint(format!("an empty proof for block {height} of a Miden chain\n"));
            return Ok(Bytes::new());
        }
        let Some(statement) = &self.statement else {
            return Err("nothing else is proven by this build".into());
        };
        let began = self.announced.now();
        printer.hint(format!("proving {}\n", key.block.height));
        let proof = statement.prove(key, inputs, released);
        match &proof {
            Ok(_) => {
                let mut took = took.lock();
                let time = self.announced.now().duration_since(began).unwrap_or_default();
                took.insert(key.height(), time);
                if took.len() > TOOK_MAX {
                    took.pop_first();
                }
            }
            Err(reason) => printer.hint(format!("not proved {}: {reason}\n", key.block.height)),
        }
        proof
    }
}

//! Signs a chain and serves it through a real alto indexer, for measurements.

use clap::Parser;
use eyre::WrapErr as _;
use std::{
    io::{Read as _, Write as _},
    process::ExitCode,
    thread,
    time::Duration,
};
use tidewatch_devnet::{
    CertificateMode,
    readymade::{Chain, ChainConfig, Server, ServerConfig},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};

/// Signs a chain and serves it through a real alto indexer on a loopback port.
///
/// Once it is ready, it prints one line of JSON with `url`, `identity` (hex of the group's public key),
/// `mode`, `blocks` and `tip` (hex of the last block's digest). Equal settings give equal chains.
#[derive(Debug, Parser)]
#[command(name = "readymade", version)]
struct Args {
    /// Blocks to sign and serve
    #[arg(long, default_value_t = 20_000)]
    blocks: u64,

    /// Certificate mode
    #[arg(long, default_value = "standard", value_parser = mode, value_name = "standard|vrf")]
    mode: CertificateMode,

    /// Loopback port; 0 lets the system choose
    #[arg(long, default_value_t = 0)]
    port: u16,

    /// Payload of each block, in bytes
    #[arg(long, default_value_t = 64)]
    data_bytes: usize,

    /// Time between the timestamps of two blocks, in milliseconds
    #[arg(long, default_value_t = 400)]
    block_time_ms: u64,

    /// Seed of the committee's keys
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Blocks of an epoch, whose last one carries the key of the next; 0 for a chain without epochs
    #[arg(long, default_value_t = 0)]
    epoch_length: u64,

    /// Epochs after which the key is another one; 0 keeps it
    #[arg(long, default_value_t = 0)]
    key_every: u64,

    /// Blocks of which one has a finalization of its own; the others are had by digest. 0 and 1: all have
    #[arg(long, default_value_t = 0)]
    certified_every: u64,

    /// Interval at which a new block is signed and pushed, in milliseconds; 0 for a chain that does not
    /// grow. Required by followers that learn of the tip only from pushes
    #[arg(long, default_value_t = 0)]
    live_ms: u64,

    /// The timestamp of genesis, in milliseconds since the Unix epoch
    #[arg(long, default_value_t = ChainConfig::default().start_time_ms)]
    start_time_ms: u64,

    /// Keep running when standard input closes; by default that stops the server, as SIGINT and SIGTERM
    /// do
    #[arg(long)]
    keep: bool,
}

fn mode(text: &str) -> Result<CertificateMode, String> {
    text.parse()
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The line printed on readiness: URL and parameters of the chain.
#[derive(serde::Serialize)]
struct Ready<U, I> {
    url: U,
    identity: I,
    mode: &'static str,
    blocks: u64,
    tip: Option<String>,
}

fn run(args: &Args) -> eyre::Result<()> {
    let Args { blocks, mode, port, data_bytes, block_time_ms, seed, live_ms, keep, .. } = *args;
    let config = ChainConfig {
        seed,
        data_bytes,
        epoch_length: args.epoch_length,
        key_every: args.key_every,
        block_time: Duration::from_millis(block_time_ms),
        start_time_ms: args.start_time_ms,
        ..ChainConfig::default()
    };
    let mut chain = Chain::sign(blocks, mode, config).wrap_err("could not sign the chain")?;
    let served =
        ServerConfig { port, certified_every: args.certified_every, ..ServerConfig::default() };
    let mut server = Server::start(&chain, served).wrap_err("could not serve the chain")?;
    let tip = chain.block(chain.tip()).map(|block| {
        use commonware_cryptography::Digestible as _;
        commonware_formatting::hex(&block.digest())
    });
    let ready =
        Ready { url: server.url(), identity: server.identity(), mode: mode.as_str(), blocks, tip };
    let ready = serde_json::to_string(&ready).wrap_err("could not describe the server")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{ready}").and_then(|()| out.flush()).wrap_err("could not write to stdout")?;
    drop(out);

    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .wrap_err("could not start a runtime")?
        .block_on(async {
            let live = grow(&mut chain, &server, Duration::from_millis(live_ms));
            tokio::select! {
                ended = wait(keep) => ended?,
                failed = live => failed?,
            }
            server.close().await;
            Ok(())
        })
}

/// Signs and pushes a block every `interval`, until dropped; if `interval` is zero, does nothing.
async fn grow(chain: &mut Chain, server: &Server, interval: Duration) -> eyre::Result<()> {
    if interval.is_zero() {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        chain.extend(1).wrap_err("could not sign another block")?;
        server.finalize(chain, chain.tip()).wrap_err("could not push a block")?;
    }
}

/// Returns when the server must stop.
async fn wait(keep: bool) -> eyre::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).wrap_err("could not watch for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).wrap_err("could not watch for SIGTERM")?;
    let (closed, input) = oneshot::channel();
    let closed = if keep {
        Some(closed)
    } else {
        thread::Builder::new()
            .name("stdin".into())
            .spawn(move || {
                let mut input = std::io::stdin().lock();
                while matches!(input.read(&mut [0; 1024]), Ok(read) if read > 0) {}
                let _ = closed.send(());
            })
            .wrap_err("could not watch standard input")?;
        None
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = input => {}
    }
    drop(closed);
    Ok(())
}

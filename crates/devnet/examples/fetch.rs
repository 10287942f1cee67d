//! Fetches every block of a readymade chain, does nothing with it, and says how long that took: what any
//! follower has to spend.
//!
//! ```text
//! fetch URL BLOCKS CERTIFIED_EVERY
//! ```
//!
//! 64 requests are in flight, as many as the follower has. Blocks without a finalization of their own are
//! fetched by digest; the digests are known here before, because equal settings give equal chains.
#![allow(clippy::print_stdout, reason = "it is what the program does")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures this machine")]

use alto_types::CertificateMode;
use commonware_cryptography::Digestible as _;
use commonware_formatting::hex;
use eyre::{WrapErr as _, ensure, eyre};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use std::time::Instant;
use tidewatch_core::Height;
use tidewatch_devnet::readymade::{Chain, ChainConfig};

const IN_FLIGHT: usize = 64;

#[tokio::main]
async fn main() -> eyre::Result<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [url, blocks, every] = &args[..] else {
        return Err(eyre!("usage: fetch URL BLOCKS CERTIFIED_EVERY"));
    };
    let (blocks, every): (u64, u64) = (blocks.parse()?, every.parse()?);
    let chain = Chain::sign(blocks, CertificateMode::Standard, ChainConfig::default())?;
    let path = |height: u64| {
        let own = height.is_multiple_of(every.max(1)) || height == blocks;
        let block = chain.block(Height::new(height)).filter(|_| !own);
        match block {
            Some(block) => format!("{url}/block/{}", hex(&block.digest())),
            None => format!("{url}/block/{height:016x}"),
        }
    };
    let paths: Vec<_> = (1..=blocks).map(path).collect();
    let client = reqwest::Client::builder().tcp_nodelay(true).build()?;
    let start = Instant::now();
    let bytes: usize = stream::iter(paths)
        .map(|path| {
            let client = client.clone();
            async move {
                let response = client.get(&path).send().await.wrap_err("no answer")?;
                ensure!(response.status().is_success(), "{path}: {}", response.status());
                Ok::<_, eyre::Report>(response.bytes().await?.len())
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_fold(0, |sum, len| async move { Ok(sum + len) })
        .await?;
    println!("{:.3} s, {bytes} bytes", start.elapsed().as_secs_f64());
    Ok(())
}

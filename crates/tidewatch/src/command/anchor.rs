//! `tidewatch anchor`: where a chain whose validators change is begun from.

use super::{
    Problem,
    args::{self, Vouched},
    data_dir::DataDir,
};
use crate::Outcome;
use commonware_codec::{Decode as _, DecodeExt as _, Encode as _};
use commonware_consensus::types::Epoch;
use commonware_cryptography::{
    Signer as _,
    ed25519::{PrivateKey, PublicKey, Signature},
};
use commonware_formatting::{from_hex, hex};
use commonware_runtime::{Clock as _, Runner as _, tokio::Context};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};
use tidewatch_certified::epochs::{
    anchor::{Anchor, Signed},
    keeper::{self, Record},
};
use tidewatch_core::{Block as _, ChainId, Fault};
use tidewatch_sources::{
    alto::{self, AltoBlock},
    registry::Settings,
    tempo::{self, TempoBlock},
};

/// Version of the file.
const VERSION: u32 = 1;
/// Largest payload of a block in an anchor.
const BLOCK_MAX: u32 = 4 * 1024 * 1024;

/// The file: everything but the boundary and the signatures is there for people, and checked against it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    tidewatch_anchor: u32,
    chain: String,
    epoch: u64,
    height: u64,
    digest: String,
    time_ms: u64,
    identity: String,
    boundary: String,
    signatures: Vec<FileSigned>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSigned {
    publisher: String,
    signature: String,
}

/// An anchor that was read, and what its boundary says.
struct Told {
    anchor: Anchor,
    time_ms: u64,
    identity: String,
    signatures: Vec<Signed>,
}

/// Does what was asked for.
pub(super) fn run(asked: args::Anchor) -> Outcome<()> {
    match asked {
        args::Anchor::Export { data_dir, key, with } => export(&data_dir, key, with.as_deref()),
        args::Anchor::Verify { vouched } => {
            with_storage(None, async move |context| verify(&context, &vouched).map(drop))
        }
        args::Anchor::Import { vouched, data_dir } => import(&vouched, &data_dir),
    }
}

/// Runs `task` on a runtime whose storage is that of `data`.
fn with_storage<T>(
    data: Option<&DataDir>,
    task: impl AsyncFnOnce(Context) -> Outcome<T>,
) -> Outcome<T> {
    let runtime = commonware_runtime::tokio::Config::new().with_worker_threads(1);
    let runtime = match data {
        Some(data) => runtime.with_storage_directory(data.storage()),
        None => runtime,
    };
    commonware_runtime::tokio::Runner::new(runtime).start(|context| task(context))
}

fn export(path: &Path, key: Option<PathBuf>, with: Option<&Path>) -> Outcome<()> {
    if !path.is_dir() {
        return Err(Problem::usage(format!("there is no data directory {}", path.display())));
    }
    let key = key.map(|path| private_key(&path)).transpose()?;
    let others = with.map(|path| parse(&read(path)?)).transpose()?;
    let data = DataDir::briefly(path)?;
    let found = with_storage(Some(&data), async |context| {
        let ended = |fault| Problem::ended(fault, data.path());
        keeper::newest(&context, alto::EPOCHS).await.map_err(ended)
    })?;
    let (chain, record) = found.ok_or_else(|| {
        Problem::failure(format!("no epoch is known in {}", data.path().display())).hint(
            "an anchor is exported by a follower of a chain whose validators change, once it has seen \
             the end of an epoch",
        )
    })?;
    let mut told = tell(chain, record.epoch, record.bytes).map_err(Problem::failure)?;
    if let Some(others) = others {
        if others.anchor != told.anchor {
            return Err(Problem::failure(format!(
                "the other anchor is of epoch {} and block {}, ours of epoch {} and block {}",
                others.anchor.epoch, others.anchor.block, told.anchor.epoch, told.anchor.block
            ))
            .hint("all publishers of an anchor sign the same epoch: export it anew"));
        }
        told.signatures = others.signatures;
    }
    if let Some(key) = key {
        let signed = told.anchor.sign(&key);
        told.signatures.retain(|other| other.publisher != signed.publisher);
        told.signatures.push(signed);
    }
    let text = serde_json::to_string_pretty(&told.file())
        .map_err(|error| Problem::failure(format!("cannot write the anchor: {error}")))?;
    print(&text)
}

/// Who vouches for an anchor, and whether that is enough.
fn verify(context: &Context, vouched: &Vouched) -> Outcome<Told> {
    let told = parse(&read(&vouched.file)?)?;
    let publishers = vouched
        .publisher
        .iter()
        .map(|text| {
            public_key(text).map_err(|wrong| Problem::usage(format!("--publisher: {wrong}")))
        })
        .collect::<Outcome<BTreeSet<_>>>()?;
    let threshold = vouched.threshold.unwrap_or(publishers.len());
    if !(1..=publishers.len()).contains(&threshold) {
        return Err(Problem::usage(format!(
            "--threshold is from 1 to {}, the number of publishers",
            publishers.len()
        )));
    }
    let by = told.anchor.vouched_by(&publishers, &told.signatures);
    if by.len() < threshold {
        return Err(Problem::failure(format!(
            "{} of {} publishers vouch for it, and {threshold} have to",
            by.len(),
            publishers.len()
        ))
        .hint("get an anchor that more of them signed, or name others with --publisher"));
    }
    let period = vouched.trust_period.map_or(Settings::default().trust_period, |period| period.0);
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(told.time_ms));
    let age = time.and_then(|time| context.current().duration_since(time).ok()).unwrap_or_default();
    if age > period {
        return Err(Problem::failure(format!(
            "it is {} hours old, and {} are allowed: the keys of old validators are not trusted",
            age.as_secs() / 3_600,
            period.as_secs() / 3_600
        ))
        .hint("get a newer one, or allow more with --trust-period"));
    }
    print(&format!(
        "chain     {}\nepoch     {}, after block {}\nage       {} min\nidentity  {}\nvouched   by {} \
         of {} publishers",
        told.anchor.chain,
        told.anchor.epoch,
        told.anchor.block,
        age.as_secs() / 60,
        told.identity,
        by.len(),
        publishers.len()
    ))?;
    Ok(told)
}

fn import(vouched: &Vouched, path: &Path) -> Outcome<()> {
    let data = DataDir::briefly(path)?;
    with_storage(Some(&data), async |context| {
        let Anchor { chain, epoch, block, bytes } = verify(&context, vouched)?.anchor;
        let config = keeper::Config { chain, partition: alto::EPOCHS.into() };
        let record = Record { epoch, block, bytes, proof: None };
        let imported = keeper::import(&context, &config, record, context.current()).await;
        imported.map_err(|fault: Fault| Problem::ended(fault, data.path()))
    })
}

impl Told {
    fn file(&self) -> File {
        let signed = |signed: &Signed| FileSigned {
            publisher: hex(&signed.publisher.encode()),
            signature: hex(&signed.signature.encode()),
        };
        File {
            tidewatch_anchor: VERSION,
            chain: self.anchor.chain.to_string(),
            epoch: self.anchor.epoch.get(),
            height: self.anchor.block.height.get(),
            digest: hex(&self.anchor.block.digest),
            time_ms: self.time_ms,
            identity: self.identity.clone(),
            boundary: hex(&self.anchor.bytes),
            signatures: self.signatures.iter().map(signed).collect(),
        }
    }
}

/// What a boundary says.
fn tell(chain: ChainId, epoch: Epoch, bytes: bytes::Bytes) -> Result<Told, String> {
    let wrong = |error| format!("it does not hold the last block before epoch {epoch}: {error}");
    let (block, time_ms, identity) = match chain.as_str().split(':').next() {
        Some("alto") => {
            let codec = AltoBlock::codec(BLOCK_MAX);
            let block = AltoBlock::decode_cfg(bytes.clone(), &codec).map_err(wrong)?;
            let identity = alto::identity(epoch, &block).map_err(wrong)?.encode();
            (block.reference(), block.timestamp, identity)
        }
        Some("tempo") => {
            let block = TempoBlock::decode(bytes.clone()).map_err(wrong)?;
            let identity = tempo::identity(epoch, &block).map_err(wrong)?.encode();
            (block.reference(), block.time_ms(), identity)
        }
        _ => return Err(format!("{chain} is no chain whose validators change")),
    };
    let (identity, anchor) = (hex(&identity), Anchor { chain, epoch, block, bytes });
    Ok(Told { anchor, time_ms, identity, signatures: Vec::new() })
}

/// Reads an anchor. What it says for people has to be what its boundary says.
fn parse(text: &str) -> Outcome<Told> {
    let wrong = |why: String| Problem::failure(format!("not an anchor: {why}"));
    let file: File = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    if file.tidewatch_anchor != VERSION {
        return Err(wrong(format!("it is of version {}", file.tidewatch_anchor)));
    }
    let chain = ChainId::new(&*file.chain).map_err(|error| wrong(error.to_string()))?;
    let bytes = from_hex(&file.boundary).ok_or_else(|| wrong("its boundary is not hex".into()))?;
    let mut told = tell(chain, Epoch::new(file.epoch), bytes.into()).map_err(wrong)?;
    told.signatures = file
        .signatures
        .iter()
        .map(|signed| {
            let signature = from_hex(&signed.signature);
            let signature = signature.and_then(|bytes| Signature::decode(&*bytes).ok());
            let signature = signature.ok_or("a signature is none of ed25519")?;
            Ok(Signed { publisher: public_key(&signed.publisher)?, signature })
        })
        .collect::<Result<_, &str>>()
        .map_err(|why| wrong(why.into()))?;
    match told.file() == file {
        true => Ok(told),
        false => Err(wrong("what it says is not what its boundary says".into())),
    }
}

fn public_key(text: &str) -> Result<PublicKey, &'static str> {
    let bytes = from_hex(text).ok_or("not hex")?;
    PublicKey::decode(&*bytes).map_err(|_| "not an ed25519 public key: it has 32 bytes")
}

/// The key in a file. Nothing of the file is repeated.
fn private_key(path: &Path) -> Outcome<PrivateKey> {
    let text = read(path)?;
    let key = from_hex(text.trim()).and_then(|bytes| PrivateKey::decode(&*bytes).ok());
    let key = key.ok_or_else(|| {
        Problem::usage(format!("{} holds no ed25519 key", path.display()))
            .hint("it is 32 bytes in hex, such as `openssl rand -hex 32` prints")
    })?;
    let _ = writeln!(std::io::stderr(), "signing as {}", hex(&key.public_key().encode()));
    Ok(key)
}

fn read(path: &Path) -> Outcome<String> {
    let mut text = String::new();
    let done = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().read_to_string(&mut text).map(drop),
        false => std::fs::read_to_string(path).map(|read| text = read),
    };
    done.map_err(|error| Problem::usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(text)
}

fn print(text: &str) -> Outcome<()> {
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| Problem::failure(format!("cannot print: {error}")))
}

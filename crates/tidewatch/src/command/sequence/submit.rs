//! `tidewatch sequence submit`: encrypts one transaction and sends it.
//!
//! Which round will do changes with each proposal: a transaction that is refused for its round is encrypted again, to one
//! that will do now, up to [`TRIES`] times. Its nonce is not used by a refusal, and the one that was refused is nowhere.

use super::{
    args::Submit,
    intake::{Code, Problem as Refused, Target, Where},
};
use crate::{Outcome, command::Problem};

use commonware_codec::{DecodeExt, Encode as _};
use commonware_consensus::types::{Epoch, Round, View};
use commonware_formatting::{from_hex, hex};
use commonware_runtime::{Clock as _, Runner as _, tokio::Context};
use rand::Rng as _;
use reqwest::{Client, Response, Url, redirect};
use std::{io::Write as _, time::Duration};
use tidewatch_core::Digest;
use tidewatch_devnet::{Committee, NAMESPACE};
use tidewatch_sequencer::{
    Sender, Transaction,
    timelock::{Keys, OVERHEAD_MAX, Seed},
};

/// Longest answer, in bytes.
const ANSWER_MAX: usize = 4096;
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it is waited for that a transaction is in a block.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(100);
/// How often it is encrypted and sent.
const TRIES: usize = 20;
/// How long it is waited where the sequencer takes nothing now.
const PAUSE: Duration = Duration::from_millis(250);
/// Bytes of a transaction beside its payload, at the most.
const HEAD_MAX: usize = 64;

/// Submits, and waits for the block.
pub(super) fn run(options: Submit) -> Outcome<()> {
    let config = commonware_runtime::tokio::Config::default();
    commonware_runtime::tokio::Runner::new(config).start(|context| submit(context, options))
}

fn keys(options: &Submit) -> Outcome<Keys> {
    let identity = match &options.identity {
        None => {
            let committee = Committee::deal(0, 4);
            committee.map_err(|error| Problem::failure(error.to_string()))?.identity()
        }
        Some(text) => {
            let bytes = from_hex(text);
            let identity = bytes.and_then(|bytes| DecodeExt::decode(bytes.as_slice()).ok());
            identity.ok_or_else(|| Problem::usage("--identity is no public key in hex"))?
        }
    };
    Ok(Keys { namespace: NAMESPACE.to_vec(), identity, holders: Default::default() })
}

struct Sequencer {
    base: Url,
    client: Client,
}

impl Sequencer {
    fn new(address: &str) -> Outcome<Self> {
        let bad =
            || Problem::usage("--to is no address of a sequencer, such as http://127.0.0.1:8750");
        let base = Url::parse(address).map_err(|_| bad())?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err(bad());
        }
        let client = Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|_| bad())?;
        Ok(Self { base, client })
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(path);
        url
    }

    async fn answer(&self, sent: reqwest::Result<Response>) -> Outcome<(u16, Vec<u8>)> {
        let failed = |error: reqwest::Error| {
            Problem::failure(format!("cannot reach the sequencer: {}", error.without_url()))
                .hint("start `tidewatch sequence`, or name its address with --to")
        };
        let mut response = sent.map_err(failed)?;
        let (status, mut body) = (response.status().as_u16(), Vec::new());
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_MAX {
                return Err(Problem::failure("the sequencer's answer does not end"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, body))
    }
}

/// What was not taken.
enum NotTaken {
    /// Now, with what may come of it after so long.
    Now(Problem, Duration),
    /// For good.
    Ever(Problem),
}

impl From<Problem> for NotTaken {
    fn from(problem: Problem) -> Self {
        Self::Ever(problem)
    }
}

fn refused(status: u16, body: &[u8]) -> NotTaken {
    let refused: Option<Refused> = serde_json::from_slice(body).ok();
    let said = refused.as_ref().map_or_else(
        || String::from_utf8_lossy(body).into_owned(),
        |refused| refused.detail.clone(),
    );
    let said: String = said.chars().filter(|letter| !letter.is_control()).collect();
    let problem = Problem::failure(format!("the sequencer answers {status}: {said}"));
    match refused.map(|refused| refused.code) {
        // Another round will do, and is known.
        Some(Code::TooEarly | Code::TooFar) => NotTaken::Now(problem, Duration::ZERO),
        Some(Code::Backlog | Code::Overdue | Code::NoRound | Code::Full | Code::Busy) => {
            NotTaken::Now(problem, PAUSE)
        }
        _ => NotTaken::Ever(problem),
    }
}

impl Sequencer {
    /// Asks for a round, encrypts to it and sends: its digest and its round.
    async fn send(
        &self,
        context: &mut Context,
        keys: &Keys,
        sender: Sender,
        text: &str,
    ) -> Result<(Digest, Round), NotTaken> {
        let mut url = self.at("/v1/target");
        let bytes = text.len() + OVERHEAD_MAX + HEAD_MAX;
        url.set_query(Some(&format!("sender={}&bytes={bytes}", hex(&sender.0))));
        let (status, body) = self.answer(self.client.get(url).send().await).await?;
        if status != 200 {
            return Err(refused(status, &body));
        }
        let target: Target = serde_json::from_slice(&body)
            .map_err(|error| Problem::failure(format!("the sequencer's target: {error}")))?;
        let round = checked(keys, &target)?;
        let payload = keys
            .seal(context, round, (sender, target.nonce), text.as_bytes())
            .map_err(|error| Problem::failure(error.to_string()))?;
        let transaction = Transaction { sender, nonce: target.nonce, payload };
        let request = self.client.post(self.at("/v1/transactions"));
        let sent = request.body(transaction.encode()).send().await;
        let (status, body) = self.answer(sent).await?;
        if status != 202 {
            return Err(refused(status, &body));
        }
        Ok((transaction.id(), round))
    }

    /// The same, again where that may help.
    async fn send_until_taken(
        &self,
        context: &mut Context,
        keys: &Keys,
        sender: Sender,
        text: &str,
    ) -> Outcome<(Digest, Round)> {
        let mut tries = 1;
        loop {
            match self.send(context, keys, sender, text).await {
                Ok(taken) => return Ok(taken),
                Err(NotTaken::Now(_, pause)) if tries < TRIES => context.sleep(pause).await,
                Err(NotTaken::Now(problem, _) | NotTaken::Ever(problem)) => return Err(problem),
            }
            tries += 1;
        }
    }
}

async fn submit(mut context: Context, options: Submit) -> Outcome<()> {
    let keys = keys(&options)?;
    let sequencer = Sequencer::new(&options.to)?;
    let sender = match &options.sender {
        None => {
            let mut sender = [0; 32];
            context.fill_bytes(&mut sender);
            sender
        }
        Some(text) => from_hex(text)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| Problem::usage("--sender is not 32 bytes in hex"))?,
    };
    let sender = Sender(sender);
    let (id, round) =
        sequencer.send_until_taken(&mut context, &keys, sender, &options.text).await?;
    print(&format!("accepted {id}, encrypted to round {}\n", round.view()));
    let end = context.current() + PATIENCE;
    while context.current() < end {
        let sent =
            sequencer.client.get(sequencer.at(&format!("/v1/transactions/{id}"))).send().await;
        let (status, body) = sequencer.answer(sent).await?;
        if let (200, Ok(Where { place, number, reason })) = (status, serde_json::from_slice(&body))
        {
            let number = number.map(|number| format!(" in block {number}")).unwrap_or_default();
            match place.as_str() {
                "applied" => {
                    print(&format!("applied{number}\n"));
                    return Ok(());
                }
                "dropped" => {
                    let reason = reason.unwrap_or_default();
                    return Err(Problem::failure(format!("dropped{number}: {reason}")));
                }
                _ => {}
            }
        }
        context.sleep(LOOK).await;
    }
    Err(Problem::failure(format!("it was in no block within {PATIENCE:?}")))
}

/// The round to encrypt to, if it is above one that the validators did certify.
fn checked(keys: &Keys, target: &Target) -> Outcome<Round> {
    let round = |view| Round::new(Epoch::new(target.epoch), View::new(view));
    let signature = from_hex(&target.seed).and_then(|seed| DecodeExt::decode(seed.as_slice()).ok());
    let seed = signature.map(|signature| Seed::new(round(target.view), signature));
    if !seed.is_some_and(|seed| keys.is_seed(&seed)) {
        return Err(Problem::failure("the sequencer's newest round is not one of this network")
            .hint("name the network's identity with --identity"));
    }
    if target.target <= target.view {
        return Err(Problem::failure("the sequencer names a round that is open already"));
    }
    Ok(round(target.target))
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever closed it does not read.
    let _ = out.write_all(text.as_bytes());
}

//! A sink that runs, into the ready-made tables.

use super::{
    Address, Applied, Error, Sink,
    group::{Ask, ask_of},
    metrics::Metrics,
    tables::{self, Row, Tables, heights},
    tls::Tls,
};
use crate::events::{Event, Events, Step};
use commonware_runtime::{
    Clock as _, Handle, Spawner as _, Supervisor as _, telemetry::metrics::GaugeExt as _,
    tokio::Context,
};
use futures::FutureExt as _;
use std::{collections::BTreeMap, time::Duration};
use tidewatch_client::{Block, Hello, Message, Options, Reset, Resume, State, Tier};
use tidewatch_core::Backoff;
use tokio::time::timeout;
use tokio_postgres::Client;

/// Messages of one transaction, where nothing forces more into it.
const BATCH: usize = 512;
/// Messages that are waited for, at the most, for a prune that has to come.
const HELD: usize = 16_384;
/// How long it is waited for.
const PRUNE: Duration = Duration::from_secs(60);
/// How long a transaction may take.
const TRANSACTION: Duration = Duration::from_secs(120);
/// How long connecting may take, with the schema.
const CONNECT: Duration = Duration::from_secs(60);
/// How long a lock is waited for: that of a session whose process was killed is gone in a moment.
const LOCK: Duration = Duration::from_secs(5);
/// The same after the connection was lost: the database may have to notice that first.
const LOCK_AGAIN: Duration = Duration::from_secs(60);
/// Wait between two looks at it.
const LOOK: Duration = Duration::from_millis(200);
/// Waits after a failure.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// The consumer that keeps the ready-made tables of a schema.
pub const CONSUMER: &str = "tables";

/// What to do where no event leads on from where the tables are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnReset {
    /// End with [`Error::Reset`]: somebody has to look.
    #[default]
    Stop,
    /// Empty the blocks, take the tiers from the server, and go on from there. The log of events stays, and says so.
    Begin,
}

/// What runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The database.
    pub address: Address,
    /// The schema, whose ready-made tables are the consumer [`CONSUMER`].
    pub schema: String,
    /// The server, such as `http://127.0.0.1:9200`.
    pub from: String,
    /// Its token, if it has one.
    pub token: Option<String>,
    /// In an empty schema: whether to begin with the oldest event that the server keeps, or at its tip.
    pub earliest: bool,
    /// What to do where no event leads on.
    pub on_reset: OnReset,
}

/// What happened, for whoever watches.
#[derive(Debug)]
pub enum Progress<'a> {
    /// Connected to the database, which has taken in so many events.
    Connected {
        /// Events.
        position: i64,
    },
    /// A transaction was committed.
    Committed {
        /// Events that the database has taken in.
        position: i64,
        /// Of each kind, those of this transaction.
        events: &'a BTreeMap<&'static str, u64>,
        /// Where they led.
        state: &'a State,
    },
    /// The server is gone, and asked again.
    ServerLost(&'a str),
    /// The database is gone, or refuses for now.
    Failed {
        /// Why.
        error: &'a Error,
        /// When it is tried again.
        wait: Duration,
    },
}

/// Takes events in until there is no use in going on. Connects again by itself, to either side.
///
/// # Cancel safety
///
/// It may be dropped at any await: the transaction that is not committed is rolled back.
///
/// # Errors
///
/// What does not pass by itself: see [`Error::may_pass`].
pub async fn run(
    mut context: Context,
    config: Config,
    mut watch: impl FnMut(Progress<'_>) + Send,
) -> Result<(), Error> {
    let sink = Sink::new(&config.schema, CONSUMER)?;
    let metrics = Metrics::new(&context);
    let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
    let mut locked = false;
    loop {
        let mut session = Session {
            context: context.child("session"),
            config: &config,
            sink: &sink,
            metrics: &metrics,
            watch: &mut watch,
            backoff: &mut backoff,
            locked: &mut locked,
        };
        let Err(error) = session.run().await;
        metrics.failed(error.kind());
        if !error.may_pass() {
            return Err(error);
        }
        let wait = backoff.fail(&mut context);
        watch(Progress::Failed { error: &error, wait });
        context.sleep(wait).await;
    }
}

/// The task that reads from the database.
struct Connection(Handle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection to the database.
struct Session<'a, W> {
    context: Context,
    config: &'a Config,
    sink: &'a Sink,
    metrics: &'a Metrics,
    watch: &'a mut W,
    backoff: &'a mut Backoff,
    /// Whether the lock was had before.
    locked: &'a mut bool,
}

impl<W: FnMut(Progress<'_>) + Send> Session<'_, W> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Error> {
        let connect = timeout(CONNECT, self.connect()).await;
        let (mut client, _connection) = connect.map_err(|_| Error::Slow("connecting"))??;
        self.lock(&client).await?;
        let (sink, schema) = (self.sink, self.config.schema.as_str());
        let tables = Tables::prepare(&client, schema).await?;
        let held = sink.position(&client).await?;
        let mut stands = Some(tables::stand(&client, schema).await?);
        let position = held.as_ref().map_or(0, |held| held.position);
        (self.watch)(Progress::Connected { position });
        self.metrics.connections.inc();
        let mut cursor = held.as_ref().map(|held| held.cursor.clone());
        let options = Options {
            cursor: cursor.clone(),
            earliest: self.config.earliest,
            token: self.config.token.clone(),
            ..Options::default()
        };
        let mut events = Events::new(&self.config.from, options)?;
        loop {
            let group = self.gather(&mut events).await?;
            if client.is_closed() {
                return Err(Error::Lost);
            }
            if let (Some(event), Some(held)) = (group.first(), &held) {
                sink.is_of(held, &event.chain)?;
            }
            // The first hello says where the server takes us to be; the next ones are compared by the client.
            if let Some(Event { message: Message::Hello(hello), .. }) = group.first()
                && let Some(stands) = stands.take()
                && held.is_some()
            {
                agrees(&stands, hello)?;
            }
            for event in &group {
                if let Message::Reset(Reset { code, detail, .. }) = &event.message
                    && (self.config.on_reset == OnReset::Stop || code == "wrong_chain")
                {
                    let (code, detail) = (code.clone(), detail.clone());
                    return Err(Error::Reset { code, detail });
                }
            }
            let (group, rows) = self.resolve(&mut events, group).await?;
            // A bookmark of where we are already is no news.
            let news =
                |event: &Event| event.kind().is_some() || cursor.as_ref() != Some(&event.cursor);
            if !group.iter().any(news) {
                continue;
            }
            let commit = self.commit(&mut client, &tables, &group, &rows);
            let committed = timeout(TRANSACTION, commit).await;
            let (position, counts) = committed.map_err(|_| Error::Slow("a transaction"))??;
            cursor = group.last().map(|event| event.cursor.clone());
            self.backoff.succeed();
            self.metrics.commits.inc();
            let _ = self.metrics.position.try_set(position);
            if !counts.is_empty() {
                let state = events.state();
                (self.watch)(Progress::Committed { position, events: &counts, state });
            }
        }
    }

    async fn connect(&self) -> Result<(Client, Connection), Error> {
        let tls = Tls::new().map_err(|error| Error::Config(format!("there is no TLS: {error}")))?;
        let mut config = self.config.address.config.clone();
        if config.get_application_name().is_none() {
            let consumer = self.sink.consumer();
            config
                .application_name(format!("tidewatch {consumer}, process {}", std::process::id()));
        }
        let (mut client, connection) = config.connect(tls).await?;
        let task = self.context.child("connection").spawn(move |_| async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the database ended");
            }
        });
        let task = Connection(task);
        // The session gives up before its caller does, and holds no lock while nobody is there.
        let bounds = "set statement_timeout = '100s'; set lock_timeout = '30s';
                      set idle_in_transaction_session_timeout = '120s'";
        client.batch_execute(bounds).await?;
        self.sink.prepare(&mut client).await?;
        Ok((client, task))
    }

    async fn lock(&mut self, client: &Client) -> Result<(), Error> {
        let until = self.context.current() + if *self.locked { LOCK_AGAIN } else { LOCK };
        loop {
            match self.sink.lock(client).await {
                Ok(()) => break,
                Err(Error::Held { .. }) if self.context.current() < until => {
                    self.context.sleep(LOOK).await;
                }
                Err(error) => return Err(error),
            }
        }
        *self.locked = true;
        Ok(())
    }

    /// One message, and those that are there already.
    async fn gather(&mut self, events: &mut Events) -> Result<Vec<Event>, Error> {
        let mut group = Vec::new();
        while group.is_empty() {
            self.take(events.next().await?, &mut group);
        }
        while group.len() < BATCH
            && let Some(step) = events.next().now_or_never()
        {
            self.take(step?, &mut group);
        }
        Ok(group)
    }

    fn take(&mut self, step: Step, group: &mut Vec<Event>) {
        match step {
            Step::Event(event) => group.push(*event),
            // One that said goodbye is expected.
            Step::Lost(why) => (self.watch)(Progress::ServerLost(&why)),
        }
    }

    /// The blocks of each event, and the events that had to be waited for.
    async fn resolve(
        &mut self,
        events: &mut Events,
        mut group: Vec<Event>,
    ) -> Result<(Vec<Event>, BTreeMap<usize, Vec<Row>>), Error> {
        let mut rows = BTreeMap::new();
        let until = self.context.current() + PRUNE;
        loop {
            let mut moved = false;
            for index in 0..group.len() {
                if rows.contains_key(&index) {
                    continue;
                }
                let Some(ask) = ask_of(&group, index)? else { continue };
                let Message::Blocks(range) = &group[index].message else { continue };
                let digests = match &ask {
                    Ask::Through(tip) => events.digests(tip, &heights(range, tip)).await?,
                    Ask::Said | Ask::Undone => Some(Vec::new()),
                };
                match digests {
                    Some(digests) => {
                        rows.insert(index, tables::rows(range, &ask, &digests)?);
                    }
                    None => moved = true,
                }
            }
            if !moved {
                return Ok((group, rows));
            }
            let left = until.duration_since(self.context.current()).unwrap_or_default();
            let step = timeout(left, events.next()).await;
            if group.len() >= HELD {
                return Err(Error::Slow("the prune of a chain that moved away"));
            }
            let step = step.map_err(|_| Error::Slow("the prune of a chain that moved away"))??;
            self.take(step, &mut group);
        }
    }

    async fn commit(
        &self,
        client: &mut Client,
        tables: &Tables,
        group: &[Event],
        rows: &BTreeMap<usize, Vec<Row>>,
    ) -> Result<(i64, BTreeMap<&'static str, u64>), Error> {
        let transaction = client.transaction().await?;
        let (mut position, mut counts) = (0, BTreeMap::new());
        for (index, event) in group.iter().enumerate() {
            let Applied::Now(at) = self.sink.advance(&transaction, event).await? else {
                continue;
            };
            position = at;
            let rows = rows.get(&index).map_or(&[][..], Vec::as_slice);
            tables.apply(&transaction, event, at, rows).await?;
            if let Some(kind) = event.kind() {
                *counts.entry(kind).or_default() += 1;
            }
        }
        transaction.commit().await?;
        for (kind, count) in &counts {
            self.metrics.events(kind, *count);
        }
        Ok((position, counts))
    }
}

/// Refuses to go on where the tables are not where the server takes them to be.
fn agrees(stands: &State, hello: &Hello) -> Result<(), Error> {
    if matches!(hello.resume, Resume::Reset) {
        return Ok(());
    }
    let shown = |block: Option<&Block>| {
        block.map_or("nowhere".into(), |block| format!("{}:{}", block.height, block.digest))
    };
    let compare = |what: &str, ours: Option<&Block>, theirs: Option<&Block>| {
        let differ = || format!("{what} is {} here, and {} there", shown(ours), shown(theirs));
        if ours == theirs { Ok(()) } else { Err(Error::Diverged(differ())) }
    };
    compare("the highest block", stands.block.as_ref(), hello.block.as_ref())?;
    for tier in Tier::ALL {
        let block = |tips: &tidewatch_client::Tips| tips.get(tier).map(|tip| tip.block.clone());
        compare(tier.as_str(), block(&stands.tips).as_ref(), block(&hello.tips).as_ref())?;
    }
    Ok(())
}

//! Events into a Postgres database.
//!
//! # Overview
//!
//! | file | what |
//! |---|---|
//! | `address` | where the database is, and whether the way to it is encrypted |
//! | `tls` | TLS by rustls |
//! | `schema` | the tables, their version, and how an older one is brought up to it |
//! | `sink` | the library form: the cursor moves in the caller's transaction |
//! | `tables` | the ready-made tables, kept by the library form |
//! | `group` | which blocks to ask for when the chain moves meanwhile: a pure decision |
//! | `run` | a sink that runs: connections, retries, batches |
//!
//! With tables of your own:
//!
//! ```no_run
//! use tidewatch_client::{Message, Options};
//! use tidewatch_sinks::{events::{Events, Step}, postgres::{Error, Sink}};
//!
//! # async fn example(mut client: tokio_postgres::Client) -> Result<(), Error> {
//! let sink = Sink::new("tidewatch", "balances")?;
//! sink.prepare(&mut client).await?;
//! sink.lock(&client).await?;
//! let cursor = sink.position(&client).await?.map(|position| position.cursor);
//! let options = Options { cursor, earliest: true, ..Options::default() };
//! let mut events = Events::new("http://127.0.0.1:9200", options)?;
//! loop {
//!     let Step::Event(event) = events.next().await? else { continue };
//!     let mut transaction = client.transaction().await?;
//!     let applied = sink.apply(&mut transaction, &event, async |transaction, event| {
//!         if let Message::Pruned(pruned) = &event.message {
//!             let height = pruned.to.height as i64;
//!             transaction.execute("delete from balances where block > $1", &[&height]).await?;
//!         }
//!         Ok::<_, Error>(())
//!     });
//!     applied.await?;
//!     transaction.commit().await?;
//! }
//! # }
//! ```
//!
//! # The cursor
//!
//! The row of a consumer moves from one cursor to the next only: an event whose predecessor is not what the row holds
//! is refused ([`Error::NotNext`]), and one that the row holds already changes nothing. Sequence numbers would not do:
//! another server of the chain, which is gone on with by the same cursor, counts its events by itself.
//!
//! # One writer
//!
//! [`Sink::lock`] takes an advisory lock of the consumer in the session of the connection. A connection that is lost
//! loses it, and its transaction with it. Whoever writes without the lock still cannot part cursor and data: the row is
//! the fence.
//!
//! # Reorg safety
//!
//! A prune removes every block above it, keeps them in `undone`, and moves all tiers, in the transaction that moves the
//! cursor. Of blocks that were replaced before anybody could ask for them only what the event says is known: they are
//! taken in and undone in one transaction.
//!
//! # Limits
//!
//! One event announces at most [`RANGE_MAX`] blocks, and heights fit into a `bigint`. A stream that leads nowhere for a
//! minute, a transaction of more than two, and a database that does not answer within 15 s are failures, after which
//! the sink connects again.

mod address;
mod error;
mod group;
mod metrics;
mod run;
mod schema;
mod sink;
mod tables;
mod tls;

pub use address::Address;
pub use error::Error;
pub use group::RANGE_MAX;
pub use run::{CONSUMER, Config, OnReset, Progress, run};
pub use schema::VERSION;
pub use sink::{Applied, Position, Sink};

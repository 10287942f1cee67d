//! The library form: the cursor moves in the caller's transaction.

use super::{Error, schema};
use crate::events::{Chain, Event};
use sha2::{Digest as _, Sha256};
use tokio_postgres::{Client, GenericClient, Transaction, types::Type};

/// Longest text that is read of a row: a cursor has 512 characters at the most.
const TEXT_MAX: usize = 1024;

/// A consumer in a schema: see the [module](super).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sink {
    pub(super) schema: String,
    consumer: String,
}

/// Where a consumer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The name of its chain.
    pub chain: String,
    /// The digest of the chain's first block.
    pub genesis: String,
    /// The cursor to go on from.
    pub cursor: String,
    /// Events that were taken in.
    pub position: i64,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The position moved; so many events were taken in, this one included.
    Now(i64),
    /// The row holds it already: a transaction of before was committed, although nobody heard of it.
    Already,
}

impl Sink {
    /// The consumer of that name, with its row in `schema`.
    ///
    /// # Errors
    ///
    /// A name is none that needs no quotes: lower-case letters, digits and `_`, 40 at the most, a letter first.
    pub fn new(schema: &str, consumer: &str) -> Result<Self, Error> {
        for (what, name) in [("schema", schema), ("consumer", consumer)] {
            if !schema::is_name(name) {
                return Err(Error::Config(format!(
                    "{name:?} cannot be the name of a {what}: it has up to 40 lower-case letters, digits and _, a \
                     letter first"
                )));
            }
        }
        Ok(Self { schema: schema.into(), consumer: consumer.into() })
    }

    /// The name of the consumer.
    pub fn consumer(&self) -> &str {
        &self.consumer
    }

    /// Makes the tables where they are not there, and brings older ones up to [`VERSION`](super::VERSION).
    ///
    /// # Errors
    ///
    /// They are of a newer version, somebody else's, or the database refuses.
    pub async fn prepare(&self, client: &mut Client) -> Result<(), Error> {
        schema::prepare(client, &self.schema).await
    }

    /// Takes the lock of the consumer, which the session of `client` has until it ends.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] names the session that has it, as far as this user may see it.
    pub async fn lock(&self, client: &Client) -> Result<(), Error> {
        let key = self.key();
        let query = "select pg_try_advisory_lock($1)";
        let locked = client.query_typed(query, &[(&key, Type::INT8)]).await?;
        if locked.first().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        let query = "
            select l.pid::text, left(a.application_name, 64), a.client_addr::text, a.backend_start::text
            from pg_locks l left join pg_stat_activity a using (pid)
            where l.locktype = 'advisory' and l.granted and l.objsubid = 1
                and l.database = (select oid from pg_database where datname = current_database())
                and (l.classid::bigint << 32 | l.objid::bigint) = $1";
        let found = client.query_typed(query, &[(&key, Type::INT8)]).await?;
        let word = |at| found.first().and_then(|row| row.get::<_, Option<String>>(at));
        let holder = match word(0) {
            None => "its session ended just now".into(),
            Some(pid) => format!(
                "session {pid} of the database ({}, from {}, since {}); select pg_terminate_backend({pid}) ends it",
                word(1).filter(|name| !name.is_empty()).unwrap_or_else(|| "no name".into()),
                word(2).unwrap_or_else(|| "this machine".into()),
                word(3).unwrap_or_else(|| "?".into()),
            ),
        };
        Err(Error::Held { consumer: self.consumer.clone(), holder })
    }

    /// The number of the lock.
    fn key(&self) -> i64 {
        let name = format!("tidewatch sink {} {}", self.schema, self.consumer);
        let digest: [u8; 32] = Sha256::digest(name).into();
        let mut key = [0; 8];
        key.copy_from_slice(&digest[..8]);
        i64::from_be_bytes(key)
    }

    /// Where the consumer is; `None` before its first event.
    ///
    /// # Errors
    ///
    /// The database refuses.
    pub async fn position(&self, client: &impl GenericClient) -> Result<Option<Position>, Error> {
        let query = format!(
            "select left(chain, {TEXT_MAX}), left(genesis, {TEXT_MAX}), left(cursor, {TEXT_MAX}), position
             from {}.cursors where consumer = $1",
            self.schema
        );
        let rows = client.query_typed(&query, &[(&self.consumer, Type::TEXT)]).await?;
        Ok(rows.first().map(|row| Position {
            chain: row.get(0),
            genesis: row.get(1),
            cursor: row.get(2),
            position: row.get(3),
        }))
    }

    /// Moves the position over `event`, and has `then` do what is to be done of it, in the caller's transaction: both
    /// are committed, or neither is. `then` does not run for what moves the position alone ([`Event::kind`]), nor for
    /// what is in already.
    ///
    /// # Errors
    ///
    /// The position is not the one before the event, or is of another chain, or `then` fails: then the transaction has
    /// to be rolled back, which dropping it does.
    ///
    /// # Cancel safety
    ///
    /// If it is dropped the transaction has to be rolled back.
    pub async fn apply<E: From<Error>>(
        &self,
        transaction: &mut Transaction<'_>,
        event: &Event,
        then: impl AsyncFnOnce(&mut Transaction<'_>, &Event) -> Result<(), E>,
    ) -> Result<Applied, E> {
        let applied = self.advance(transaction, event).await?;
        if applied != Applied::Already && event.kind().is_some() {
            then(transaction, event).await?;
        }
        Ok(applied)
    }

    /// Moves the position over `event`.
    ///
    /// # Errors
    ///
    /// As of [`apply`](Self::apply).
    pub async fn advance(
        &self,
        transaction: &Transaction<'_>,
        event: &Event,
    ) -> Result<Applied, Error> {
        let query = format!(
            "insert into {0}.cursors as held (consumer, chain, genesis, cursor, position)
             values ($1, $2, $3, $4, $5)
             on conflict (consumer) do update
                 set cursor = $4, position = held.position + $5, updated = now()
                 where held.chain = $2 and held.genesis = $3 and held.cursor = $6
             returning position",
            self.schema
        );
        let counts = i64::from(event.kind().is_some());
        let moved = transaction
            .query_typed(
                &query,
                &[
                    (&self.consumer, Type::TEXT),
                    (&event.chain.name, Type::TEXT),
                    (&event.chain.genesis.digest, Type::TEXT),
                    (&event.cursor, Type::TEXT),
                    (&counts, Type::INT8),
                    (&event.after, Type::TEXT),
                ],
            )
            .await?;
        if let Some(row) = moved.first() {
            return Ok(Applied::Now(row.get(0)));
        }
        let Some(held) = self.position(transaction).await? else {
            return Err(Error::NotNext { consumer: self.consumer.clone(), position: 0 });
        };
        self.is_of(&held, &event.chain)?;
        match held.cursor == event.cursor {
            true => Ok(Applied::Already),
            false => {
                Err(Error::NotNext { consumer: self.consumer.clone(), position: held.position })
            }
        }
    }

    /// Refuses another chain than the one of the row.
    pub(super) fn is_of(&self, held: &Position, chain: &Chain) -> Result<(), Error> {
        if (&held.chain, &held.genesis) == (&chain.name, &chain.genesis.digest) {
            return Ok(());
        }
        let named = |name: &str, genesis: &str| format!("{name:?} from block {genesis} on");
        Err(Error::OtherChain {
            consumer: self.consumer.clone(),
            stored: named(&held.chain, &held.genesis),
            served: named(&chain.name, &chain.genesis.digest),
        })
    }
}

//! The tables, their version, and how older ones are brought up to it.

use super::Error;
use tokio_postgres::{Client, types::Type};

/// Each step leads from the version that is its index to the next one. What was released is never changed.
const STEPS: [&str; 1] = ["
create table {schema}.cursors (
    consumer text primary key,
    chain text not null,
    genesis text not null,
    cursor text not null,
    -- Events that were taken in.
    position bigint not null,
    updated timestamptz not null default now()
);
create table {schema}.tips (
    tier text primary key,
    -- How final it is among the tiers of its chain: 0 is the least.
    rank smallint not null,
    number bigint not null,
    hash text not null,
    checkpoint_number bigint,
    checkpoint_hash text
);
create table {schema}.blocks (
    number bigint primary key,
    hash text not null,
    -- Unknown of the first block.
    parent text,
    -- Of a block that a tier was moved to with one, as long as that tier is not below it.
    checkpoint_number bigint,
    checkpoint_hash text,
    checkpoint_tier text
);
create index on {schema}.blocks (hash);
create index on {schema}.blocks (number) where checkpoint_tier is not null;
create table {schema}.events (
    position bigint primary key,
    kind text not null,
    number bigint,
    hash text,
    -- As the server sent it.
    body jsonb not null,
    -- All tiers before it, where it moved any; the blocks that it took away are in undone.
    tips_before jsonb,
    at timestamptz not null default now()
);
create table {schema}.undone (
    -- The event that took it away.
    position bigint not null,
    number bigint not null,
    hash text not null,
    parent text,
    primary key (position, number)
);
-- Every block, with the most final tier that it has reached.
create view {schema}.chain as
    select b.*, (
        select t.tier from {schema}.tips t where t.number >= b.number order by t.rank desc limit 1
    ) as tier
    from {schema}.blocks b;
"];

/// The version that this program knows.
pub const VERSION: i32 = STEPS.len() as i32;

/// Longest name of a schema or a consumer.
const NAME_MAX: usize = 40;

/// Whether `name` can be a schema's and a consumer's without quotes.
pub(super) fn is_name(name: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= NAME_MAX
        && name.bytes().all(letters)
        && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
        && !name.starts_with("pg_")
}

/// The steps that lead from `found` to [`VERSION`].
fn steps(schema: &str, found: i32) -> Result<&'static [&'static str], Error> {
    let newer = || Error::Newer { schema: schema.into(), found, known: VERSION };
    usize::try_from(found).ok().and_then(|found| STEPS.get(found..)).ok_or_else(newer)
}

/// Makes the schema, or brings it up to this version, in one transaction. Whoever comes meanwhile waits.
pub(super) async fn prepare(client: &mut Client, schema: &str) -> Result<(), Error> {
    let table = format!("{schema}.version");
    let query = "select to_regclass($1) is not null";
    let there = client.query_typed(query, &[(&table, Type::TEXT)]).await?;
    let there = there.first().is_some_and(|row| row.get(0));
    // What is up to date is not locked: its user may have no right to make anything.
    if there && steps(schema, version(client, schema).await?)?.is_empty() {
        return Ok(());
    }
    let transaction = client.transaction().await?;
    let lock = "select pg_advisory_xact_lock(hashtext('tidewatch schema'))";
    transaction.batch_execute(lock).await?;
    let begin = format!(
        "create schema if not exists {schema};
         create table if not exists {table} (
             only_one boolean primary key default true check (only_one), version integer not null
         );
         insert into {table} (version) values (0) on conflict do nothing;"
    );
    transaction.batch_execute(&begin).await?;
    let query = format!("select version from {table}");
    let found = transaction.query_typed(&query, &[]).await?;
    let found = found.first().map_or(0, |row| row.get(0));
    for step in steps(schema, found)? {
        transaction.batch_execute(&step.replace("{schema}", schema)).await?;
    }
    let end = format!("update {table} set version = {VERSION}");
    transaction.batch_execute(&end).await?;
    Ok(transaction.commit().await?)
}

async fn version(client: &Client, schema: &str) -> Result<i32, Error> {
    let query = format!("select version from {schema}.version");
    Ok(client.query_typed(&query, &[]).await?.first().map_or(0, |row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_version_is_led_up_and_a_newer_one_refused() {
        assert_eq!(steps("s", 0).unwrap().len(), 1);
        assert!(steps("s", VERSION).unwrap().is_empty());
        for newer in [VERSION + 1, i32::MAX, -1] {
            let refused = steps("s", newer).unwrap_err();
            assert!(matches!(&refused, Error::Newer { found, .. } if *found == newer), "{refused}");
        }
    }

    #[test]
    fn a_name_needs_no_quotes() {
        for name in ["tidewatch", "a", "tide_2", &"a".repeat(NAME_MAX)] {
            assert!(is_name(name), "{name}");
        }
        for name in [
            "",
            "2a",
            "_a",
            "A",
            "a-b",
            "a b",
            "a;drop",
            "a\"",
            "pg_a",
            "ä",
            &"a".repeat(NAME_MAX + 1),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}

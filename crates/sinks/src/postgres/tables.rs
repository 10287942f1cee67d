//! The ready-made tables: what each event does to them.

use super::{Error, group::Ask};
use crate::events::Event;
use tidewatch_client::{Block, Blocks, Message, Moved, State, Tier, Tip, Tips};
use tokio_postgres::{Client, GenericClient, Statement, Transaction};

/// Rows of one statement.
const ROWS: usize = 8192;
/// Digits of a digest.
const DIGEST: usize = 64;

/// A block to be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    number: i64,
    hash: String,
    /// `None` where the server does not hold the block below: then the row below says it, if there is one.
    parent: Option<String>,
}

/// A height as a column has it.
fn number(height: u64) -> Result<i64, Error> {
    i64::try_from(height).map_err(|_| Error::Unstorable(format!("height {height}")))
}

fn hash(digest: &str) -> Result<&str, Error> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    match digest.len() == DIGEST && digest.bytes().all(hex) {
        true => Ok(digest),
        false => Err(Error::Unstorable("a digest is not 64 digits of hex".into())),
    }
}

fn diverged(what: impl Into<String>) -> Error {
    Error::Diverged(what.into())
}

/// Heights to ask for, of a range of which `ask` is left: with the one below it, to compare.
pub(super) fn heights(range: &Blocks, tip: &Block) -> Vec<u64> {
    (range.from.height.saturating_sub(1)..=tip.height).collect()
}

/// The rows of a range, where `digests` are those of [`heights`].
pub(super) fn rows(
    range: &Blocks,
    ask: &Ask,
    digests: &[Option<String>],
) -> Result<Vec<Row>, Error> {
    let from = &range.from;
    let row = |block: &Block, parent: Option<&str>| {
        let parent = parent.map(hash).transpose()?.map(Into::into);
        let (number, hash) = (number(block.height)?, hash(&block.digest)?.into());
        Ok::<_, Error>(Row { number, hash, parent })
    };
    let tip = match ask {
        Ask::Undone => return Ok(Vec::new()),
        Ask::Said if range.to.height.checked_sub(1) == Some(from.height) => {
            return Ok(vec![row(from, None)?, row(&range.to, Some(&from.digest))?]);
        }
        Ask::Said => return Ok(vec![row(from, None)?]),
        Ask::Through(tip) => tip,
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut below: Option<(u64, &str)> = None;
    for (height, digest) in heights(range, tip).into_iter().zip(digests) {
        let said = [from, tip].into_iter().find(|block| block.height == height);
        if let (Some(said), Some(digest)) = (said, digest)
            && said.digest != *digest
        {
            return Err(diverged(format!("block {height} is {digest} and {}", said.digest)));
        }
        let Some(digest) = said.map(|block| &block.digest).or(digest.as_ref()) else { continue };
        if height >= from.height {
            let parent = below.filter(|below| below.0 + 1 == height).map(|below| below.1);
            rows.push(row(&Block { height, digest: digest.clone() }, parent)?);
        }
        below = Some((height, digest));
    }
    Ok(rows)
}

/// The statements of one connection.
pub(super) struct Tables {
    top: Statement,
    insert: Statement,
    at: Statement,
    keep: Statement,
    delete: Statement,
    event: Statement,
    tip: Statement,
    no_tips: Statement,
    checkpoint: Statement,
    no_checkpoints: Statement,
}

impl Tables {
    pub(super) async fn prepare(client: &Client, schema: &str) -> Result<Self, Error> {
        let prepare = async |query: &str| client.prepare(&query.replace("{schema}", schema)).await;
        Ok(Self {
            top: prepare("select number, hash from {schema}.blocks order by number desc limit 1").await?,
            insert: prepare(
                "insert into {schema}.blocks (number, hash, parent)
                 select * from unnest($1::bigint[], $2::text[], $3::text[])",
            )
            .await?,
            at: prepare("select hash from {schema}.blocks where number = $1").await?,
            keep: prepare(
                "insert into {schema}.undone (position, number, hash, parent)
                 select $1, number, hash, parent from {schema}.blocks where number > $2",
            )
            .await?,
            delete: prepare("delete from {schema}.blocks where number > $1").await?,
            event: prepare(
                "insert into {schema}.events (position, kind, number, hash, body, tips_before)
                 values ($1, $2, $3, $4, $5::text::jsonb, case when $6 then (
                     select jsonb_object_agg(tier, to_jsonb(t) - 'tier' - 'rank') from {schema}.tips t
                 ) end)",
            )
            .await?,
            tip: prepare(
                "insert into {schema}.tips (tier, rank, number, hash, checkpoint_number, checkpoint_hash)
                 values ($1, $2, $3, $4, $5, $6)
                 on conflict (tier) do update set rank = excluded.rank, number = excluded.number,
                     hash = excluded.hash, checkpoint_number = excluded.checkpoint_number,
                     checkpoint_hash = excluded.checkpoint_hash",
            )
            .await?,
            no_tips: prepare("delete from {schema}.tips").await?,
            checkpoint: prepare(
                "update {schema}.blocks
                 set checkpoint_number = $3, checkpoint_hash = $4, checkpoint_tier = $5
                 where number = $1 and hash = $2",
            )
            .await?,
            // No row below the lowest tier is looked at.
            no_checkpoints: prepare(
                "update {schema}.blocks b
                 set checkpoint_number = null, checkpoint_hash = null, checkpoint_tier = null
                 where checkpoint_tier is not null
                     and number > coalesce((select min(number) from {schema}.tips), -1)
                     and number > coalesce(
                         (select t.number from {schema}.tips t where t.tier = b.checkpoint_tier), -1)",
            )
            .await?,
        })
    }

    /// What `event`, which is the one at `position`, does; `rows` are its blocks.
    pub(super) async fn apply(
        &self,
        transaction: &Transaction<'_>,
        event: &Event,
        position: i64,
        rows: &[Row],
    ) -> Result<(), Error> {
        let Some(kind) = event.kind() else { return Ok(()) };
        let about = match &event.message {
            Message::Hello(hello) => hello.block.as_ref(),
            Message::Reset(reset) => reset.block.as_ref(),
            Message::Blocks(blocks) => Some(&blocks.to),
            Message::Advanced(moved) | Message::Regressed(moved) => Some(&moved.block),
            Message::Pruned(pruned) => Some(&pruned.to),
            _ => None,
        };
        let at = about.map(|block| number(block.height)).transpose()?;
        let digest = about.map(|block| hash(&block.digest)).transpose()?;
        let moves = !matches!(kind, "blocks" | "lagged" | "start");
        transaction
            .execute(&self.event, &[&position, &kind, &at, &digest, &event.line, &moves])
            .await?;
        match &event.message {
            Message::Blocks(_) => self.blocks(transaction, event, rows).await,
            Message::Advanced(moved) => self.moved(transaction, event, moved).await,
            Message::Regressed(moved) => {
                self.moved(transaction, event, moved).await?;
                transaction.execute(&self.no_checkpoints, &[]).await?;
                Ok(())
            }
            Message::Pruned(pruned) => {
                let to = number(pruned.to.height)?;
                transaction.execute(&self.keep, &[&position, &to]).await?;
                transaction.execute(&self.delete, &[&to]).await?;
                self.is_ours(transaction, &pruned.to).await?;
                self.tips(transaction, event, &pruned.tips).await
            }
            Message::Hello(hello) => {
                self.begin(transaction, event, hello.block.as_ref(), &hello.tips).await
            }
            Message::Reset(reset) => {
                self.begin(transaction, event, reset.block.as_ref(), &reset.tips).await
            }
            _ => Ok(()),
        }
    }

    /// Begins from one block and its tiers.
    async fn begin(
        &self,
        transaction: &Transaction<'_>,
        event: &Event,
        block: Option<&Block>,
        tips: &Tips,
    ) -> Result<(), Error> {
        transaction.execute(&self.delete, &[&-1_i64]).await?;
        if let Some(block) = block {
            let row = ([number(block.height)?], [hash(&block.digest)?], [None::<&str>]);
            transaction.execute(&self.insert, &[&&row.0[..], &&row.1[..], &&row.2[..]]).await?;
        }
        self.tips(transaction, event, tips).await
    }

    async fn blocks(
        &self,
        transaction: &Transaction<'_>,
        event: &Event,
        rows: &[Row],
    ) -> Result<(), Error> {
        let Some(first) = rows.first() else { return Ok(()) };
        let top = transaction.query_opt(&self.top, &[]).await?;
        let top = top.map(|row| (row.get::<_, i64>(0), row.get::<_, String>(1)));
        let genesis = &event.chain.genesis;
        let below = match &top {
            Some((at, _)) if *at >= first.number => {
                return Err(diverged(format!("block {} comes above block {at}", first.number)));
            }
            Some((at, hash)) if *at + 1 == first.number => Some(hash.as_str()),
            None if number(genesis.height)? + 1 == first.number => Some(genesis.digest.as_str()),
            _ => None,
        };
        if let (Some(below), Some(parent)) = (below, &first.parent)
            && below != parent
        {
            let at = first.number;
            return Err(diverged(format!("block {at} stands on {parent}, not on {below}")));
        }
        for (chunk, rows) in rows.chunks(ROWS).enumerate() {
            let numbers: Vec<_> = rows.iter().map(|row| row.number).collect();
            let hashes: Vec<_> = rows.iter().map(|row| row.hash.as_str()).collect();
            let mut parents: Vec<_> = rows.iter().map(|row| row.parent.as_deref()).collect();
            if chunk == 0 {
                parents[0] = parents[0].or(below);
            }
            transaction.execute(&self.insert, &[&numbers, &hashes, &parents]).await?;
        }
        Ok(())
    }

    async fn moved(
        &self,
        transaction: &Transaction<'_>,
        event: &Event,
        moved: &Moved,
    ) -> Result<(), Error> {
        let tip = Tip { block: moved.block.clone(), checkpoint: moved.checkpoint.clone() };
        self.tip(transaction, event, moved.tier, &tip).await
    }

    async fn tips(
        &self,
        transaction: &Transaction<'_>,
        event: &Event,
        tips: &Tips,
    ) -> Result<(), Error> {
        transaction.execute(&self.no_tips, &[]).await?;
        for tier in Tier::ALL {
            if let Some(tip) = tips.get(tier) {
                self.tip(transaction, event, tier, tip).await?;
            }
        }
        transaction.execute(&self.no_checkpoints, &[]).await?;
        Ok(())
    }

    async fn tip(
        &self,
        transaction: &Transaction<'_>,
        event: &Event,
        tier: Tier,
        tip: &Tip,
    ) -> Result<(), Error> {
        self.is_ours(transaction, &tip.block).await?;
        let rank = event.chain.ladder.iter().position(|known| *known == tier);
        let rank = rank.and_then(|rank| i16::try_from(rank).ok()).unwrap_or_default();
        let (at, digest) = (number(tip.block.height)?, hash(&tip.block.digest)?);
        let checkpoint = tip.checkpoint.as_ref();
        let checkpointed = checkpoint.map(|checkpoint| number(checkpoint.number)).transpose()?;
        let checkpoint = checkpoint.map(|checkpoint| hash(&checkpoint.digest)).transpose()?;
        transaction
            .execute(&self.tip, &[&tier.as_str(), &rank, &at, &digest, &checkpointed, &checkpoint])
            .await?;
        if checkpoint.is_some() {
            transaction
                .execute(
                    &self.checkpoint,
                    &[&at, &digest, &checkpointed, &checkpoint, &tier.as_str()],
                )
                .await?;
        }
        Ok(())
    }

    /// Refuses a block that is another one than the row of its number.
    async fn is_ours(&self, transaction: &Transaction<'_>, block: &Block) -> Result<(), Error> {
        let row = transaction.query_opt(&self.at, &[&number(block.height)?]).await?;
        match row.map(|row| row.get::<_, String>(0)) {
            Some(ours) if ours != block.digest => Err(diverged(format!(
                "block {} is {ours}, and the server says {}",
                block.height, block.digest
            ))),
            _ => Ok(()),
        }
    }
}

/// Where the tables are: the highest block, and the tiers.
pub(super) async fn stand(client: &impl GenericClient, schema: &str) -> Result<State, Error> {
    let block = |height: i64, digest: String| {
        let height = u64::try_from(height).map_err(|_| diverged("a number is negative"))?;
        Ok::<_, Error>(Block { height, digest })
    };
    let query = format!(
        "select tier, number, left(hash, 64) from {schema}.tips
         union all (select 'block', number, left(hash, 64) from {schema}.blocks order by number desc limit 1)"
    );
    let mut state = State::default();
    for row in client.query_typed(&query, &[]).await? {
        let block = block(row.get(1), row.get(2))?;
        let tip = Some(Tip { block: block.clone(), checkpoint: None });
        match row.get(0) {
            "block" => state.block = Some(block),
            "proposed" => state.tips.proposed = tip,
            "checkpointed" => state.tips.checkpointed = tip,
            "proven" => state.tips.proven = tip,
            "finalized" => state.tips.finalized = tip,
            other => return Err(diverged(format!("there is a tier {other:?}"))),
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(height: u64) -> String {
        format!("{height:064x}")
    }

    fn block(height: u64) -> Block {
        Block { height, digest: digest(height) }
    }

    fn range(from: u64, to: u64) -> Blocks {
        Blocks { from: block(from), to: block(to), count: to + 1 - from, cursor: "c".into() }
    }

    /// Numbers, and those of their parents.
    fn shape(rows: &[Row]) -> Vec<(i64, Option<u64>)> {
        let parent = |row: &Row| Some(u64::from_str_radix(row.parent.as_ref()?, 16).unwrap());
        rows.iter().map(|row| (row.number, parent(row))).collect()
    }

    #[test]
    fn rows_are_what_the_event_says_and_what_the_server_answers_between() {
        let all = |from: u64, to: u64| (from..=to).map(|at| Some(digest(at))).collect::<Vec<_>>();
        let mut missing = all(4, 8);
        missing[2] = None;
        let table = [
            (range(5, 5), Ask::Said, vec![], vec![(5, None)]),
            (range(5, 6), Ask::Said, vec![], vec![(5, None), (6, Some(5))]),
            // Of a longer range that is undone down to its first block.
            (range(5, 9), Ask::Said, vec![], vec![(5, None)]),
            (range(5, 9), Ask::Undone, vec![], vec![]),
            (
                range(5, 7),
                Ask::Through(block(7)),
                all(4, 7),
                vec![(5, Some(4)), (6, Some(5)), (7, Some(6))],
            ),
            (range(5, 9), Ask::Through(block(6)), all(4, 6), vec![(5, Some(4)), (6, Some(5))]),
            // The server does not hold block 6.
            (
                range(5, 8),
                Ask::Through(block(8)),
                missing,
                vec![(5, Some(4)), (7, None), (8, Some(7))],
            ),
            // It holds none: the event says two.
            (range(5, 8), Ask::Through(block(8)), vec![None; 5], vec![(5, None), (8, None)]),
            (
                range(0, 2),
                Ask::Through(block(2)),
                all(0, 2),
                vec![(0, None), (1, Some(0)), (2, Some(1))],
            ),
        ];
        for (range, ask, digests, wanted) in table {
            let rows = rows(&range, &ask, &digests).unwrap();
            assert_eq!(shape(&rows), wanted, "{range:?} {ask:?}");
        }
    }

    #[test]
    fn an_answer_that_contradicts_the_event_is_refused() {
        let through = Ask::Through(block(7));
        for at in [1, 3] {
            let mut digests: Vec<_> = (4..=7).map(|at| Some(digest(at))).collect();
            digests[at] = Some(digest(99));
            let refused = rows(&range(5, 7), &through, &digests).unwrap_err();
            assert!(matches!(refused, Error::Diverged(_)), "{refused}");
        }
        for wrong in ["", "zz", &"A".repeat(64), &"0".repeat(65)] {
            let mut digests: Vec<_> = (4..=7).map(|at| Some(digest(at))).collect();
            digests[2] = Some(wrong.into());
            let refused = rows(&range(5, 7), &through, &digests).unwrap_err();
            assert!(matches!(refused, Error::Unstorable(_)), "{wrong}: {refused}");
        }
        let high =
            Blocks { from: block(u64::MAX), to: block(u64::MAX), count: 1, cursor: "c".into() };
        assert!(matches!(rows(&high, &Ask::Said, &[]), Err(Error::Unstorable(_))));
    }
}

//! What several modules use: the command, and what it is put beside.

#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../../execution/tests/engine/chain.rs"]
pub(crate) mod chain;
#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../../execution/tests/engine/client.rs"]
pub(crate) mod client;
#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../../sinks/tests/real/database.rs"]
pub(crate) mod database;
pub(crate) mod indexer;
#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../../nats/tests/real/server.rs"]
pub(crate) mod nats;
pub(crate) mod node;
pub(crate) mod process;
pub(crate) mod published;
#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../../sinks/tests/real/receiver.rs"]
pub(crate) mod receiver;
#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../../sinks/tests/real/rows.rs"]
pub(crate) mod rows;
pub(crate) mod rules;
pub(crate) mod run;
pub(crate) mod scraped;
pub(crate) mod tls;
#[allow(dead_code, reason = "shared with the tests of another crate")]
#[path = "../../../../sinks/tests/real/world.rs"]
pub(crate) mod world;

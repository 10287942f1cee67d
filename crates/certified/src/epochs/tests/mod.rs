mod durable;
mod follow;
mod history;
mod multisig;
mod paths;
pub(crate) mod world;

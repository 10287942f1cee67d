mod durable;
mod follow;
mod history;
mod multisig;
mod paths;
mod pin;
pub(crate) mod world;

pub(crate) mod durable;
mod follow;
mod history;
mod multisig;
mod paths;
pub(crate) mod pin;
pub(crate) mod world;

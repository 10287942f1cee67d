mod durable;
mod follow;
mod history;
mod multisig;
mod paths;
mod world;

mod durable;
mod follow;
mod multisig;
mod paths;
mod world;

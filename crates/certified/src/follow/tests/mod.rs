mod crashes;
mod decisions;
mod driver;
#[cfg(feature = "mutants")]
mod mutants;
mod start;
mod whole;
mod world;

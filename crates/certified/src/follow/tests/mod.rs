mod crashes;
mod decisions;
mod driver;
mod start;
mod whole;
mod world;

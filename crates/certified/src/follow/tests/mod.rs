mod crashes;
mod decisions;
mod driver;
mod start;
mod world;

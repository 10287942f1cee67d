//! One short program for each way of use: see the `.rs` files beside this one.
//!
//! ```text
//! cargo run --release -p tidewatch-examples --example follower_node
//! ```

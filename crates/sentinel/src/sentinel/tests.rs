//! The sentinel, in the deterministic runtime.

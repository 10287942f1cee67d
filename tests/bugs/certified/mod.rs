//! A certified chain and the endpoint that serves it, for bugs of the push side and of verification.
//!
//! | item | purpose |
//! |---|---|
//! | [`certify`], [`ours`], [`strangers`] | certificates over the blocks of a scripted chain |
//! | [`Endpoint`] | a transport that serves such a chain, pushes frames on request, and counts requests |
//! | [`Followed`] | a source over a transport, its upstream actor, and a driver over both |

mod committee;
mod endpoint;
mod followed;

pub(crate) use committee::{certify, finalization, ours, push, strangers, view};
pub(crate) use endpoint::{Connection, Endpoint};
pub(crate) use followed::{Followed, drive, source, source_under};

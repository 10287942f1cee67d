//! How many streams there may be: in all, of one client, and how fast one client may open them.

use crate::{Config, problem::Code};
use commonware_utils::sync::Mutex;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// Clients that are remembered at once: as many as can hold a stream, and some that just left.
const CLIENTS_MAX: usize = 4_096;

/// The limits, and who uses how much of them.
#[derive(Debug)]
pub(crate) struct Gate {
    limits: Limits,
    taken: Mutex<Taken>,
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    streams: usize,
    per_client: usize,
    per_second: f64,
    burst: f64,
}

#[derive(Debug, Default)]
struct Taken {
    streams: usize,
    clients: BTreeMap<IpAddr, Client>,
    /// The next event of each stream, by the number of its slot.
    positions: BTreeMap<u64, Arc<AtomicU64>>,
    /// Slots that were given.
    given: u64,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    streams: usize,
    /// New streams that it may open at once, as of `at`.
    opens: f64,
    at: SystemTime,
}

/// A place for one stream, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    gate: Arc<Gate>,
    client: IpAddr,
    number: u64,
    position: Arc<AtomicU64>,
}

/// The position of a stream that has not begun, and of a request for a page.
const NOWHERE: u64 = u64::MAX;

impl Slot {
    /// The next event of the stream that has it.
    pub(crate) fn stands(&self, next: u64) {
        self.position.store(next, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.gate.taken.lock();
        taken.streams -= 1;
        taken.positions.remove(&self.number);
        if let Some(client) = taken.clients.get_mut(&self.client) {
            client.streams -= 1;
        }
    }
}

impl Limits {
    fn refilled(&self, client: &Client, now: SystemTime) -> f64 {
        let since = now.duration_since(client.at).unwrap_or_default().as_secs_f64();
        (client.opens + since * self.per_second).min(self.burst)
    }
}

impl Gate {
    pub(crate) fn new(config: &Config) -> Arc<Self> {
        let limits = Limits {
            streams: config.streams_max.get(),
            per_client: config.streams_per_client_max.get(),
            per_second: config.opens_per_second.get() as f64,
            burst: config.opens_burst.get() as f64,
        };
        Arc::new(Self { limits, taken: Mutex::default() })
    }

    /// How many streams there are.
    pub(crate) fn streams(&self) -> usize {
        self.taken.lock().streams
    }

    /// The next event of each stream.
    pub(crate) fn positions(&self) -> Vec<u64> {
        let taken = self.taken.lock();
        let positions = taken.positions.values().map(|position| position.load(Ordering::Relaxed));
        positions.filter(|position| *position != NOWHERE).collect()
    }

    /// A place for a stream of `address`, or why there is none.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr, now: SystemTime) -> Result<Slot, Code> {
        let (address, limits) = (client(address), self.limits);
        let mut taken = self.taken.lock();
        if taken.streams >= limits.streams {
            return Err(Code::Full);
        }
        if taken.clients.len() >= CLIENTS_MAX {
            taken.clients.retain(|_, client| {
                client.streams > 0 || limits.refilled(client, now) < limits.burst
            });
        }
        let new = Client { streams: 0, opens: limits.burst, at: now };
        if taken.clients.len() >= CLIENTS_MAX && !taken.clients.contains_key(&address) {
            return Err(Code::Full);
        }
        let client = taken.clients.entry(address).or_insert(new);
        (client.opens, client.at) = (limits.refilled(client, now), now);
        if client.streams >= limits.per_client || client.opens < 1.0 {
            return Err(Code::TooMany);
        }
        client.opens -= 1.0;
        client.streams += 1;
        taken.streams += 1;
        taken.given += 1;
        let (number, position) = (taken.given, Arc::new(AtomicU64::new(NOWHERE)));
        taken.positions.insert(number, position.clone());
        drop(taken);
        Ok(Slot { gate: self.clone(), client: address, number, position })
    }
}

/// One client: an address, or the network of an IPv6 host.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_utils::NZUsize;
    use std::time::Duration;

    #[test]
    fn a_client_has_its_share_and_gives_it_back() {
        let config = Config {
            streams_max: NZUsize!(3),
            streams_per_client_max: NZUsize!(2),
            opens_per_second: NZUsize!(1),
            opens_burst: NZUsize!(3),
            ..Config::default()
        };
        let gate = Gate::new(&config);
        let now = SystemTime::UNIX_EPOCH;
        let [one, two]: [IpAddr; 2] = ["10.0.0.1", "::ffff:10.0.0.2"].map(|a| a.parse().unwrap());
        let first = gate.enter(one, now).unwrap();
        let second = gate.enter(one, now).unwrap();
        assert_eq!(gate.enter(one, now).unwrap_err(), Code::TooMany);
        let other = gate.enter(two, now).unwrap();
        assert_eq!(gate.enter(two, now).unwrap_err(), Code::Full);
        drop(first);
        let third = gate.enter(one, now).unwrap();
        third.stands(7);
        assert_eq!(gate.positions(), [7], "of the others nobody knows");
        drop((second, third));
        assert_eq!(gate.enter(one, now).unwrap_err(), Code::TooMany, "three were opened at once");
        drop(gate.enter(one, now + Duration::from_secs(1)).unwrap());
        drop(other);
        assert_eq!(gate.streams(), 0);
    }
}

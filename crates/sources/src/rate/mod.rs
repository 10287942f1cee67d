//! How often an endpoint may be asked: what its address says of that, and the budget that keeps to it.
//!
//! Every source that makes requests takes `?rate=` in its addresses by this code. Which rate is the usual one
//! is for the source.

mod budget;

use budget::Budget;
use commonware_runtime::Clock;
use commonware_utils::sync::Mutex;
use futures::future::BoxFuture;
use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc};
use url::{Host, Url};

/// How many requests a second an endpoint may be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rate {
    /// As its source says.
    #[default]
    Usual,
    /// As many as this.
    PerSecond(NonZeroU32),
    /// As many as there are.
    Unlimited,
}

/// What the parameter `rate` may be.
pub(crate) const EXPECTED: &str = "rate=N, requests a second, or rate=none";

/// The parameter `rate` is none of these, or comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongRate;

/// A parameter that may come once comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Twice;

impl Rate {
    /// What an address says, and what is without the parameter: no limit on this machine, the usual one
    /// elsewhere. The parameter is taken out of the query.
    pub(crate) fn take(url: &mut Url) -> Result<Self, WrongRate> {
        match take(url, "rate").map_err(|Twice| WrongRate)?.as_deref() {
            None if is_loopback(url) => Ok(Self::Unlimited),
            None => Ok(Self::Usual),
            Some("none") => Ok(Self::Unlimited),
            Some(number) => number.parse().map(Self::PerSecond).map_err(|_| WrongRate),
        }
    }

    /// Requests a second, and how many may be made at once after a pause; `usual` is both of the usual rate.
    /// None where there is no limit.
    #[must_use]
    pub(crate) fn limit(self, usual: Option<(NonZeroU32, NonZeroU32)>) -> Option<Limit> {
        let limit = |(per_second, burst)| Limit { per_second, burst };
        match self {
            Self::Usual => usual.map(limit),
            Self::PerSecond(rate) => Some(limit((rate, rate.saturating_add(rate.get())))),
            Self::Unlimited => None,
        }
    }
}

/// A limit on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) per_second: NonZeroU32,
    /// How many may be made at once after a pause.
    pub(crate) burst: NonZeroU32,
}

/// Takes the value of the parameter `name` out of the query of `url`; what else is there stays.
pub(crate) fn take(url: &mut Url, name: &str) -> Result<Option<String>, Twice> {
    let pairs: Vec<_> = url.query_pairs().into_owned().collect();
    let (ours, theirs): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|(key, _)| key == name);
    if ours.is_empty() {
        return Ok(None); // Whatever else the query holds stays as it was written.
    }
    let [(_, value)] = &ours[..] else { return Err(Twice) };
    url.set_query(None);
    if !theirs.is_empty() {
        url.query_pairs_mut().extend_pairs(theirs);
    }
    Ok(Some(value.clone()))
}

/// Whether a URL leads to this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).to_canonical().is_loopback(),
        None => false,
    }
}

/// Waits until the budget allows one more request, and counts it.
pub type Toll = Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// What is awaited before each request to one endpoint.
pub(crate) struct Meter<E> {
    clock: Arc<E>,
    /// None where requests are not limited.
    budget: Option<Mutex<Budget>>,
}

impl<E> fmt::Debug for Meter<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("budget", &self.budget).finish_non_exhaustive()
    }
}

impl<E: Clock> Meter<E> {
    pub(crate) fn new(clock: Arc<E>, limit: Option<Limit>) -> Self {
        let budget = limit.map(|Limit { per_second, burst }| {
            Mutex::new(Budget::new(per_second.get(), burst.get(), clock.current()))
        });
        Self { clock, budget }
    }

    /// Waits until the budget has one more request.
    pub(crate) async fn pay(&self) {
        let Some(budget) = &self.budget else { return };
        loop {
            let taken = budget.lock().take(self.clock.current());
            let Err(wait) = taken else { return };
            self.clock.sleep(wait).await;
        }
    }

    /// The same for whoever has no clock.
    #[cfg_attr(not(feature = "alto"), allow(dead_code, reason = "others have one"))]
    pub(crate) fn toll(self: Arc<Self>) -> Toll {
        Arc::new(move || {
            let meter = self.clone();
            Box::pin(async move { meter.pay().await })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};
    use std::time::Duration;

    #[test]
    fn requests_beyond_the_rate_of_an_address_wait() {
        deterministic::Runner::default().start(|context| async move {
            let clock = Arc::new(context);
            let mut url = Url::parse("http://127.0.0.1:1?rate=2").unwrap();
            let limit = Rate::take(&mut url).unwrap().limit(None);
            let meter = Arc::new(Meter::new(clock.clone(), limit));
            let start = clock.current();
            for want in [0, 0, 0, 0, 500, 1_000] {
                meter.clone().toll()().await;
                let passed = clock.current().duration_since(start).unwrap();
                assert_eq!(passed, Duration::from_millis(want));
            }
            let free = Meter::new(clock.clone(), Rate::Usual.limit(None));
            let before = clock.current();
            futures::future::join_all((0..1_000).map(|_| free.pay())).await;
            assert_eq!(clock.current(), before, "no limit");
        });
    }
}

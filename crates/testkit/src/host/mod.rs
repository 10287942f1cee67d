//! An unreliable machine: its clock jumps, its disk is slow, fails, or crashes the process in the middle
//! of a write, and its scheduler starves tasks.
//!
//! # Overview
//!
//! [`Host`] wraps a runtime context and injects faults, so that unmodified production code can run on
//! it. A test controls the faults through [`Trouble`], which all contexts of one host share.
//!
//! | fault | effect |
//! |---|---|
//! | [`Trouble::jump`] | the wall clock jumps forward or back; the duration of sleeps does not change |
//! | [`Trouble::starve`] | a runnable task is not polled for a while |
//! | [`Trouble::slow_disk`] | disk mutations are delayed |
//! | [`Trouble::hang_disk_after`] | after the given number of disk mutations, one takes long |
//! | [`Trouble::fail_disk_after`] | after the given number of disk mutations, every further one fails |
//! | [`Trouble::keep_files`] | removals fail |
//! | [`Trouble::give_way`] | every access lets other tasks run before it is made, and reads after it too |
//! | [`Trouble::sync_late`] | a sync that was started comes to the disk when somebody waits for it |
//! | [`Trouble::stall_syncs`] | no sync comes back |
//! | [`Trouble::forget_syncs`] | the disk says that it synced, and did not |
//! | [`Trouble::crash_after`] | after the given number of disk mutations, the next one never completes: see [`Trouble::crashed`] |
//!
//! The inner runtime decides how much of the unsynced writes survives a crash: see [`crash`].

pub mod crash;
mod disk;
mod tasks;

pub use disk::DiskBlob;

use commonware_runtime::{
    BlobVersion, BufferPool, BufferPooler, Clock, Error, Handle, Metrics, Name, Spawner, Storage,
    Supervisor,
    signal::Signal,
    telemetry::metrics::{Metric, Registered, Registration},
};
use commonware_utils::sync::Mutex;
use futures::{
    FutureExt as _,
    channel::oneshot,
    future::{BoxFuture, Shared, pending},
};
use rand::{RngExt as _, SeedableRng as _, TryCryptoRng, TryRng, rngs::StdRng};
use std::{
    fmt,
    future::Future,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Probability and maximum duration of a random fault.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Odds {
    /// Probability of the fault at each opportunity.
    pub rate: f64,
    /// Maximum duration of the fault.
    pub longest: Duration,
}

/// What was done to the disk of a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Reads.
    pub reads: u64,
    /// The bytes that they asked for.
    pub read_bytes: u64,
    /// All mutations: opens, writes, resizes, syncs, removals.
    pub changes: u64,
    /// Barriers: syncs and synchronous writes.
    pub syncs: u64,
}

struct State {
    rng: StdRng,
    /// Offset of the wall clock, in milliseconds.
    skew: i64,
    starve: Odds,
    slow_disk: Odds,
    fail_after: Option<u64>,
    crash_after: Option<u64>,
    hang_after: Option<(u64, Duration)>,
    keeps_files: bool,
    /// How long each access gives way to other tasks is drawn from this.
    gives_way: Option<StdRng>,
    syncs_late: bool,
    stalls_syncs: bool,
    forgets_syncs: bool,
    hides_metrics: bool,
    crash: Option<oneshot::Sender<()>>,
    done: Done,
    running: usize,
}

/// Controls the faults of a [`Host`]. Cheap to clone; clones control the same host.
#[derive(Clone)]
pub struct Trouble {
    state: Arc<Mutex<State>>,
    crashed: Shared<BoxFuture<'static, ()>>,
}

impl fmt::Debug for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        f.debug_struct("Trouble")
            .field("skew_ms", &state.skew)
            .field("starve", &state.starve)
            .field("slow_disk", &state.slow_disk)
            .field("done", &state.done)
            .finish_non_exhaustive()
    }
}

/// Outcome of a disk mutation.
enum Change {
    Goes(Option<Duration>),
    Fails,
    Crashes,
}

impl Trouble {
    fn new(seed: u64) -> Self {
        let (crash, crashed) = oneshot::channel();
        let state = State {
            rng: StdRng::seed_from_u64(seed),
            skew: 0,
            starve: Odds::default(),
            slow_disk: Odds::default(),
            fail_after: None,
            crash_after: None,
            hang_after: None,
            keeps_files: false,
            gives_way: None,
            syncs_late: false,
            stalls_syncs: false,
            forgets_syncs: false,
            hides_metrics: false,
            crash: Some(crash),
            done: Done::default(),
            running: 0,
        };
        Self { state: Arc::new(Mutex::new(state)), crashed: crashed.map(drop).boxed().shared() }
    }

    /// Stops all faults. The clock keeps its offset.
    pub fn end(&self) {
        let mut state = self.state.lock();
        (state.starve, state.slow_disk) = (Odds::default(), Odds::default());
        (state.fail_after, state.crash_after, state.hang_after) = (None, None, None);
    }

    /// Moves the wall clock by `by_ms` milliseconds.
    pub fn jump(&self, by_ms: i64) {
        self.state.lock().skew += by_ms;
    }

    /// Starves tasks at random.
    pub fn starve(&self, odds: Odds) {
        self.state.lock().starve = odds;
    }

    /// Delays disk mutations at random.
    pub fn slow_disk(&self, odds: Odds) {
        self.state.lock().slow_disk = odds;
    }

    /// Fails every disk mutation after the next `changes`.
    pub fn fail_disk_after(&self, changes: u64) {
        self.state.lock().fail_after = Some(changes);
    }

    /// Delays one disk mutation, after the next `changes`, by `wait`.
    pub fn hang_disk_after(&self, changes: u64, wait: Duration) {
        self.state.lock().hang_after = Some((changes, wait));
    }

    /// Removals fail from now on, or no longer do.
    pub fn keep_files(&self, keeps: bool) {
        self.state.lock().keeps_files = keeps;
    }

    /// Every access gives way to other tasks, for a while that is drawn from `seed`.
    pub fn give_way(&self, seed: u64) {
        self.state.lock().gives_way = Some(StdRng::seed_from_u64(seed));
    }

    /// A sync that was started comes to the disk as late as it may: when somebody waits for it. What nobody waits for is
    /// not there after a crash.
    pub fn sync_late(&self) {
        self.state.lock().syncs_late = true;
    }

    /// No sync comes back from now on, nor does a write that is one.
    pub fn stall_syncs(&self) {
        self.state.lock().stalls_syncs = true;
    }

    /// Metrics are not exposed from now on: where nobody reads them, to register them is most of what it takes to open
    /// a small store.
    pub fn hide_metrics(&self) {
        self.state.lock().hides_metrics = true;
    }

    /// From now on the disk says of every sync that it is done, and does nothing: what a follower relies on is broken.
    pub fn forget_syncs(&self) {
        self.state.lock().forgets_syncs = true;
    }

    /// Hangs the disk mutation after the next `changes`: it never completes.
    pub fn crash_after(&self, changes: u64) {
        self.state.lock().crash_after = Some(changes);
    }

    /// Resolves when a disk mutation hangs. The owner of the simulated process must then end it.
    pub async fn crashed(&self) {
        self.crashed.clone().await;
    }

    /// What was done to the disk so far.
    pub fn done(&self) -> Done {
        self.state.lock().done
    }

    /// What was done to the disk since the last look.
    pub fn take(&self) -> Done {
        std::mem::take(&mut self.state.lock().done)
    }

    /// Number of tasks running on this host.
    pub fn running(&self) -> usize {
        self.state.lock().running
    }

    fn skewed(&self, now: SystemTime) -> SystemTime {
        let skew = self.state.lock().skew;
        let by = Duration::from_millis(skew.unsigned_abs());
        let moved = if skew < 0 { now.checked_sub(by) } else { now.checked_add(by) };
        moved.unwrap_or(now)
    }

    fn syncs(&self) -> bool {
        !self.state.lock().forgets_syncs
    }

    fn syncs_when_waited_for(&self) -> bool {
        let state = self.state.lock();
        state.syncs_late || state.stalls_syncs
    }

    /// Waits for its turn; for ever with a sync where they are stalled.
    async fn turn(&self, sync: bool) {
        let draw = |rng: &mut StdRng| rng.random_range(0..4);
        let turns = self.state.lock().gives_way.as_mut().map_or(0, draw);
        for _ in 0..turns {
            commonware_runtime::reschedule().await;
        }
        if sync && self.state.lock().stalls_syncs {
            pending::<()>().await;
        }
    }

    fn read(&self, bytes: usize) {
        let done = &mut self.state.lock().done;
        done.reads += 1;
        done.read_bytes += bytes as u64;
    }

    fn nap(&self) -> Option<Duration> {
        let state = &mut *self.state.lock();
        roll(&mut state.rng, state.starve)
    }

    fn change(&self, sync: bool) -> Change {
        let state = &mut *self.state.lock();
        if let Some(left) = &mut state.crash_after {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => {
                    state.crash.take();
                    return Change::Crashes;
                }
            }
        }
        if let Some(left) = &mut state.fail_after {
            match left.checked_sub(1) {
                Some(less) => *left = less,
                None => return Change::Fails,
            }
        }
        state.done.changes += 1;
        state.done.syncs += u64::from(sync);
        if let Some((left, wait)) = state.hang_after {
            state.hang_after = left.checked_sub(1).map(|less| (less, wait));
            if left == 0 {
                return Change::Goes(Some(wait));
            }
        }
        Change::Goes(roll(&mut state.rng, state.slow_disk))
    }
}

fn roll(rng: &mut StdRng, odds: Odds) -> Option<Duration> {
    let longest = u64::try_from(odds.longest.as_millis()).unwrap_or(u64::MAX);
    (odds.rate > 0.0 && rng.random_bool(odds.rate.min(1.0)))
        .then(|| Duration::from_millis(rng.random_range(0..=longest)))
}

/// A runtime context that injects faults. See the [module](self).
#[derive(Debug)]
pub struct Host<E> {
    inner: E,
    trouble: Trouble,
}

impl<E> Host<E> {
    /// Wraps `inner`, without any fault at first. Random faults are drawn from `seed`.
    pub fn new(inner: E, seed: u64) -> (Self, Trouble) {
        let trouble = Trouble::new(seed);
        (Self { inner, trouble: trouble.clone() }, trouble)
    }

    /// The same, with a disk that syncs as late as it may: see [`Trouble::sync_late`].
    pub fn late(inner: E, seed: u64) -> (Self, Trouble) {
        let (host, trouble) = Self::new(inner, seed);
        trouble.sync_late();
        (host, trouble)
    }
}

impl<E: Supervisor> Supervisor for Host<E> {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), trouble: self.trouble.clone() }
    }

    fn with_attribute(self, key: &'static str, value: impl fmt::Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), trouble: self.trouble }
    }
}

impl<E: Clock> Clock for Host<E> {
    fn current(&self) -> SystemTime {
        self.trouble.skewed(self.inner.current())
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static {
        self.inner.sleep(duration)
    }

    /// Sleeps for the time left when it is called, as operating system timers do: a later clock jump
    /// does not change the duration.
    fn sleep_until(&self, deadline: SystemTime) -> impl Future<Output = ()> + Send + 'static {
        let left = deadline.duration_since(self.current()).unwrap_or(Duration::ZERO);
        self.inner.sleep(left)
    }
}

impl<E: Clock> governor::clock::Clock for Host<E> {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl<E: Clock> governor::clock::ReasonablyRealtime for Host<E> {}

impl<E: Metrics> Metrics for Host<E> {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(
        &self,
        name: N,
        help: H,
        metric: M,
    ) -> Registered<M> {
        if self.trouble.state.lock().hides_metrics {
            return Registered::with_registration(metric, Registration::from(()));
        }
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl<E: BufferPooler> BufferPooler for Host<E> {
    fn network_buffer_pool(&self) -> &BufferPool {
        self.inner.network_buffer_pool()
    }

    fn storage_buffer_pool(&self) -> &BufferPool {
        self.inner.storage_buffer_pool()
    }
}

impl<E: TryRng> TryRng for Host<E> {
    type Error = E::Error;

    fn try_next_u32(&mut self) -> Result<u32, E::Error> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, E::Error> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), E::Error> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl<E: TryCryptoRng> TryCryptoRng for Host<E> {}

impl<E: Spawner + Clock> Spawner for Host<E> {
    fn shared(self, blocking: bool) -> Self {
        Self { inner: self.inner.shared(blocking), trouble: self.trouble }
    }

    fn dedicated(self) -> Self {
        Self { inner: self.inner.dedicated(), trouble: self.trouble }
    }

    fn spawn<F, Fut, T>(self, task: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let trouble = self.trouble;
        self.inner.spawn(move |inner| {
            let clock = inner.child("scheduler");
            let task = task(Self { inner, trouble: trouble.clone() });
            tasks::Starving::new(clock, trouble, task)
        })
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.inner.stopped()
    }
}

impl<E: Storage + Clock + Supervisor> Storage for Host<E> {
    type Blob = DiskBlob<E>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        let clock = Arc::new(self.inner.child("disk"));
        disk::change(&*clock, &self.trouble, false).await?;
        let (inner, len, version) = self.inner.open_versioned(partition, name, versions).await?;
        Ok((DiskBlob::new(inner, clock, self.trouble.clone()), len, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        disk::change(&self.inner, &self.trouble, false).await?;
        if self.trouble.state.lock().keeps_files {
            return Err(Error::WriteFailed);
        }
        self.inner.remove(partition, name).await
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.scan(partition).await
    }
}

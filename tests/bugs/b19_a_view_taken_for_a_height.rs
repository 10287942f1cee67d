//! B19. Certificates were stored by view and blocks by height, both as plain numbers. Where views had
//! been skipped, one was looked up by the other.
//!
//! Here heights, views and epochs are three types without implicit conversions: the constants below do
//! not compile if one ever converts. An endpoint that mixes the two up itself is detected by the height
//! in the block.

use crate::{
    certified::{Connection, Endpoint, Followed, source, view},
    support::{secs, simulate},
};
use bytes::Bytes;
use commonware_consensus::types::{Epoch, View};
use commonware_runtime::Clock as _;
use tidewatch_certified::{Key, Transport};
use tidewatch_core::{Fault, Height, Source as _};
use tidewatch_stream::driver;
use tidewatch_testkit::chain::Chain;

/// Compiles only if `$from` is neither equal nor convertible to `$into`: otherwise two of the
/// implementations below apply, and the choice is ambiguous.
macro_rules! never_becomes {
    ($from:ty, $into:ty) => {
        const _: fn() = || {
            trait Ambiguous<A> {
                fn one_only() {}
            }
            struct Becomes;
            impl<T> Ambiguous<()> for T {}
            impl<T: Into<$into>> Ambiguous<Becomes> for T {}
            let _ = <$from as Ambiguous<_>>::one_only;
        };
    };
}

never_becomes!(View, Height);
never_becomes!(Height, View);
never_becomes!(Epoch, Height);
never_becomes!(Height, Epoch);
never_becomes!(u64, Height);
never_becomes!(Height, u64);

/// Requests take heights, and no other number.
#[test]
fn what_is_asked_for_by_height_takes_a_height() {
    let by_height: fn(Height) -> Key = Key::Height;
    assert_eq!(by_height(Height::new(30)), Key::Height(Height::new(30)));
    assert_eq!(view(18), View::new(37), "in these tests the two never agree");
}

/// An endpoint that takes a height for a view: for 37 it returns the block certified in view 37, which
/// is at height 18.
struct ByView(Endpoint);

impl Transport for ByView {
    type Feed = Connection;

    fn name(&self) -> &str {
        self.0.name()
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        match key {
            Key::Height(height) => {
                let meant = (0..=height.get()).find(|at| view(*at).get() >= height.get());
                let meant = Height::new(meant.unwrap_or_default().max(1));
                self.0.fetch(Key::Height(meant)).await
            }
            key => self.0.fetch(key).await,
        }
    }

    async fn listen(&self) -> Result<Connection, Fault> {
        self.0.listen().await
    }
}

#[test]
fn a_block_that_was_sent_for_its_view_is_refused_and_asked_for_by_its_digest() {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        let endpoint = ByView(Endpoint::new(&context, &chain, 40));
        let (source, _, refused) = source(&context, endpoint, Default::default());
        source.snapshot().await.unwrap();
        let blocks = source.blocks(chain.at(40), Height::new(1)).await.unwrap();
        assert_eq!(blocks, chain.range(1, 40));
        assert!(source.work().refusals["wrong_position"] > 30, "{:?}", refused.kinds());
    });
}

#[test]
fn heights_come_without_a_gap_although_views_do_not() {
    simulate(|context| async move {
        let chain = Chain::new('a', 40);
        let endpoint = Endpoint::new(&context, &chain, 30);
        let followed = Followed::start(&context, endpoint.clone(), driver::Config::default()).await;
        context.sleep(secs(5)).await;
        endpoint.stand(&chain, 37);
        context.sleep(secs(15)).await;
        let words = followed.view.words();
        let events = [
            "blocks 1a-30a",
            "proposed 30a",
            "finalized 30a",
            "blocks 31a-37a",
            "proposed 37a",
            "finalized 37a",
        ];
        assert_eq!(words, events);
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}

//! B18. A provider returned a body that did not match the requested digest. The same request was
//! repeated hundreds of times.
//!
//! Here a response to a request by digest is hashed first. The first wrong response is rejected and
//! counted as invalid, and another endpoint is tried if there is one; if there is none, the pass ends.
//! The cost of a range is bounded, and failed passes back off.

use crate::{
    certified::{Connection, Endpoint, Followed, certify, source, strangers},
    support::{secs, simulate},
};
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::types::Epoch;
use commonware_runtime::Clock as _;
use tidewatch_certified::{CertificateKind, Failover, Key, Transport};
use tidewatch_core::{Block as _, Fault, Height, Severity, Source as _};
use tidewatch_stream::driver;
use tidewatch_testkit::chain::Chain;

const TIP: u64 = 30;

/// An endpoint with true tips that may respond to other requests with a block of another chain.
struct Mixed {
    endpoint: Endpoint,
    /// The chain of its wrong responses.
    other: Option<Chain>,
}

impl Transport for Mixed {
    type Feed = Connection;

    fn name(&self) -> &str {
        self.endpoint.name()
    }

    async fn fetch(&self, key: Key) -> Result<Option<Bytes>, Fault> {
        let answer = self.endpoint.fetch(key).await?;
        let Some(other) = &self.other else { return Ok(answer) };
        Ok(match key {
            Key::Height(height) => {
                let block = &other.blocks()[height.get() as usize];
                Some(certify(strangers(), CertificateKind::Finalized, Epoch::zero(), block))
            }
            Key::Digest(_) => Some(other.blocks()[7].encode()),
            _ => answer,
        })
    }

    async fn listen(&self) -> Result<Connection, Fault> {
        self.endpoint.listen().await
    }
}

#[test]
fn a_wrong_body_is_refused_at_its_first_look_and_its_question_ends() {
    simulate(|context| async move {
        let chain = Chain::new('a', TIP);
        let endpoint = Endpoint::new(&context, &chain, TIP);
        let liar = Mixed { endpoint: endpoint.clone(), other: Some(chain.fork(1, 'x', TIP)) };
        let (source, _, _) = source(&context, liar, Default::default());
        source.snapshot().await.unwrap();
        let before = endpoint.fetched().len();
        let fault = source.blocks(chain.at(TIP), Height::new(1)).await.unwrap_err();
        assert_eq!(fault.severity(), Severity::Invalid, "{fault}");
        let asked = endpoint.fetched().split_off(before);
        let most = asked.iter().filter(|key| matches!(key, Key::Digest(_))).fold(
            std::collections::BTreeMap::<_, u32>::new(),
            |mut asked, key| {
                *asked.entry(key.to_string()).or_default() += 1;
                asked
            },
        );
        assert!(most.values().all(|asked| *asked <= 2), "{most:?}");
        assert!(asked.len() as u64 <= 2 * TIP, "{} requests for {TIP} blocks", asked.len());
        assert!(source.work().refusals["wrong_digest"] > 0, "{:?}", source.work());
    });
}

#[test]
fn another_endpoint_is_asked_and_everything_arrives() {
    simulate(|context| async move {
        let chain = Chain::new('a', TIP);
        let other = Some(chain.fork(1, 'x', TIP));
        let first = Endpoint::named(&context, "liar", &chain, TIP);
        let second = Endpoint::named(&context, "honest", &chain, TIP);
        let both = Failover::new(
            Mixed { endpoint: first, other },
            vec![Mixed { endpoint: second, other: None }],
        );
        let followed = Followed::start(&context, both, driver::Config::default()).await;
        context.sleep(secs(10)).await;
        assert_eq!(followed.delivered(), Some(TIP));
        assert!(followed.view.events().iter().all(|event| !event.to_string().contains("pruned")));
        let work = followed.source.work();
        assert!(work.refusals.values().sum::<u64>() > 0, "{work:?}");
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}

#[test]
fn a_liar_that_is_alone_is_asked_less_and_less_and_nothing_of_it_is_taken_in() {
    simulate(|context| async move {
        let chain = Chain::new('a', TIP);
        let endpoint = Endpoint::new(&context, &chain, TIP);
        let liar = Mixed { endpoint: endpoint.clone(), other: Some(chain.fork(1, 'x', TIP)) };
        let followed = Followed::start(&context, liar, driver::Config::default()).await;
        context.sleep(secs(60)).await;
        let asked = endpoint.fetched().len() as u64;
        assert!(asked <= 12 * 2 * TIP, "{asked} requests in the first minute");
        context.sleep(secs(600)).await;
        let more = endpoint.fetched().len() as u64 - asked;
        assert!(more <= 45 * 2 * TIP, "{more} requests in ten minutes, at 30 s a pass");
        let given = followed.view.stands().delivered;
        assert!(given.is_none_or(|given| chain.has(given)), "{given:?}");
        assert!(chain.blocks().iter().all(|block| block.reference().height.get() <= TIP));
        followed.mailbox.stop();
        followed.driver.await.unwrap().unwrap();
        followed.upstream.abort();
    });
}

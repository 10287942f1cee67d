//! The reporter beside an engine's own, in the deterministic runtime: four real engines, of which one is replaced by a
//! validator that signs twice.

use super::{Config, Electorate, Listener, Reporter, Rounds, Term};
use crate::{Contradiction, Observation, Seen, Slot, ValidatorId, evidence};
use commonware_codec::Encode as _;
use commonware_consensus::{
    Reporters,
    simplex::{
        Engine, Floor, ForwardPolicy, SkipBudget, SkipPolicy, config,
        elector::RoundRobin,
        mocks::{application, conflicter, relay, reporter},
        scheme::ed25519,
    },
    types::{Epoch, ViewDelta},
};
use commonware_cryptography::{Sha256, certificate::mocks::Fixture, sha256::Digest};
use commonware_p2p::simulated::{Config as NetworkConfig, Link, Network};
use commonware_parallel::Sequential;
use commonware_runtime::{
    Clock as _, Quota, Runner as _, Supervisor as _, buffer::paged::CacheRef, deterministic,
};
use commonware_utils::{NZU16, NZU32, NZU64, NZUsize, ordered::Set, probability};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};
use tidewatch_core::Running;

const NAMESPACE: &[u8] = b"consensus";
const EPOCH: Epoch = Epoch::new(333);
const QUOTA: Quota = Quota::per_second(NZU32!(u32::MAX));

type Slots = Arc<Mutex<BTreeMap<Slot, Seen>>>;

/// Runs four validators for some time, the first of them one that signs twice, and hears by the reporter of the second
/// one. Returns the ids of all, what was handed in, and up to where it was decided.
fn run(seed: u64) -> (Vec<ValidatorId>, Slots, Option<Slot>, String) {
    let config = deterministic::Config::new().with_seed(seed);
    let runner = deterministic::Runner::new(config.with_timeout(Some(Duration::from_secs(120))));
    runner.start(|mut context| async move {
        let Fixture { participants, schemes, .. } = ed25519::fixture(&mut context, NAMESPACE, 4);
        let (network, oracle) = Network::new_with_peers(
            context.child("network"),
            NetworkConfig {
                max_size: 1024 * 1024,
                max_peers_per_set: NZUsize!(4),
                // So that the one who signs twice goes on to.
                disconnect_on_block: false,
                tracked_peer_sets: NZUsize!(1),
            },
            participants.clone(),
        )
        .await;
        network.start();
        let mut channels = Vec::new();
        for validator in &participants {
            let control = oracle.control(validator.clone());
            channels.push([
                control.register(0, QUOTA).await.unwrap(),
                control.register(1, QUOTA).await.unwrap(),
                control.register(2, QUOTA).await.unwrap(),
            ]);
        }
        for from in &participants {
            for to in participants.iter().filter(|to| *to != from) {
                let link = Link {
                    latency: Duration::from_millis(10),
                    jitter: Duration::from_millis(1),
                    success_rate: probability!(1.0),
                };
                oracle.add_link(from.clone(), to.clone(), link).await.unwrap();
            }
        }

        let members: Set<_> = Set::from_iter_dedup(participants.iter().cloned());
        let electorate = Electorate::new(Rounds::Fixed { epoch: EPOCH, length: NZU64!(16) });
        let committee = evidence::Committee::ed25519(NAMESPACE, members.clone()).unwrap();
        let leaders = Term::round_robin::<ed25519::Scheme>(RoundRobin::default(), &members);
        electorate.begin(EPOCH, Term::new(Arc::new(schemes[1].clone()), committee, leaders));
        let slots = Slots::default();
        let handed = slots.clone();
        let hand_in = Box::new(move |observation: Observation| {
            handed.lock().unwrap().entry(observation.slot()).or_default().add(observation);
        });
        let (listener, ours, heard) = Listener::<_, ed25519::Scheme>::new(
            context.child("listener"),
            Config::default(),
            electorate,
            hand_in,
        );
        let listener = Running::start(listener);

        let relay = Arc::new(relay::Relay::<Digest, _>::new());
        for (at, [votes, certificates, resolver]) in channels.into_iter().enumerate() {
            let (validator, scheme) = (&participants[at], schemes[at].clone());
            let context = context.child("validator").with_attribute("index", at);
            if at == 0 {
                let config = conflicter::Config { scheme };
                let twice: conflicter::Conflicter<_, _, Sha256> =
                    conflicter::Conflicter::new(context.child("twice"), config);
                twice.start(votes);
                continue;
            }
            let own = reporter::Config {
                participants: members.clone(),
                scheme: scheme.clone(),
                elector: RoundRobin::<Sha256>::default(),
            };
            let own = reporter::Reporter::new(context.child("reporter"), own);
            let config = application::Config::<Sha256, _> {
                relay: relay.clone(),
                me: validator.clone(),
                propose_latency: (10.0, 5.0),
                verify_latency: (10.0, 5.0),
                certify_latency: (10.0, 5.0),
                should_certify: application::Certifier::Always,
            };
            let (actor, application) =
                application::Application::new(context.child("application"), config);
            actor.start();
            let config = config::Config {
                scheme,
                elector: RoundRobin::<Sha256>::default(),
                blocker: oracle.control(validator.clone()),
                automaton: application.clone(),
                relay: application,
                // Ours is beside the validator's own.
                reporter: Reporters::<_, _, Reporter<ed25519::Scheme>>::from((
                    own,
                    (at == 1).then(|| ours.clone()),
                )),
                strategy: Sequential,
                partition: validator.to_string(),
                mailbox_size: NZUsize!(1024),
                epoch: EPOCH,
                floor: Floor::Genesis(application::genesis::<Sha256>(EPOCH)),
                leader_timeout: Duration::from_secs(1),
                certification_timeout: Duration::from_secs(2),
                timeout_retry: Duration::from_secs(10),
                fetch_timeout: Duration::from_secs(1),
                view_retention: ViewDelta::new(10),
                skip: SkipPolicy::Enabled {
                    timeout: Duration::from_secs(11),
                    budget: SkipBudget::Participants,
                },
                replay_buffer: NZUsize!(1024 * 1024),
                write_buffer: NZUsize!(1024 * 1024),
                page_cache: CacheRef::from_pooler(&context, NZU16!(1024), NZUsize!(10)),
                forward: ForwardPolicy::Disabled,
                track_historical_votes: true,
            };
            Engine::new(context.child("engine"), config).start(votes, certificates, resolver);
        }
        context.sleep(Duration::from_secs(60)).await;
        listener.stop();
        listener.await.unwrap();
        let ids = participants.iter().map(|key| ValidatorId::new(key.encode()).unwrap());
        (ids.collect(), slots, heard.current(), context.auditor().state())
    })
}

#[test]
fn beside_an_engines_own_reporter_the_one_who_signs_twice_is_seen_to_and_nobody_else() {
    for seed in 0..4 {
        let (ids, slots, heard, _) = run(seed);
        let slots = slots.lock().unwrap();
        let heard = heard.unwrap();
        assert!(heard > Slot(16), "seed {seed}: heard up to {heard}");
        let who = |is: &dyn Fn(&crate::Sent) -> bool| -> BTreeSet<usize> {
            let any = |id| slots.values().any(|seen| seen.of(id).is_some_and(is));
            (0..ids.len()).filter(|at| any(&ids[*at])).collect()
        };
        assert_eq!(who(&|_| true), BTreeSet::from([0, 1, 2, 3]), "seed {seed}");
        let twice = |sent: &crate::Sent| !sent.contradicted().is_empty();
        assert_eq!(who(&twice), BTreeSet::from([0]), "seed {seed}");
        let kinds = |sent: &crate::Sent| sent.contradicted().contains(&Contradiction::Attestations);
        assert_eq!(who(&kinds), BTreeSet::from([0]), "seed {seed}");
        // All messages arrive, so every slot was wholly heard.
        let missed = slots.values().filter(|seen| seen.is_missed()).count();
        assert_eq!(missed, 0, "seed {seed}");
    }
}

#[test]
fn with_equal_seeds_the_same_is_heard() {
    let (_, one, heard, state) = run(9);
    let (_, other, heard_again, state_again) = run(9);
    assert_eq!(state, state_again);
    assert_eq!(heard, heard_again);
    assert_eq!(*one.lock().unwrap(), *other.lock().unwrap());
}

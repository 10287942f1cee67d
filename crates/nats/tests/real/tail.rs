//! Reading over real servers: what is kept no more, a stream that was made anew, and what no publisher wrote.

use crate::{
    rig::{self, options, run, service},
    server::{NEWEST, Server, installed},
};
use commonware_runtime::{Supervisor as _, tokio::Context};
use std::{slice, sync::Arc, time::Duration};
use tidewatch_core::{ChainId, Cursor, Event, FaultKind, Watermarks, json::Line};
use tidewatch_nats::{
    Answer, Cluster as _, Error, Leader, MessageId, Names, Outgoing, PublisherId, Tail,
    client::{JetStream, connect},
    tail::{self, From, Given, Place, Taken},
};
use tidewatch_testkit::chain::Chain;

const LIMIT: Duration = Duration::from_secs(60);

fn chain() -> Chain {
    Chain::new('a', 50)
}

fn id() -> ChainId {
    chain().chain_info().id
}

async fn opened(context: &Context, server: &Server) -> JetStream {
    rig::opened(context, &service(slice::from_ref(server), id(), 1)).await
}

/// Publishes a record, and then a block in each message, from the first to `last`.
async fn published(cluster: &JetStream, token: u64, last: u64) {
    let leader = Leader { publisher: PublisherId::read("p"), token };
    let (names, mut after, mut watermarks) = (Names::of(&id()), None, Watermarks::none());
    for number in 0..=last {
        let (subject, payload) = if number == 0 {
            let cursor = Cursor::start(&id());
            (names.lead(), format!(r#"{{"event":"lead","cursor":"{cursor}"}}"#).into_bytes())
        } else {
            let block = chain().at(number);
            let event = Event::Blocks { from: block, to: block };
            watermarks.apply(&event);
            let cursor = Cursor::new(&id(), number, &watermarks, &[]);
            let line = serde_json::to_vec(&Line::event(&event, &cursor)).unwrap();
            (names.event(&event), line)
        };
        let message = Outgoing {
            subject,
            id: MessageId::new(&leader, number),
            after: after.clone(),
            leader: leader.clone(),
            expected: number,
            record: (number > 0).then_some(1),
            payload: payload.into(),
        };
        let stored = cluster.publish(&message).await.unwrap();
        assert_eq!(stored, Answer::Stored { sequence: number + 1, duplicate: false });
        after = Some(message.id);
    }
}

/// Asks JetStream's API for something.
async fn api(server: &Server, what: &str, body: serde_json::Value) {
    let client = connect(&options(slice::from_ref(server))).await.unwrap();
    let subject = format!("$JS.API.STREAM.{what}.{}", Names::of(&id()).stream);
    let answer = client.request(subject, body.to_string().into()).await.unwrap();
    let answer = String::from_utf8_lossy(&answer.payload).into_owned();
    assert!(!answer.contains("\"error\""), "{answer}");
}

fn reads(context: &Context, cluster: &JetStream, from: From) -> Tail<Context, JetStream> {
    let config = tail::Config::new(id());
    Tail::new(context.child("tail"), cluster.clone(), Arc::new(()), config, from)
}

async fn take(tail: &mut Tail<Context, JetStream>, count: usize) -> Vec<Taken> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.push(tail.next().await.unwrap());
    }
    taken
}

fn with_a_server(test: impl AsyncFnOnce(Context, Server)) {
    let Some(executable) = installed(NEWEST) else { return };
    run(LIMIT, |context| test(context, Server::start(&executable)));
}

/// The height that each of `taken` leads to.
fn heights(taken: &[Taken]) -> Vec<u64> {
    let height = |taken: &Taken| taken.place.cursor.delivered().map_or(0, |at| at.height.get());
    taken.iter().map(height).collect()
}

#[test]
fn a_reader_goes_on_from_its_place_or_its_cursor_and_is_told_what_is_kept_no_more() {
    with_a_server(async |context, server| {
        let cluster = opened(&context, &server).await;
        published(&cluster, 1, 20).await;
        let all = take(&mut reads(&context, &cluster, From::Oldest), 21).await;
        assert_eq!(all[0].given, Given::Restart);
        assert_eq!(heights(&all), (0..=20).collect::<Vec<_>>());
        let (place, cursor) = (all[5].place.clone(), all[5].place.cursor.clone());
        for from in [From::Place(Box::new(place.clone())), From::Position(Box::new(cursor))] {
            let rest = take(&mut reads(&context, &cluster, from), 15).await;
            assert_eq!(heights(&rest), (6..=20).collect::<Vec<_>>());
        }
        // The newest, and nothing before it.
        let newest = take(&mut reads(&context, &cluster, From::Newest), 1).await;
        assert!(newest[0].given == Given::Restart && heights(&newest) == [20]);

        // Only ten are kept from now on: 12 to 21, of blocks 11 to 20.
        let mut settings = tidewatch_nats::client::configuration(&cluster).await.unwrap();
        settings.insert("max_msgs".into(), 10.into());
        api(&server, "UPDATE", serde_json::Value::Object(settings)).await;
        let kept = |at: usize| From::Place(Box::new(all[at].place.clone()));
        let rest = take(&mut reads(&context, &cluster, kept(10)), 10).await;
        assert_eq!(heights(&rest), (11..=20).collect::<Vec<_>>(), "the very next one is kept");
        let cursor = all[5].place.cursor.clone();
        for from in [kept(5), kept(9), From::Position(Box::new(cursor))] {
            let refused = reads(&context, &cluster, from).next().await.unwrap_err();
            assert_eq!(refused.kind, FaultKind::TooOld);
            let Some(Error::Trimmed { oldest: 12, restart: Some(restart), .. }) = refused.reason()
            else {
                panic!("{refused}")
            };
            assert_eq!(**restart, all[11].place.cursor, "where to start again");
        }
    });
}

#[test]
fn a_stream_that_is_made_anew_under_a_reader_gives_nothing_twice() {
    with_a_server(async |context, server| {
        let cluster = opened(&context, &server).await;
        published(&cluster, 1, 10).await;
        let mut tail = reads(&context, &cluster, From::Oldest);
        let place: Place = take(&mut tail, 11).await.pop().unwrap().place;
        api(&server, "DELETE", serde_json::json!({})).await;
        let cluster = opened(&context, &server).await;
        published(&cluster, 2, 15).await;
        assert_eq!(heights(&take(&mut tail, 5).await), [11, 12, 13, 14, 15]);
        // And one that comes back.
        let mut again = reads(&context, &cluster, From::Place(Box::new(place)));
        assert_eq!(heights(&take(&mut again, 5).await), [11, 12, 13, 14, 15]);
    });
}

#[test]
fn what_no_publisher_wrote_ends_a_reader_with_its_place() {
    with_a_server(async |context, server| {
        let cluster = opened(&context, &server).await;
        published(&cluster, 1, 3).await;
        let mut tail = reads(&context, &cluster, From::Oldest);
        take(&mut tail, 4).await;
        let client = connect(&options(slice::from_ref(&server))).await.unwrap();
        let subject = format!("{}.event.blocks", Names::of(&id()).prefix);
        client.publish(subject, "{}".into()).await.unwrap();
        client.flush().await.unwrap();
        let refused = tail.next().await.unwrap_err();
        let Some(Error::Foreign(foreign)) = refused.reason() else { panic!("{refused}") };
        assert_eq!((foreign.sequence, refused.kind), (5, FaultKind::InvalidConfig));
    });
}

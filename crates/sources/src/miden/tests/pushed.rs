//! Blocks that are pushed.

use super::{
    node::{sign, stored},
    *,
};
use crate::miden::{pushes::Inbox, wire};
use bytes::Bytes;
use futures::FutureExt as _;
use k256::ecdsa::SigningKey;
use prost::Message as _;
use tidewatch_core::Doorbell;

async fn heard(context: &deterministic::Context, doorbell: &mut Doorbell) -> bool {
    use commonware_runtime::Clock as _;
    let rung = doorbell.rung().fuse();
    let late = context.sleep(Duration::from_secs(30)).fuse();
    futures::pin_mut!(rung, late);
    futures::select_biased! { () = rung => true, () = late => false }
}

/// A source of `node` that stands at its tip, and a doorbell of it that has rung for what came before it listened.
async fn listening(
    context: &deterministic::Context,
    node: &Node,
) -> (MidenSource<deterministic::Context, Node>, Doorbell) {
    let source = source(context, node.clone(), Finalized::Unknown);
    source.snapshot().await.unwrap();
    let mut doorbell = source.doorbell();
    assert!(heard(context, &mut doorbell).await);
    (source, doorbell)
}

/// Pushes block 5 as block `number`, which not the validator signs.
fn push_signed_by_another(node: &Node, number: u32) -> MidenBlock {
    let mut header = (*node.0.lock().chain[5]).clone();
    header.number = number;
    let block = sign(header, &SigningKey::from_slice(&[2; 32]).unwrap());
    node.push(&wire::Pushed { block: stored(&block) }.encode_to_vec().into());
    block
}

#[test]
fn a_new_block_rings_and_is_not_asked_for() {
    run(|context| async move {
        let node = Node::new(5);
        let source = source(&context, node.clone(), Finalized::Unknown);
        source.snapshot().await.unwrap();
        let mut doorbell = source.doorbell();
        assert!(heard(&context, &mut doorbell).await, "what came before it listened was not heard");
        assert!(!heard(&context, &mut doorbell).await);
        node.grow_by(3);
        for _ in 0..3 {
            assert!(heard(&context, &mut doorbell).await);
        }
        node.take_requests();
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        let blocks = source.blocks(tip, Height::new(6)).await.unwrap();
        assert_eq!(blocks.iter().map(|block| block.number).collect::<Vec<_>>(), [6, 7, 8]);
        let asked: Vec<_> = node.take_requests().iter().map(|call| call.method).collect();
        assert_eq!(asked, ["SyncChainMmr"; 2]);
    });
}

#[test]
fn of_two_who_listen_both_hear_every_block() {
    run(|context| async move {
        let node = Node::new(5);
        let source = source(&context, node.clone(), Finalized::Unknown);
        source.snapshot().await.unwrap();
        let mut doorbells = [source.doorbell(), source.doorbell()];
        for doorbell in &mut doorbells {
            assert!(heard(&context, doorbell).await, "what came before it listened was not heard");
        }
        for _ in 0..3 {
            node.grow_by(1);
            for doorbell in &mut doorbells {
                assert!(heard(&context, doorbell).await);
                assert!(!heard(&context, doorbell).await, "once");
            }
        }
        // The same block again is nothing new.
        let newest = node.0.lock().chain[8].clone();
        node.push(&wire::Pushed { block: stored(&newest) }.encode_to_vec().into());
        for doorbell in &mut doorbells {
            assert!(!heard(&context, doorbell).await);
        }
    });
}

#[test]
fn a_push_that_is_not_signed_is_no_block() {
    run(|context| async move {
        let node = Node::new(5);
        let (source, mut doorbell) = listening(&context, &node).await;
        // Streams are of what the node signs; here of what another one does.
        let fake = push_signed_by_another(&node, 6);
        assert!(heard(&context, &mut doorbell).await, "a ring carries nothing");
        node.grow_by(1);
        let tip = source.snapshot().await.unwrap().tips.block(Tier::Proposed).unwrap();
        assert_eq!(tip, node.at(6));
        let refused: u64 = source.work().refusals.values().sum();
        assert_eq!(refused, 1, "what was kept of them is counted: {:?}", source.work());
        assert_eq!(source.blocks(tip, Height::new(6)).await.unwrap()[0].number, 6);
        assert_ne!(source.blocks(tip, Height::new(6)).await.unwrap()[0], fake);
    });
}

#[test]
fn a_push_from_far_above_silences_none_that_comes_after_it() {
    run(|context| async move {
        let node = Node::new(5);
        let (_source, mut doorbell) = listening(&context, &node).await;
        push_signed_by_another(&node, u32::MAX);
        assert!(heard(&context, &mut doorbell).await, "a ring carries nothing");
        node.grow_by(1);
        assert!(heard(&context, &mut doorbell).await, "a block that is true");
    });
}

#[test]
fn a_stream_that_breaks_is_opened_again_and_what_it_missed_rings() {
    run(|context| async move {
        let node = Node::new(5);
        let (_source, mut doorbell) = listening(&context, &node).await;
        for broken in [Bytes::from_static(&[255; 9]), Bytes::new()] {
            node.push(&broken);
            node.grow_by(1);
            assert!(heard(&context, &mut doorbell).await, "opened again");
        }
        node.cut();
        assert!(heard(&context, &mut doorbell).await, "opened again");
    });
}

#[test]
fn an_inbox_has_a_bound_and_keeps_what_is_news() {
    let node = Node::new(300);
    let blocks = node.0.lock().chain.clone();
    let inbox = Inbox::default();
    for block in &blocks[1..] {
        assert!(inbox.put(block.clone()));
        assert!(!inbox.put(block.clone()), "it is none any more");
    }
    assert_eq!(inbox.take().len(), 256);
    assert_eq!(inbox.take(), []);
    inbox.reached(10);
    assert!(inbox.put(blocks[11].clone()), "a push that was not true is made up for");
}

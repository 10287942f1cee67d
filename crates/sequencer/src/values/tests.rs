use super::*;
use commonware_codec::{DecodeExt as _, Encode as _};
use tidewatch_core::Block as _;

fn transaction(sender: u8, nonce: u64) -> Transaction {
    let payload = Bytes::from(vec![sender; 5]);
    Transaction { sender: Sender([sender; 32]), nonce, payload }
}

fn preblock() -> Preblock {
    let parent = BlockRef::new(Height::new(300), Digest([3; 32]));
    let transactions = vec![transaction(1, 0), transaction(2, 700)];
    let content = Content { time_ms: 1_700_000_000_000, transactions };
    let Proposal { identity, content } = Proposal::new(parent, content).again();
    let opened = vec![Opened::Clear("clear".into()), Opened::Dropped("because".into())];
    Preblock { identity, content, opened, evidence: "evidence".into() }
}

#[test]
fn a_preblock_decodes_to_itself_and_a_part_of_one_does_not_decode() {
    let bytes = preblock().encode();
    assert_eq!(Preblock::decode(bytes.clone()).unwrap(), preblock());
    for cut in 0..bytes.len() {
        assert!(Preblock::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
    }
    let block = Block::of(&preblock());
    assert_eq!(Block::decode(block.encode()).unwrap(), block);
}

#[test]
fn a_preblock_is_whole_if_its_identity_names_what_is_in_it() {
    assert!(preblock().is_whole());
    let changes: [fn(&mut Preblock); 6] = [
        |it| it.content.time_ms += 1,
        |it| it.content.transactions.swap(0, 1),
        |it| drop(it.content.transactions.pop()),
        |it| it.identity.number = it.identity.number.next(),
        |it| it.identity.parent = Digest([9; 32]),
        |it| drop(it.opened.pop()),
    ];
    for (nth, change) in changes.iter().enumerate() {
        let mut changed = preblock();
        change(&mut changed);
        assert!(!changed.is_whole(), "change {nth}");
    }
}

/// The digest of a block is made of its identity: without this, an upstream could send other content under it.
#[test]
fn a_block_whose_identity_names_other_content_does_not_decode() {
    let changes: [fn(&mut Block); 4] = [
        |it| it.content.time_ms += 1,
        |it| it.content.transactions.swap(0, 1),
        |it| it.identity.content = Digest([9; 32]),
        |it| it.identity.parent = Digest([9; 32]),
    ];
    for (nth, change) in changes.iter().enumerate() {
        let mut changed = Block::of(&preblock());
        change(&mut changed);
        assert!(Block::decode(changed.encode()).is_err(), "change {nth}");
    }
}

#[test]
fn attempts_are_of_one_content_and_of_one_block() {
    let first = preblock();
    let mut second = first.clone();
    second.identity.attempt = second.identity.attempt.saturating_add(1);
    assert!(second.is_whole() && second.identity.same(&first.identity));
    assert_eq!(Block::of(&first).reference(), Block::of(&second).reference());
    let dropped = Block::of(&first.clone().dropped("refused"));
    assert_ne!(dropped.reference(), Block::of(&first).reference(), "what became of it counts");
    assert_eq!((dropped.applied(), Block::of(&first).applied()), (0, 1));
}

#[test]
fn a_reason_is_cut_where_a_character_ends() {
    assert_eq!(shortened("because"), "because");
    let long = "é".repeat(REASON_MAX);
    assert_eq!(shortened(&long).len(), REASON_MAX);
    assert_eq!(shortened(&format!("a{long}")).len(), REASON_MAX - 1);
}

#[test]
fn the_format_is_frozen() {
    let digest = Sha256::hash(&[preblock().encode().as_ref()]);
    assert_eq!(
        digest.to_string(),
        "83b005b68121a00e2b7271e8a0584f51bd45539f0565665111df2e146a4cb324"
    );
}

//! What every implementation of [`Positions`] promises.

use tidewatch_core::{ChainId, Cursor, FaultKind, Positions};

/// Longest name of a consumer, in bytes.
const NAME_MAX: usize = 128;
/// Consumers that can have a position.
const CONSUMERS_MAX: usize = 256;

/// Runs the suite over positions that nobody has written yet. `open` opens them, and again what was written. `cursors` are
/// two positions of their chain, the second one further on; in a log's positions, of that log.
///
/// # Panics
///
/// Something that is promised does not hold.
#[allow(clippy::unwrap_used, reason = "a suite that cannot go on has failed")]
pub async fn positions<P: Positions>(open: impl AsyncFn() -> P, cursors: [&Cursor; 2]) {
    let [first, second] = cursors;
    assert_ne!(first, second, "two positions are needed");
    let one = open().await;
    assert_eq!(one.load("a").await.unwrap(), None, "nobody has a position yet");
    assert_eq!(one.list().await.unwrap(), []);
    assert!(!one.forget("a").await.unwrap(), "what is not there is not forgotten");

    // Two consumers have two positions, and the last write counts, also one that goes back.
    one.store("b", first).await.unwrap();
    one.store("a", first).await.unwrap();
    one.store("a", second).await.unwrap();
    one.store("b", second).await.unwrap();
    one.store("b", first).await.unwrap();
    let listed = vec![("a".to_owned(), second.clone()), ("b".to_owned(), first.clone())];
    assert_eq!(one.list().await.unwrap(), listed, "by name");
    let again = open().await;
    assert_eq!(again.list().await.unwrap(), listed, "it survives");
    assert_eq!(again.load("a").await.unwrap().as_ref(), Some(second));

    // Another chain's, and names that are none.
    let other = Cursor::start(&ChainId::new("another:chain").unwrap());
    assert_eq!(again.store("a", &other).await.unwrap_err().kind, FaultKind::WrongChain);
    assert_eq!(again.load("a").await.unwrap().as_ref(), Some(second));
    for name in [String::new(), "x".repeat(NAME_MAX + 1)] {
        assert_eq!(again.store(&name, first).await.unwrap_err().kind, FaultKind::InvalidConfig);
    }

    // Whatever a name has in it, it is one of its own.
    let longest = "x".repeat(NAME_MAX);
    let names = ["a.b", "a b", "a*", ">", "a=2Eb", "A", "\u{e4}/\u{f6}", "..", "$KV", &longest];
    for name in names {
        again.store(name, first).await.unwrap();
    }
    let mut all: Vec<_> = names.iter().chain(&["a", "b"]).map(|name| (*name).to_owned()).collect();
    all.sort();
    let listed: Vec<_> = again.list().await.unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, all);
    for name in names {
        assert!(again.forget(name).await.unwrap(), "{name}");
        assert_eq!(again.load(name).await.unwrap(), None, "{name}");
    }

    // One that was forgotten comes again as a new one.
    assert!(again.forget("a").await.unwrap());
    assert!(!again.forget("a").await.unwrap());
    again.store("a", first).await.unwrap();
    assert_eq!(again.load("a").await.unwrap().as_ref(), Some(first));

    // There is room for so many, and for those that are there.
    for number in 2..CONSUMERS_MAX {
        again.store(&number.to_string(), first).await.unwrap();
    }
    let full = again.store("one more", first).await.unwrap_err();
    assert_eq!(full.kind, FaultKind::InvalidConfig, "{full}");
    again.store("7", second).await.unwrap();
    assert_eq!(again.list().await.unwrap().len(), CONSUMERS_MAX);
    assert!(again.forget("9").await.unwrap());
    again.store("one more", first).await.unwrap();
}

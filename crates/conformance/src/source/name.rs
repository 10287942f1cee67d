//! The checks of a source by name.

/// Asked again, it names the same chain and the same genesis.
pub const IDENTITY: &str = "its chain_info never changes";
/// The digest at height 0 is that of the chain info's genesis.
pub const GENESIS: &str = "its genesis is its block at height 0";
/// The tiers of a snapshot stand in the order of its ladder.
pub const LADDER: &str = "a snapshot obeys the ladder";
/// The proof of a tier in a snapshot is about that tier's tip.
pub const PROOF: &str = "a proof is of its tier's tip";
/// While the chain stands still, every snapshot is the same.
pub const QUIET: &str = "snapshots of a chain that stands still are the same";
/// The digest at the height of every tier is that tier's.
pub const TIERS: &str = "every tier is on the chain of the proposed tip";
/// Heights in any order, some of them twice, are answered in that order.
pub const ORDER: &str = "digests are answered one for one, in order";
/// One question may name as many heights as the limits say.
pub const LIMIT: &str = "as many digests are answered at once as its limit says";
/// Neither a digest nor a block is above the tip.
pub const ABOVE: &str = "nothing is known above the tip";
/// Every range is a chain from where it was asked for, and ends at or below the tip.
pub const LINKED: &str = "blocks are consecutive, linked, and not above the tip";
/// The digest at the height of a block is that block's.
pub const AGREE: &str = "blocks are those that the digests name";
/// No range has more blocks than the limits say.
pub const AT_MOST: &str = "a range is no longer than its limit";
/// Asking on from the last block comes to the tip.
pub const REACH: &str = "ranges lead to the tip";
/// For a tip that the chain never had there is no block, or a fault.
pub const OTHER: &str = "no block leads to a tip that never was";
/// A call that was dropped at one of its awaits leaves nothing behind.
pub const DROPPED: &str = "a call may be dropped at any await and made again";
/// Calls that run at the same time give what they give one by one.
pub const TOGETHER: &str = "calls that run together agree";
/// A doorbell that was dropped is heard when it is listened to again.
pub const DOORBELL: &str = "the doorbell may be dropped and listened to again";
/// Two drivers can share a source: neither takes the other one's rings.
pub const BELLS: &str = "of two doorbells both ring";
/// Under a tip that the chain left there are digests of that tip's chain, none, or a fault.
pub const LEFT: &str = "no digest is of another chain than the tip's";
/// A driver comes to its tip.
pub const FOLLOWED: &str = "it is followed to its tip";
/// A driver takes in what the chain grew by.
pub const GROWTH: &str = "growth is followed";
/// A driver takes in that more blocks are final.
pub const FINALITY: &str = "finality is followed";
/// A driver leaves blocks that are gone, and takes in those in their place.
pub const REORGANISED: &str = "a reorg is followed";
/// A driver takes in another tip at the height of the one before.
pub const REPLACED: &str = "a tip that is replaced at its height is followed";
/// A driver leaves blocks that are gone, with none in their place.
pub const SHORTER: &str = "a chain that becomes shorter is followed";
/// A driver that asks for no block takes in all of that too.
pub const TIPS_ONLY: &str = "it is followed for its tips alone";
/// A chain that moves between two calls of one pass costs a pass or two, and nothing else.
pub const MOVED: &str = "a move in the middle of a pass is made up for";
/// Tiers move back when the chain does, and never without.
pub const BACK: &str = "no tier moves back by itself";
/// The blocks that a driver was given are the source's chain.
pub const DELIVERED: &str = "what was delivered is its chain";
/// Folding the events gives where the view stands, and no event breaks the ladder.
pub const LAWFUL: &str = "the events obey the replay law";
/// A pass over a chain that did not move asks once.
pub const CHEAP: &str = "a quiet pass is one call";
/// No call outlasts [`DEADLINE`](crate::DEADLINE).
pub const ENDS: &str = "every call ends";
/// No call panics.
pub const PANICS: &str = "no call panics";

/// All of them, in the order of the report.
pub const ALL: [&str; 33] = [
    IDENTITY,
    GENESIS,
    LADDER,
    PROOF,
    QUIET,
    TIERS,
    ORDER,
    LIMIT,
    ABOVE,
    LINKED,
    AGREE,
    AT_MOST,
    REACH,
    OTHER,
    DROPPED,
    TOGETHER,
    DOORBELL,
    BELLS,
    FOLLOWED,
    GROWTH,
    FINALITY,
    REORGANISED,
    REPLACED,
    SHORTER,
    MOVED,
    TIPS_ONLY,
    BACK,
    DELIVERED,
    LAWFUL,
    CHEAP,
    LEFT,
    ENDS,
    PANICS,
];

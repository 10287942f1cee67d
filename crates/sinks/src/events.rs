//! What a sink takes: the messages of a served stream, each with the position before it and after it.

use std::sync::Arc;
use tidewatch_client::{Block, Error, Follow, Message, Options, Resume, State, Tier};

/// The chain that a stream is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Its first block.
    pub genesis: Block,
    /// Its tiers, the least final first.
    pub ladder: [Tier; 4],
}

/// One message that moves the position.
#[derive(Clone, Debug)]
pub struct Event {
    /// The chain.
    pub chain: Arc<Chain>,
    /// The position before it; `None` for the first one of a stream that began without a cursor.
    pub after: Option<String>,
    /// The position after it.
    pub cursor: String,
    /// What happened.
    pub message: Message,
    /// The same as it came, a JSON object.
    pub line: String,
}

impl Event {
    /// The name of what it changes; `None` of one that moves the position alone, such as a bookmark.
    ///
    /// A stream that begins without a cursor begins with `start`: what holds before its first event.
    pub const fn kind(&self) -> Option<&'static str> {
        match &self.message {
            Message::Hello(hello) => match hello.resume {
                Resume::Start => Some("start"),
                _ => None,
            },
            Message::Blocks(_) => Some("blocks"),
            Message::Advanced(_) => Some("advanced"),
            Message::Regressed(_) => Some("regressed"),
            Message::Pruned(_) => Some("pruned"),
            Message::Lagged(_) => Some("lagged"),
            Message::Reset(_) => Some("reset"),
            _ => None,
        }
    }
}

/// What comes next in a stream.
#[derive(Debug)]
pub enum Step {
    /// A message.
    Event(Box<Event>),
    /// The connection ended, and is made again after a wait.
    Lost(String),
}

/// A stream of events, over restarts of the server.
#[derive(Debug)]
pub struct Events {
    follow: Follow,
    chain: Option<Arc<Chain>>,
}

impl Events {
    /// The stream of the server at `url`. Nothing is connected before [`next`](Self::next).
    ///
    /// # Errors
    ///
    /// The address is none, or there is no HTTP client.
    pub fn new(url: &str, options: Options) -> Result<Self, Error> {
        Ok(Self { follow: Follow::new(url, options)?, chain: None })
    }

    /// What comes next.
    ///
    /// # Cancel safety
    ///
    /// It may be dropped at any await and called again: nothing is lost.
    ///
    /// # Errors
    ///
    /// There is no use in going on with this stream.
    pub async fn next(&mut self) -> Result<Step, Error> {
        loop {
            let after = self.follow.cursor().map(Into::into);
            let message = self.follow.next().await?;
            if let Message::Lost { why, .. } = message {
                return Ok(Step::Lost(why));
            }
            if let Message::Hello(hello) = &message {
                let (name, genesis) = (hello.chain.clone(), hello.genesis.clone());
                self.chain = Some(Arc::new(Chain { name, genesis, ladder: hello.ladder }));
            }
            // A stream begins with a hello. What has no cursor is newer than this program.
            let (Some(chain), Some(cursor)) = (&self.chain, message.cursor()) else { continue };
            let (chain, cursor) = (chain.clone(), cursor.into());
            let line = self.follow.line().into();
            return Ok(Step::Event(Box::new(Event { chain, after, cursor, message, line })));
        }
    }

    /// Digests of blocks of the chain that goes through `tip`: see [`Follow::digests`].
    ///
    /// # Errors
    ///
    /// As of [`Follow::digests`].
    pub async fn digests(
        &self,
        tip: &Block,
        heights: &[u64],
    ) -> Result<Option<Vec<Option<String>>>, Error> {
        self.follow.digests(tip, heights).await
    }

    /// Where the events led.
    pub const fn state(&self) -> &State {
        self.follow.state()
    }
}

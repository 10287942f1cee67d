//! Messages to an upstream.

use commonware_actor::{
    Feedback,
    mailbox::{Policy, Sender},
};
use std::collections::VecDeque;
use tidewatch_core::Stopper;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Give the connection up, or the wait for one, and connect at once.
    Reconnect,
}

impl Policy for Message {
    type Overflow = VecDeque<Self>;

    /// Of requests to reconnect one is as good as many.
    fn handle(overflow: &mut VecDeque<Self>, message: Self) {
        if !overflow.contains(&message) {
            overflow.push_back(message);
        }
    }
}

/// Talks to an upstream. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mailbox {
    pub(super) sender: Sender<Message>,
    pub(super) stopper: Stopper,
}

impl Mailbox {
    /// Gives up the connection at hand, or the wait before the next one, and connects at once: for a
    /// caller that knows more about the network than a connection that is merely quiet, such as after
    /// its own address changed. Later attempts wait as if this one had not been asked for.
    pub fn reconnect(&self) -> Feedback {
        self.sender.enqueue(Message::Reconnect)
    }

    /// Stops the upstream: it gives up what it waits for, closes the connection, and ends. Safe to call
    /// again.
    pub fn stop(&self) {
        self.stopper.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_to_reconnect_that_wait_become_one() {
        let mut overflow = VecDeque::new();
        for _ in 0..100 {
            Message::handle(&mut overflow, Message::Reconnect);
        }
        assert_eq!(overflow, [Message::Reconnect]);
    }
}

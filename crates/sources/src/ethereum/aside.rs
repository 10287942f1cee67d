//! Headers that are read and hashed on other threads, while the rest of a question is on its way.
//!
//! A range is asked for in several requests. What each of them brings is read at once, beside the wait for
//! the next and beside the commit of the range before. What was read counts where the question is answered
//! with that very text in the end.

use super::{headers::Found, rule::Rules, wire::By};
use crate::rpc::Answer;
use commonware_runtime::{Handle, Spawner};
use commonware_utils::sync::Mutex;
use std::{iter, sync::Arc};

/// Answers of one request from which on it is worth a task.
const ANSWERS_MIN: usize = 32;

/// Bytes of the answers of one request up to which they are copied for it.
const BYTES_MAX: usize = 1024 * 1024;

/// One answer that was read: its place in the question, its text, and what it says.
type Read = (usize, Answer, Found);

/// What is being read of the answers to one question.
pub(super) struct Aside<'a, E> {
    context: &'a E,
    name: Arc<str>,
    rules: Rules,
    wanted: &'a [By],
    tasks: Mutex<Vec<Handle<Vec<Read>>>>,
}

impl<'a, E: Spawner> Aside<'a, E> {
    /// Of the answers of `name` to the question for `wanted`.
    pub(super) fn new(context: &'a E, name: &str, rules: Rules, wanted: &'a [By]) -> Self {
        Self { context, name: name.into(), rules, wanted, tasks: Mutex::default() }
    }

    /// Begins to read the answers to the calls at these places.
    pub(super) fn begin(&self, places: &[usize], answers: &[Answer]) {
        let bytes: usize = answers.iter().map(|answer| text(answer).len()).sum();
        if answers.len() < ANSWERS_MIN || bytes > BYTES_MAX {
            return;
        }
        let parts = places.iter().zip(answers).filter_map(|(place, answer)| {
            Some((*place, *self.wanted.get(*place)?, answer.clone()))
        });
        let (parts, name, rules): (Vec<_>, _, _) = (parts.collect(), self.name.clone(), self.rules);
        let task = self.context.child("aside").spawn(move |_| async move {
            let read = |(place, by, answer): (usize, By, Answer)| {
                let found = by.read_by(rules, &name, &answer);
                (place, answer, found)
            };
            parts.into_iter().map(read).collect()
        });
        self.tasks.lock().push(task);
    }

    /// What all `answers` say, each in its place. Those that were not read yet are read now.
    pub(super) async fn end(self, answers: &[Answer]) -> Vec<Found> {
        let mut found: Vec<_> = iter::repeat_with(|| None).take(answers.len()).collect();
        for task in self.tasks.into_inner() {
            // One that was stopped has read nothing.
            for (place, answer, read) in task.await.unwrap_or_default() {
                let same = answers.get(place).is_some_and(|final_one| {
                    final_one.is_ok() && answer.is_ok() && text(final_one) == text(&answer)
                });
                if let Some(slot) = found.get_mut(place).filter(|_| same) {
                    *slot = Some(read);
                }
            }
        }
        let all = self.wanted.iter().zip(answers).zip(found);
        let now = |by: &By, answer| by.read_by(self.rules, &self.name, answer);
        all.map(|((by, answer), read)| read.unwrap_or_else(|| now(by, answer))).collect()
    }
}

/// What a node wrote as the result; nothing for an error.
fn text(answer: &Answer) -> &str {
    answer.as_ref().map_or("", |raw| raw.get())
}

#[cfg(test)]
mod tests {
    use super::{super::rule::ETHEREUM, *};
    use crate::rpc::{RpcError, tests::script::result};
    use commonware_runtime::{Runner as _, deterministic};
    use serde_json::Value;
    use tidewatch_core::Height;

    /// A true header, as its node wrote it.
    fn header() -> Value {
        let seen: Value = serde_json::from_str(include_str!("tests/headers.json")).unwrap();
        seen[0]["header"].clone()
    }

    /// An endpoint may fail after it answered a part, and another one then says something else.
    #[test]
    fn what_was_read_early_counts_only_where_it_is_the_answer_in_the_end() {
        deterministic::Runner::default().start(|context| async move {
            let count = ANSWERS_MIN + 3;
            let wanted = vec![By::Height(Height::new(1)); count];
            let refused = || Err(RpcError { code: -32000, message: "slow down".into() });
            let (there, missing) = (|| result(&header()), || result(&Value::Null));
            let first: Vec<_> = (0..ANSWERS_MIN).map(|_| there()).collect();
            let places: Vec<_> = (0..ANSWERS_MIN).collect();
            let mut last: Vec<_> = (0..count).map(|_| there()).collect();
            (last[1], last[2], last[3]) = (missing(), refused(), result(&Value::from("no header")));
            for early in [&[][..], &first, &last[..ANSWERS_MIN]] {
                let aside = Aside::new(&context, "node", ETHEREUM, &wanted);
                aside.begin(&places[..early.len()], early);
                let found = aside.end(&last).await;
                let want = wanted.iter().zip(&last).map(|(by, answer)| by.read("node", answer));
                for (at, (found, want)) in found.iter().zip(want).enumerate() {
                    assert_eq!(format!("{found:?}"), format!("{want:?}"), "{at}");
                }
                assert!(matches!(&found[..2], [Ok(Some(_)), Ok(None)]) && found[3].is_err());
                assert_eq!(found.len(), count);
            }
        });
    }
}

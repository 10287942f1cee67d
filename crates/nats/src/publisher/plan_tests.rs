//! Tables, and every small world.

use super::plan::*;
use crate::{Answer, End, Leader, Marked, Message, MessageId, PublisherId, Refusal};
use tidewatch_core::{ChainId, Cursor, FaultKind};

fn leader(name: &str, token: u64) -> Leader {
    Leader { publisher: PublisherId::read(name), token }
}

fn message(sequence: u64, leader: &Leader, number: u64) -> Message {
    let cursor = Cursor::start(&ChainId::new("c").unwrap()).counted(number);
    Message {
        sequence,
        subject: "tidewatch.c.event.blocks".into(),
        id: Some(MessageId::new(leader, number).as_str().into()),
        after: None,
        record: None,
        publisher: Some(leader.publisher.as_str().into()),
        token: Some(leader.token.to_string()),
        payload: format!(r#"{{"cursor":"{cursor}"}}"#).into(),
    }
}

fn end(sequence: u64, leader: &Leader, number: u64) -> End {
    End { sequence, message: Some(message(sequence, leader, number)) }
}

fn at(sequence: u64, leader: &Leader, number: u64) -> At {
    At { sequence, id: Some(MessageId::new(leader, number)) }
}

#[test]
fn an_answer_is_believed_only_where_it_names_the_very_next_place() {
    let mine = leader("me", 5);
    let at = at(9, &mine, 3);
    let stored = |sequence, duplicate| Ok(Answer::Stored { sequence, duplicate });
    let full = Refusal::Other { code: 10_077, description: "full".into() };
    let table = [
        (stored(10, false), Judged::Stored),
        (stored(10, true), Judged::Look { why: Why::Named }),
        (stored(7, true), Judged::Look { why: Why::Named }),
        (stored(11, false), Judged::Look { why: Why::Unknown }),
        (stored(3, false), Judged::Look { why: Why::Unknown }),
        (Ok(Answer::Refused(Refusal::Elsewhere)), Judged::Look { why: Why::Elsewhere }),
        (Ok(Answer::Refused(full)), Judged::Refused { code: 10_077, description: "full".into() }),
        (Err(FaultKind::Timeout.fault("nats", "no answer")), Judged::Look { why: Why::Unknown }),
    ];
    for (answer, judged) in table {
        assert_eq!(judge(&at, &answer), judged, "{answer:?}");
    }
}

#[test]
fn what_the_stream_ends_with_says_what_to_do() {
    let (mine, before, after) = (leader("me", 5), leader("a", 4), leader("b", 6));
    let attempt = MessageId::new(&mine, 4);
    let stood = at(9, &mine, 3);
    let marked = |end: &End| Box::new(Marked::read(end.message.as_ref().unwrap()).unwrap());
    let review = |end: &End| review(&mine, &stood, Some(&attempt), end).unwrap();
    // It was stored, and its answer lost: 10071 on one server, a duplicate on three.
    assert_eq!(review(&end(10, &mine, 4)), Next::Stored);
    assert_eq!(review(&end(9, &mine, 3)), Next::Again);
    let forgot = end(7, &mine, 1);
    assert_eq!(review(&forgot), Next::Republish(marked(&forgot)));
    assert_eq!(review(&end(10, &after, 0)), Next::Deposed { token: 6 });
    // A bucket that was made anew gave the same token twice.
    assert_eq!(review(&end(10, &leader("b", 5), 0)), Next::Deposed { token: 5 });
    let older = end(4, &before, 8);
    assert_eq!(review(&older), Next::Lead(older.clone()));
    let nothing = End { sequence: 0, message: None };
    assert_eq!(review(&nothing), Next::Lead(nothing.clone()));
    // By age, while this publisher slept.
    assert_eq!(review(&End { sequence: 9, message: None }), Next::Again);
    let mut foreign = end(10, &mine, 4);
    foreign.message.as_mut().unwrap().publisher = None;
    assert!(super::plan::review(&mine, &stood, Some(&attempt), &foreign).is_err());
}

#[test]
fn before_its_record_is_written_a_leader_stands_after_the_last_one() {
    let (mine, before) = (leader("me", 5), leader("a", 4));
    let (stood, attempt) = (at(9, &before, 3), MessageId::new(&mine, 0));
    let review = |end: &End| review(&mine, &stood, Some(&attempt), end).unwrap();
    assert_eq!(review(&end(9, &before, 3)), Next::Again);
    // The old leader was faster by one: its message counts, and the record goes after it.
    let faster = end(10, &before, 4);
    assert_eq!(review(&faster), Next::Lead(faster.clone()));
    assert_eq!(review(&end(10, &mine, 0)), Next::Stored);
}

#[test]
fn a_token_is_greater_than_any_that_the_stream_knows() {
    let last = Marked::read(&message(3, &leader("a", 7), 0)).unwrap();
    assert_eq!(token(9, Some(&last)), 9);
    assert_eq!(token(7, Some(&last)), 8);
    assert_eq!(token(1, Some(&last)), 8, "the bucket was made anew");
    assert_eq!(token(1, None), 1);
}

#[test]
fn a_record_that_another_message_stands_for_was_forgotten() {
    let (mine, zombie) = (leader("me", 5), leader("z", 4));
    let lead = MessageId::new(&mine, 0);
    let mark = |leader: &Leader| Marked::read(&message(3, leader, 0)).unwrap();
    assert!(leads_still(&lead, Some(&mark(&mine))) && leads_still(&lead, None));
    assert!(!leads_still(&lead, Some(&mark(&zombie))));
}

/// Two leaders, a stream that holds messages of both, every order of publishing, answers that are lost or late, and
/// forgetting: each message that a leader takes for stored is in the stream when it was judged so, and of two leaders
/// the older one never adds after the newer one's record.
mod small_world {
    use super::*;
    use std::collections::BTreeSet;

    /// A step of the world.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// The leader publishes, and hears the answer.
        Heard(usize),
        /// The leader publishes, and the answer is lost.
        Lost(usize),
        /// The leader's message arrives after everything else, so that it has to look first.
        Late(usize),
        /// The cluster forgets its last message.
        Forget,
    }

    const STEPS: [Step; 7] = [
        Step::Heard(0),
        Step::Heard(1),
        Step::Lost(0),
        Step::Lost(1),
        Step::Late(0),
        Step::Late(1),
        Step::Forget,
    ];

    #[derive(Clone)]
    struct Publisher {
        mine: Leader,
        at: At,
        /// The number of the next message: 0 is the record.
        number: u64,
        /// The place of its record, once it is written.
        record: Option<u64>,
        deposed: bool,
    }

    #[derive(Clone)]
    struct World {
        stream: Vec<Message>,
        publishers: [Publisher; 2],
        /// Messages on the way.
        late: Vec<(usize, At, Option<u64>, u64)>,
        forgot: bool,
        replicated: bool,
        names: BTreeSet<String>,
        taken: Vec<Step>,
        forgot_record_of: Option<usize>,
    }

    impl World {
        fn end(&self) -> End {
            let message = self.stream.last().cloned();
            End { sequence: self.stream.len() as u64, message }
        }

        /// What the cluster answers.
        fn store(&mut self, who: usize, at: &At, record: Option<u64>, number: u64) -> Answer {
            let mine = self.publishers[who].mine.clone();
            let id = MessageId::new(&mine, number);
            let known = self.names.contains(id.as_str());
            if known && self.replicated {
                return Answer::Stored { sequence: 0, duplicate: true };
            }
            let leads = |m: &Message| m.subject.ends_with(".lead");
            let newest = self.stream.iter().rev().find(|m| leads(m)).map_or(0, |m| m.sequence);
            let elsewhere = at.sequence != self.stream.len() as u64;
            if elsewhere || record.is_some_and(|record| record != newest) {
                return Answer::Refused(Refusal::Elsewhere);
            }
            if known {
                return Answer::Stored { sequence: 0, duplicate: true };
            }
            self.names.insert(id.as_str().into());
            let tokens = self.stream.iter().map(|m| m.token.as_ref().unwrap().parse().unwrap());
            let newest: u64 = tokens.max().unwrap_or(0);
            // Where not even its own record is left, sequences cannot tell: readers do.
            let fenced = mine.token >= newest || self.forgot_record_of == Some(who);
            assert!(fenced, "{:?}: {mine:?} after {newest}", self.taken);
            let mut message = message(at.sequence + 1, &mine, number);
            if record.is_none() {
                message.subject = "tidewatch.c.lead".into();
            }
            self.stream.push(message);
            Answer::Stored { sequence: at.sequence + 1, duplicate: false }
        }

        fn publish(&mut self, who: usize, heard: bool) {
            let Publisher { mine, at, number, record, deposed } = self.publishers[who].clone();
            if deposed {
                return;
            }
            let answer = self.store(who, &at, record, number);
            let answer =
                if heard { Ok(answer) } else { Err(FaultKind::Timeout.fault("nats", "lost")) };
            self.judge(who, &mine, &at, number, &answer);
        }

        fn judge(
            &mut self,
            who: usize,
            mine: &Leader,
            at: &At,
            number: u64,
            answer: &Result<Answer, tidewatch_core::Fault>,
        ) {
            let id = MessageId::new(mine, number);
            let judged = judge(at, answer);
            let next = match judged {
                Judged::Stored => Next::Stored,
                Judged::Look { why } => {
                    let end = self.end();
                    let next = review(mine, at, Some(&id), &end).unwrap();
                    match (why, next) {
                        (Why::Named, Next::Again) => {
                            self.publishers[who].number += 1;
                            Next::Again
                        }
                        (Why::Elsewhere, Next::Again) => Next::Lead(end),
                        (_, next) => next,
                    }
                }
                Judged::Refused { .. } => unreachable!(),
            };
            let len = self.stream.len() as u64;
            let publisher = &mut self.publishers[who];
            match next {
                Next::Stored => {
                    assert!(self.stream.iter().any(|m| m.id.as_deref() == Some(id.as_str())));
                    publisher.at = At { sequence: len, id: Some(id) };
                    publisher.number = number + 1;
                    publisher.record = publisher.record.or(Some(len));
                }
                Next::Again => {}
                Next::Republish(last) => {
                    publisher.at = At { sequence: last.sequence, id: Some(last.id) };
                    publisher.number += 1;
                }
                Next::Lead(end) => {
                    publisher.record = None;
                    let last = end.message.as_ref().map(|m| Marked::read(m).unwrap());
                    publisher.at = At { sequence: end.sequence, id: last.map(|last| last.id) };
                    publisher.number += 1;
                }
                Next::Deposed { .. } => publisher.deposed = true,
            }
        }
    }

    fn walk(world: &World, depth: usize, worlds: &mut u64) {
        *worlds += 1;
        if depth == 0 {
            return;
        }
        for step in STEPS {
            let mut world = world.clone();
            world.taken.push(step);
            match step {
                Step::Heard(who) => world.publish(who, true),
                Step::Lost(who) => world.publish(who, false),
                Step::Late(who) => {
                    let Publisher { at, number, record, deposed, .. } =
                        world.publishers[who].clone();
                    if deposed || !world.late.is_empty() {
                        continue;
                    }
                    world.late.push((who, at, record, number));
                }
                Step::Forget => {
                    // What was fenced off and is forgotten is another world: `leads_still` sees it.
                    if world.forgot || !world.late.is_empty() {
                        continue;
                    }
                    world.forgot = true;
                    let records = world.publishers.clone().map(|publisher| publisher.record);
                    let gone = world.stream.pop().map(|message| message.sequence);
                    let of = |record: &Option<u64>| record.is_some() && *record == gone;
                    world.forgot_record_of = records.iter().position(of);
                    // The names of what was forgotten are remembered: the worst case.
                }
            }
            if !matches!(step, Step::Late(_))
                && let Some((who, at, record, number)) = world.late.pop()
            {
                let answer = Ok(world.store(who, &at, record, number));
                // Somebody who moved on meanwhile does not wait for it.
                if world.publishers[who].at == at && world.publishers[who].number == number {
                    let mine = world.publishers[who].mine.clone();
                    world.judge(who, &mine, &at, number, &answer);
                }
            }
            walk(&world, depth - 1, worlds);
        }
    }

    #[test]
    fn in_every_small_world_the_older_leader_is_fenced_off() {
        let publisher = |name, token| Publisher {
            mine: leader(name, token),
            at: At { sequence: 0, id: None },
            number: 0,
            record: None,
            deposed: false,
        };
        let mut worlds = 0;
        for replicated in [false, true] {
            let world = World {
                stream: Vec::new(),
                publishers: [publisher("old", 1), publisher("new", 2)],
                late: Vec::new(),
                forgot: false,
                replicated,
                names: BTreeSet::new(),
                taken: Vec::new(),
                forgot_record_of: None,
            };
            walk(&world, 6, &mut worlds);
        }
        assert!(worlds > 50_000, "{worlds}");
    }
}

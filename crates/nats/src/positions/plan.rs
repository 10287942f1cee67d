//! What follows from the record that is there where another one was expected.

/// A record in the bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its revision.
    pub revision: u64,
    /// Who wrote it; `None` for what nobody of us wrote.
    pub writer: Option<String>,
}

/// What a writer does whose write was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// Writes over this revision.
    Over(u64),
    /// Writes no more: a newer consumer of that name has the record.
    Taken,
}

/// What the writer `me` does, which expected `revision`, where the bucket has `found`.
pub fn judge(me: &str, revision: u64, found: Option<&Record>) -> Judged {
    match found {
        None => Judged::Over(0),
        Some(found) if found.writer.as_deref() == Some(me) => Judged::Over(found.revision),
        // The cluster forgot what this writer wrote over it.
        Some(found) if found.revision < revision => Judged::Over(found.revision),
        Some(_) => Judged::Taken,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_writers_the_one_that_came_last_has_the_record() {
        let record = |revision, writer: &str| Record { revision, writer: Some(writer.into()) };
        let table = [
            (None, Judged::Over(0)),
            // Its own, by a write whose answer was lost, and one that is left of those that were forgotten.
            (Some(record(9, "me")), Judged::Over(9)),
            (Some(record(4, "me")), Judged::Over(4)),
            // What was there before it began, after its own was forgotten.
            (Some(record(4, "you")), Judged::Over(4)),
            (Some(record(9, "you")), Judged::Taken),
            (Some(Record { revision: 9, writer: None }), Judged::Taken),
        ];
        for (found, judged) in table {
            assert_eq!(judge("me", 7, found.as_ref()), judged, "{found:?}");
        }
    }
}

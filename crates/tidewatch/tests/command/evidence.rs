//! `tidewatch verify-evidence`, as those who type it meet it.

use crate::support::run::{Command, Output};
use commonware_consensus::{
    simplex::{
        scheme::ed25519::Scheme,
        types::{Activity, ConflictingNotarize, Notarize, Proposal},
    },
    types::{Epoch, Round, View},
};
use commonware_cryptography::{Hasher as _, Sha256, Signer as _, ed25519::PrivateKey};
use commonware_utils::ordered::Set;
use serde_json::Value;
use std::{path::PathBuf, time::Duration};
use tempfile::TempDir;
use tidewatch_sentinel::evidence::{Committee, Evidence, FILE_MAX};

const NAMESPACE: &[u8] = b"_TEST";

/// A file against member 2 of four, in a directory that the command does not run in.
struct Kept {
    directory: TempDir,
    evidence: Evidence,
}

impl Kept {
    fn new() -> Self {
        let mut keys: Vec<_> = (0..4).map(PrivateKey::from_seed).collect();
        keys.sort_by_key(|key| key.public_key());
        let members = Set::from_iter_dedup(keys.iter().map(|key| key.public_key()));
        let scheme = Scheme::signer(NAMESPACE, members.clone(), keys[2].clone()).unwrap();
        let vote = |block: &[u8]| {
            let round = Round::new(Epoch::new(3), View::new(9));
            let proposal = Proposal::new(round, View::new(8), Sha256::hash(&[block]));
            Notarize::sign(&scheme, proposal).unwrap()
        };
        let both = ConflictingNotarize::new(vote(b"a"), vote(b"b"));
        let committee = Committee::ed25519(NAMESPACE, members).unwrap();
        let activity = Activity::ConflictingNotarize(both);
        let evidence = Evidence::of(&committee, &activity).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), evidence }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn whole(&self) -> PathBuf {
        self.file("whole", &self.evidence.to_file())
    }
}

fn verify(file: &PathBuf, args: &[&str]) -> Output {
    Command::new(&["verify-evidence"]).with([file]).with(args).start().end(Duration::from_secs(60))
}

#[test]
fn evidence_verifies_from_another_directory_and_says_who_signed_what() {
    let kept = Kept::new();
    let fingerprint = kept.evidence.committee().fingerprint();
    let ended = verify(&kept.whole(), &["--committee", &fingerprint, "--namespace", "_TEST"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let text = ended.text();
    for words in ["in view 9 of epoch 3", "notarize", "member 2 of 4", "the one that is trusted"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let ended = verify(&kept.whole(), &["--format", "json"]);
    let line: Value = serde_json::from_str(&ended.text()).unwrap();
    assert_eq!(line["offence"], "conflicting_notarize");
    assert_eq!((&line["pinned"], &line["attributable"]), (&false.into(), &true.into()));
    assert_eq!((&line["epoch"], &line["view"], &line["signer"]), (&3.into(), &9.into(), &2.into()));
    assert_eq!(line["committee"], fingerprint);
    assert_ne!(line["messages"][0]["payload"], line["messages"][1]["payload"]);
}

#[test]
fn a_committee_that_nobody_pinned_is_said_to_be_anybodys() {
    let ended = verify(&Kept::new().whole(), &[]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.text().contains("not pinned"), "{ended:?}");
}

#[test]
fn what_is_no_evidence_is_refused_with_what_is_wrong_and_what_to_do() {
    let kept = Kept::new();
    let bytes = kept.evidence.to_file();
    let mut flipped = bytes.to_vec();
    flipped[40] ^= 1;
    let none = kept.directory.path().join("none");
    for (file, args, code, words) in [
        (kept.file("flipped", &flipped), &[][..], 1, "the file is damaged"),
        (kept.file("cut", &bytes[..100]), &[], 1, "the file is cut: it has 100 bytes of 383"),
        (kept.file("other", b"{}"), &[], 1, "the file is not evidence"),
        (kept.file("empty", b""), &[], 1, "the file is not evidence"),
        (kept.file("large", &vec![0; FILE_MAX + 9]), &[], 1, "the file has more than"),
        (PathBuf::from("/dev/zero"), &[], 1, "the file has more than"),
        (none, &[], 2, "cannot read"),
        (kept.whole(), &["--committee", "abcd"], 1, "but abcd is trusted"),
        (kept.whole(), &["--committee", "xyz"], 2, "--committee is not hex"),
        (kept.whole(), &["--identity", "0xAB"], 1, "identity is none, but ab is trusted"),
        (kept.whole(), &["--namespace", "_ALTO"], 1, "\"_ALTO\" is trusted"),
    ] {
        let ended = verify(&file, args);
        assert_eq!(ended.code, Some(code), "{words}: {ended:?}");
        assert!(ended.errors.contains(words), "{words}: {}", ended.errors);
        assert!(ended.lines.is_empty(), "{ended:?}");
    }
}

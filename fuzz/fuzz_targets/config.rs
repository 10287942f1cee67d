//! The configuration file of the command, with its URLs and its identity.
//!
//! The command's modules are private to its binary, so a few of them are compiled into this target from
//! their files. The input is the text of a user's file. The properties:
//!
//! - no text causes a panic; it is accepted, or rejected with a message that names the file;
//! - that message never contains the URL, whatever is wrong in the file, because its user and password
//!   are secrets.
#![no_main]
#![allow(dead_code, reason = "the command uses more of its modules than this target")]

#[path = "../../crates/tidewatch/src/command/args.rs"]
mod args;
#[path = "../../crates/tidewatch/src/command/problem.rs"]
mod problem;
#[path = "."]
mod monitoring {
    #[path = "../../crates/tidewatch/src/command/monitoring/args.rs"]
    pub(crate) mod args;
}
#[path = "."]
mod proving {
    #[path = "../../crates/tidewatch/src/command/proving/args.rs"]
    pub(crate) mod args;
}
#[path = "."]
mod sentinel {
    #[path = "../../crates/tidewatch/src/command/sentinel/args.rs"]
    pub(crate) mod args;
}
#[path = "."]
mod sink {
    #[path = "../../crates/tidewatch/src/command/sink/args.rs"]
    pub(crate) mod args;
}
#[path = "."]
mod tail {
    #[path = "../../crates/tidewatch/src/command/tail/args.rs"]
    pub(crate) mod args;
}
#[path = "../../crates/tidewatch/src/command/target.rs"]
mod target;

use arbitrary::Arbitrary;
use args::Follow;
use libfuzzer_sys::fuzz_target;
use problem::Problem;
use std::{fs::File, os::unix::fs::FileExt as _, path::PathBuf, sync::LazyLock};
use target::Target;

/// As in the command.
type Outcome<T> = Result<T, Problem>;

/// Two secrets, in the URLs of every file except raw ones: all output must be the same for both.
const SECRETS: [&str; 2] = ["hunter2hunter2", "swordfish12345"];

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    Raw(&'a str),
    File { before: &'a str, key: Key<'a>, form: Form, address: Address<'a>, after: &'a str },
}

#[derive(Arbitrary, Debug)]
enum Key<'a> {
    Source,
    Identity,
    Other(u8),
    Any(&'a str),
}

/// Syntax of the URL in the file: correct, or a plausible mistake.
#[derive(Arbitrary, Debug)]
enum Form {
    List,
    Text,
    Double,
    Bare,
    Nested,
    Table,
    Open,
}

#[derive(Arbitrary, Debug)]
struct Address<'a> {
    start: &'a str,
    end: &'a str,
    mode: bool,
}

const KEYS: [&str; 9] =
    ["source", "identity", "start", "until", "data_dir", "format", "metrics", "config", "prove.prover"];

/// Kept open, because closing a truncated file may flush it to the disk.
static FILE: LazyLock<(PathBuf, File)> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("tidewatch-fuzz-{}.toml", std::process::id()));
    let file = File::create(&path).expect("makes a file");
    (path, file)
});

fn write(text: &str) -> PathBuf {
    let (path, file) = &*FILE;
    file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0)).expect("writes");
    path.clone()
}

fuzz_target!(|input: Input<'_>| {
    let [one, other] = SECRETS.map(|secret| shown(&input.text(secret)));
    // The fuzzer learns the secret and writes it into other parts of the input, so searching for it
    // yields false positives. Instead, the output must not depend on the secret.
    assert_eq!(one, other, "a secret is shown");
});

impl Input<'_> {
    fn text(&self, secret: &str) -> String {
        match self {
            Self::Raw(text) => (*text).to_owned(),
            Self::File { before, key, form, address, after } => {
                let key = match key {
                    Key::Source => "source".to_owned(),
                    Key::Identity => "identity".to_owned(),
                    Key::Other(nth) => KEYS[usize::from(*nth) % KEYS.len()].to_owned(),
                    Key::Any(text) => line(text),
                };
                format!("{before}\n{key} = {}\n{after}", written(form, &url(address, secret)))
            }
        }
    }
}

/// The error message for a file, if it is rejected.
fn shown(text: &str) -> Option<String> {
    let options = Follow { config: Some(write(text)), ..Follow::default() };
    let problem = match options.resolve() {
        Ok(options) => Target::parse(&options).err()?,
        Err(problem) => {
            assert!(problem.to_string().contains("tidewatch-fuzz-"), "{problem}");
            problem
        }
    };
    Some(format!("{problem} {:?}", problem.hint))
}

fn line(text: &str) -> String {
    text.replace(['\n', '\r'], "")
}

/// A URL whose password is `secret`.
fn url(Address { start, end, mode }: &Address<'_>, secret: &str) -> String {
    let ends = |c| matches!(c, '\n' | '\r' | '\'' | '"' | '/' | '\\' | '?' | '#' | '@');
    let (start, end) = (start.replace(ends, ""), end.replace(ends, ""));
    let mode = if *mode { "?mode=vrf" } else { "" };
    format!("alto+http://{start}:{secret}{end}@host:8080{mode}")
}

fn written(form: &Form, url: &str) -> String {
    match form {
        Form::List => format!("['{url}']"),
        Form::Text => format!("'{url}'"),
        Form::Double => format!("\"{url}\""),
        Form::Bare => url.to_owned(),
        Form::Nested => format!("[['{url}']]"),
        Form::Table => format!("{{ url = '{url}' }}"),
        Form::Open => format!("['{url}"),
    }
}

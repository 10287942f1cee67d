//! `tidewatch verify-evidence`: whether a validator contradicted itself.

use super::{
    Problem,
    args::{Format, VerifyEvidence},
};
use crate::Outcome;
use commonware_codec::Encode as _;
use commonware_formatting::{from_hex, hex};
use serde::Serialize;
use std::{
    fmt::Write as _,
    fs::File,
    io::{Error as SystemError, Read, Write as _},
    path::Path,
};
use tidewatch_sentinel::evidence::{Evidence, FILE_MAX, Finding, Message, Refusal, Trusted};

/// A finding as JSON.
#[derive(Debug, Serialize)]
struct Line<'a> {
    offence: &'static str,
    scheme: &'static str,
    namespace: String,
    committee: &'a str,
    identity: Option<String>,
    pinned: bool,
    attributable: bool,
    epoch: u64,
    view: u64,
    signer: u32,
    validator: String,
    messages: [LineMessage; 2],
}

#[derive(Debug, Serialize)]
struct LineMessage {
    kind: &'static str,
    parent: Option<u64>,
    payload: Option<String>,
}

/// Checks a file, and prints what it shows.
pub(super) fn run(asked: &VerifyEvidence) -> Outcome<()> {
    let trusted = Trusted {
        committee: asked
            .committee
            .as_deref()
            .map(|text| digits("--committee", text))
            .transpose()?,
        identity: asked.identity.as_deref().map(|text| digits("--identity", text)).transpose()?,
        namespace: asked.namespace.as_ref().map(|text| text.clone().into_bytes()),
    };
    let bytes = read(&asked.file)?;
    let refused = |refusal: Refusal| {
        Problem::failure(format!("{}: {refusal}", asked.file.display())).hint(hint(&refusal))
    };
    let evidence = Evidence::from_file(&bytes).map_err(refused)?;
    let finding = evidence.check(&trusted).map_err(refused)?;
    let text = match asked.format {
        Format::Human => told(&evidence, &finding),
        Format::Json => serde_json::to_string(&line(&evidence, &finding))
            .map_err(|error| Problem::failure(format!("cannot print: {error}")))?,
    };
    writeln!(std::io::stdout().lock(), "{text}")
        .map_err(|error| Problem::failure(format!("cannot print: {error}")))
}

/// What was given as hexadecimal, without its prefix and in small letters.
fn digits(option: &str, text: &str) -> Outcome<String> {
    let bytes = from_hex(text.strip_prefix("0x").unwrap_or(text));
    let bytes = bytes.filter(|bytes| !bytes.is_empty());
    bytes.map(|bytes| hex(&bytes)).ok_or_else(|| Problem::usage(format!("{option} is not hex")))
}

/// Reads no more than evidence may have, and one byte to know that there is more.
fn read(path: &Path) -> Outcome<Vec<u8>> {
    let bounded = |source: &mut dyn Read| -> Result<Vec<u8>, SystemError> {
        let mut bytes = Vec::new();
        source.take(FILE_MAX as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match path.as_os_str() == "-" {
        true => bounded(&mut std::io::stdin().lock()),
        false => File::open(path).and_then(|mut file| bounded(&mut file)),
    };
    bytes.map_err(|error| Problem::usage(format!("cannot read {}: {error}", path.display())))
}

/// What to do about a refusal.
const fn hint(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Foreign => "name a file that `tidewatch sentinel` kept as evidence",
        Refusal::Version { .. } => "use the version of tidewatch that wrote it, or a newer one",
        Refusal::Oversized { .. }
        | Refusal::Cut { .. }
        | Refusal::Longer { .. }
        | Refusal::Damaged { .. } => "copy it again from where it was kept",
        Refusal::OtherCommittee { .. }
        | Refusal::OtherIdentity { .. }
        | Refusal::OtherNamespace { .. } => {
            "it is about other validators: check what you pinned, and which epoch it is of"
        }
        _ => "it shows nothing about the validator that it names",
    }
}

fn told(evidence: &Evidence, finding: &Finding) -> String {
    let Finding { epoch, view, signer, committee, .. } = finding;
    let validator = hex(&finding.key.encode());
    let mut text =
        format!("validator {validator} contradicted itself in view {view} of epoch {epoch}:\n");
    for Message { kind, proposal } in &finding.messages {
        let _ = match proposal {
            Some((parent, payload)) => writeln!(text, "  {kind} {payload}, after view {parent}"),
            None => writeln!(text, "  {kind}"),
        };
    }
    let members = evidence.committee().members().len();
    let namespace = String::from_utf8_lossy(evidence.committee().namespace());
    let scheme = finding.scheme.as_str();
    let _ = write!(
        text,
        "both signed as member {signer} of {members} ({scheme}, namespace {namespace:?})\n\
         committee {committee}: {}",
        match finding.pinned {
            true => "the one that is trusted",
            false => "not pinned, so it may be anybody's; pin the one you trust with --committee",
        }
    );
    if !finding.attributable {
        text.push_str(
            "\npartial signatures of a threshold scheme can be computed from those of a quorum: this convinces \
             whoever trusts the validator that recorded it, and nobody else",
        );
    }
    text
}

fn line<'a>(evidence: &Evidence, finding: &'a Finding) -> Line<'a> {
    Line {
        offence: finding.offence.as_str(),
        scheme: finding.scheme.as_str(),
        namespace: String::from_utf8_lossy(evidence.committee().namespace()).into_owned(),
        committee: &finding.committee,
        identity: evidence.committee().identity_hex(),
        pinned: finding.pinned,
        attributable: finding.attributable,
        epoch: finding.epoch.get(),
        view: finding.view.get(),
        signer: finding.signer,
        validator: hex(&finding.key.encode()),
        messages: finding.messages.each_ref().map(|message| LineMessage {
            kind: message.kind,
            parent: message.proposal.map(|(parent, _)| parent.get()),
            payload: message.proposal.map(|(_, payload)| payload.to_string()),
        }),
    }
}

//! Another machine's stream, for people: on a terminal a line for each tier, which moves along a track; elsewhere a
//! line for every change.

use super::{Printer, human::number_of};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use std::{fmt::Write as _, io::IsTerminal as _, time::Duration};
use tidewatch_client::{Bookmark, Hello, Message, State, Tier};

/// Blocks that a track has room for.
const TRACK: u64 = 40;

/// The most final first.
const TIERS: [(Tier, char); 4] =
    [(Tier::Finalized, '◆'), (Tier::Proven, '▲'), (Tier::Checkpointed, '■'), (Tier::Proposed, '●')];

/// What the server said of itself.
#[derive(Debug, Default)]
struct Said {
    chain: String,
    state: Option<String>,
    lag: u64,
    reorgs: u64,
    /// Why it is gone, while it is.
    gone: Option<String>,
}

/// Shows people where another machine is.
#[derive(Debug)]
pub(crate) struct Watched {
    server: String,
    printer: Printer,
    /// The title, and a line for each tier; none where there is no terminal. They are drawn as one, so that they
    /// are of one moment.
    lines: Option<ProgressBar>,
    said: Said,
    last: String,
}

impl Watched {
    pub(crate) fn new(printer: Printer, server: &str) -> Self {
        let lines = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{msg}");
            let lines = ProgressBar::new(0);
            lines.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            // What came in a burst is drawn at the latest then.
            lines.enable_steady_tick(Duration::from_millis(250));
            lines
        });
        let (said, last) = (Said::default(), String::new());
        Self { server: server.into(), printer, lines, said, last }
    }

    /// Shows `message`, which led to `state`.
    pub(crate) fn take(&mut self, message: &Message, state: &State) {
        self.said.gone = None;
        let mut news = None;
        match message {
            Message::Hello(Hello { chain, .. }) => self.said.chain.clone_from(chain),
            Message::Bookmark(Bookmark { state, lag, .. }) => {
                (self.said.state, self.said.lag) = (Some(state.replace('_', " ")), *lag);
            }
            Message::Pruned(pruned) => {
                self.said.reorgs += 1;
                let depth = number_of(pruned.depth, "block");
                news = Some(format!("{depth} undone, down to {}", pruned.to.height));
            }
            Message::Reset(reset) => news = Some(format!("history begins anew: {}", reset.detail)),
            Message::Lost { why, .. } if !why.is_empty() => self.said.gone = Some(why.clone()),
            Message::Goodbye(goodbye) => self.said.gone = Some(goodbye.reason.clone()),
            _ => {}
        }
        match &self.lines {
            Some(lines) => {
                if let Some(news) = news {
                    lines.println(news);
                }
                let mut shown = title(&self.said, &self.server);
                for (tier, mark) in TIERS {
                    let _ = write!(shown, "\n{}", tier_line(state, tier, mark)); // A String takes everything.
                }
                lines.set_message(shown);
            }
            None => {
                let line = summary(&self.said, state);
                for line in news.into_iter().chain((line != self.last).then(|| line.clone())) {
                    self.printer.hint(format!("{line}\n"));
                }
                self.last = line;
            }
        }
    }
}

fn word(said: &Said) -> String {
    match (&said.gone, &said.state) {
        (Some(why), _) => format!("server gone ({why})"),
        (None, Some(state)) => state.clone(),
        (None, None) => "connected".into(),
    }
}

fn title(said: &Said, server: &str) -> String {
    format!(
        "{} | {} | lag {} | {} reorgs | {server}",
        word(said),
        said.chain,
        said.lag,
        said.reorgs
    )
}

/// The same as one line.
fn summary(said: &Said, state: &State) -> String {
    let mut line = word(said);
    for (tier, _) in TIERS.into_iter().rev() {
        if let Some(tip) = state.tips.get(tier) {
            let _ = write!(line, " | {} {}", tier.as_str(), tip.block.height); // A String takes everything.
        }
    }
    let _ = write!(line, " | {}", number_of(said.reorgs, "reorg"));
    line
}

/// The height of a tier, and its place on a track that ends at the highest one.
fn tier_line(state: &State, tier: Tier, mark: char) -> String {
    let name = tier.as_str();
    let Some(tip) = state.tips.get(tier) else { return format!("{mark} {name:<12} {:>14}", "–") };
    let highest =
        Tier::ALL.iter().filter_map(|tier| Some(state.tips.get(*tier)?.block.height)).max();
    let behind = highest.unwrap_or(0).saturating_sub(tip.block.height);
    let height = HumanCount(tip.block.height).to_string();
    let far = if behind == 0 { String::new() } else { format!("  −{}", HumanCount(behind)) };
    format!("{mark} {name:<12} {height:>14}  {}{far}", track(behind, mark))
}

fn track(behind: u64, mark: char) -> String {
    let place = (TRACK - 1).saturating_sub(behind) as usize;
    let begin = if behind < TRACK { '─' } else { '…' };
    let rest = (TRACK - 1) as usize - place;
    let before: String = (0..place).map(|_| '─').collect();
    let after: String = (0..rest).map(|_| '·').collect();
    match place {
        0 => format!("{begin}{mark}{after}"),
        _ => format!("{begin}{before}{mark}{after}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewatch_client::{Block, Tip, Tips};

    fn tip(height: u64) -> Option<Tip> {
        Some(Tip { block: Block { height, digest: String::new() }, checkpoint: None })
    }

    #[test]
    fn a_tier_is_as_far_from_the_end_of_its_track_as_it_is_behind() {
        for (behind, from_end) in [(0, 0), (1, 1), (39, 39), (40, 39), (1_000_000, 39)] {
            let track = track(behind, '◆');
            let after = track.chars().rev().position(|mark| mark == '◆');
            assert_eq!(after, Some(from_end), "{behind}: {track}");
            assert_eq!(track.chars().count(), TRACK as usize + 1, "{track}");
            assert_eq!(track.starts_with('…'), behind >= TRACK, "{track}");
        }
    }

    #[test]
    fn lines_name_the_tiers_that_are_known() {
        let tips = Tips { proposed: tip(1_234), finalized: tip(1_232), ..Tips::default() };
        let state = State { block: None, tips };
        let mut said = Said { state: Some("live".into()), ..Said::default() };
        assert_eq!(summary(&said, &state), "live | proposed 1234 | finalized 1232 | 0 reorgs");
        assert!(
            tier_line(&state, Tier::Finalized, '◆')
                .starts_with("◆ finalized             1,232  ──")
        );
        assert!(tier_line(&state, Tier::Finalized, '◆').ends_with("◆··  −2"));
        assert!(tier_line(&state, Tier::Proven, '▲').ends_with('–'));
        said.gone = Some("shutdown".into());
        assert!(title(&said, "http://host").starts_with("server gone (shutdown) | "));
    }
}

//! Every path through the menus of a world, one after the other.

use std::fmt::{Debug, Display};

/// How long a path is, and how much happens on it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Nothing happens after so many points.
    pub(super) points: usize,
    /// No more than so many acts.
    pub(super) acts: usize,
}

/// One path through all menus, and the way to the next one: an odometer whose wheels have as many teeth
/// as the menus that the path meets.
#[derive(Debug)]
pub(super) struct Choices {
    budget: Budget,
    /// For each point of the path: 0 for nothing, otherwise which entry of its menu.
    picks: Vec<usize>,
    /// For each point that was met, how much there was to pick from.
    sizes: Vec<usize>,
    /// Points that this run came to.
    met: usize,
    /// What happened in this run, in words.
    acts: Vec<String>,
}

impl Choices {
    /// The first path, on which nothing happens.
    pub(super) const fn new(budget: Budget) -> Self {
        Self { budget, picks: Vec::new(), sizes: Vec::new(), met: 0, acts: Vec::new() }
    }

    /// The path that [`Choices::picks`] named.
    pub(super) fn along(budget: Budget, picks: &[usize]) -> Self {
        Self { picks: picks.to_vec(), ..Self::new(budget) }
    }

    /// Whether nothing can happen any more in this run.
    pub(super) const fn spent(&self) -> bool {
        self.met >= self.budget.points || self.acts.len() >= self.budget.acts
    }

    /// What happens at this point: an entry of `menu`, or nothing.
    pub(super) fn choose<A: Copy + Display>(
        &mut self,
        point: impl Display,
        menu: impl FnOnce() -> Vec<A>,
    ) -> Option<A> {
        if self.spent() {
            return None;
        }
        let menu = menu();
        if self.met == self.picks.len() {
            self.picks.push(0);
        }
        if self.met == self.sizes.len() {
            self.sizes.push(menu.len() + 1);
        }
        let (pick, size) = (self.picks[self.met], self.sizes[self.met]);
        assert_eq!(size, menu.len() + 1, "the same path does not lead to the same menus");
        self.met += 1;
        let act = menu[pick.checked_sub(1)?];
        self.acts.push(format!("{}. {point}: {act}", self.met));
        Some(act)
    }

    /// Turns to the next path; `false` after the last one.
    pub(super) fn turn(&mut self) -> bool {
        self.met = 0;
        self.acts.clear();
        while let (Some(pick), Some(size)) = (self.picks.pop(), self.sizes.pop()) {
            if pick + 1 < size {
                self.picks.push(pick + 1);
                self.sizes.push(size);
                return true;
            }
        }
        false
    }

    /// The path in numbers, to run it again.
    pub(super) fn picks(&self) -> &[usize] {
        &self.picks
    }

    /// What happened, in words.
    pub(super) fn acts(&self) -> &[String] {
        &self.acts
    }
}

#[test]
fn every_path_within_a_budget_is_taken_once() {
    // Three points of menus of two, one and three entries; the second comes only after nothing.
    let walk = |choices: &mut Choices| {
        let first = choices.choose("first", || vec!['a', 'b']);
        let second = first.is_none().then(|| choices.choose("second", || vec!['c'])).flatten();
        let third = choices.choose("third", || vec!['d', 'e', 'f']);
        [first, second, third].into_iter().flatten().collect::<String>()
    };
    for (acts, expected) in [
        (0, vec![""]),
        (1, vec!["", "d", "e", "f", "c", "a", "b"]),
        (
            2,
            vec![
                "", "d", "e", "f", "c", "cd", "ce", "cf", "a", "ad", "ae", "af", "b", "bd", "be",
                "bf",
            ],
        ),
    ] {
        let mut choices = Choices::new(Budget { points: 3, acts });
        let mut walks = Vec::new();
        loop {
            walks.push(walk(&mut choices));
            if !choices.turn() {
                break;
            }
        }
        assert_eq!(walks, expected, "{acts} acts");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of passed and failed tests, and their durations.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::pool::Ended;
use crate::progress::clock;
use crate::tested::{Group, Outcome, Tested};

/// Number of the slowest jobs that are listed.
const SLOWEST: usize = 10;

/// Tests that have ended. A scenario is one test for all its boots.
#[derive(Debug, Default)]
pub(super) struct Tally {
    tests: BTreeMap<(Group, String), Counts>,
    times: Vec<(Duration, String)>,
    groups: BTreeMap<Group, Duration>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Prints the output of a job and adds its tests.
    pub(super) fn hear(&mut self, ended: Ended<Vec<Tested>>) {
        print!("{}", ended.output);
        self.times.push((ended.took, ended.name));
        ended.result.into_iter().for_each(|tested| self.add(tested));
    }

    /// Adds a test, or one boot of a scenario.
    pub(super) fn add(&mut self, tested: Tested) {
        *self.groups.entry(tested.group).or_default() += tested.took;
        let (passed, failed) = match tested.result {
            Ok(Outcome::Skipped(_)) => return,
            Ok(Outcome::Tests { passed, failed }) => (passed, failed),
            Ok(Outcome::Good | Outcome::Unchanged) => (1, 0),
            Err(_) => (0, 1),
        };
        let counts = self.tests.entry((tested.group, tested.name)).or_default();
        if passed + failed == 1 {
            counts.failed = counts.failed.max(failed);
            counts.passed = 1 - counts.failed;
        } else {
            *counts = Counts { passed, failed };
        }
    }

    fn sum(&self, number: impl Fn(&Counts) -> u32) -> u32 {
        self.tests.values().map(number).sum()
    }

    pub(super) fn passed(&self) -> u32 {
        self.sum(|counts| counts.passed)
    }

    pub(super) fn failed(&self) -> u32 {
        self.sum(|counts| counts.failed)
    }

    /// Prints the slowest jobs, a line for each group, and the failed tests.
    pub(super) fn report(&mut self, took: Duration) {
        self.times.sort_by(|a, b| b.cmp(a));
        println!("slowest:");
        for (time, name) in self.times.iter().take(SLOWEST) {
            println!("  {:>7}  {name}", clock(*time));
        }
        println!("groups, and the time that their tests took one after the other:");
        for (group, time) in &self.groups {
            let of = |number: fn(&Counts) -> u32| -> u32 {
                self.tests.iter().filter(|((g, _), _)| g == group).map(|(_, c)| number(c)).sum()
            };
            let (passed, failed) = (of(|counts| counts.passed), of(|counts| counts.failed));
            println!("  {:>7}  {}: {passed} passed, {failed} failed", clock(*time), group.name());
        }
        println!("  {:>7}  in all, in parallel", clock(took));
        let failed: Vec<_> =
            self.tests.iter().filter(|(_, c)| c.failed > 0).map(|((_, name), _)| &**name).collect();
        if !failed.is_empty() {
            println!("failed: {}", failed.join(", "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(tally: &mut Tally, name: &str, result: anyhow::Result<Outcome>) {
        let (name, took) = (name.to_owned(), Duration::from_secs(1));
        tally.add(Tested { name, group: Group::Core, result, took });
    }

    #[test]
    fn skipped_test_neither_passes_nor_fails() {
        let mut tally = Tally::default();
        add(&mut tally, "there", Ok(Outcome::Good));
        add(&mut tally, "before", Ok(Outcome::Unchanged));
        add(&mut tally, "not there", Ok(Outcome::Skipped("no network".to_owned())));
        add(&mut tally, "wrong", Err(anyhow::anyhow!("wrong")));
        assert_eq!((tally.passed(), tally.failed()), (2, 1));
    }

    #[test]
    fn scenario_passes_if_all_its_boots_pass() {
        let mut tally = Tally::default();
        for name in ["a", "a", "b", "b"] {
            add(&mut tally, name, Ok(Outcome::Good));
        }
        add(&mut tally, "b", Err(anyhow::anyhow!("one board")));
        add(&mut tally, "b", Ok(Outcome::Good));
        add(&mut tally, "cargo test", Ok(Outcome::Tests { passed: 7, failed: 2 }));
        assert_eq!((tally.passed(), tally.failed()), (8, 3));
    }
}

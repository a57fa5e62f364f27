// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask test`: every check that a change must pass, in parallel. Its last line is `N passed, N failed`.

mod inputs;
mod since;
mod steps;
mod style;
mod tally;
mod unit;

use std::time::Instant;

use anyhow::Result;
use clap::Args as ClapArgs;

use self::inputs::Tree;
use self::since::Selection;
use self::steps::{STEPS, Step};
use self::tally::Tally;
use crate::cache::Workspace;
use crate::pool::{self, Job};
use crate::results::Results;
use crate::scenario::All;
use crate::tested::{Group, Outcome, Tested};
use crate::{firmware, host, results};

/// Arguments of the `test` command.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Args {
    /// Number of tests to run in parallel [default: one per processor]
    #[arg(short, long)]
    jobs: Option<u32>,
    /// Run only the tests of this group; can be repeated
    #[arg(long, value_name = "GROUP")]
    only: Vec<Group>,
    /// Run only tests that changes since this commit can affect; see xtask/src/suite/since.rs
    #[arg(long, value_name = "REF")]
    since: Option<String>,
    /// Also run tests that have passed with the same inputs before
    #[arg(long)]
    fresh: bool,
}

impl Args {
    /// Returns the arguments that select all tests of a group.
    pub(crate) fn of(group: Group) -> Self {
        Self { only: vec![group], ..Self::default() }
    }
}

/// Runs the `test` command. Continues after a failure; returns `false` if anything failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let selection = Selection::new(workspace, &args.only, args.since.as_deref())?;
    let wanted = |step: &&Step| selection.has_step(step.name, step.group);
    let steps: Vec<_> = STEPS.iter().filter(wanted).collect();
    let mut tally = Tally::default();
    // Programs are linked to libraries of the host's. All packages at once, since jobs run in parallel.
    let started = Instant::now();
    let scenarios = All::read(workspace, |name, group| selection.has_scenario(name, group))?;
    let packages = steps.iter().flat_map(|step| step.packages).copied();
    let packages = packages.chain(scenarios.packages()).collect::<Vec<_>>().concat();
    let result = install(workspace, &packages).map(|()| Outcome::Good);
    let (name, group) = ("Debian packages".to_owned(), Group::Check);
    tally.add(Tested { name, group, result, took: started.elapsed() });

    // Guests get the firmware that is there. The step `firmware images` reports what cannot be fetched.
    if let Err(error) = firmware::images(workspace) {
        eprintln!("warning: scenarios run without vendors' firmware: {error:#}");
    }
    let jobs = args.jobs.unwrap_or_else(pool::processors);
    let results = Results::open(workspace, args.fresh)?;
    let tree = Tree::read(workspace)?;
    let mut all = scenarios.jobs(&results, jobs);
    all.extend(steps.iter().map(|step| job(workspace, &results, &tree, step)));
    pool::run(all, jobs, |ended| tally.hear(ended));
    tally.report(started.elapsed());
    let everything = args.only.is_empty() && args.since.is_none();
    if everything
        && tally.failed() == 0
        && let Err(error) = results::keep_commit(workspace)
    {
        eprintln!("warning: {error:#}");
    }
    println!("{} passed, {} failed", tally.passed(), tally.failed());
    Ok(tally.failed() == 0)
}

/// Runs the `check` command: tests that need neither root, nor a virtual machine, nor a package manager.
pub(crate) fn check(workspace: &Workspace) -> Result<bool> {
    host::must_build()?;
    let results = Results::open(workspace, false)?;
    let tree = Tree::read(workspace)?;
    let steps = STEPS.iter().filter(|step| step.group == Group::Check);
    let jobs = steps.map(|step| job(workspace, &results, &tree, step)).collect();
    let (mut tally, started) = (Tally::default(), Instant::now());
    pool::run(jobs, pool::processors(), |ended| tally.hear(ended));
    tally.report(started.elapsed());
    println!("{} passed, {} failed", tally.passed(), tally.failed());
    Ok(tally.failed() == 0)
}

fn install(workspace: &Workspace, packages: &[&str]) -> Result<()> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, packages)
}

/// Returns the job that runs a step.
fn job<'a>(
    workspace: &'a Workspace,
    results: &'a Results,
    tree: &'a Tree,
    step: &'a Step,
) -> Job<'a, Vec<Tested>> {
    let estimate = results.estimate(step.name).unwrap_or(step.estimate());
    let work = move |_: &pool::Queue<'a, Vec<Tested>>| {
        let started = Instant::now();
        let name = step.name;
        let result = tree.digest(workspace, &step.inputs).and_then(|inputs| {
            results.once(name, inputs.as_deref(), true, || (step.run)(workspace))
        });
        match &result {
            Ok(Outcome::Good) => say!("{name} ... ok in {:.1} s", started.elapsed().as_secs_f64()),
            Ok(Outcome::Skipped(why)) => say!("{name} ... skipped: {why}"),
            Ok(Outcome::Unchanged | Outcome::Tests { .. }) => {}
            Err(error) => say!("{name} ... FAILED: {error:#}"),
        }
        vec![Tested { name: name.to_owned(), group: step.group, result, took: started.elapsed() }]
    };
    Job { name: step.name.to_owned(), estimate, uses: step.uses, run: Box::new(work) }
}

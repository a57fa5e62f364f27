// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios: shell scripts of `tests/vm/scenarios`, each run as its own boot.
//!
//! The head of a script specifies how to boot it, in comments `# key: value` (see [`head::Scenario::parse`]). In the
//! guest, `lib.sh` prints one line for each result: `ok - CLAIM`, `not ok - CLAIM (what was seen)`, `# remark`, and
//! finally `end COUNT`, without which the scenario has failed.

mod boot;
mod head;
mod images;
mod lent;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args as ClapArgs;

use self::boot::{How, Run};
use self::head::{Kind, Scenario};
use self::images::Images;
use crate::board;
use crate::cache::Workspace;
use crate::image;
use crate::kernel::{Flavor, Linux};
use crate::machine::Machine;
use crate::pool::{self, Job, Queue};
use crate::results::Results;
use crate::systemd;
use crate::tee::Tee;
use crate::tested::{BUILD, Group, Outcome, Tested};
use crate::vm::{Boot, Image};

/// Arguments of the `vm` command.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Args {
    /// Scenarios to run [default: all]
    names: Vec<String>,
    /// List the scenarios, their subjects, and the TEEs on which they run
    #[arg(long)]
    list: bool,
    /// Print the kernel's console after each boot
    #[arg(long)]
    console: bool,
    /// Boot the debug kernel (KASAN, lockdep, kmemleak, KUnit, fault injection), which is slower
    #[arg(long)]
    debug_kernel: bool,
    /// Boot the kernel with control-flow integrity (CONFIG_CFI)
    #[arg(long, conflicts_with = "debug_kernel")]
    cfi_kernel: bool,
    /// Boot the test kernel and Debian's own kernel of this version, on which a part of the scenarios run
    #[arg(long, value_name = "VERSION", default_value = "7.3", conflicts_with_all = ["debug_kernel", "cfi_kernel"])]
    kernel: Linux,
    /// Seed of the random numbers; each boot prints its seed
    #[arg(long)]
    seed: Option<u32>,
    /// Number of boots to run in parallel [default: one per processor]
    #[arg(short, long)]
    jobs: Option<u32>,
    /// Boot to a shell with the scenarios' functions instead (Ctrl-A X ends it)
    #[arg(long, conflicts_with_all = ["names", "list"])]
    shell: bool,
    /// Board for the shell
    #[arg(long, default_value = "rk3588", requires = "shell")]
    board: String,
}

impl Args {
    /// Returns the arguments to run these scenarios.
    pub(crate) fn named(names: Vec<String>) -> Self {
        Self { names, ..Self::default() }
    }
}

/// Runs the `vm` command. Returns `false` if a scenario failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let flavor = Flavor::chosen(args.debug_kernel, args.cfi_kernel, args.kernel);
    if args.shell {
        return shell(workspace, flavor, &args.board);
    }
    let mut scenarios = head::all(workspace)?;
    if let Some(name) = args.names.iter().find(|name| scenarios.iter().all(|s| s.name != **name)) {
        bail!("no scenario `{name}`: `cargo xtask vm --list` shows them");
    }
    scenarios.retain(|scenario| args.names.is_empty() || args.names.contains(&scenario.name));
    if args.list {
        let width = scenarios.iter().map(|s| s.name.len()).max().unwrap_or_default();
        for Scenario { name, about, tees, .. } in &scenarios {
            let tees: Vec<_> = tees.iter().map(|tee| tee.name()).collect();
            println!("{name:width$}  {about} [{}]", tees.join(", "));
        }
        return Ok(true);
    }
    let (scenarios, others): (Vec<_>, Vec<_>) =
        scenarios.into_iter().partition(|scenario| scenario.is_chosen(flavor, &args.names));
    let skipped = others.len();
    let how = match flavor {
        Flavor::Plain => "with --debug-kernel",
        Flavor::Previous => "without --kernel 7.2",
        Flavor::Debug => "without --debug-kernel",
        Flavor::Cfi => "with another kernel",
    };
    if skipped > 0 && !args.names.is_empty() {
        let names: Vec<_> = others.iter().map(|scenario| scenario.name.as_str()).collect();
        let why = match flavor {
            Flavor::Previous => ": `linux: 7.2` is not in its head",
            _ => "",
        };
        bail!("{} runs only {how}{why}", names.join(" or "));
    }
    let boots = scenarios.iter().map(Scenario::runs).sum::<usize>();
    let jobs = args.jobs.unwrap_or_else(pool::processors).min(u32::try_from(boots)?);
    let run = How { flavor, seed: args.seed, console: args.console, jobs };
    // An explicitly requested scenario always runs.
    let results = Results::open(workspace, true)?;
    let images = Images::new(workspace, flavor);
    let mut failed = Vec::new();
    pool::run(self::jobs(&images, &results, &scenarios, run), jobs, |ended| {
        print!("{}", ended.output);
        let bad = ended.result.into_iter().filter(|tested| tested.result.is_err());
        failed.extend(bad.map(|tested| tested.name));
    });
    failed.sort();
    failed.dedup();
    println!("{} scenarios passed, {} failed", scenarios.len() - failed.len(), failed.len());
    if skipped > 0 {
        println!("{skipped} more run only {how}");
    }
    if !failed.is_empty() {
        let option = flavor.option();
        println!("again: cargo xtask vm{option} --console {}", failed.join(" "));
    }
    Ok(failed.is_empty())
}

/// Boots to a shell.
fn shell(workspace: &Workspace, flavor: Flavor, board: &str) -> Result<bool> {
    let image = image::prepare(workspace, flavor)?;
    let tree = board::device_tree(workspace, board, &[], Machine::Direct(1))?;
    let tee = Tee::Sim.words();
    let cmdline = &format!("xtask.scenario=shell xtask.board={board} {tee}");
    Boot::new("shell", &tree, cmdline, Duration::MAX).interactive(workspace, &image)?;
    Ok(true)
}

/// Scenarios of `cargo xtask test`.
#[derive(Debug)]
pub(crate) struct All<'a> {
    images: Images<'a>,
    scenarios: Vec<Scenario>,
}

impl<'a> All<'a> {
    /// Reads the scenarios that `wanted` selects by name and group.
    pub(crate) fn read(
        workspace: &'a Workspace,
        wanted: impl Fn(&str, Group) -> bool,
    ) -> Result<Self> {
        let mut scenarios = head::all(workspace)?;
        scenarios.retain(|scenario| {
            scenario.runs_on(Flavor::Plain) && wanted(&scenario.name, scenario.group())
        });
        Ok(Self { images: Images::new(workspace, Flavor::Plain), scenarios })
    }

    /// Returns the Debian packages that their images need.
    pub(crate) fn packages(&self) -> Option<&'static [&'static str]> {
        self.scenarios.iter().any(|scenario| scenario.systemd).then_some(systemd::PACKAGES)
    }

    /// Returns jobs that make the images and then boot them.
    pub(crate) fn jobs<'s>(&'s self, results: &'s Results, jobs: u32) -> Vec<Job<'s, Vec<Tested>>> {
        let how = How { flavor: Flavor::Plain, seed: None, console: false, jobs };
        self::jobs(&self.images, results, &self.scenarios, how)
    }
}

/// Runs one scenario with the given image; returns `false` if it failed.
pub(crate) fn run_on(workspace: &Workspace, image: &Image, name: &str) -> Result<bool> {
    let how = How { flavor: Flavor::Plain, seed: None, console: false, jobs: pool::processors() };
    let (mut booted, mut good) = (false, true);
    for scenario in head::all(workspace)?.iter().filter(|scenario| scenario.name == name) {
        for run in Run::all(workspace, scenario, image, Some("other"))? {
            good &= run.boot(workspace, how)?;
            booted = true;
        }
    }
    Ok(booted && good)
}

/// Returns one job for each kind of image, which adds one for each boot.
fn jobs<'a>(
    images: &'a Images<'_>,
    results: &'a Results,
    scenarios: &'a [Scenario],
    how: How,
) -> Vec<Job<'a, Vec<Tested>>> {
    let mut jobs = Vec::new();
    for kind in Kind::ALL {
        let of_kind: Vec<_> = scenarios.iter().filter(|scenario| scenario.kind() == kind).collect();
        if of_kind.is_empty() {
            continue;
        }
        let prepare = move |queue: &Queue<'a, Vec<Tested>>| match images.boots(kind, &of_kind) {
            Ok(runs) => {
                runs.into_iter()
                    .for_each(|run| queue.add(job(images.workspace, results, run, how)));
                Vec::new()
            }
            // An image that cannot be made fails all scenarios that need it.
            Err(error) => {
                say!("{} ... FAILED: {error:#}", kind.name());
                let fail = |scenario: &&Scenario| Tested {
                    name: scenario.name.clone(),
                    group: scenario.group(),
                    result: Err(anyhow::anyhow!("{} could not be made", kind.name())),
                    took: Duration::ZERO,
                };
                of_kind.iter().map(fail).collect()
            }
        };
        jobs.push(Job {
            name: kind.name().to_owned(),
            estimate: kind.first(),
            uses: Some(BUILD),
            run: Box::new(prepare),
        });
    }
    jobs
}

/// Returns the job of a boot, which is skipped if its inputs are those with which it passed.
fn job<'a>(
    workspace: &'a Workspace,
    results: &'a Results,
    run: Run<'a>,
    how: How,
) -> Job<'a, Vec<Tested>> {
    let name = run.name();
    let estimate = results.estimate(&name).unwrap_or(run.scenario.limit / 2);
    let work = {
        let name = name.clone();
        move |_: &Queue<'a, Vec<Tested>>| {
            let started = Instant::now();
            let result = once(workspace, results, &run, how);
            if let Err(error) = &result {
                say!("{name} ... FAILED: {error:#}");
            }
            let scenario = run.scenario;
            let (name, group) = (scenario.name.clone(), scenario.group());
            vec![Tested { name, group, result, took: started.elapsed() }]
        }
    };
    Job { name, estimate, uses: None, run: Box::new(work) }
}

/// Boots a scenario, unless it has passed with the same inputs before.
fn once(workspace: &Workspace, results: &Results, run: &Run<'_>, how: How) -> Result<Outcome> {
    // Other kernels take longer, and `cargo xtask test` does not boot them.
    let keeps = how.flavor == Flavor::Plain;
    results.once(&run.name(), Some(&run.inputs(workspace)?), keeps, || {
        if !run.boot(workspace, how)? {
            bail!("see above");
        }
        Ok(Outcome::Good)
    })
}

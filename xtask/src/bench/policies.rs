// SPDX-License-Identifier: MIT OR Apache-2.0
//! `protheapctl explain` compared with dtc, and `protheapctl check` of many files compared with few.
//!
//! The measurements count the processor time of the processes, including the kernel's: unlike the clock, it hardly
//! depends on other load of the host.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::figure::{Figure, Limit, Measure, Unit};
use crate::boards::Explain;
use crate::cache::{self, Workspace};
use crate::progress::Step;
use crate::{dtbs, host};

/// Number of samples, in turns.
const ROUNDS: usize = 5;
/// Numbers of policies in the small directory and in the large one.
const FEW: usize = 10;
const MANY: usize = 1000;
/// Number of checks of the large directory in one sample: the kernel counts ticks of 10 ms.
const CHECKS: usize = 5;

/// A clock tick of proc_pid_stat(5), in nanoseconds: 100 a second on all hosts of xtask.
const TICK: f64 = 1e7;

/// Runs both measurements.
pub(super) fn measure(workspace: &Workspace, report: &mut dyn FnMut(Measure)) -> Result<()> {
    {
        let _lock = workspace.lock()?;
        host::prepare(workspace, &[])?;
    }
    let program = Explain::prepare(workspace)?;
    explain(workspace, &program, report)?;
    check(workspace, &program.program, report)
}

/// Measures all device trees of Debian, one process each, compared with dtc that reads and writes them.
fn explain(
    workspace: &Workspace,
    program: &Explain,
    report: &mut dyn FnMut(Measure),
) -> Result<()> {
    let trees = dtbs::all(workspace)?.files;
    let (mut explained, mut copied) = (Vec::new(), Vec::new());
    let step = Step::new("measuring explain", 150);
    for _ in 0..ROUNDS {
        explained.push(time_of(trees.iter().map(|tree| program.command(tree)))?);
        copied.push(time_of(trees.iter().map(|tree| {
            let mut dtc = Command::new("dtc");
            dtc.args(["-q", "-I", "dtb", "-O", "dtb", "-o", "/dev/null"]).arg(tree);
            dtc
        }))?);
    }
    step.done();
    let explained = Figure::new("explain --dtb, all trees", explained, Unit::Nanoseconds)?;
    let copied = Figure::new("dtc -I dtb -O dtb, all trees", copied, Unit::Nanoseconds)?;
    let what = "explain of Debian's trees, against dtc";
    report(Measure::ratio(what, [explained, copied], Limit::AtMost(3.0)));
    Ok(())
}

/// Measures a directory of many policies, compared with one of few.
fn check(workspace: &Workspace, program: &Path, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let policy = cache::read(&workspace.root.join("policies/mediatek,mt8196.toml"))?;
    let dir = workspace.checkout.join("bench/policies");
    cache::remove_dir(&dir)?;
    let (few, many) = (dir.join("few"), dir.join("many"));
    for (dir, count) in [(&few, FEW), (&many, MANY)] {
        for number in 0..count {
            let (file, soc) = (dir.join(format!("acme,a{number}.toml")), format!("A{number}"));
            cache::write(&file, policy.replace("MT8196", &soc))?;
        }
    }
    let (mut of_few, mut of_many) = (Vec::new(), Vec::new());
    let check = |dir: &Path| {
        let mut check = Command::new(program);
        check.arg("check").arg(dir);
        check
    };
    for _ in 0..ROUNDS {
        // As many files of both.
        let times = CHECKS * MANY / FEW;
        of_few.push(time_of((0..times).map(|_| check(&few)))? / times as f64);
        of_many.push(time_of((0..CHECKS).map(|_| check(&many)))? / CHECKS as f64);
    }
    let of_few = Figure::new("check of 10 policies", of_few, Unit::Nanoseconds)?;
    let of_many = Figure::new("check of 1,000 policies", of_many, Unit::Nanoseconds)?;
    report(Measure::ratio("check", [of_many, of_few], Limit::AtMost(120.0)));
    Ok(())
}

/// Runs the commands one after another; returns their processor time in nanoseconds.
fn time_of(commands: impl Iterator<Item = Command>) -> Result<f64> {
    let before = children()?;
    for mut command in commands {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().with_context(|| format!("failed to start {command:?}"))?;
        if !status.success() {
            bail!("{command:?} failed ({status}): run it to see why");
        }
    }
    Ok((children()? - before) as f64 * TICK)
}

/// Returns the processor time of all terminated children, in clock ticks.
fn children() -> Result<u64> {
    let stat = cache::read(Path::new("/proc/self/stat"))?;
    ticks(&stat).with_context(|| format!("/proc/self/stat has no times: {stat}"))
}

/// Parses `cutime` and `cstime`, the 16th and the 17th field; the second field ends with the last parenthesis.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(13);
    let mut time = || times.next()?.parse::<u64>().ok();
    Some(time()? + time()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_times_are_parsed() {
        let stat = "41 (a ) b) S 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\n";
        assert_eq!(ticks(stat), Some(16 + 17));
        assert_eq!(ticks("41 (a) S 4 5"), None);
        children().unwrap();
    }
}

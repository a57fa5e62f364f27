// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot of a scenario: its inputs, and its verdict.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use fs_err::File;

use super::head::Scenario;
use super::lent;
use crate::board;
use crate::cache::{self, Digest, Workspace};
use crate::kernel::Flavor;
use crate::machine::{self, Machine};
use crate::optee::{self, Firmware};
use crate::tee::Tee;
use crate::vm::{self, Boot, Image, Outcome};

/// Sources of this command that decide how a scenario boots and whether it passes.
const JUDGE: [&str; 4] = [
    include_str!("boot.rs"),
    include_str!("head.rs"),
    include_str!("lent.rs"),
    include_str!("../vm.rs"),
];

/// Options of all boots.
#[derive(Debug, Clone, Copy)]
pub(super) struct How {
    pub(super) flavor: Flavor,
    pub(super) seed: Option<u32>,
    pub(super) console: bool,
    /// Number of boots that run in parallel.
    pub(super) jobs: u32,
}

/// A scenario on one board, with one image, and one source of buffers.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) scenario: &'a Scenario,
    board: &'a str,
    source: &'a str,
    pub(super) tee: Tee,
    /// Firmware of the machine, if its TEE is a real one.
    firmware: Option<Firmware>,
    /// Name of the initrd, if it is not the usual one.
    initrd: Option<&'a str>,
    image: Image,
    tree: PathBuf,
}

impl<'a> Run<'a> {
    /// Returns all boots of a scenario with an image; `initrd` names the image's initrd.
    pub(super) fn all(
        workspace: &Workspace,
        scenario: &'a Scenario,
        image: &Image,
        initrd: Option<&'a str>,
    ) -> Result<Vec<Self>> {
        let mut runs = Vec::new();
        let names: BTreeSet<_> = scenario.tees.iter().copied().collect();
        for tee in names {
            let firmware = match tee {
                Tee::Sim => None,
                _ => Some(optee::prepare(workspace, tee)?),
            };
            // Boards differ in the address of their GPU, which does not affect a real TEE.
            let boards = if tee == Tee::Sim { &scenario.boards } else { &scenario.boards[..1] };
            for board in boards {
                let machine = machine(tee, scenario.smp);
                let tree = board::device_tree(workspace, board, &scenario.overlays, machine)?;
                for source in &scenario.sources {
                    let (image, tree, firmware) = (image.clone(), tree.clone(), firmware.clone());
                    runs.push(Self { scenario, board, source, tee, firmware, initrd, image, tree });
                }
            }
        }
        Ok(runs)
    }

    /// Returns the name of the boot.
    pub(super) fn name(&self) -> String {
        let Self { board, source, .. } = self;
        let tee = if self.firmware.is_some() { format!(", {}", self.tee) } else { String::new() };
        let initrd = self.initrd.map(|name| format!(", {name}")).unwrap_or_default();
        format!("{} ({board}, {source}{tee}{initrd})", self.scenario.name)
    }

    /// Returns a digest of everything that the result depends on, except the seed of random numbers.
    pub(super) fn inputs(&self, workspace: &Workspace) -> Result<String> {
        let mut digest = Digest::new();
        digest.add(self.image.inputs.as_bytes());
        let Scenario { smp, overlays, .. } = self.scenario;
        let machine = machine(self.tee, *smp);
        board::digest(workspace, self.board, overlays, machine, &mut digest)?;
        self.firmware.iter().for_each(|firmware| digest.add(firmware.digest.as_bytes()));
        for name in [&self.scenario.name, "lib"] {
            let script = workspace.root.join("tests/vm/scenarios").join(format!("{name}.sh"));
            digest.add(cache::read(&script)?.as_bytes());
        }
        digest.add(self.cmdline().as_bytes());
        digest.add(machine::version()?.as_bytes());
        JUDGE.iter().for_each(|source| digest.add(source.as_bytes()));
        Ok(digest.hex())
    }

    /// Returns the kernel's command line, without the seed.
    fn cmdline(&self) -> String {
        let Self { scenario, board, source, tee, .. } = self;
        // A root for systemd has only the modules of its TEE.
        let words = if scenario.systemd { format!("xtask.tee={tee}") } else { tee.words() };
        format!(
            "xtask.scenario={} xtask.board={board} {words} xtask.without={} xtask.leave={} xtask.clock={} protheap.allocate={} {}",
            scenario.name,
            scenario.without.join(","),
            scenario.leave,
            if scenario.by_instructions { "instructions" } else { "host" },
            u8::from(*source == "kernel"),
            scenario.cmdline
        )
    }

    /// Returns the image with the scenario's empty disk, if it has one.
    fn with_disk(&self, workspace: &Workspace, name: &str) -> Result<Image> {
        let Some(size) = self.scenario.disk else { return Ok(self.image.clone()) };
        let path = workspace.checkout.join(format!("disk-{name}.raw"));
        let file = File::create(&path)?;
        file.set_len(size << 20).with_context(|| format!("failed to size {}", path.display()))?;
        Ok(Image { output: Some(path), ..self.image.clone() })
    }

    /// Boots it. A problem in the guest is printed, and makes the scenario fail.
    pub(super) fn boot(&self, workspace: &Workspace, how: How) -> Result<bool> {
        let scenario = self.scenario;
        say!("{}: {}", self.name(), scenario.about);
        let seed = how.seed.unwrap_or_else(|| {
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos()
        });
        let limit = scenario.limit(how.flavor, how.jobs);
        let mut words = vec![self.scenario.name.as_str(), self.board, self.source];
        if self.firmware.is_some() {
            words.push(self.tee.name());
        }
        words.extend(self.initrd);
        let name = words.join("-");
        let boot = Boot {
            name: &name,
            board: &self.tree,
            cmdline: &format!("xtask.seed={seed} {}", self.cmdline()),
            smp: scenario.smp,
            flash: self.firmware.as_ref().map(|firmware| firmware.flash.as_path()),
            // If guest time followed the host's, claims would depend on the load of the host.
            icount: scenario.by_instructions.then_some(vm::ICOUNT),
            limit,
        };
        let mut verdict = Verdict::default();
        let image = &self.with_disk(workspace, boot.name)?;
        let mut run = || {
            boot.run(workspace, image, |line| {
                say!("  {line}");
                verdict.hear(line);
            })
        };
        let mut outcome = run()?;
        for _ in 1..scenario.boots {
            if outcome.timed_out {
                break;
            }
            let next = run()?;
            outcome = Outcome {
                timed_out: next.timed_out,
                elapsed: outcome.elapsed + next.elapsed,
                console: outcome.console + &next.console,
                secure: outcome.secure + &next.secure,
                log: next.log,
            };
        }
        let complaints = self.complaints(&verdict, &outcome, limit);
        if how.console {
            say!("{}", outcome.console.trim_end());
        }
        if complaints.is_empty() {
            say!("  passed: {} checks in {:.1} s", verdict.passed, outcome.elapsed.as_secs_f64());
            return Ok(true);
        }
        for complaint in &complaints {
            say!("  FAILED: {complaint}");
        }
        if !how.console {
            say!("  end of the console ({}):", outcome.log.display());
            let lines: Vec<_> = outcome.console.lines().collect();
            for line in &lines[lines.len().saturating_sub(20)..] {
                say!("    {line}");
            }
        }
        Ok(false)
    }
}

impl Run<'_> {
    /// Returns every reason for which the scenario has failed.
    fn complaints(&self, verdict: &Verdict, outcome: &Outcome, limit: Duration) -> Vec<String> {
        if let Some(words) = &self.scenario.crashes {
            let crashed = outcome.console.contains(words) && verdict.end.is_none();
            let complaint = format!("the kernel has not crashed with `{words}`");
            return (!crashed || outcome.timed_out).then_some(complaint).into_iter().collect();
        }
        let mut complaints = verdict.complaints(outcome, limit);
        // A real TEE does not print the messages of the stand-in.
        let says = self.scenario.says.iter();
        let says = says.filter(|words| self.tee == Tee::Sim || !words.starts_with("simtee: "));
        let unsaid = says.filter(|words| !outcome.console.contains(*words));
        complaints.extend(unsaid.map(|words| format!("the kernel has not printed `{words}`")));
        if self.firmware.is_some() {
            complaints.extend(lent::complaints(&outcome.secure, &outcome.console));
        }
        complaints
    }
}

/// Returns the machine of a scenario with that TEE.
fn machine(tee: Tee, smp: u32) -> Machine {
    if tee == Tee::Sim { Machine::Direct(smp) } else { Machine::Secure(smp) }
}

/// Numbers of a scenario's checks.
#[derive(Debug, Default)]
struct Verdict {
    passed: u32,
    failed: u32,
    end: Option<u32>,
}

impl Verdict {
    fn hear(&mut self, line: &str) {
        if line.starts_with("ok - ") {
            self.passed += 1;
        } else if line.starts_with("not ok - ") {
            self.failed += 1;
        } else if let Some(count) = line.strip_prefix("end ") {
            self.end = count.parse().ok();
        }
    }

    /// Returns every reason for which the scenario has failed.
    fn complaints(&self, outcome: &Outcome, limit: Duration) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.failed > 0 {
            complaints.push(format!("{} of {} checks", self.failed, self.failed + self.passed));
        }
        if outcome.timed_out {
            complaints.push(format!("timed out: no line for {} s", limit.as_secs()));
        }
        match self.end {
            None => complaints.push("the script has not reached its end".to_owned()),
            Some(count) if count != self.passed + self.failed => {
                complaints.push(format!(
                    "{count} checks were made, {} were received",
                    self.passed + self.failed
                ));
            }
            Some(0) => complaints.push("nothing was checked".to_owned()),
            Some(_) => {}
        }
        complaints
            .extend(vm::faults(&outcome.console).iter().map(|fault| format!("kernel: {fault}")));
        complaints
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str], console: &str, timed_out: bool) -> Vec<String> {
        let mut verdict = Verdict::default();
        lines.iter().for_each(|line| verdict.hear(line));
        let outcome = Outcome {
            timed_out,
            elapsed: Duration::from_secs(1),
            console: console.to_owned(),
            secure: String::new(),
            log: "console.log".into(),
        };
        verdict.complaints(&outcome, Duration::from_secs(30))
    }

    #[test]
    fn scenario_passes_only_without_any_complaint() {
        assert!(judge(&["# hello", "ok - a", "ok - b", "end 2"], "fine", false).is_empty());
        for (lines, console, timed_out) in [
            (&["ok - a", "not ok - b (seen)", "end 2"][..], "", false),
            (&["ok - a"], "", false),
            (&["ok - a", "end 2"], "", false),
            (&["end 0"], "", false),
            (&[], "", false),
            (&["ok - a", "end 1"], "[ 1.0] WARNING: CPU: 0", false),
            (&["ok - a", "end 1"], "", true),
        ] {
            assert!(!judge(lines, console, timed_out).is_empty(), "{lines:?}");
        }
    }
}

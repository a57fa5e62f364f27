// SPDX-License-Identifier: MIT OR Apache-2.0
//! Scenarios: shell scripts of `xtask/scenarios`, each run as its own boot.
//!
//! A script's head says how to boot it, in comments `# key: value` (see [`Scenario::parse`]). In the guest it speaks
//! through `lib.sh`, one line each: `ok - CLAIM`, `not ok - CLAIM (what was seen)`, `# remark`, and at its very
//! end `end COUNT`, without which it failed.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use crate::board;
use crate::cache::{self, Workspace};
use crate::generator::{BOOTED, Generated};
use crate::image::{self, Image};
use crate::kernel::Flavor;
use crate::vm::{self, Boot, Machine, Outcome};

/// Which scenarios to run, and how.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Scenarios to run; all, if none is named
    names: Vec<String>,
    /// List the scenarios and what each is about
    #[arg(long)]
    list: bool,
    /// Show the kernel's console after each boot
    #[arg(long)]
    console: bool,
    /// Boot the kernel that watches itself (KASAN, lockdep, kmemleak, KUnit, fault injection), which is slower
    #[arg(long)]
    debug_kernel: bool,
    /// Boot the kernel with control-flow integrity, which panics at an indirect call of a function of another type
    #[arg(long, conflicts_with = "debug_kernel")]
    cfi_kernel: bool,
    /// What scenarios with random numbers begin with; each tells its own
    #[arg(long)]
    seed: Option<u32>,
    /// Boot to a shell instead, with the scenarios' functions (Ctrl-A X ends it)
    #[arg(long, conflicts_with_all = ["names", "list"])]
    shell: bool,
    /// Board for the shell
    #[arg(long, default_value = "rk3588", requires = "shell")]
    board: String,
}

/// One scenario, as the head of its script says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scenario {
    name: String,
    about: String,
    boards: Vec<String>,
    overlays: Vec<String>,
    cmdline: String,
    sources: Vec<String>,
    without: Vec<String>,
    leave: String,
    says: Vec<String>,
    debug_only: bool,
    systemd: bool,
    initrds: Vec<String>,
    debian: bool,
    disk: Option<u64>,
    boots: u32,
    smp: u32,
    by_instructions: bool,
    limit: Duration,
}

/// How many times as long as on the plain kernel a scenario may take on the one that watches itself.
const SLOWER: u32 = 6;
/// Factor between the time that a boot may take on an idle host and the time after which it is taken for a hang.
const HANG: u32 = 5;

impl Scenario {
    /// Reads the comments at the head of a script:
    ///
    /// - `about`: what it shows, in a line; required, all others have defaults
    /// - `board`: boards to boot it on, each for itself (`rk3588`)
    /// - `overlay`: further overlays of `driver/testing/boards`
    /// - `cmdline`: added to the kernel command line
    /// - `source`: who allocates, `kernel` or `handed`, each for itself (`kernel`)
    /// - `without`: modules that this guest does not have
    /// - `leave`: how the guest ends, by `poweroff`, `reboot` or `kexec` (`poweroff`)
    /// - `says`: what the kernel's console must say by the end; there may be several
    /// - `kernel`: `debug` for one that needs `--debug-kernel` (`any`)
    /// - `init`: `systemd` for one that is a unit of the root that systemd's initrd switches to (`script`)
    /// - `initrd`: with systemd, whose initrds to boot, each for itself: see [`BOOTED`] (the guest's own)
    /// - `root`: with systemd, `debian` for one in which dpkg can install Protheap's packages (`installed`)
    /// - `disk`: MiB of an empty disk, `/dev/vda`, which keeps its content over all boots (none)
    /// - `boots`: how many times to boot; each but the last ends in the middle of the script, as hibernation does (`1`)
    /// - `smp`: processors (`1`)
    /// - `clock`: `instructions` for guest time that advances with executed instructions, and at once while the guest is
    ///   idle; `host` for host time, which no claim may depend on, and processors that run in parallel (`instructions`)
    /// - `why`: the reason for `clock: host`, which needs one
    /// - `limit`: seconds that a boot takes at most on an idle host (`30`), with `--debug-kernel` [`SLOWER`] times as
    ///   many; [`HANG`] times that is taken for a hang
    fn parse(name: &str, script: &str) -> Result<Self> {
        let mut scenario = Self {
            name: name.to_owned(),
            about: String::new(),
            boards: vec!["rk3588".to_owned()],
            overlays: Vec::new(),
            cmdline: String::new(),
            sources: vec!["kernel".to_owned()],
            without: Vec::new(),
            leave: "poweroff".to_owned(),
            says: Vec::new(),
            debug_only: false,
            systemd: false,
            initrds: Vec::new(),
            debian: false,
            disk: None,
            boots: 1,
            smp: 1,
            by_instructions: true,
            limit: Duration::from_secs(30),
        };
        let mut why = false;
        let list = |value: &str| {
            value.split([',', ' ']).filter(|v| !v.is_empty()).map(str::to_owned).collect()
        };
        for line in script.lines().map_while(|line| line.strip_prefix('#')) {
            let Some((key, value)) = line.trim().split_once(": ") else {
                continue;
            };
            let value = value.trim();
            match key {
                "about" => scenario.about = value.to_owned(),
                "board" => scenario.boards = list(value),
                "overlay" => scenario.overlays = list(value),
                "cmdline" => scenario.cmdline = value.to_owned(),
                "source" => scenario.sources = list(value),
                "without" => scenario.without = list(value),
                "leave" => scenario.leave = value.to_owned(),
                "says" => scenario.says.push(value.to_owned()),
                "kernel" => {
                    scenario.debug_only = match value {
                        "any" => false,
                        "debug" => true,
                        _ => bail!("{name}: `kernel: {value}`, which is `any` or `debug`"),
                    };
                }
                "init" => {
                    scenario.systemd = match value {
                        "script" => false,
                        "systemd" => true,
                        _ => bail!("{name}: `init: {value}`, which is `script` or `systemd`"),
                    };
                }
                "initrd" => scenario.initrds = list(value),
                "root" => {
                    scenario.debian = match value {
                        "installed" => false,
                        "debian" => true,
                        _ => bail!("{name}: `root: {value}`, which is `installed` or `debian`"),
                    };
                }
                "why" => why = !value.is_empty(),
                "disk" => {
                    let size = value.parse().with_context(|| format!("{name}: `disk: {value}`"))?;
                    scenario.disk = Some(size);
                }
                "boots" => {
                    scenario.boots =
                        value.parse().with_context(|| format!("{name}: `boots: {value}`"))?;
                }
                "smp" => {
                    scenario.smp =
                        value.parse().with_context(|| format!("{name}: `smp: {value}`"))?;
                }
                "clock" => {
                    scenario.by_instructions = match value {
                        "host" => false,
                        "instructions" => true,
                        _ => bail!("{name}: `clock: {value}`, which is `host` or `instructions`"),
                    };
                }
                "limit" => {
                    let seconds =
                        value.parse().with_context(|| format!("{name}: `limit: {value}`"))?;
                    scenario.limit = Duration::from_secs(seconds);
                }
                // Prose may hold colons; a single word before one is a key, and then a misspelt one.
                _ if key.contains(' ') || key.starts_with("SPDX") || key.starts_with('!') => {}
                _ => {
                    bail!("xtask/scenarios/{name}.sh: no key `{key}` is known in a scenario's head")
                }
            }
        }
        if scenario.about.is_empty() {
            bail!("xtask/scenarios/{name}.sh: its head lacks `# about: what it shows`");
        }
        if !scenario.by_instructions && !why {
            bail!("{name}: `clock: host` needs `# why:`, the reason for parallel processors");
        }
        if scenario.systemd && scenario.debug_only {
            bail!("{name}: `init: systemd` is not for the debug kernel, which is too slow for it");
        }
        if let Some(initrd) = scenario.initrds.iter().find(|i| !BOOTED.contains(&i.as_str())) {
            bail!("{name}: `initrd: {initrd}`, which is one of {}", BOOTED.join(", "));
        }
        if !scenario.systemd && !scenario.initrds.is_empty() {
            bail!("{name}: `initrd` is for `init: systemd`, whose root follows an initrd");
        }
        if scenario.debian && !scenario.systemd {
            bail!("{name}: `root: debian` is for `init: systemd`, whose initrd switches to it");
        }
        if scenario.systemd && !scenario.without.is_empty() {
            bail!("{name}: `without` is not for `init: systemd`, whose initrd has all modules");
        }
        Ok(scenario)
    }

    /// Whether it can run there: with systemd, the slower kernel takes longer to boot than a window can be open.
    fn runs_on(&self, flavor: Flavor) -> bool {
        match flavor {
            Flavor::Plain | Flavor::Cfi => !self.debug_only,
            Flavor::Debug => !self.systemd,
        }
    }

    /// Host time after which a boot is taken for a hang.
    fn limit(&self, flavor: Flavor) -> Duration {
        match flavor {
            Flavor::Plain | Flavor::Cfi => self.limit * HANG,
            Flavor::Debug => self.limit * HANG * SLOWER,
        }
    }
}

/// All scenarios, by name.
fn all(workspace: &Workspace) -> Result<Vec<Scenario>> {
    let mut found = Vec::new();
    for path in cache::files(&workspace.root.join("xtask/scenarios"))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "sh") && name != "lib" {
            found.push(Scenario::parse(&name, &cache::read(&path)?)?);
        }
    }
    Ok(found)
}

/// The `vm` command. `false` if a scenario failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let flavor = Flavor::chosen(args.debug_kernel, args.cfi_kernel);
    if args.shell {
        let image = image::prepare(workspace, flavor)?;
        let tree = board::device_tree(workspace, &args.board, &[], Machine::Direct(1))?;
        let cmdline = format!("xtask.scenario=shell xtask.board={}", args.board);
        boot("shell", &tree, &cmdline, 1, Duration::MAX).interactive(&image)?;
        return Ok(true);
    }
    let mut scenarios = all(workspace)?;
    if let Some(name) = args.names.iter().find(|name| scenarios.iter().all(|s| s.name != **name)) {
        bail!("no scenario `{name}`: `cargo xtask vm --list` shows them");
    }
    scenarios.retain(|scenario| args.names.is_empty() || args.names.contains(&scenario.name));
    if args.list {
        let width = scenarios.iter().map(|s| s.name.len()).max().unwrap_or_default();
        for Scenario { name, about, .. } in &scenarios {
            println!("{name:width$}  {about}");
        }
        return Ok(true);
    }
    let all = scenarios.len();
    scenarios.retain(|scenario| scenario.runs_on(flavor));
    let skipped = all - scenarios.len();
    let how = match flavor {
        Flavor::Plain | Flavor::Cfi => "with --debug-kernel",
        Flavor::Debug => "without --debug-kernel",
    };
    if skipped > 0 && !args.names.is_empty() {
        bail!("{} runs only {how}", args.names.join(" or "));
    }
    let images = Images::prepare(workspace, flavor, &scenarios)?;
    let run = How { flavor, seed: args.seed, console: args.console };
    let results = run_each(workspace, &images, &scenarios, run);
    let failed: Vec<_> =
        results.iter().filter(|(_, good)| !good).map(|(name, _)| name.as_str()).collect();
    println!("{} scenarios passed, {} failed", results.len() - failed.len(), failed.len());
    if skipped > 0 {
        println!("{skipped} more run only {how}");
    }
    if !failed.is_empty() {
        println!("again: cargo xtask vm{} --console {}", flavor.option(), failed.join(" "));
    }
    Ok(failed.is_empty())
}

/// Runs every scenario there is: (name, passed) for each.
pub(crate) fn run_all(workspace: &Workspace) -> Result<Vec<(String, bool)>> {
    let mut scenarios = all(workspace)?;
    let flavor = Flavor::Plain;
    scenarios.retain(|scenario| scenario.runs_on(flavor));
    let images = Images::prepare(workspace, flavor, &scenarios)?;
    Ok(run_each(workspace, &images, &scenarios, How { flavor, seed: None, console: false }))
}

/// Runs one scenario with another image than all have; `false` if it failed.
pub(crate) fn run_on(workspace: &Workspace, image: &Image, name: &str) -> Result<bool> {
    let mut scenarios = all(workspace)?;
    scenarios.retain(|scenario| scenario.name == name);
    let images = Images { script: image.clone(), systemd: None, generated: None, debian: None };
    let how = How { flavor: Flavor::Plain, seed: None, console: false };
    let results = run_each(workspace, &images, &scenarios, how);
    Ok(!results.is_empty() && results.iter().all(|(_, good)| *good))
}

/// What the scenarios boot.
#[derive(Debug)]
struct Images {
    script: Image,
    systemd: Option<Image>,
    generated: Option<Generated>,
    debian: Option<Image>,
}

impl Images {
    /// Makes those that the scenarios need.
    fn prepare(workspace: &Workspace, flavor: Flavor, scenarios: &[Scenario]) -> Result<Self> {
        let systemd = scenarios.iter().any(|scenario| scenario.systemd);
        let generated = scenarios.iter().any(|scenario| !scenario.initrds.is_empty());
        let script = image::prepare(workspace, flavor)?;
        let systemd = systemd.then(|| image::prepare_systemd(workspace, flavor)).transpose()?;
        let debian = scenarios.iter().any(|scenario| scenario.debian);
        let debian = debian.then(|| image::prepare_debian(workspace, flavor)).transpose()?;
        let debian =
            systemd.clone().filter(|_| debian.is_some()).map(|i| Image { disk: debian, ..i });
        let generated =
            generated.then(|| image::prepare_generated(workspace, flavor, &script)).transpose()?;
        Ok(Self { script, systemd, debian, generated })
    }

    /// What that scenario boots, each with what tells it from others.
    fn of(&self, scenario: &Scenario) -> Vec<(String, Image)> {
        let systemd = if scenario.debian { &self.debian } else { &self.systemd };
        let image = systemd.as_ref().filter(|_| scenario.systemd).unwrap_or(&self.script);
        match &self.generated {
            Some(generated) if !scenario.initrds.is_empty() => {
                let with = |name: &String| {
                    let initrd = generated.image(name);
                    (format!(", {name}"), Image { initrd, ..image.clone() })
                };
                scenario.initrds.iter().map(with).collect()
            }
            _ => vec![(String::new(), image.clone())],
        }
    }
}

/// How scenarios are run.
#[derive(Debug, Clone, Copy)]
struct How {
    flavor: Flavor,
    seed: Option<u32>,
    console: bool,
}

fn run_each(
    workspace: &Workspace,
    images: &Images,
    scenarios: &[Scenario],
    how: How,
) -> Vec<(String, bool)> {
    println!("kernel and initrd of every boot: {}", images.script.digest);
    if let Some(image) = &images.systemd {
        println!("with systemd: {}", image.digest);
    }
    let mut results = Vec::new();
    for scenario in scenarios {
        let mut good = true;
        for (with, image) in images.of(scenario) {
            let runs =
                scenario.boards.iter().flat_map(|b| scenario.sources.iter().map(move |s| (b, s)));
            for (board, source) in runs {
                println!("{} ({board}, {source}{with}): {}", scenario.name, scenario.about);
                // What cannot be booted failed, and the others still have their turn.
                let run = run_one(workspace, &image, scenario, board, source, how);
                good &= run.unwrap_or_else(|error| {
                    println!("  FAILED: {error:#}");
                    false
                });
            }
        }
        results.push((scenario.name.clone(), good));
    }
    results
}

/// One boot of a scenario. Whatever goes wrong in the guest is its failure, not an error.
fn run_one(
    workspace: &Workspace,
    image: &Image,
    scenario: &Scenario,
    board: &str,
    source: &str,
    how: How,
) -> Result<bool> {
    let tree =
        board::device_tree(workspace, board, &scenario.overlays, Machine::Direct(scenario.smp))?;
    let seed = how.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().subsec_nanos()
    });
    let limit = scenario.limit(how.flavor);
    let cmdline = format!(
        "xtask.scenario={} xtask.board={board} xtask.without={} xtask.leave={} xtask.clock={} xtask.seed={seed} protheap.allocate={} {}",
        scenario.name,
        scenario.without.join(","),
        scenario.leave,
        if scenario.by_instructions { "instructions" } else { "host" },
        u8::from(source == "kernel"),
        scenario.cmdline
    );
    let mut verdict = Verdict::default();
    let mut boot = boot(&scenario.name, &tree, &cmdline, scenario.smp, limit);
    // Guest time that follows the host's would make claims depend on the host's load.
    boot.icount = scenario.by_instructions.then_some(vm::ICOUNT);
    let image = &with_disk(workspace, image, scenario)?;
    let mut run = || {
        boot.run(workspace, image, |line| {
            println!("  {line}");
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
            timed_out: outcome.timed_out || next.timed_out,
            elapsed: outcome.elapsed + next.elapsed,
            console: outcome.console + &next.console,
            log: next.log,
        };
    }
    let mut complaints = verdict.complaints(&outcome, limit);
    let unsaid = scenario.says.iter().filter(|words| !outcome.console.contains(*words));
    complaints.extend(unsaid.map(|words| format!("the kernel never said `{words}`")));
    if how.console {
        print!("{}", outcome.console);
    }
    if complaints.is_empty() {
        println!("  passed: {} checks in {:.1} s", verdict.passed, outcome.elapsed.as_secs_f64());
        return Ok(true);
    }
    for complaint in &complaints {
        println!("  FAILED: {complaint}");
    }
    if !how.console {
        println!("  the end of the console ({}):", outcome.log.display());
        let lines: Vec<_> = outcome.console.lines().collect();
        for line in &lines[lines.len().saturating_sub(20)..] {
            println!("    {line}");
        }
    }
    Ok(false)
}

/// The image with the scenario's empty disk, if it has one.
fn with_disk(workspace: &Workspace, image: &Image, scenario: &Scenario) -> Result<Image> {
    let Some(size) = scenario.disk else { return Ok(image.clone()) };
    let path = workspace.checkout.join(format!("disk-{}.raw", scenario.name));
    let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    file.set_len(size << 20).with_context(|| format!("sizing {}", path.display()))?;
    Ok(Image { output: Some(path), ..image.clone() })
}

fn boot<'a>(
    name: &'a str,
    board: &'a Path,
    cmdline: &'a str,
    smp: u32,
    limit: Duration,
) -> Boot<'a> {
    Boot { name, board, cmdline, smp, icount: None, limit }
}

/// What a scenario said so far.
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

    /// Everything that makes it a failure.
    fn complaints(&self, outcome: &Outcome, limit: Duration) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.failed > 0 {
            complaints.push(format!("{} of {} checks", self.failed, self.failed + self.passed));
        }
        if outcome.timed_out {
            complaints.push(format!("still running after {} s", limit.as_secs()));
        }
        match self.end {
            None => complaints.push("the script stopped before its end".to_owned()),
            Some(count) if count != self.passed + self.failed => {
                complaints.push(format!(
                    "{count} checks were made, {} were heard",
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

    #[test]
    fn the_head_says_how_to_boot() {
        let script = "# SPDX-License-Identifier: MIT OR Apache-2.0\n# about: two at once\n# board: rk3588, imx95\n\
                      # overlay: second-gpu\n# cmdline: protheap.hold=0 x=1\n# without: protheap\n# smp: 2\n\
                      # init: script\n# source: handed\n# leave: reboot\n# clock: instructions\n# kernel: debug\n# says: so: much\n# says: more\n# disk: 64\n# boots: 2\n# limit: 12\n#\n# Prose with a colon: is fine.\n\nload_tee\n# board: not-the-head\n";
        let scenario = Scenario::parse("two", script).unwrap();
        assert!(scenario.runs_on(Flavor::Debug) && !scenario.runs_on(Flavor::Plain));
        assert!(scenario.limit(Flavor::Debug) > scenario.limit(Flavor::Plain));
        assert_eq!(scenario.boards, ["rk3588", "imx95"]);
        assert_eq!(scenario.overlays, ["second-gpu"]);
        assert_eq!(scenario.cmdline, "protheap.hold=0 x=1");
        assert_eq!(scenario.without, ["protheap"]);
        assert_eq!(
            (scenario.sources, scenario.leave),
            (vec!["handed".to_owned()], "reboot".to_owned())
        );
        assert_eq!(scenario.says, ["so: much", "more"]);
        assert_eq!((scenario.smp, scenario.limit), (2, Duration::from_secs(12)));
        assert!(scenario.by_instructions);
        assert_eq!((scenario.disk, scenario.boots), (Some(64), 2));
    }

    #[test]
    fn a_bad_head_is_refused() {
        assert!(Scenario::parse("x", "# board: rk3588\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# bord: rk3588\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# limit: soon\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# clock: wall\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# clock: host\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# clock: host\n# why: races\n").is_ok());
        assert!(Scenario::parse("x", "# about: x\n# kernel: new\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# init: systemv\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# init: systemd\n# without: csfgpu\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# init: systemd\n").is_ok_and(|s| s.systemd));
        assert!(Scenario::parse("x", "# about: x\n# initrd: dracut\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# init: systemd\n# initrd: grub\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# root: debian\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# init: systemd\n# kernel: debug\n").is_err());
    }

    fn judge(lines: &[&str], console: &str, timed_out: bool) -> Vec<String> {
        let mut verdict = Verdict::default();
        lines.iter().for_each(|line| verdict.hear(line));
        let outcome = Outcome {
            timed_out,
            elapsed: Duration::from_secs(1),
            console: console.to_owned(),
            log: "console.log".into(),
        };
        verdict.complaints(&outcome, Duration::from_secs(30))
    }

    #[test]
    fn a_scenario_passes_only_when_all_is_well() {
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

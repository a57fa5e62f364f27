// SPDX-License-Identifier: MIT OR Apache-2.0
//! The head of a scenario's script: how to boot it.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Workspace};
use crate::generator::BOOTED;
use crate::kernel::{Flavor, Linux};
use crate::pool;
use crate::tee::Tee;
use crate::tested::Group;

/// One scenario, as specified by the head of its script.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scenario {
    pub(super) name: String,
    pub(super) about: String,
    pub(super) boards: Vec<String>,
    pub(super) overlays: Vec<String>,
    pub(super) cmdline: String,
    pub(super) sources: Vec<String>,
    pub(super) tees: Vec<Tee>,
    pub(super) without: Vec<String>,
    pub(super) leave: String,
    pub(super) says: Vec<String>,
    pub(super) crashes: Option<String>,
    pub(super) debug_only: bool,
    /// Versions of Linux whose test kernel it runs on.
    pub(super) linux: Vec<Linux>,
    /// The kernel is Debian's own.
    pub(super) stock: bool,
    pub(super) systemd: bool,
    pub(super) initrds: Vec<String>,
    pub(super) debian: bool,
    pub(super) disk: Option<u64>,
    pub(super) boots: u32,
    pub(super) smp: u32,
    pub(super) by_instructions: bool,
    pub(super) limit: Duration,
    /// The image has drivers built from other sources than the kernel's own.
    pub(super) variants: bool,
}

/// Image that a scenario boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An initrd whose init is a script.
    Script,
    /// An initrd whose init is a script, with drivers built from other sources.
    Variants,
    /// An initrd whose init is a script, with Debian's own kernel.
    Stock,
    /// systemd in an initrd, and in a root on a disk.
    Systemd,
    /// systemd for a real OP-TEE.
    SystemdOptee,
    /// systemd for the stand-in, with initrds of distributions' generators.
    Generated,
    /// systemd for the stand-in, with a root in which packages can be installed.
    Debian,
}

impl Kind {
    /// All kinds, in the order in which they are made.
    pub(super) const ALL: [Self; 7] = [
        Self::Script,
        Self::Systemd,
        Self::Variants,
        Self::Stock,
        Self::Generated,
        Self::Debian,
        Self::SystemdOptee,
    ];

    /// Returns its name for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Script => "image",
            Self::Variants => "image with other builds of drivers",
            Self::Stock => "image with Debian's kernel",
            Self::Systemd => "image with systemd",
            Self::SystemdOptee => "image with systemd for OP-TEE",
            Self::Generated => "initrds of generators",
            Self::Debian => "root with dpkg",
        }
    }

    /// Returns an estimate that makes images start in their order, before anything else.
    pub(super) fn first(self) -> Duration {
        let place = Self::ALL.iter().position(|kind| *kind == self).unwrap_or_default();
        Duration::from_secs(1_000_000) / u32::try_from(1 + place).unwrap_or(u32::MAX)
    }
}

/// Factor between the durations of a scenario on the debug kernel and on the plain one.
const SLOWER: u32 = 6;
/// Factor between the maximum duration of a boot on an idle host and the time without a line that counts as a hang.
const HANG: u32 = 5;

impl Scenario {
    /// Reads the comments at the head of a script:
    ///
    /// - `about`: what it shows, in a line; required, all others have defaults
    /// - `board`: boards to boot it on, each for itself (`rk3588`)
    /// - `overlay`: further overlays of `driver/testing/boards`
    /// - `cmdline`: added to the kernel command line
    /// - `source`: who allocates, `kernel` or `handed`, each for itself (`kernel`)
    /// - `tee`: who provides protected heaps, each for itself: `sim`, the stand-in, or a real OP-TEE, see [`Tee`], with the
    ///   first board (`sim`)
    /// - `without`: modules that this guest does not have
    /// - `leave`: how the guest ends, by `poweroff`, `reboot`, `kexec`, or `sysrq`, which asks no driver (`poweroff`)
    /// - `says`: what the kernel's console must say by the end; there may be several
    /// - `crashes`: what the kernel's console says when it crashes, for one that passes only then
    /// - `kernel`: `debug` for one that needs `--debug-kernel`, `debian` for one on Debian's own kernel (`any`)
    /// - `linux`: versions whose test kernel it runs on, for one of the reduced set of Linux 7.2, see [`Linux`] (`7.3`)
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
    ///   many; no line of output for [`HANG`] times that is taken for a hang
    fn parse(name: &str, script: &str) -> Result<Self> {
        let mut scenario = Self {
            name: name.to_owned(),
            boards: vec!["rk3588".to_owned()],
            sources: vec!["kernel".to_owned()],
            tees: vec![Tee::Sim],
            linux: vec![Linux::default()],
            leave: "poweroff".to_owned(),
            boots: 1,
            smp: 1,
            by_instructions: true,
            limit: Duration::from_secs(30),
            variants: script.lines().any(|line| {
                let line = line.trim_start();
                line.starts_with("use_panthor ") || line.starts_with("use_optee ")
            }),
            ..Self::default()
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
            let choice = |no: &str, yes: &str| match value {
                _ if value == no => Ok(false),
                _ if value == yes => Ok(true),
                _ => bail!("{name}: `{key}: {value}`, which is `{no}` or `{yes}`"),
            };
            let invalid = || format!("{name}: invalid `{key}: {value}`");
            let number = || value.parse::<u32>().with_context(invalid);
            match key {
                "about" => scenario.about = value.to_owned(),
                "board" => scenario.boards = list(value),
                "overlay" => scenario.overlays = list(value),
                "cmdline" => scenario.cmdline = value.to_owned(),
                "source" => scenario.sources = list(value),
                "tee" => {
                    let names: Vec<String> = list(value);
                    let tees = names.iter().map(|name| Tee::parse(name)).collect::<Result<_>>();
                    scenario.tees = tees.with_context(invalid)?;
                }
                "without" => scenario.without = list(value),
                "leave" => scenario.leave = value.to_owned(),
                "says" => scenario.says.push(value.to_owned()),
                "crashes" => scenario.crashes = Some(value.to_owned()),
                "kernel" => {
                    scenario.stock = value == "debian";
                    scenario.debug_only = !scenario.stock && choice("any", "debug")?;
                }
                "linux" => {
                    let series: Vec<String> = list(value);
                    let linux = series.iter().map(|s| Linux::of_series(s)).collect::<Option<_>>();
                    scenario.linux = linux.with_context(invalid)?;
                }
                "init" => scenario.systemd = choice("script", "systemd")?,
                "initrd" => scenario.initrds = list(value),
                "root" => scenario.debian = choice("installed", "debian")?,
                "why" => why = !value.is_empty(),
                "disk" => scenario.disk = Some(number()?.into()),
                "boots" => scenario.boots = number()?,
                "smp" => scenario.smp = number()?,
                "clock" => scenario.by_instructions = choice("host", "instructions")?,
                "limit" => scenario.limit = Duration::from_secs(number()?.into()),
                // Prose may hold colons; a single word before one is a key, and then a misspelt one.
                _ if key.contains(' ') || key.starts_with("SPDX") || key.starts_with('!') => {}
                _ => {
                    bail!("tests/vm/scenarios/{name}.sh: unknown key `{key}` in its head")
                }
            }
        }
        if scenario.about.is_empty() {
            bail!("tests/vm/scenarios/{name}.sh: its head has no `# about:`");
        }
        if !scenario.by_instructions && !why {
            bail!("{name}: `clock: host` needs `# why:`, the reason for parallel processors");
        }
        if scenario.systemd && scenario.debug_only {
            bail!("{name}: `init: systemd` is not for the debug kernel, which is too slow for it");
        }
        if scenario.stock && (scenario.systemd || scenario.variants || scenario.tees != [Tee::Sim])
        {
            bail!("{name}: `kernel: debian` has the modules of an init script with `tee: sim`");
        }
        if scenario.linux != [Linux::default()]
            && (scenario.stock || scenario.debug_only || scenario.systemd || scenario.variants)
        {
            bail!("{name}: `linux` is for init scripts with the drivers of the plain test kernel");
        }
        if let Some(initrd) = scenario.initrds.iter().find(|i| !BOOTED.contains(&i.as_str())) {
            bail!("{name}: `initrd: {initrd}`, which is one of {}", BOOTED.join(", "));
        }
        if !scenario.systemd && !scenario.initrds.is_empty() {
            bail!("{name}: `initrd` is for `init: systemd`, whose root follows an initrd");
        }
        if scenario.variants && scenario.systemd {
            bail!(
                "{name}: another build of a driver is not for `init: systemd`, whose image has the kernel's own"
            );
        }
        if scenario.systemd && scenario.tees.len() > 1 && scenario.tees.contains(&Tee::Sim) {
            bail!("{name}: with `init: systemd`, `tee` is `sim` or real ones: roots differ");
        }
        if (scenario.debian || !scenario.initrds.is_empty()) && scenario.tees != [Tee::Sim] {
            bail!("{name}: `tee` is for roots and initrds of the guest's own");
        }
        if scenario.debian && !scenario.systemd {
            bail!("{name}: `root: debian` is for `init: systemd`, whose initrd switches to it");
        }
        if scenario.systemd && !scenario.without.is_empty() {
            bail!("{name}: `without` is not for `init: systemd`, whose initrd has all modules");
        }
        Ok(scenario)
    }

    /// Returns whether it can run on that kernel: with systemd, the debug kernel boots for longer than a hold can last.
    pub(super) fn runs_on(&self, flavor: Flavor) -> bool {
        match flavor {
            Flavor::Plain | Flavor::Previous => {
                !self.debug_only && (self.stock || self.linux.contains(&flavor.linux()))
            }
            // Linux 7.3 for arm64 faults in machine_kexec(), because the code that it copies and calls has no type.
            Flavor::Cfi => !self.debug_only && !self.stock && self.leave != "kexec",
            Flavor::Debug => !self.systemd && !self.stock,
        }
    }

    /// Returns whether a run for these names boots it on that kernel. Debian's own kernel of another version is only
    /// booted by name, because the metadata that it needs takes minutes.
    pub(super) fn is_chosen(&self, flavor: Flavor, names: &[String]) -> bool {
        self.runs_on(flavor) && !(self.stock && flavor == Flavor::Previous && names.is_empty())
    }

    /// Returns the host time without a line after which a boot counts as a hang, with `jobs` boots in parallel.
    pub(super) fn limit(&self, flavor: Flavor, jobs: u32) -> Duration {
        let limit = self.limit * HANG * jobs.div_ceil(pool::processors()).max(1);
        match flavor {
            Flavor::Plain | Flavor::Previous | Flavor::Cfi => limit,
            Flavor::Debug => limit * SLOWER,
        }
    }

    /// Returns the kind of image that it boots.
    pub(super) fn kind(&self) -> Kind {
        match (self.systemd, self.debian, self.initrds.is_empty(), self.variants) {
            _ if self.stock => Kind::Stock,
            (false, _, _, false) => Kind::Script,
            (false, _, _, true) => Kind::Variants,
            (true, ..) if self.tees != [Tee::Sim] => Kind::SystemdOptee,
            (true, true, _, _) => Kind::Debian,
            (true, false, false, _) => Kind::Generated,
            (true, false, true, _) => Kind::Systemd,
        }
    }

    /// Returns the group of tests that it belongs to.
    pub(super) fn group(&self) -> Group {
        if self.stock {
            return Group::Stock;
        }
        let drivers = ["ioctl", "panthor", "parameter", "tyr"];
        match (self.systemd, drivers.iter().any(|driver| self.name.starts_with(driver))) {
            (true, _) => Group::Systemd,
            (false, true) => Group::Panthor,
            (false, false) => Group::Core,
        }
    }

    /// Returns the number of boots: one for each board, source, TEE and initrd.
    pub(super) fn runs(&self) -> usize {
        let boards = |tee: &Tee| if *tee == Tee::Sim { self.boards.len() } else { 1 };
        let machines: usize = self.tees.iter().map(boards).sum();
        machines * self.sources.len() * self.initrds.len().max(1)
    }
}

/// Returns all scenarios, by name.
pub(super) fn all(workspace: &Workspace) -> Result<Vec<Scenario>> {
    let mut found = Vec::new();
    for path in cache::files(&workspace.root.join("tests/vm/scenarios"))? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|extension| extension == "sh") && name != "lib" {
            found.push(Scenario::parse(&name, &cache::read(&path)?)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_specifies_the_boot() {
        let script = "# about: two at once\n# board: rk3588, imx95\n\
                      # overlay: second-gpu\n# cmdline: protheap.hold=0 x=1\n# without: protheap\n# smp: 2\n\
                      # init: script\n# source: handed\n# tee: sim, dynamic-8m\n# leave: reboot\n# clock: instructions\n# kernel: debug\n# says: so: much\n# says: more\n# disk: 64\n# boots: 2\n# limit: 12\n#\n# Prose with a colon: is fine.\n\nload_tee\n# board: not-the-head\n";
        let scenario = Scenario::parse("two", script).unwrap();
        assert!(scenario.runs_on(Flavor::Debug) && !scenario.runs_on(Flavor::Plain));
        assert!(scenario.limit(Flavor::Debug, 1) > scenario.limit(Flavor::Plain, 1));
        assert_eq!(scenario.boards, ["rk3588", "imx95"]);
        assert_eq!(scenario.overlays, ["second-gpu"]);
        assert_eq!(scenario.cmdline, "protheap.hold=0 x=1");
        assert_eq!(scenario.without, ["protheap"]);
        assert_eq!(
            (scenario.sources, scenario.leave),
            (vec!["handed".to_owned()], "reboot".to_owned())
        );
        assert_eq!(scenario.tees, [Tee::Sim, Tee::Dynamic8m]);
        assert_eq!(scenario.says, ["so: much", "more"]);
        assert_eq!((scenario.smp, scenario.limit), (2, Duration::from_secs(12)));
        assert!(scenario.by_instructions);
        assert_eq!((scenario.disk, scenario.boots), (Some(64), 2));
    }

    #[test]
    fn debians_kernel_is_of_a_kind_and_group_of_its_own() {
        let scenario = Scenario::parse("x", "# about: x\n# kernel: debian\n").unwrap();
        assert_eq!((scenario.kind(), scenario.group()), (Kind::Stock, Group::Stock));
        let runs = [Flavor::Plain, Flavor::Debug, Flavor::Cfi].map(|f| scenario.runs_on(f));
        assert_eq!(runs, [true, false, false]);
        assert!(scenario.is_chosen(Flavor::Previous, &["x".to_owned()]));
        assert!(!scenario.is_chosen(Flavor::Previous, &[]));
        let other = Scenario::parse("x", "# about: x\n").unwrap();
        assert!(other.kind() == Kind::Script && !other.runs_on(Flavor::Previous));
    }

    #[test]
    fn reduced_set_runs_on_both_versions() {
        let scenario = Scenario::parse("x", "# about: x\n# linux: 7.2, 7.3\n").unwrap();
        assert_eq!(scenario.linux, [Linux::V7_2, Linux::V7_3]);
        assert!(
            scenario.is_chosen(Flavor::Previous, &[]) && scenario.is_chosen(Flavor::Plain, &[])
        );
        let only = Scenario::parse("x", "# about: x\n# linux: 7.2\n").unwrap();
        assert!(only.runs_on(Flavor::Previous) && !only.runs_on(Flavor::Plain));
        assert!(Scenario::parse("x", "# about: x\n# linux: 6.18\n").is_err());
        for other in
            ["# kernel: debian", "# kernel: debug", "# init: systemd", "\nuse_panthor uapi"]
        {
            let script = format!("# about: x\n# linux: 7.2\n{other}\n");
            assert!(Scenario::parse("x", &script).is_err(), "{other}");
        }
    }

    #[test]
    fn invalid_heads_are_refused() {
        assert!(Scenario::parse("x", "# board: rk3588\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# bord: rk3588\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# limit: soon\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# tee: trusty\n").is_err());
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
        assert!(Scenario::parse("x", "# about: x\n# init: systemd\n# kernel: debian\n").is_err());
        assert!(Scenario::parse("x", "# about: x\n# kernel: debian\n# tee: static\n").is_err());
    }
}

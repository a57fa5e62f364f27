// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest of the measurements: the scenarios' image with the files of `tests/vm/guest/bench`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::figure::{Figure, Unit};
use crate::archive::Archive;
use crate::board;
use crate::cache::{self, Workspace};
use crate::csffw;
use crate::image;
use crate::kernel::Flavor;
use crate::machine::Machine;
use crate::optee::Firmware;
use crate::progress::Step;
use crate::tee::Tee;
use crate::toolchain::{self, CROSS, Toolchain};
use crate::userspace::{self, Linking};
use crate::vm::{self, Boot, Image};

const BOARD: &str = "rk3588";
/// Host time after which a boot is stopped. It takes seconds.
const LIMIT: Duration = Duration::from_secs(600);
/// Size of a firmware image, as of known ones.
const FIRMWARE: usize = 280 << 10;

/// Images of the measurements.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    pub(super) workspace: &'a Workspace,
    /// An empty Rust program.
    pub(super) nothing_rust: PathBuf,
    /// Image with the scripts.
    pub(super) plain: Image,
    /// Image with programs that measure.
    pub(super) programs: Image,
    /// Image with those programs, and firmware that the modelled GPU runs.
    pub(super) modelled: Image,
    tools: Toolchain,
    /// Guest time follows the host's, instead of instructions.
    clock: bool,
    /// Directory of the programs.
    dir: PathBuf,
}

/// Output of a boot.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) lines: Vec<String>,
    figures: BTreeMap<String, Vec<f64>>,
}

impl<'a> Guest<'a> {
    /// Builds everything that is measured.
    pub(super) fn prepare(workspace: &'a Workspace, clock: bool) -> Result<Self> {
        let image = image::prepare(workspace, Flavor::Plain)?;
        let tools = {
            let _lock = workspace.lock()?;
            toolchain::prepare(workspace)?
        };
        let dir = workspace.checkout.join("bench");
        let (plain, programs, modelled) = (image.clone(), image.clone(), image);
        let nothing_rust = PathBuf::new();
        let mut guest =
            Self { workspace, nothing_rust, plain, programs, modelled, tools, clock, dir };
        guest.nothing_rust = guest.nothing_in_rust()?;
        guest.modelled = guest.with_scripts(&guest.modelled, "bench-scripts", None)?;
        guest.modelled = guest.with_programs(&guest.modelled, "bench-modelled")?;
        guest.plain = guest.with_scripts(&guest.plain, "bench", Some(firmware()))?;
        guest.programs = guest.with_programs(&guest.plain, "bench-programs")?;
        Ok(guest)
    }

    /// Builds one program for arm64.
    pub(super) fn build(&self, root: &Path, linking: Linking, program: &str) -> Result<PathBuf> {
        let _lock = self.workspace.lock()?;
        let built = userspace::build(self.workspace, &self.tools, root, linking, &[program])?;
        built.into_iter().next().context("nothing was built")
    }

    /// Builds the empty Rust program, with the profile of this workspace.
    fn nothing_in_rust(&self) -> Result<PathBuf> {
        const NAME: &str = "nothing-rust";
        let manifest = cache::read(&self.workspace.root.join("Cargo.toml"))?;
        let profile = manifest.lines().skip_while(|line| *line != "[profile.release]").skip(1);
        let profile: Vec<_> = profile.take_while(|line| !line.starts_with('[')).collect();
        if profile.is_empty() {
            bail!("Cargo.toml has no [profile.release]");
        }
        let manifest = format!(
            "[package]\nname = \"{NAME}\"\nedition = \"2024\"\n\n[workspace]\n\n[profile.release]\n{}\n",
            profile.join("\n")
        );
        let root = self.dir.join(NAME);
        cache::write(&root.join("Cargo.toml"), manifest)?;
        cache::write(&root.join("src/main.rs"), "fn main() {}\n")?;
        self.build(&root, Linking::Static, NAME)
    }

    /// Compiles a C program of `tests/vm/guest/bench`, or one in the cache.
    fn compile(&self, source: &Path) -> Result<Vec<u8>> {
        let name = source.file_stem().unwrap_or_default();
        let program = self.dir.join(name);
        let mut compiler = Command::new(format!("{CROSS}gcc"));
        compiler.args(["-O2", "-s", "-static", "-Wall", "-Wextra", "-Werror", "-I"]);
        compiler.arg(&self.dir).arg("-I").arg(self.workspace.root.join("driver/module/uapi"));
        compiler.arg("-o").arg(&program).arg(source);
        let what = format!("compiling {}", source.display());
        let log = self.workspace.log(&format!("bench-{}", name.to_string_lossy()));
        Step::new(&what, 1).run(compiler, &log)?;
        cache::bytes(&program)
    }

    /// Compiles one program of `tests/vm/guest/bench`, to be added to an image.
    fn program(&self, archive: &mut Archive, source: &Path) -> Result<()> {
        let name = source.file_stem().unwrap_or_default().to_string_lossy();
        archive.file(&format!("usr/bin/{name}"), 0o755, &self.compile(source)?);
        Ok(())
    }

    /// Makes an image with the measurements' scripts and that firmware of a GPU.
    fn with_scripts(&self, image: &Image, name: &str, firmware: Option<Vec<u8>>) -> Result<Image> {
        let mut archive = Archive::default();
        for path in cache::files(&self.sources())? {
            if path.extension().is_some_and(|extension| extension == "sh") {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                let text = cache::read(&path)?;
                archive.file(&format!("scenarios/bench/{file}"), 0o644, text.as_bytes());
            }
        }
        if let Some(bytes) = firmware {
            archive.file("usr/lib/firmware/arm/mali/arch10.8/mali_csffw.bin", 0o644, &bytes);
        }
        image.with(self.workspace, name, archive)
    }

    /// Makes an image with all programs except the one that replays.
    fn with_programs(&self, image: &Image, name: &str) -> Result<Image> {
        let _lock = self.workspace.lock()?;
        let mut archive = Archive::default();
        let nothing = self.dir.join("nothing-c.c");
        cache::write(&nothing, "int main(void)\n{\n\treturn 0;\n}\n")?;
        for source in ["bench-tool.c", "hand-over.c"].map(|name| self.sources().join(name)) {
            self.program(&mut archive, &source)?;
        }
        self.program(&mut archive, &nothing)?;
        let nothing = cache::bytes(&self.nothing_rust)?;
        archive.file("usr/bin/nothing-rust", 0o755, &nothing);
        image.with(self.workspace, name, archive)
    }

    /// Makes the image with the program that replays `calls`, a header for replay.c.
    pub(super) fn with_replay(&self, calls: &str) -> Result<Image> {
        let _lock = self.workspace.lock()?;
        cache::write(&self.dir.join("calls.h"), calls)?;
        let mut archive = Archive::default();
        self.program(&mut archive, &self.sources().join("replay.c"))?;
        self.programs.with(self.workspace, "bench-replay", archive)
    }

    fn sources(&self) -> PathBuf {
        self.workspace.root.join("tests/vm/guest/bench")
    }

    /// Boots a script of `tests/vm/guest/bench` and returns its output.
    pub(super) fn boot(&self, script: &Script<'_>) -> Result<Said> {
        let Script { name, image, overlays, cmdline, firmware } = script;
        let overlays: Vec<_> = overlays.iter().map(|&overlay| overlay.to_owned()).collect();
        let machine = match firmware {
            Some(_) => Machine::Secure(1),
            None => Machine::Direct(1),
        };
        let tree = board::device_tree(self.workspace, BOARD, &overlays, machine)?;
        let tee = firmware.map_or(Tee::Sim, |firmware| firmware.tee);
        let log = format!("bench-{name}-{tee}");
        let words = tee.words();
        let cmdline = format!("xtask.scenario=bench/{name} xtask.board={BOARD} {words} {cmdline}");
        let boot = Boot {
            flash: firmware.map(|firmware| firmware.flash.as_path()),
            icount: (!self.clock).then_some(vm::ICOUNT),
            ..Boot::new(&log, &tree, &cmdline, LIMIT)
        };
        let step = Step::new("booting", 1);
        let mut lines = Vec::new();
        let outcome = boot.run(self.workspace, image, |line| lines.push(line.to_owned()))?;
        step.done();
        cache::write(&self.workspace.log(&format!("{log}-said")), lines.join("\n"))?;
        let ended = lines.pop_if(|line| line.starts_with("end ")).is_some();
        let failed = lines.iter().any(|line| line.starts_with("not ok"));
        let faults = vm::faults(&outcome.console);
        if outcome.timed_out || !ended || failed || !faults.is_empty() {
            // Traces have long lines.
            let short = |line: &String| line.chars().take(200).collect::<String>();
            let said: Vec<_> = lines.iter().rev().take(10).rev().map(short).collect();
            bail!(
                "the measurement `{name}` failed in the guest:\n{}\n{}\nits console is in {}",
                said.join("\n"),
                faults.join("\n"),
                outcome.log.display()
            );
        }
        Said::hear(lines)
    }
}

/// Parameters of a boot.
#[derive(Debug)]
pub(super) struct Script<'a> {
    /// Name of the script in `tests/vm/guest/bench`, without `.sh`.
    pub(super) name: &'a str,
    /// Image that it needs.
    pub(super) image: &'a Image,
    /// Overlays of `driver/testing/boards`, beside the board.
    pub(super) overlays: &'a [&'a str],
    /// Words of the kernel's command line.
    pub(super) cmdline: &'a str,
    /// Real firmware; without it, the stand-in is the TEE.
    pub(super) firmware: Option<&'a Firmware>,
}

impl<'a> Script<'a> {
    /// Returns a script without other needs.
    pub(super) fn new(name: &'a str, image: &'a Image) -> Self {
        Self { name, image, overlays: &[], cmdline: "", firmware: None }
    }
}

impl Said {
    fn hear(lines: Vec<String>) -> Result<Self> {
        let mut figures = BTreeMap::<_, Vec<_>>::new();
        for line in &lines {
            if let Some((name, value)) =
                line.strip_prefix("figure ").and_then(|rest| rest.split_once(' '))
            {
                let value = value
                    .parse()
                    .with_context(|| format!("unexpected output of the guest: `{line}`"))?;
                figures.entry(name.to_owned()).or_default().push(value);
            }
        }
        Ok(Self { lines, figures })
    }

    /// Returns the samples of a figure.
    pub(super) fn samples(&self, name: &str) -> Result<Vec<f64>> {
        self.figures
            .get(name)
            .cloned()
            .with_context(|| format!("the guest has not printed the figure `{name}`"))
    }

    /// Returns a figure with the name `shown`.
    pub(super) fn figure(&self, name: &str, shown: &str, unit: Unit) -> Result<Figure> {
        Figure::new(shown, self.samples(name)?, unit)
    }
}

/// Returns the firmware image of the modelled GPU, padded to the size of known ones.
fn firmware() -> Vec<u8> {
    let mut image = csffw::image();
    image.resize(FIRMWARE, 0);
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_parsed() {
        let lines = ["figure a 12", "call 1", "figure b 3.5", "figure a 14"].map(str::to_owned);
        let said = Said::hear(lines.to_vec()).unwrap();
        assert_eq!(said.samples("a").unwrap(), [12.0, 14.0]);
        assert_eq!(said.figure("b", "B", Unit::Count).unwrap().median, 3.5);
        assert!(said.samples("c").is_err());
        assert!(Said::hear(vec!["figure a much".to_owned()]).is_err());
    }
}

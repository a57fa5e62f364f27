// SPDX-License-Identifier: MIT OR Apache-2.0
//! Size and boot time that Protheap adds to a unified kernel image: compared with the same image and root without it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::figure::{Figure, Limit, Measure, Unit};
use crate::cache::Workspace;
use crate::progress::Step;
use crate::uefi;
use crate::uki::Builder;

/// Maximum size that is added, compressed: 2 MiB.
const SIZE: f64 = 2_097_152.0;
/// Maximum ratio of the boot times.
const LONGER: f64 = 1.01;
/// Number of boots of each, in turns: the clock counts instructions, but not all of QEMU's work.
const BOOTS: usize = 3;
const BOARD: &str = "rk3588";

/// Measures size and boot time.
pub(super) fn measure(workspace: &Workspace, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let with = Builder::prepare(workspace)?;
    let without = with.without_protheap()?;
    let bytes = [with.initrd_bytes()? as f64, without.initrd_bytes()? as f64];
    let figures = vec![
        Figure::one("initrd and policies", bytes[0], Unit::Bytes),
        Figure::one("the same without Protheap", bytes[1], Unit::Bytes),
    ];
    let limit = Limit::AtMost(SIZE);
    report(Measure::new("signed image, added", figures, bytes[0] - bytes[1], Unit::Bytes, limit));

    let step = Step::new("booting signed images", 120);
    let images = [image(&with)?, image(&without)?];
    let mut samples = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..BOOTS {
        for ((builder, disk), (up, settled)) in
            [&with, &without].into_iter().zip(&images).zip(&mut samples)
        {
            let times = boot(builder, disk)?;
            up.push(times[0]);
            settled.push(times[1]);
        }
    }
    step.done();
    let [with, without] = samples;
    let mut compare = |what: &str, with, without, limit| -> Result<()> {
        let with = Figure::new("with Protheap", with, Unit::Nanoseconds)?;
        let without = Figure::new("without", without, Unit::Nanoseconds)?;
        report(Measure::ratio(what, [with, without], limit));
        Ok(())
    };
    compare("signed boot, until the system is up", with.0, without.0, Limit::AtMost(LONGER))?;
    compare("signed boot, until all is started", with.1, without.1, Limit::None)
}

/// Makes the disk with the image.
fn image(builder: &Builder<'_>) -> Result<PathBuf> {
    let image = builder.path("protheap.efi");
    builder.build(Some(&builder.key), &image)?;
    builder.disk(&[(uefi::IMAGE, &image)])
}

/// Returns nanoseconds from the start of the firmware until the system was up, and until all units were started.
fn boot(builder: &Builder<'_>, disk: &Path) -> Result<[f64; 2]> {
    let tree = builder.boards.iter().find(|(name, _)| name == BOARD);
    let (name, tree) = tree.with_context(|| format!("there is no board {BOARD}"))?;
    let firmware = builder.firmware_tree(name, tree)?;
    let mut times = None;
    let mut hear = |line: &str| {
        let numbers: Vec<u64> = line
            .strip_prefix("boot ")
            .into_iter()
            .flat_map(str::split_whitespace)
            .filter_map(|number| number.parse().ok())
            .collect();
        // systemd's first value is the time from the start of the firmware to that of the kernel.
        if let [firmware, up, finish] = numbers.as_slice() {
            times = Some([up, finish].map(|time| (firmware + time) as f64 * 1e3));
        }
    };
    let words = "xtask.scenario=bench-uki xtask.board=rk3588";
    let outcome = builder.boot("bench-uki", &firmware, disk, words, &mut hear, None)?;
    match times {
        Some(times) => Ok(times),
        None => bail!("the guest has not printed the time of its boot: {}", outcome.log.display()),
    }
}

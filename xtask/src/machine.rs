// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that QEMU emulates.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;

use crate::progress::output;

/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-aarch64";

/// Returns the first line of QEMU's version.
pub(crate) fn version() -> Result<&'static str> {
    static VERSION: OnceLock<String> = OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(version);
    }
    let said = output(Command::new(QEMU).arg("--version"))?;
    Ok(VERSION.get_or_init(|| said.lines().next().unwrap_or_default().to_owned()))
}

/// The machine of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// QEMU starts the kernel, on that many processors.
    Direct(u32),
    /// TF-A starts the kernel behind OP-TEE, which runs in the secure world, on that many processors.
    Secure(u32),
    /// Firmware starts a file on a disk. It uses the end of memory, so there is more memory behind the range that
    /// stands in for registers.
    Uefi,
}

impl Machine {
    /// Name in the file names of its device trees.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Direct(smp) => smp.to_string(),
            Self::Secure(smp) => format!("secure-{smp}"),
            Self::Uefi => "uefi".to_owned(),
        }
    }

    /// Returns whether an operating system runs in the secure world.
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Self::Secure(_))
    }

    /// Returns the arguments that the device tree depends on, so that the tree is dumped from the machine that runs.
    /// The second one is the machine type.
    pub(crate) fn arguments(self) -> Vec<String> {
        let (machine, smp, memory) = match self {
            Self::Direct(smp) => ("virt,gic-version=3", smp, "3072"),
            // Without `acpi=off` the tree would have a pl061 that only the secure world may access.
            Self::Secure(smp) => ("virt,gic-version=3,secure=on,acpi=off", smp, "3072"),
            Self::Uefi => ("virt,gic-version=3,acpi=off", 1, "6144"),
        };
        let smp = smp.to_string();
        let words = [
            "-machine",
            machine,
            "-accel",
            "tcg",
            "-cpu",
            "cortex-a72",
            "-smp",
            &smp,
            "-m",
            memory,
            "-display",
            "none",
            "-monitor",
            "none",
            "-nic",
            "none",
            "-no-reboot",
        ];
        words.map(str::to_owned).to_vec()
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that QEMU emulates.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::Result;

use crate::progress::output;

/// The emulator.
pub(crate) const QEMU: &str = "qemu-system-aarch64";

/// What the emulator says of its version.
pub(crate) fn version() -> Result<&'static str> {
    static VERSION: OnceLock<String> = OnceLock::new();
    if let Some(version) = VERSION.get() {
        return Ok(version);
    }
    let said = output(Command::new(QEMU).arg("--version"))?;
    Ok(VERSION.get_or_init(|| said.lines().next().unwrap_or_default().to_owned()))
}

/// What a guest runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// QEMU starts the kernel, on that many processors.
    Direct(u32),
    /// The same, but that TF-A starts it behind OP-TEE, which has the secure world.
    Secure(u32),
    /// Firmware starts what it finds on a disk. It takes what it needs from the end of memory, so that there is more
    /// behind the registers that memory stands in for.
    Uefi,
}

impl Machine {
    /// Names the device trees that are made for it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Direct(smp) => smp.to_string(),
            Self::Secure(smp) => format!("secure-{smp}"),
            Self::Uefi => "uefi".to_owned(),
        }
    }

    /// Whether the secure world has an operating system.
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, Self::Secure(_))
    }

    /// Arguments that a device tree depends on, so that it is dumped from the machine that runs; the second one is the
    /// machine's own.
    pub(crate) fn arguments(self) -> Vec<String> {
        let (machine, smp, memory) = match self {
            Self::Direct(smp) => ("virt,gic-version=3", smp, "3072"),
            // Without `acpi=off` its tree would have a pl061 that only the secure world may touch.
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

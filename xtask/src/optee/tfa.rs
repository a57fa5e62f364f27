// SPDX-License-Identifier: MIT OR Apache-2.0
//! TF-A: the boot stages before OP-TEE and Linux, and the tool that packs them.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::os::Os;
use super::source::{Source, compiler, make, place};
use crate::cache::{self, Digest, Workspace};
use crate::progress::{Step, output};
use crate::{toolchain, vm};

/// Debian's source package.
const PACKAGE: &str = "arm-trusted-firmware";

/// Options of every build. Linux takes the place of a boot loader.
const FLAGS: [&str; 5] = [
    "PLAT=qemu",
    "DEBUG=0",
    "QEMU_USE_GIC_DRIVER=QEMU_GICV3",
    "BL32_RAM_LOCATION=tdram",
    "ARM_LINUX_KERNEL_AS_BL33=1",
];
/// Options to call OP-TEE by SMC.
const SMC: [&str; 1] = ["SPD=opteed"];
/// Options for OP-TEE as the SPM Core, at S-EL1. QEMU's processor has no SME.
const FFA: [&str; 6] = [
    "SPD=spmd",
    "SPMD_SPM_AT_SEL2=0",
    "SPMC_OPTEE=1",
    "CTX_INCLUDE_EL2_REGS=0",
    "ENABLE_SME_FOR_NS=0",
    "ENABLE_SME_FOR_SWD=0",
];
/// SPM Core manifest, which describes OP-TEE to TF-A.
const MANIFEST: &str = "driver/testing/optee/spmc-manifest.dts";

/// Boot stages for SMC or FF-A.
#[derive(Debug)]
pub(super) struct Tfa {
    pub(super) bl1: PathBuf,
    dir: PathBuf,
    manifest: Option<PathBuf>,
    pub(super) digest: String,
}

/// Builds the stages, unless they are in the cache.
pub(super) fn prepare(workspace: &Workspace, abi: &str) -> Result<Tfa> {
    let ffa = abi == "ffa";
    let source = Source::fetch(workspace, PACKAGE)?;
    let manifest = workspace.root.join(MANIFEST);
    let base = format!("PRELOADED_BL33_BASE={:#x}", vm::KERNEL);
    let mut flags = FLAGS.to_vec();
    flags.extend(if ffa { &FFA[..] } else { &SMC[..] });
    flags.push(&base);
    let mut digest = Digest::new();
    digest.add(source.version.as_bytes());
    digest.add(compiler()?.as_bytes());
    flags.iter().for_each(|flag| digest.add(flag.as_bytes()));
    if ffa {
        digest.add(cache::read(&manifest)?.as_bytes());
    }
    let digest = digest.hex();
    let dir = place(workspace).join(format!("tfa-{abi}-{digest}"));
    cache::once(&dir, |part| {
        let objects = place(workspace).join(format!("objects-tfa-{abi}"));
        let mut command = make(&source.tree);
        command.arg(format!("BUILD_BASE={}", objects.display()));
        command.arg(format!("CROSS_COMPILE={}", toolchain::CROSS)).args(&flags);
        command.args(["bl1", "bl2", "bl31", "fiptool"]);
        let what = format!("building TF-A ({abi})");
        Step::new(&what, 25).run(command, &workspace.log(&format!("tfa-{abi}")))?;
        for name in ["bl1.bin", "bl2.bin", "bl31.bin"] {
            cache::copy_into(&objects.join("qemu/release").join(name), part)?;
        }
        cache::copy_into(&source.tree.join("tools/fiptool/fiptool"), part)?;
        if ffa {
            let mut dtc = Command::new("dtc");
            dtc.args(["-q", "-I", "dts", "-O", "dtb", "-o"]).arg(part.join("spmc.dtb"));
            output(dtc.arg(&manifest))
                .with_context(|| format!("failed to compile {}", manifest.display()))?;
        }
        Ok(())
    })?;
    let manifest = ffa.then(|| dir.join("spmc.dtb"));
    Ok(Tfa { bl1: dir.join("bl1.bin"), dir, manifest, digest })
}

impl Tfa {
    /// Packs all stages after the first one, with that OP-TEE.
    pub(super) fn pack(&self, os: &Os, fip: &Path) -> Result<()> {
        let [header, pager, pageable] = os.images();
        let mut fiptool = Command::new(self.dir.join("fiptool"));
        fiptool.arg("create").arg("--tb-fw").arg(self.dir.join("bl2.bin"));
        fiptool.arg("--soc-fw").arg(self.dir.join("bl31.bin"));
        fiptool.arg("--tos-fw").arg(header).arg("--tos-fw-extra1").arg(pager);
        // Without a pager it is empty, and not loaded.
        if pageable.metadata().is_ok_and(|file| file.len() > 0) {
            fiptool.arg("--tos-fw-extra2").arg(pageable);
        }
        if let Some(manifest) = &self.manifest {
            fiptool.arg("--tos-fw-config").arg(manifest);
        }
        output(fiptool.arg(fip)).context("failed to pack the firmware")?;
        Ok(())
    }
}

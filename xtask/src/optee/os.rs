// SPDX-License-Identifier: MIT OR Apache-2.0
//! OP-TEE OS: built from Debian's source package or the user's own tree, or Debian's binary.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::source::{Source, compiler, make, place};
use crate::apt::{self, Client};
use crate::cache::{self, Digest, Workspace};
use crate::progress::Step;
use crate::tee::Tee;
use crate::toolchain;

/// Name of the source package, and of the binary one.
const PACKAGE: &str = "optee-os";
/// Directory of the binaries for this machine.
const BINARIES: &str = "usr/lib/optee/vexpress-qemu_armv8a";
/// Variable with the user's own source tree.
const OWN: &str = "PROTHEAP_OPTEE_SRC";

/// Options of every build: OP-TEE's platform for this machine, without user TAs, which would double time and size of
/// the build. At this log level, OP-TEE logs each range of memory that becomes protected.
const FLAGS: [&str; 9] = [
    "PLATFORM=vexpress-qemu_armv8a",
    "CFG_ARM64_core=y",
    "CFG_USER_TA_TARGETS=ta_arm64",
    "CFG_ARM_GICV3=y",
    "DEBUG=0",
    "CFG_TEE_CORE_LOG_LEVEL=3",
    "CFG_WITH_USER_TA=n",
    "CFG_SECURE_DATA_PATH=y",
    "PYTHON3=/usr/bin/python3",
];
/// Option to borrow protected memory from Linux.
const DYNAMIC: &str = "CFG_CORE_DYN_PROTMEM=y";
/// Options for protected memory in the carve-out of `driver/testing/boards/common.dtsi`.
const STATIC: [&str; 2] = ["CFG_TEE_SDP_MEM_BASE=0x5c000000", "CFG_TEE_SDP_MEM_SIZE=0x1000000"];
/// Options of the SPM Core of FF-A.
const FFA: &str = "CFG_CORE_SEL1_SPMC=y";

/// Source of `plat_get_protmem_config()`, and its line with the minimum size of a dynamic pool, for which there is no
/// build option.
const POOL_FILE: &str = "core/mm/mobj.c";
const POOL: &str = "\t*min_mem_sz = SIZE_1M;\n";
const POOL_OF_8_MIB: &str = "\t*min_mem_sz = 8 * SIZE_1M;\n";

/// Images of OP-TEE OS.
const IMAGES: [&str; 3] = ["tee-header_v2.bin", "tee-pager_v2.bin", "tee-pageable_v2.bin"];

/// OP-TEE OS as TF-A loads it.
#[derive(Debug)]
pub(super) struct Os {
    dir: PathBuf,
    pub(super) version: String,
    pub(super) digest: String,
}

impl Os {
    /// Its images: header, pager, pageable.
    pub(super) fn images(&self) -> [PathBuf; 3] {
        IMAGES.map(|name| self.dir.join(name))
    }
}

/// Returns the user's own source tree.
pub(super) fn own_tree() -> Option<PathBuf> {
    env::var_os(OWN).filter(|tree| !tree.is_empty()).map(PathBuf::from)
}

/// Makes it, unless it is in the cache.
pub(super) fn prepare(workspace: &Workspace, tee: Tee) -> Result<Os> {
    match tee {
        Tee::Sim => bail!("the stand-in has no firmware"),
        Tee::None => binary(workspace, "sid"),
        Tee::Old => binary(workspace, "trixie"),
        Tee::Own => build_own(workspace),
        Tee::Static | Tee::Dynamic | Tee::Dynamic8m | Tee::Ffa => build(workspace, tee),
    }
}

/// Unpacks Debian's binary of that suite.
fn binary(workspace: &Workspace, suite: &str) -> Result<Os> {
    let dir = place(workspace).join(format!("{PACKAGE}-{suite}"));
    cache::once(&dir, |part| {
        let client = Client::open(workspace, suite, "main", "arm64")?;
        let deb = client.download(workspace, PACKAGE)?;
        let name = deb.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let version = name.split('_').nth(1).context("package has no version")?;
        apt::unpack(&deb, part)?;
        cache::write(&part.join("version"), version)
    })?;
    let version = cache::read(&dir.join("version"))?;
    let mut digest = Digest::new();
    digest.add(PACKAGE.as_bytes());
    digest.add(version.as_bytes());
    Ok(Os { dir: dir.join(BINARIES), version, digest: digest.hex() })
}

/// Returns options beside those of every build.
fn flags(tee: Tee) -> Vec<&'static str> {
    match tee {
        Tee::Static => STATIC.to_vec(),
        Tee::Ffa => vec![DYNAMIC, FFA],
        _ => vec![DYNAMIC],
    }
}

/// Builds Debian's source.
fn build(workspace: &Workspace, tee: Tee) -> Result<Os> {
    let source = Source::fetch(workspace, PACKAGE)?;
    let flags = flags(tee);
    let pool = if tee == Tee::Dynamic8m { POOL_OF_8_MIB } else { POOL };
    let mut digest = Digest::new();
    for input in [&source.version, &compiler()?, pool] {
        digest.add(input.as_bytes());
    }
    FLAGS.iter().chain(&flags).for_each(|flag| digest.add(flag.as_bytes()));
    let digest = digest.hex();
    let dir = place(workspace).join(format!("os-{tee}-{digest}"));
    cache::once(&dir, |part| {
        set_pool(&source.tree, pool)?;
        // Builds with the same options share their objects. make accepts no path with `=`.
        let objects =
            place(workspace).join(format!("objects-{}", flags.join("-").replace('=', "-")));
        compile(workspace, &source.tree, &objects, &flags, tee)?;
        copy_images(&objects, part)
    })?;
    Ok(Os { dir, version: source.version, digest })
}

/// Builds the user's own tree each time: make detects changes.
fn build_own(workspace: &Workspace) -> Result<Os> {
    let Some(tree) = own_tree() else {
        bail!("no source tree of OP-TEE is named: set {OWN} to its directory");
    };
    if !tree.join("core/core.mk").is_file() {
        bail!("{} is no source tree of OP-TEE OS: correct {OWN}, or unset it", tree.display());
    }
    let objects = place(workspace).join("objects-own");
    compile(workspace, &tree, &objects, &[DYNAMIC], Tee::Own)?;
    let dir = place(workspace).join("os-own");
    cache::remove_dir(&dir)?;
    cache::create_dir(&dir)?;
    copy_images(&objects, &dir)?;
    let mut digest = Digest::new();
    digest.add_files(&cache::files(&dir)?)?;
    Ok(Os { dir, version: format!("tree {}", tree.display()), digest: digest.hex() })
}

/// Sets the size that the source borrows. Leaves a file alone that has it already, so that it is not compiled again.
fn set_pool(tree: &Path, wanted: &str) -> Result<()> {
    let path = tree.join(POOL_FILE);
    let text = cache::read(&path)?;
    let other = if wanted == POOL { POOL_OF_8_MIB } else { POOL };
    match (text.matches(wanted).count(), text.matches(other).count()) {
        (1, 0) => Ok(()),
        (0, 1) => cache::write(&path, text.replace(other, wanted)),
        _ => bail!(
            "{} does not set the size of a dynamic pool as it did: look for plat_get_protmem_config()",
            path.display()
        ),
    }
}

fn compile(
    workspace: &Workspace,
    tree: &Path,
    objects: &Path,
    flags: &[&str],
    tee: Tee,
) -> Result<()> {
    let mut command = make(tree);
    command.arg(format!("O={}", objects.display()));
    command.arg(format!("CROSS_COMPILE={}", toolchain::CROSS)).args(FLAGS).args(flags);
    let what = format!("building OP-TEE ({tee})");
    Step::new(&what, 60).run(command, &workspace.log(&format!("optee-{tee}")))
}

fn copy_images(objects: &Path, into: &Path) -> Result<()> {
    for name in IMAGES {
        let image = objects.join("core").join(name);
        cache::copy(&image, &into.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_pool_refuses_unknown_sources() {
        let tree = env::temp_dir().join(format!("xtask-optee-{}", std::process::id()));
        let file = tree.join(POOL_FILE);
        cache::write(&file, format!("before\n{POOL}after\n")).unwrap();
        set_pool(&tree, POOL_OF_8_MIB).unwrap();
        assert_eq!(cache::read(&file).unwrap(), format!("before\n{POOL_OF_8_MIB}after\n"));
        set_pool(&tree, POOL).unwrap();
        assert_eq!(cache::read(&file).unwrap(), format!("before\n{POOL}after\n"));
        cache::write(&file, "*min_mem_sz = SIZE_2M;\n").unwrap();
        assert!(set_pool(&tree, POOL).is_err());
        cache::remove_dir(&tree).unwrap();
    }

    #[test]
    fn static_pool_is_the_carve_out_of_the_boards() {
        let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../driver/testing/boards");
        let common = cache::read(&boards.join("common.dtsi")).unwrap();
        let [base, size] = STATIC.map(|flag| flag.split_once('=').unwrap().1);
        assert!(common.contains(&format!("reg = <0x0 {base} 0x0 {size}>;")));
    }
}

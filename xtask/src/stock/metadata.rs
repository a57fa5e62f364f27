// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rust metadata of Debian's kernel, made from its source.
//!
//! A module that is built against metadata of another build would have undefined symbols, or crash. Therefore the
//! configuration must be Debian's to the letter, which includes the versions of the compilers, and the Rust symbols of the
//! objects must be those that the kernel exports.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use super::packages::{self, Kernel};
use super::sysroot::Sysroot;
use crate::cache::{self, Workspace};
use crate::kernel::{self, Linux};
use crate::progress::Step;

/// Sources that neither the metadata nor the modules need. Kconfig files of all directories are needed, and headers of
/// some drivers.
const UNNEEDED: [&str; 7] = [
    "Documentation/*.rst",
    "arch/[!a]*/*.[chS]",
    "drivers/[!dgt]*/*.c",
    "drivers/gpu/drm/[!p]*/*.[ch]",
    "fs/*.c",
    "net/*.c",
    "sound/*.[ch]",
];
/// Directory of a build with the headers that export Rust symbols.
const EXPORTS: &str = "rust";

/// A source tree and its build directory, with metadata.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) source: PathBuf,
    pub(super) build: PathBuf,
}

/// Makes the metadata of a kernel, unless that was done.
///
/// # Errors
///
/// It is not that of the kernel.
pub(super) fn prepare(
    workspace: &Workspace,
    sysroot: &Sysroot,
    kernel: &Kernel,
) -> Result<Metadata> {
    let dir = packages::directory(workspace, &kernel.release);
    let (source, build) = (dir.join("source"), dir.join("build"));
    let stamp = build.join("complete");
    if !stamp.is_file() {
        unpack(workspace, kernel.linux, &source)?;
        // An interrupted build may have files of another configuration.
        cache::remove_dir(&build)?;
        cache::create_dir(&build)?;
        configure(workspace, sysroot, kernel, &source, &build)?;
        let mut make = sysroot.make(&source, &build, &kernel.release)?;
        make.arg("modules_prepare");
        let what = format!("making the Rust metadata of {}", kernel.release);
        Step::new(&what, 160).lines(420).run(make, &workspace.log("stock-metadata"))?;
        verify(kernel, &build)?;
        cache::copy_into(&kernel.headers.join("Module.symvers"), &build)?;
        cache::write(&stamp, &kernel.release)?;
    }
    Ok(Metadata { source, build })
}

/// Unpacks the source, without most drivers.
fn unpack(workspace: &Workspace, linux: Linux, source: &Path) -> Result<()> {
    let tar = kernel::tarball(workspace, linux)?;
    cache::once(source, |part| {
        let mut unpack = Command::new("tar");
        unpack.args(["--anchored", "--wildcards", "--wildcards-match-slash"]);
        let exclude = |pattern| format!("--exclude=linux-source-[0-9].[0-9]/{pattern}");
        unpack.args(UNNEEDED.map(exclude));
        unpack.arg("-xf").arg(&tar).arg("--strip-components=1").arg("-C").arg(part);
        Step::new("unpacking the source of Debian's kernel", 40)
            .run(unpack, &workspace.log("stock-source"))
    })
}

/// Configures the build as Debian has configured the kernel.
fn configure(
    workspace: &Workspace,
    sysroot: &Sysroot,
    kernel: &Kernel,
    source: &Path,
    build: &Path,
) -> Result<()> {
    let wanted = cache::read(&kernel.headers.join(".config"))?;
    cache::write(&build.join(".config"), &wanted)?;
    let mut make = sysroot.make(source, build, &kernel.release)?;
    make.arg("olddefconfig");
    Step::new("configuring Debian's kernel", 10).run(make, &workspace.log("stock-config"))?;
    let differences = differences(&wanted, &cache::read(&build.join(".config"))?);
    if let Some(first) = differences.first() {
        bail!(
            "the configuration of {} differs from Debian's in {} lines ({first}): its source and compilers must be \
             those of Debian's build",
            kernel.release,
            differences.len()
        );
    }
    Ok(())
}

/// Returns the lines that only one of two configurations has, except the version in its title.
fn differences(wanted: &str, found: &str) -> Vec<String> {
    fn lines(text: &str) -> BTreeSet<&str> {
        text.lines().filter(|line| line.contains("CONFIG_")).collect()
    }
    lines(wanted).symmetric_difference(&lines(found)).map(|line| (*line).to_owned()).collect()
}

/// Checks that the build has the Rust symbols of the kernel, and no others.
fn verify(kernel: &Kernel, build: &Path) -> Result<()> {
    let mut ours = BTreeSet::new();
    for path in cache::files(&build.join(EXPORTS))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("exports_") && name.ends_with("_generated.h") {
            ours.extend(exported(&cache::read(&path)?).map(str::to_owned));
        }
    }
    let symvers = fs::read_to_string(kernel.headers.join("Module.symvers"))?;
    compare(&ours, &symvers)
        .with_context(|| format!("the Rust metadata is not that of {}", kernel.release))?;
    say!("  {} Rust symbols are those of {}", ours.len(), kernel.release);
    Ok(())
}

/// Returns the symbols of a header that exports them: `EXPORT_SYMBOL_RUST_GPL(NAME);`.
fn exported(header: &str) -> impl Iterator<Item = &str> {
    header.lines().filter_map(|line| {
        let name = line.trim().strip_prefix("EXPORT_SYMBOL_RUST_GPL(")?.strip_suffix(");")?;
        is_rust(name).then_some(name)
    })
}

/// Returns whether a symbol is a mangled name of Rust, or a helper in C that Rust calls.
fn is_rust(symbol: &str) -> bool {
    symbol.starts_with("_R") || symbol.starts_with("rust_helper_")
}

/// Compares exported symbols with those of a `Module.symvers`, whose lines are
/// `CRC<tab>SYMBOL<tab>MODULE<tab>TYPE<tab>NAMESPACE`.
fn compare(ours: &BTreeSet<String>, symvers: &str) -> Result<()> {
    let symbol = |line: &str| {
        let mut fields = line.split('\t').skip(1);
        let (name, module) = (fields.next()?, fields.next()?);
        (module == "vmlinux" && is_rust(name)).then(|| name.to_owned())
    };
    let kernel: BTreeSet<_> = symvers.lines().filter_map(symbol).collect();
    if kernel.is_empty() {
        bail!("the kernel exports no Rust symbols");
    }
    let (more, fewer) = (ours.difference(&kernel), kernel.difference(ours));
    if let Some(first) = more.clone().next().or(fewer.clone().next()) {
        bail!(
            "{} symbols are only in the objects and {} only in the kernel, such as {first}",
            more.count(),
            fewer.count()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "EXPORT_SYMBOL_RUST_GPL(_RNvCs1_4core3foo);\n\
        EXPORT_SYMBOL_RUST_GPL(rust_helper_BUG);\nEXPORT_SYMBOL_RUST_GPL(memcpy);\n#include <x>\n";
    const SYMVERS: &str = "0x00000000\t_RNvCs1_4core3foo\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
        0x00000000\trust_helper_BUG\tvmlinux\tEXPORT_SYMBOL_GPL\t\n\
        0x00000000\t_RNvCs2_3tyr3bar\tdrivers/gpu/drm/tyr/tyr\tEXPORT_SYMBOL_GPL\t\n\
        0x00000000\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n";

    fn ours(header: &str) -> BTreeSet<String> {
        exported(header).map(str::to_owned).collect()
    }

    #[test]
    fn equal_symbols_are_accepted() {
        compare(&ours(HEADER), SYMVERS).unwrap();
    }

    #[test]
    fn symbols_of_another_build_are_refused() {
        // Another compiler has another hash.
        let error = compare(&ours(&HEADER.replace("Cs1_", "Cs3_")), SYMVERS).unwrap_err();
        assert!(error.to_string().starts_with("1 symbols are only in the objects and 1 only in"));
        let fewer = HEADER.replace("EXPORT_SYMBOL_RUST_GPL(rust_helper_BUG);\n", "");
        assert!(compare(&ours(&fewer), SYMVERS).is_err());
        let more = format!("{HEADER}EXPORT_SYMBOL_RUST_GPL(rust_helper_more);\n");
        assert!(compare(&ours(&more), SYMVERS).is_err());
        assert!(compare(&ours(""), "").is_err());
    }

    #[test]
    fn configurations_differ_in_options_and_values() {
        let config = "# Linux/arm64 7.3.4\nCONFIG_A=y\n# CONFIG_B is not set\n";
        assert!(differences(config, &config.replace("7.3.4", "7.3.5")).is_empty());
        assert_eq!(
            differences(config, "CONFIG_A=m\n# CONFIG_B is not set\n"),
            ["CONFIG_A=m", "CONFIG_A=y"]
        );
        assert_eq!(differences(config, "CONFIG_A=y\n"), ["# CONFIG_B is not set"]);
    }
}

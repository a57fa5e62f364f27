// SPDX-License-Identifier: MIT OR Apache-2.0
//! Initrds as distributions make them: dracut, initramfs-tools and mkosi run in a guest, in a root of Debian's packages
//! where `packaging/install` has put what is Protheap's.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Digest, Workspace};
use crate::image::{self, Image, Parts};
use crate::initrd::{Archive, bytes};
use crate::kernel::Flavor;
use crate::progress::{Step, output};
use crate::vm::{Boot, Machine};
use crate::{board, csffw, modules, systemd};

/// Those that are made to be booted; the others are only looked into.
pub(crate) const BOOTED: [&str; 3] = ["dracut", "dracut-script", "initramfs-tools"];

/// What the generators are, and what Debian takes for granted that they have.
const PACKAGES: [&str; 22] = [
    "bash",
    "coreutils",
    "cpio",
    "dash",
    "dpkg",
    "dracut-core",
    "findutils",
    "grep",
    "gzip",
    "initramfs-tools-core",
    "kmod",
    "libc-bin",
    "mawk",
    "mount",
    "python3",
    "sed",
    "systemd",
    "systemd-sysv",
    "tar",
    "udev",
    "util-linux",
    "zstd",
];
/// For an image of trees it needs nothing of what it depends on.
const ALONE: [&str; 1] = ["mkosi"];

/// Directories of the packages that no generator looks into.
const UNUSED: [&str; 12] = [
    "usr/include",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/share/zoneinfo",
    "usr/share/zsh",
];

/// Parts of `packaging/install` that are installed there.
const INSTALLED: [&str; 3] = ["bind", "dracut", "initramfs-tools"];

/// What the guest writes to: room for all initrds.
const OUTPUT_BYTES: u64 = 256 << 20;
/// Host time after which the guest is stopped: four times as long as it takes on two cores.
const LIMIT: Duration = Duration::from_secs(1200);

/// The first line of each list.
const LICENCE: &str = "# SPDX-License-Identifier: MIT OR Apache-2.0\n";

/// What the generators made.
#[derive(Debug)]
pub(crate) struct Generated {
    dir: PathBuf,
    /// `uname -r`.
    release: String,
}

impl Generated {
    /// Names what they were made of, and by.
    pub(crate) fn digest(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// One of [`BOOTED`].
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.dir.join("out").join(name)
    }
}

/// Runs the generators on a kernel and an initrd whose init is a script, unless nothing changed since they last ran.
pub(crate) fn prepare(workspace: &Workspace, parts: &Parts, script: &Image) -> Result<Generated> {
    let base = systemd::packages(workspace, &PACKAGES, &ALONE)?;
    let own = own(workspace, parts)?;
    let mut digest = Digest::new();
    digest.add(parts.kernel.digest.as_bytes());
    digest.add(&bytes(&workspace.root.join("tests/vm/guest/generate.sh"))?);
    // Its name tells which packages there are, but not of which versions.
    digest.add(&fs::metadata(&base)?.mtime().to_le_bytes());
    own.digest(&mut digest);
    let all = workspace.checkout.join("generated");
    let dir = all.join(digest.hex());
    if !dir.is_dir() {
        cache::remove_dir(&all)?;
    }
    cache::once(&dir, |part| {
        let mut root = Archive::default();
        root.copy(&base, "", &wanted)?;
        root.append(own);
        let disk = part.join("disk");
        systemd::disk(workspace, &root, &disk)?;
        let results = part.join("results");
        File::create(&results)
            .and_then(|file| file.set_len(OUTPUT_BYTES))
            .with_context(|| format!("making {}", results.display()))?;
        let image =
            Image { disk: Some(disk.clone()), output: Some(results.clone()), ..script.clone() };
        generate(workspace, &image)?;
        output(Command::new("tar").arg("-C").arg(part).arg("-xf").arg(&results))?;
        for path in [disk, results] {
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(())
    })?;
    Ok(Generated { dir, release: parts.kernel.release.clone() })
}

/// Whether the root has what a package has.
fn wanted(path: &str) -> bool {
    !UNUSED.contains(&path)
}

/// What is in the root beside Debian's packages.
fn own(workspace: &Workspace, parts: &Parts) -> Result<Archive> {
    let mut archive = Archive::default();
    // Users, and what the modelled GPU needs: in images for no certain machine as well, which take nothing of /etc.
    let both = workspace.root.join("tests/vm/guest/systemd/both");
    archive.copy(&both, "", &|path| path != "etc/modprobe.d")?;
    archive.tree(&both.join("etc/modprobe.d"), "usr/lib/modprobe.d")?;
    archive.tree(&workspace.root.join("packaging/mkosi"), "mkosi")?;
    // dpkg's alternatives are made by maintainer scripts.
    archive.link("usr/bin/awk", "mawk");

    let stage = workspace.checkout.join("generator-stage");
    cache::remove_dir(&stage)?;
    let root = &workspace.root;
    let programs = parts.programs.first().and_then(|program| program.parent());
    let programs = programs.context("cargo has built no protheap-bind")?;
    for part in INSTALLED {
        let mut install = Command::new(root.join("packaging/install"));
        install.arg(part).arg(&stage).env("TARGET_DIR", programs);
        output(&mut install)?;
    }
    kernel_modules(parts, &stage)?;
    archive.copy(&stage, "", &wanted)?;
    cache::remove_dir(&stage)?;

    for arch in csffw::directories(workspace)? {
        let path = format!("usr/lib/firmware/arm/mali/{arch}/mali_csffw.bin");
        archive.file(&path, 0o644, &csffw::image());
    }
    Ok(archive)
}

/// Lays modules out as distributions do: the kernel's own where they were built, the others as DKMS does.
fn kernel_modules(parts: &Parts, stage: &Path) -> Result<()> {
    let Parts { kernel, modules, .. } = parts;
    let lib = stage.join("usr/lib/modules").join(&kernel.release);
    let own = kernel
        .modules(systemd::OPTEE)?
        .into_iter()
        .map(|module| (kernel.build.join(&module), lib.join("kernel").join(module)));
    let others = modules.iter().map(|module| {
        (module.clone(), lib.join("updates/dkms").join(module.file_name().unwrap_or_default()))
    });
    let mut installed = Vec::new();
    for (from, to) in own.chain(others) {
        cache::create_dir(to.parent().unwrap_or(&lib))?;
        fs::copy(&from, &to).with_context(|| format!("copying {}", from.display()))?;
        installed.push(to);
    }
    modules::sign(kernel, &installed)?;
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        fs::copy(kernel.build.join(name), lib.join(name))
            .with_context(|| format!("copying {name}"))?;
    }
    // mkosi takes a directory for a kernel's if one is in it.
    cache::write(&lib.join("vmlinuz"), "")?;
    // depmod wants the directory as distributions had it before /usr was merged.
    symlink("usr/lib", stage.join("lib"))?;
    output(Command::new("/sbin/depmod").arg("-b").arg(stage).arg(&kernel.release))?;
    fs::remove_file(stage.join("lib"))?;
    Ok(())
}

/// Boots the guest, which makes them.
fn generate(workspace: &Workspace, image: &Image) -> Result<()> {
    let step = Step::new("making initrds by dracut, initramfs-tools and mkosi", LIMIT / 4);
    let smp = 2;
    let tree =
        board::device_tree(workspace, "rk3588", &["no-gpu".to_owned()], Machine::Direct(smp))?;
    // The registers of no GPU are in the way of more memory.
    let cmdline = "xtask.scenario=generate mem=2G";
    let boot = Boot {
        name: "generate",
        board: &tree,
        cmdline,
        smp,
        flash: None,
        icount: None,
        limit: LIMIT,
    };
    let mut said = Vec::new();
    let outcome = boot.run(workspace, image, |line| said.push(line.to_owned()))?;
    if outcome.timed_out || !said.iter().any(|line| line.starts_with("ok - ")) {
        bail!(
            "making initrds failed; the kernel's words are in {}:\n{}",
            outcome.log.display(),
            said.join("\n")
        );
    }
    step.done();
    Ok(())
}

/// What of Protheap is in each initrd: a file's name, and its lines.
fn lists(workspace: &Workspace) -> Result<Vec<(String, String)>> {
    let script = image::prepare(workspace, Flavor::Plain)?;
    let generated = image::prepare_generated(workspace, Flavor::Plain, &script)?;
    let mut lists = Vec::new();
    for path in cache::files(&generated.dir.join("lists"))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let all = cache::read(&path)?.replace(&generated.release, "RELEASE");
        let mut lines: Vec<_> = all.lines().map(str::trim).filter(|line| matters(line)).collect();
        lines.sort_unstable();
        lists.push((format!("{name}.list"), format!("{LICENCE}{}\n", lines.join("\n"))));
    }
    Ok(lists)
}

/// Whether a line is of Protheap, a module, or a firmware; one policy stands for all of them.
fn matters(line: &str) -> bool {
    let ours = line.contains("protheap") || line.ends_with(".ko") || line.contains("mali_csffw");
    ours && (!line.ends_with(".toml") || line.ends_with("/default.toml"))
}

/// Writes the lists to a directory; returns their paths.
pub(crate) fn write(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    let mut made = Vec::new();
    for (name, found) in lists(workspace)? {
        let path = directory.join(name);
        cache::write(&path, found)?;
        made.push(path);
    }
    Ok(made)
}

/// Holds the lists against those of `tests/initrds`: more or less in an initrd is a change that somebody has to mean.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let expected = workspace.root.join("tests/initrds");
    let mut wrong = Vec::new();
    for (name, found) in lists(workspace)? {
        let path = expected.join(name);
        let wanted = cache::read(&path)?;
        if found != wanted {
            let more = only(&found, &wanted, '+');
            wrong.push(format!("{}:{more}{}", path.display(), only(&wanted, &found, '-')));
        }
    }
    if !wrong.is_empty() {
        let renew =
            "if all of that is meant, `cargo xtask dist initrds tests/initrds` writes it anew";
        bail!("{}\n{renew}", wrong.join("\n"));
    }
    Ok(())
}

/// The lines that another text does not have.
fn only(text: &str, other: &str, sign: char) -> String {
    let lines = text.lines().filter(|line| other.lines().all(|there| there != *line));
    lines.map(|line| format!("\n  {sign}{line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_compared_line_by_line() {
        for line in ["usr/bin/protheap-bind", "usr/lib/modules/RELEASE/kernel/panthor.ko"] {
            assert!(matters(line), "{line}");
        }
        for line in ["usr/bin/sh", "usr/lib/protheap/policies/acme,a9.toml"] {
            assert!(!matters(line), "{line}");
        }
        assert_eq!(only("a\nb\n", "b\nc\n", '+'), "\n  +a");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Initrds of distributions: dracut, initramfs-tools and mkosi run in a guest, in a root of Debian's packages where
//! `packaging/install` has installed Protheap.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use fs_err::File;
use fs_err::os::unix::fs::symlink;

use crate::archive::Archive;
use crate::cache::{self, Digest, Workspace, bytes};
use crate::machine::Machine;
use crate::parts::Parts;
use crate::progress::{Step, output};
use crate::vm::{Boot, Image};
use crate::{apt, board, csffw, modules, systemd};

/// Initrds that scenarios boot. Of the others, only the contents are listed.
pub(crate) const BOOTED: [&str; 3] = ["dracut", "dracut-script", "initramfs-tools"];

/// The generators, and the packages that Debian assumes to be there.
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
/// Packages installed without their dependencies: mkosi needs none for an image from trees.
const ALONE: [&str; 1] = ["mkosi"];

/// Directories of the packages that no generator uses.
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

/// Parts of `packaging/install` that are installed.
const INSTALLED: [&str; 3] = ["bind", "dracut", "initramfs-tools"];

/// Size of the disk that the guest writes to, with room for all initrds.
const OUTPUT_BYTES: u64 = 256 << 20;
/// Host time after which the guest is stopped: four times what it takes on two cores.
const LIMIT: Duration = Duration::from_secs(1200);

/// Output of the generators.
#[derive(Debug)]
pub(crate) struct Generated {
    dir: PathBuf,
    /// `uname -r`.
    pub(crate) release: String,
}

impl Generated {
    /// Names the inputs and the generators.
    pub(crate) fn digest(&self) -> String {
        self.dir.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Returns the lists of the files in each initrd.
    pub(crate) fn lists(&self) -> Result<Vec<PathBuf>> {
        cache::files(&self.dir.join("lists"))
    }

    /// Returns the path of one of [`BOOTED`].
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.dir.join("out").join(name)
    }
}

/// Runs the generators on a kernel and an initrd whose init is a script, unless nothing changed since the last run.
pub(crate) fn prepare(workspace: &Workspace, parts: &Parts, script: &Image) -> Result<Generated> {
    let base = apt::guest_tree(workspace, &PACKAGES, &ALONE)?;
    let own = own(workspace, parts)?;
    let mut digest = Digest::new();
    digest.add(parts.kernel.digest.as_bytes());
    digest.add(&bytes(&workspace.root.join("tests/vm/guest/generate.sh"))?);
    // Its name depends on the packages, but not on their versions.
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
            .with_context(|| format!("failed to make {}", results.display()))?;
        let image =
            Image { disk: Some(disk.clone()), output: Some(results.clone()), ..script.clone() };
        generate(workspace, &image)?;
        output(Command::new("tar").arg("-C").arg(part).arg("-xf").arg(&results))?;
        for path in [disk, results] {
            fs::remove_file(&path)?;
        }
        Ok(())
    })?;
    Ok(Generated { dir, release: parts.kernel.release.clone() })
}

/// Returns whether the root gets a file of a package.
fn wanted(path: &str) -> bool {
    !UNUSED.contains(&path)
}

/// Returns the files of the root beside Debian's packages.
fn own(workspace: &Workspace, parts: &Parts) -> Result<Archive> {
    let mut archive = Archive::default();
    // Users, and the configuration for the modelled GPU. Images for no specific machine take nothing of /etc, so that
    // is in /usr as well.
    let both = workspace.root.join("tests/vm/guest/systemd/both");
    archive.copy(&both, "", &|path| path != "etc/modprobe.d")?;
    archive.tree(&both.join("etc/modprobe.d"), "usr/lib/modprobe.d")?;
    archive.tree(&workspace.root.join("packaging/mkosi"), "mkosi")?;
    // Maintainer scripts would set dpkg's alternatives.
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

/// Lays out modules as distributions do: the kernel's own in their source directories, the others as DKMS does.
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
        cache::copy(&from, &to)?;
        installed.push(to);
    }
    modules::sign(kernel, &installed)?;
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        cache::copy_into(&kernel.build.join(name), &lib)?;
    }
    // mkosi recognizes a kernel's directory by this file.
    cache::write(&lib.join("vmlinuz"), "")?;
    // depmod needs the layout from before /usr was merged.
    symlink("usr/lib", stage.join("lib"))?;
    output(Command::new("/sbin/depmod").arg("-b").arg(stage).arg(&kernel.release))?;
    fs::remove_file(stage.join("lib"))?;
    Ok(())
}

/// Boots the guest that makes the initrds.
fn generate(workspace: &Workspace, image: &Image) -> Result<()> {
    let step =
        Step::new("making initrds by dracut, initramfs-tools and mkosi", LIMIT.as_secs() / 4);
    let smp = 2;
    let tree =
        board::device_tree(workspace, "rk3588", &["no-gpu".to_owned()], Machine::Direct(smp))?;
    // Without the registers of a GPU, there is room for more memory.
    let cmdline = "xtask.scenario=generate mem=2G";
    let boot = Boot { smp, ..Boot::new("generate", &tree, cmdline, LIMIT) };
    let mut said = Vec::new();
    let outcome = boot.run(workspace, image, |line| said.push(line.to_owned()))?;
    if outcome.timed_out || !said.iter().any(|line| line.starts_with("ok - ")) {
        bail!(
            "failed to make the initrds; the console is in {}:\n{}",
            outcome.log.display(),
            said.join("\n")
        );
    }
    step.done();
    Ok(())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The root of [`crate::systemd`] with dpkg and its database, so that packages are installed and removed with their
//! maintainer scripts and triggers. Protheap is not installed: `/debs` has its packages, in two versions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::apt::{self, Client};
use crate::archive::Archive;
use crate::cache::{self, Digest, Workspace};
use crate::parts::Parts;
use crate::progress::output;
use crate::systemd::{self, GUEST};

/// Packages that Debian assumes to be there, and those that make initrds.
const PACKAGES: [&str; 15] = [
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "gzip",
    "init-system-helpers",
    "initramfs-tools",
    "mawk",
    "perl-base",
    "tar",
    "util-linux",
    "zstd",
];

/// Files of Protheap in the root of `systemd`, and its shell.
const UNWANTED: [&str; 20] = [
    "etc/systemd/system/sysinit.target.wants/protheap-bind.service",
    "etc/systemd/system/timers.target.wants/protheapd.timer",
    "usr/bin/protheap-bind",
    "usr/bin/protheapctl",
    "usr/bin/protheapd",
    "usr/bin/sh",
    "usr/lib/modprobe.d/protheap.conf",
    "usr/lib/protheap",
    "usr/lib/systemd/catalog/protheap.catalog",
    "usr/lib/systemd/system/modprobe@protheap.service.d",
    "usr/lib/systemd/system/protheap-bind.service",
    "usr/lib/systemd/system/protheapd.service",
    "usr/lib/systemd/system/protheapd.timer",
    "usr/lib/udev/rules.d/70-protheap.rules",
    "usr/lib/udev/rules.d/99-zz-protheap-heaps.rules",
    "usr/share/dbus-1/interfaces",
    "usr/share/dbus-1/system.d/org.protheap1.conf",
    "usr/share/dbus-1/system-services/org.protheap1.service",
    "usr/share/doc/protheap",
    "usr/share/polkit-1/actions/org.protheap1.policy",
];

/// The only Perl module that is needed.
const LINUX: &str = "usr/share/perl5/DebianLinux.pm";

/// Second version of the packages in the guest.
const NEXT: &str = "9.9.9-1";

/// Makes the root, with these packages in `/debs/1`, and with newer ones in `/debs/2`.
pub(crate) fn root(workspace: &Workspace, parts: &Parts, debs: &[PathBuf]) -> Result<Archive> {
    let base = base(workspace)?;
    let mut archive = systemd::root_of(workspace, parts, &base, systemd::OPTEE)?.without(&UNWANTED);
    // initramfs-tools finds the kernels by it.
    archive.file(LINUX, 0o644, &cache::bytes(&base.join(LINUX))?);
    archive.link("usr/bin/sh", "dash");
    archive.link("usr/bin/awk", "mawk");
    // glibc's own needs bash, which depends on half of Debian.
    archive.file(
        "usr/bin/ldd",
        0o755,
        b"#!/bin/sh\nexec /lib/ld-linux-aarch64.so.1 --list \"$1\"\n",
    );
    // dpkg requires one. The loader searches the directories of the libraries anyway.
    archive.link("usr/sbin/ldconfig", "../bin/true");
    archive.file(&format!("boot/vmlinuz-{}", parts.kernel.release), 0o644, b"");
    archive.file(&format!("boot/initrd.img-{}", parts.kernel.release), 0o644, b"");
    let stage = workspace.checkout.join("debian-stage");
    for deb in debs {
        let name = deb.file_name().unwrap_or_default().to_string_lossy();
        // It depends on DKMS and a compiler.
        if name.starts_with("protheap-dkms_") {
            continue;
        }
        archive.file(&format!("debs/1/{name}"), 0o644, &cache::bytes(deb)?);
        let next = newer(deb, &stage)?;
        let name = next.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("debs/2/{name}"), 0o644, &cache::bytes(&next)?);
    }
    cache::remove_dir(&stage)?;
    Ok(archive)
}

/// Makes a copy of the package with the version [`NEXT`], which depends on packages of that version; made in `stage`.
fn newer(deb: &Path, stage: &Path) -> Result<PathBuf> {
    cache::remove_dir(stage)?;
    let tree = stage.join("tree");
    cache::create_dir(&tree)?;
    output(Command::new("dpkg-deb").arg("--raw-extract").args([deb, &tree]))?;
    let control = tree.join("DEBIAN/control");
    let text = cache::read(&control)?;
    let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
    let version = version.with_context(|| format!("{} has no version", deb.display()))?;
    // Changed in place to keep its mode.
    fs::write(&control, text.replace(version, NEXT))?;
    let options = ["--root-owner-group", "-Znone", "--build"];
    output(Command::new("dpkg-deb").args(options).args([&tree, &stage.to_owned()]))?;
    let made =
        cache::files(stage)?.into_iter().find(|path| path.extension().is_some_and(|e| e == "deb"));
    made.context("dpkg-deb has built nothing")
}

/// Returns the tree of Debian's packages, with dpkg's database.
fn base(workspace: &Workspace) -> Result<PathBuf> {
    let mut packages = Digest::new();
    let asked = [&GUEST[..], &PACKAGES].concat();
    asked.iter().for_each(|package| packages.add(package.as_bytes()));
    let dir = workspace.cache.join("debian").join(format!("{}-{}", apt::GUEST, packages.hex()));
    cache::once(&dir, |part| {
        let client = Client::open(workspace, apt::GUEST, "main", "arm64")?;
        let debs = part.with_extension("debs");
        let mut database = Database::default();
        for deb in client.download_all(workspace, &asked, &debs)? {
            apt::unpack(&deb, part)?;
            database.add(&deb, &part.join("var/lib/dpkg"))?;
        }
        database.write(&part.join("var/lib/dpkg"))?;
        cache::remove_dir(&debs)
    })?;
    Ok(dir)
}

/// dpkg's database, as if it had installed the packages: see dpkg(1), and lib/dpkg of its source.
#[derive(Debug, Default)]
struct Database {
    status: String,
    /// Packages interested in each named trigger, and in files, one per line.
    triggers: BTreeMap<String, String>,
}

/// Name of dpkg's list of packages interested in files.
const FILES: &str = "File";

impl Database {
    /// Records a package that has been unpacked.
    fn add(&mut self, deb: &Path, dpkg: &Path) -> Result<()> {
        let info = dpkg.join("info");
        let control = dpkg.join("control");
        cache::remove_dir(&control)?;
        cache::create_dir(&info)?;
        output(Command::new("dpkg-deb").arg("--control").args([deb, &control]))?;
        let text = cache::read(&control.join("control"))?;
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let (Some(package), Some(arch)) = (field("Package: "), field("Architecture: ")) else {
            bail!("{} has no package name", deb.display());
        };
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        writeln!(self.status, "{first}\nStatus: install ok installed\n{}\n", rest.trim_end())?;

        let same = field("Multi-Arch: ") == Some("same");
        let name = if same { format!("{package}:{arch}") } else { package.to_owned() };
        // MODE OWNER SIZE DATE TIME ./NAME [-> TARGET]
        let contents = output(Command::new("dpkg-deb").arg("--contents").arg(deb))?;
        let mut list = String::from("/.\n");
        for line in contents.lines() {
            let path = line.split_once(" ./").map_or("", |(_, path)| path);
            let path = path.split(" -> ").next().unwrap_or_default().trim_end_matches('/');
            if !path.is_empty() {
                writeln!(list, "/{path}")?;
            }
        }
        cache::write(&info.join(format!("{name}.list")), list)?;
        for kind in ["md5sums", "preinst", "postinst", "prerm", "postrm", "triggers"] {
            let from = control.join(kind);
            if from.is_file() {
                cache::copy(&from, &info.join(format!("{name}.{kind}")))?;
            }
        }
        if let Ok(triggers) = cache::read(&control.join("triggers")) {
            self.interests(&name, &triggers)?;
        }
        cache::remove_dir(&control)
    }

    /// Records which triggers a package is interested in.
    fn interests(&mut self, name: &str, triggers: &str) -> Result<()> {
        for line in triggers.lines() {
            let mut words = line.split_whitespace();
            let (Some(directive), Some(trigger)) = (words.next(), words.next()) else { continue };
            let how = match directive {
                "interest" | "interest-await" => "",
                "interest-noawait" => "/noawait",
                _ => continue,
            };
            if trigger.starts_with('/') {
                let files = self.triggers.entry(FILES.to_owned()).or_default();
                writeln!(files, "{trigger} {name}{how}")?;
            } else {
                writeln!(self.triggers.entry(trigger.to_owned()).or_default(), "{name}{how}")?;
            }
        }
        Ok(())
    }

    /// Writes the records of all packages.
    fn write(&self, dpkg: &Path) -> Result<()> {
        cache::write(&dpkg.join("status"), &self.status)?;
        cache::write(&dpkg.join("info/format"), "1\n")?;
        for name in ["available", "diversions", "statoverride", "triggers/Unincorp"] {
            cache::write(&dpkg.join(name), "")?;
        }
        cache::create_dir(&dpkg.join("updates"))?;
        for (trigger, interested) in &self.triggers {
            cache::write(&dpkg.join("triggers").join(trigger), interested)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trigger_interests_have_dpkgs_format() {
        let mut database = Database::default();
        let triggers = "# a comment\ninterest-noawait /usr/lib/systemd/catalog\ninterest-await update-initramfs\n\
             activate-noawait update-initramfs\n";
        database.interests("one", triggers).unwrap();
        database.interests("two:arm64", "interest-noawait update-initramfs\n").unwrap();
        assert_eq!(database.triggers[FILES], "/usr/lib/systemd/catalog one/noawait\n");
        assert_eq!(database.triggers["update-initramfs"], "one\ntwo:arm64/noawait\n");
    }
}

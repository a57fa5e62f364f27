// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest with systemd as init: Debian's packages, unpacked without their maintainer scripts, in an initrd and in a
//! root on a disk that the initrd switches to.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::archive::Archive;
use crate::cache::{self, Workspace};
use crate::initrd;
use crate::parts::Parts;
use crate::progress::output;
use crate::{apparmor, apt};

/// Host packages that make the disk and the profiles.
pub(crate) const PACKAGES: &[&str] = &[apparmor::PACKAGE, "erofs-utils"];

/// Command line of the kernel, beside `root=`: the root is read-only with an overlay in memory, and no terminal has a
/// login. The kernel logs every denial by AppArmor.
pub(crate) const CMDLINE: &str = "rootfstype=erofs ro systemd.volatile=overlay \
    systemd.getty_auto=no systemd.show_status=no systemd.log_target=journal sysctl.kernel.printk_ratelimit=0";

/// Packages of the guest, beside their dependencies.
pub(crate) const GUEST: [&str; 6] =
    ["dbus-broker", "kmod", "libcryptsetup12", "polkitd", "systemd", "udev"];

/// Directories of the packages that the guest does not use.
const UNUSED: [&str; 15] = [
    "etc/init.d",
    "usr/include",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/locale",
    "usr/lib/pcrlock.d",
    "usr/lib/tmpfiles.d/legacy.conf",
    "usr/lib/tmpfiles.d/systemd-network.conf",
    "usr/lib/udev/hwdb.d",
    "usr/sbin/ldconfig",
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl5",
    "usr/share/zsh",
];
/// Files that the initrd does not need.
const UNUSED_EARLY: [&str; 13] = [
    "usr/bin/dbus-broker",
    "usr/bin/dbus-broker-launch",
    "usr/lib/aarch64-linux-gnu/libargon2.so.1",
    "usr/lib/aarch64-linux-gnu/libcryptsetup.so.12.10.0",
    "usr/lib/aarch64-linux-gnu/libdb-5.3.so",
    "usr/lib/aarch64-linux-gnu/libdevmapper.so.1.02.1",
    "usr/lib/aarch64-linux-gnu/libjson-c.so.5.4.0",
    "usr/lib/aarch64-linux-gnu/security",
    "usr/lib/polkit-1",
    "usr/lib/systemd/systemd-networkd",
    "usr/lib/systemd/systemd-logind",
    "usr/share/dbus-1",
    "usr/share/polkit-1",
];

/// Path of the shell: a package's must not replace busybox.
const SHELL: &str = "usr/bin/sh";

/// The only generator that is needed: it makes a unit for `root=`. Each one takes an emulated processor a tenth of a
/// second.
const GENERATORS: &str = "usr/lib/systemd/system-generators/";
const GENERATOR: &str = "systemd-fstab-generator";

/// Units that set up what exists already, what the kernel does not have, or what the guest does not use.
const MASKED: [&str; 28] = [
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "getty.target",
    "ldconfig.service",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-tracing.mount",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-binfmt.service",
    "systemd-creds.socket",
    "systemd-firstboot.service",
    "systemd-hostnamed.socket",
    "systemd-hwdb-update.service",
    "systemd-initctl.socket",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
    "systemd-machine-id-commit.service",
    "systemd-modules-load.service",
    "systemd-networkd.socket",
    "systemd-random-seed.service",
    "systemd-sysctl.service",
    "systemd-sysext.socket",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
    "systemd-udev-load-credentials.service",
    "systemd-update-done.service",
    "systemd-user-sessions.service",
];
/// Units of services that the initrd does not have.
const MASKED_EARLY: [&str; 1] = ["dbus.socket"];

/// Directories of units: of packages, and of the machine.
const UNITS: &str = "usr/lib/systemd/system";
const LOCAL: &str = "etc/systemd/system";

/// Files of the daemon, which udev's rule for the GPU starts, or a client.
const INSTALLED: [(&str, &str); 6] = [
    ("catalog", "usr/lib/systemd/catalog"),
    ("dbus-1/interfaces", "usr/share/dbus-1/interfaces"),
    ("dbus-1/system-services", "usr/share/dbus-1/system-services"),
    ("dbus-1/system.d", "usr/share/dbus-1/system.d"),
    ("polkit-1/actions", "usr/share/polkit-1/actions"),
    ("udev/rules.d", "usr/lib/udev/rules.d"),
];

/// Modules for a real OP-TEE. A guest with the stand-in does not have them, because udev would load both.
pub(crate) const OPTEE: &[&str] = &["ffa-core", "ffa-module", "optee"];
/// Modules of the stand-in, which a guest with a real OP-TEE does not have.
pub(crate) const STAND_IN: &[&str] = &["simtee"];

/// Returns the tree of the guest's packages and all their dependencies.
pub(crate) fn base(workspace: &Workspace) -> Result<PathBuf> {
    apt::guest_tree(workspace, &GUEST, &[])
}

/// Returns the files of both roots, made from that tree of packages.
fn common(
    workspace: &Workspace,
    parts: &Parts,
    base: &Path,
    unused: &[&str],
    without: &[&str],
) -> Result<Archive> {
    let mut archive = initrd::contents(workspace, parts, without)?;
    let wanted = |path: &str| {
        let generator = path.strip_prefix(GENERATORS);
        generator.is_none_or(|name| name == GENERATOR)
            && !UNUSED.contains(&path)
            && !unused.contains(&path)
    };
    archive.copy(base, "", &wanted)?;
    for dir in ["home", "root", "var/lib", "var/log", "var/tmp"] {
        archive.directory(dir);
    }
    archive.link("sbin", "usr/sbin");
    // Units reload with it.
    archive.link("usr/bin/kill", "busybox");
    archive.link("var/run", "/run");
    mask(&mut archive, &MASKED);
    archive.copy(&workspace.root.join("tests/vm/guest/systemd/both"), "", &|_| true)?;

    let systemd = workspace.root.join("systemd");
    archive.tree(&systemd.join("system"), UNITS)?;
    archive.tree(&systemd.join("modprobe.d"), "usr/lib/modprobe.d")?;
    wants(&mut archive, "sysinit.target", "protheap-bind.service");
    archive.tree(&apparmor::compile(workspace)?, apparmor::EARLY)?;
    Ok(archive)
}

/// Makes the initrd without the modules named in `without`.
pub(crate) fn initrd(workspace: &Workspace, parts: &Parts, without: &[&str]) -> Result<Archive> {
    let mut archive = common(workspace, parts, &base(workspace)?, &UNUSED_EARLY, without)?;
    archive.copy(&workspace.root.join("tests/vm/guest/systemd/initrd"), "", &|_| true)?;
    mask(&mut archive, &MASKED_EARLY);
    archive.link("init", "usr/lib/systemd/systemd");
    archive.directory("sysroot");
    archive.link(&format!("{LOCAL}/initrd.target.wants/bare-root.service"), "../bare-root.service");
    Ok(archive)
}

/// Makes the root that follows the initrd.
pub(crate) fn root(workspace: &Workspace, parts: &Parts, without: &[&str]) -> Result<Archive> {
    root_of(workspace, parts, &base(workspace)?, without)
}

/// Makes that root from another tree of packages.
pub(crate) fn root_of(
    workspace: &Workspace,
    parts: &Parts,
    base: &Path,
    without: &[&str],
) -> Result<Archive> {
    let mut archive = common(workspace, parts, base, &[SHELL], without)?;
    archive.copy(&workspace.root.join("tests/vm/guest/systemd/root"), "", &|_| true)?;
    archive.link("etc/os-release", "../usr/lib/os-release");
    archive.link(&format!("{LOCAL}/default.target"), &format!("/{UNITS}/multi-user.target"));
    archive.link(&format!("{LOCAL}/dbus.service"), &format!("/{UNITS}/dbus-broker.service"));
    let systemd = workspace.root.join("systemd");
    for (from, to) in INSTALLED {
        archive.tree(&systemd.join(from), to)?;
    }
    wants(&mut archive, "timers.target", "protheapd.timer");
    archive.tree(&workspace.root.join("docs/examples"), "usr/share/doc/protheap/examples")?;
    archive
        .link(&format!("{LOCAL}/multi-user.target.wants/scenario.service"), "../scenario.service");
    Ok(archive)
}

/// Masks units.
fn mask(archive: &mut Archive, units: &[&str]) {
    for unit in units {
        archive.link(&format!("{LOCAL}/{unit}"), "/dev/null");
    }
}

/// Enables a unit of a package.
fn wants(archive: &mut Archive, target: &str, unit: &str) {
    archive.link(&format!("{LOCAL}/{target}.wants/{unit}"), &format!("/{UNITS}/{unit}"));
}

/// Makes a disk from a root; the same root gives the same bytes.
pub(crate) fn disk(workspace: &Workspace, root: &Archive, path: &Path) -> Result<()> {
    let stage = workspace.checkout.join("systemd-stage");
    cache::remove_dir(&stage)?;
    cache::create_dir(&stage)?;
    root.unpack(&stage)?;
    let mut mkfs = Command::new("mkfs.erofs");
    mkfs.args(["--quiet", "--all-root", "-T0", "-x-1"]);
    mkfs.args(["-U", "00000000-0000-0000-0000-000000000001"]).arg(path).arg(&stage);
    output(&mut mkfs)?;
    cache::remove_dir(&stage)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Updates of initrds by packages: `packaging/update-initrds`, and pacman's hook and scriptlet that call it.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::rpm::{KEPT, UPDATE};
use crate::cache::{self, Workspace};
use crate::progress::output;

/// Simulates the removal of Arch Linux's package, and reads its hook.
pub(super) fn check_arch(workspace: &Workspace) -> Result<()> {
    let arch = workspace.root.join("packaging/arch");
    let hook = cache::read(&arch.join("protheap-bind.hook"))?;
    let commands: Vec<_> = hook.lines().filter(|line| line.starts_with("Exec")).collect();
    if commands != [format!("Exec = {UPDATE}")] {
        bail!("the hook of pacman calls {commands:?}");
    }
    let dir = workspace.checkout.join("arch-played");
    cache::remove_dir(&dir)?;
    let (script, kept) = (dir.join("update"), dir.join("kept"));
    cache::write(&script, "echo updated $*\n")?;
    let shown = |path: &Path| path.display().to_string();
    let install = cache::read(&arch.join("protheap-bind.install"))?;
    let install = install.replace(UPDATE, &shown(&script)).replace(KEPT, &shown(&kept));
    // The installed files are gone when pacman calls post_remove.
    let played = format!("set -e\n{install}\npre_remove\nrm {}\npost_remove\n", shown(&script));
    let said = output(Command::new("bash").args(["-c", &played]))?;
    if said != "updated\n" || kept.exists() {
        bail!("pacman printed `{said}` at a removal and left {}", kept.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const PANTHOR: &str = "-rw-r--r-- 1 root root 9 Jan 1 00:00 usr/lib/modules/K/panthor.ko.zst\n";
    const TYR: &str = "usr/lib/modules/K/kernel/drivers/gpu/drm/tyr/tyr.ko\n";
    const OURS: &str = "usr/bin/protheap-bind\n";
    const OTHERS: &str =
        "usr/lib/modules/K/panfrost.ko.xz\nusr/lib/modprobe.d/protheap.conf\nnot-panthor.ko.txt\n";
    const DRACUT: &str =
        "lrwxrwxrwx 1 root root 9 Jan 1 00:00 usr/lib/dracut/build-parameter.txt\n";

    /// A root with kernels and their initrds, which are lists of their contents.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str) -> Self {
            let name = format!("xtask-initrds-rescue-{name}-{}", std::process::id());
            let root = Self(std::env::temp_dir().join(name));
            cache::remove_dir(&root.0).unwrap();
            root.program("lsinitrd", "cat \"$1\"");
            root.program("dracut", "echo dracut \"$@\" >&3");
            root.program("update-initramfs", "echo update-initramfs \"$@\" >&3");
            root
        }

        fn file(&self, path: &str, text: &str) {
            cache::write(&self.0.join(path), text).unwrap();
        }

        fn program(&self, name: &str, does: &str) {
            self.file(&format!("bin/{name}"), &format!("#!/bin/sh\n{does}\n"));
            let path = self.0.join("bin").join(name);
            output(Command::new("chmod").arg("755").arg(path)).unwrap();
        }

        fn without(&self, name: &str) {
            std::fs::remove_file(self.0.join("bin").join(name)).unwrap();
        }

        fn kernel(&self, release: &str, image: &str, files: &[&str]) {
            self.file(&format!("lib/modules/{release}/modules.dep"), "");
            self.file(image, &files.concat());
        }

        /// The commands that the script calls.
        fn calls(&self) -> Vec<String> {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/update-initrds");
            let mut sh = Command::new("sh");
            sh.args(["-c", "exec 3>&1 >/dev/null; . \"$0\"", &script.display().to_string()]);
            // Without the host's commands, which could be called instead.
            let tools = self.0.join("tools");
            if !tools.exists() {
                cache::create_dir(&tools).unwrap();
                for tool in ["cat", "grep", "sh"] {
                    let found = output(Command::new("sh").args(["-c", "command -v \"$0\"", tool]));
                    std::os::unix::fs::symlink(found.unwrap().trim(), tools.join(tool)).unwrap();
                }
            }
            sh.arg(&self.0);
            sh.env("PATH", format!("{0}/bin:{0}/tools", self.0.display()));
            let said = output(&mut sh).unwrap();
            let place = format!("{}/", self.0.display());
            said.lines().map(|line| line.replace(&place, "/")).collect()
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            cache::remove_dir(&self.0).unwrap();
        }
    }

    #[test]
    fn only_initrds_with_a_gpu_driver_are_updated() {
        let root = Root::new("fedora");
        root.kernel("7.3.4", "boot/initramfs-7.3.4.img", &[OTHERS, PANTHOR, DRACUT]);
        root.kernel("7.3.5", "boot/initramfs-7.3.5.img", &[OTHERS, DRACUT]);
        root.kernel("7.3.6", "boot/0123/7.3.6/initrd", &[TYR, DRACUT]);
        root.kernel("7.3.7", "boot/efi/0123/7.3.7/initrd", &[OURS, DRACUT]);
        root.kernel("7.3.8", "boot/initramfs-7.3.9.img", &[PANTHOR, DRACUT]);
        root.kernel("7.3.10", "boot/initramfs-0-rescue-0123.img", &[PANTHOR, OURS, DRACUT]);
        root.kernel("0-rescue", "boot/0123/0-rescue/initrd", &[PANTHOR, OURS, DRACUT]);
        root.file("boot/initramfs-0-rescue.img", PANTHOR);
        assert_eq!(
            root.calls(),
            [
                "dracut --force /boot/initramfs-7.3.4.img 7.3.4",
                "dracut --force /boot/0123/7.3.6/initrd 7.3.6",
                "dracut --force /boot/efi/0123/7.3.7/initrd 7.3.7",
            ]
        );
        // Without a command that lists an image, its contents are unknown.
        root.without("lsinitrd");
        assert_eq!(root.calls(), [""; 0]);
        root.program("lsinitrd", "exit 1");
        root.program("lsinitramfs", "cat \"$1\"");
        assert_eq!(root.calls().len(), 3);
        root.without("dracut");
        assert_eq!(root.calls(), [""; 0]);
    }

    #[test]
    fn initrds_of_ostree_are_left_alone() {
        for path in ["run/ostree-booted", "ostree/repo/config"] {
            let root = Root::new("ostree");
            root.kernel("7.3.4", "lib/modules/7.3.4/initrd", &[PANTHOR, DRACUT]);
            assert_eq!(root.calls().len(), 1);
            root.file(path, "");
            assert_eq!(root.calls(), [""; 0], "{path}");
        }
    }

    #[test]
    fn machines_without_a_gpu_update_nothing() {
        let root = Root::new("host");
        root.kernel("7.3.4", "boot/initramfs-7.3.4.img", &[PANTHOR, DRACUT]);
        root.program("protheap-bind", "[ \"$*\" = --has-gpu ] || exit 3; exit 1");
        // An image for another machine is being built.
        assert_eq!(root.calls().len(), 1);
        root.file("run/systemd/system/x", "");
        assert_eq!(root.calls(), [""; 0]);
        root.program("protheap-bind", "[ \"$*\" = --has-gpu ]");
        assert_eq!(root.calls().len(), 1);
        // The package was removed, and its files in the initrd have to go.
        root.without("protheap-bind");
        assert_eq!(root.calls().len(), 1);
    }

    #[test]
    fn initrds_of_other_generators_are_left_alone() {
        let root = Root::new("arch");
        root.kernel("7.3.4-arch1-1", "boot/initramfs-linux.img", &[PANTHOR]);
        root.file("lib/modules/7.3.4-arch1-1/pkgbase", "linux\n");
        // The one of mkinitcpio.
        assert_eq!(root.calls(), [""; 0]);
        root.file("boot/initramfs-linux.img", &[PANTHOR, DRACUT].concat());
        root.file("boot/initramfs-linux-fallback.img", &[PANTHOR, DRACUT].concat());
        assert_eq!(root.calls(), ["dracut --force /boot/initramfs-linux.img 7.3.4-arch1-1"]);
    }

    #[test]
    fn debian_updates_each_kernel_by_its_name() {
        let root = Root::new("debian");
        root.kernel("7.3.4+deb13-arm64", "boot/initrd.img-7.3.4+deb13-arm64", &[PANTHOR]);
        root.kernel("7.3.9+deb13-arm64", "boot/initrd.img-7.3.9+deb13-arm64", &[OTHERS]);
        assert_eq!(root.calls(), ["update-initramfs -u -k 7.3.4+deb13-arm64"]);
    }
}

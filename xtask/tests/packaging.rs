// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the scripts in `packaging` that run on users' machines: `dkms/missing`, `dkms/driver` and `update-initrds`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the path of a script.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging").join(name)
}

/// A directory of one test, which is removed with this.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn program(&self, path: &str, text: &str) {
        self.write(path, &format!("#!/bin/sh\n{text}\n"));
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Returns the output of a command that must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the output of `missing` for headers with these options and files, and a compiler of version 1.96.0.
fn missing(name: &str, release: &str, config: &str, files: &[&str]) -> String {
    let dir = Dir::new(&format!("dkms-{name}"));
    dir.write(".config", config);
    files.iter().for_each(|file| dir.write(file, ""));
    dir.program("rustc", "echo rustc 1.96.0 here");
    let mut command = Command::new(script("dkms/missing"));
    let said = output(command.arg(&dir.0).arg(release).env("RUSTC", dir.0.join("rustc")));
    said.trim().to_owned()
}

#[test]
fn missing_kernel_options_are_named() {
    // Neither dma-buf heaps nor DRM: heaps can be in modules, and user space hands buffers over.
    let config = "CONFIG_MODULES=y\nCONFIG_OF=y\nCONFIG_RUST=y\nCONFIG_CONFIGFS_FS=y\n\
                  CONFIG_DMA_SHARED_BUFFER=y\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 1.96.0 here\"\n";
    let files = ["rust/libkernel.rmeta"];
    let releases = ["7.3.4-x", "7.3", "7.3.0-rc3", "7.3~rc3-arm64", "7.3.4+deb13-arm64"];
    for release in releases.into_iter().chain(["7.2", "7.2.12+deb13-arm64"]) {
        assert_eq!(missing("all", release, config, &files), "");
    }
    let modular = config.replace("FIGFS_FS=y", "FIGFS_FS=m");
    assert_eq!(missing("modular", "7.3.4-x", &modular, &files), "");
    for release in ["7.30.1", "7.1.9", "7.20.1", "7.4"] {
        assert!(
            missing("other", release, config, &files).starts_with("it is not Linux 7.2 or 7.3")
        );
    }
    for (name, from, to, said) in [
        ("configfs", "CONFIG_CONFIGFS_FS=y\n", "", "CONFIG_CONFIGFS_FS is not set"),
        ("rust", "CONFIG_RUST=y\n", "", "CONFIG_RUST=y is not set"),
        ("buffers", "CONFIG_DMA_SHARED_BUFFER=y", "", "CONFIG_DMA_SHARED_BUFFER=y is not set"),
        ("rustc", "1.96.0", "1.95.0", "its compiler is 'rustc 1.95.0 here', and"),
    ] {
        let found = missing(name, "7.3", &config.replace(from, to), &files);
        assert!(found.starts_with(said) && !found.contains('\n'), "{name}: {found}");
    }
    assert!(missing("metadata", "7.3", config, &[]).contains("no Rust metadata"));
    assert!(missing("none", "7.3", "", &[]).contains("CONFIG_MODULES=y is not set; "));
}

/// Source of a kernel, with one patch for it.
struct Source(Dir);

impl Source {
    fn new(name: &str, patchlevel: &str, sublevel: &str, extra: &str) -> Self {
        let dir = Dir::new(&format!("dkms-driver-{name}"));
        let makefile = format!(
            "# SPDX\nVERSION = 7\nPATCHLEVEL = {patchlevel}\nSUBLEVEL = {sublevel}\nEXTRAVERSION ={extra}\nNAME = x\n"
        );
        dir.write("linux/Makefile", &makefile);
        dir.write("linux/drivers/gpu/drm/panthor/Makefile", "obj-m += panthor.o\n");
        dir.write("linux/drivers/gpu/drm/panthor/panthor_drv.c", "old\n");
        dir.write("linux/include/drm.h", "old\n");
        dir.write("headers/.config", "CONFIG_DRM_PANTHOR=m\n");
        let patch = |path: &str| format!("--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-old\n+new\n");
        let all = patch("drivers/gpu/drm/panthor/panthor_drv.c") + &patch("include/drm.h");
        dir.write("patches/0001.patch", &all);
        // Files that dpkg knows, by package; a machine without dpkg has none.
        let query = "for package; do :; done\ncat \"${0%/*}/$package\" 2>/dev/null";
        dir.program("bin/dpkg-query", query);
        fs::copy(script("dkms/driver"), dir.0.join("driver")).unwrap();
        let mut tar = Command::new("tar");
        output(tar.args(["-cJf", "linux.tar.xz", "linux"]).current_dir(&dir.0));
        Self(dir)
    }

    /// Runs the script on a tree or an archive; without its name, the script has to find Debian's.
    fn run(&self, what: &str, release: &str, named: Option<&str>) -> Result<String, String> {
        let mut command = Command::new(self.0.0.join("driver"));
        command.args([what, "headers", release]).current_dir(&self.0.0);
        command.env_remove("PROTHEAP_DRIVER_SOURCE");
        let path = format!("{}/bin:{}", self.0.0.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path);
        if let Some(named) = named {
            command.env("PROTHEAP_DRIVER_SOURCE", self.0.0.join(named));
        }
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

#[test]
fn driver_needs_the_source_of_the_whole_version() {
    let of = |(sublevel, extra)| Source::new(&format!("{sublevel}{extra}"), "3", sublevel, extra);
    let sources = [("0", ""), ("4", ""), ("9", ""), ("10", ""), ("0", " -rc3"), ("4", " -1")];
    let sources = sources.map(of);
    for (release, good) in [
        ("7.3.0", vec![0]),
        ("7.3-arch1-1", vec![0]),
        ("7.3.4", vec![1, 5]),
        ("7.3.4-1", vec![1, 5]),
        ("7.3.4+deb13-arm64", vec![1, 5]),
        ("7.3.4-200.fc44.aarch64", vec![1, 5]),
        ("7.3.9", vec![2]),
        ("7.3.9+deb13.1-arm64", vec![2]),
        ("7.3.10", vec![3]),
        ("7.3.1", vec![]),
        ("7.3.0-rc3", vec![4]),
        ("7.3-rc3", vec![4]),
        ("7.3~rc3-arm64", vec![4]),
        ("7.3.0-rc30", vec![]),
        ("7.30.4", vec![]),
        ("next", vec![]),
    ] {
        for (index, source) in sources.iter().enumerate() {
            for named in ["linux", "linux.tar.xz"] {
                let found = source.run("find", release, Some(named));
                assert_eq!(found.is_ok(), good.contains(&index), "{release}: {index}: {found:?}");
                let said = found.err().unwrap_or_default();
                assert!(!said.contains('\n'), "{said}");
            }
        }
    }
    let said = sources[0].run("find", "7.3.9", Some("linux")).unwrap_err();
    assert!(
        said.ends_with(
            "linux is of Linux 7.3.0, and the kernel is 7.3.9: install the source of 7.3.9"
        ),
        "{said}"
    );
}

#[test]
fn driver_needs_the_revision_of_the_distribution() {
    let source = Source::new("revision", "3", "4", "");
    // A test must not write to Debian's own directory.
    let script = fs::read_to_string(source.0.0.join("driver")).unwrap();
    let there = source.0.0.join("usr-src").display().to_string();
    fs::create_dir(source.0.0.join("usr-src")).unwrap();
    fs::copy(source.0.0.join("linux.tar.xz"), source.0.0.join("usr-src/linux-source-7.3.tar.xz"))
        .unwrap();
    assert!(script.contains("/usr/src/$package"));
    fs::write(
        source.0.0.join("driver"),
        script.replace("/usr/src/$package", &format!("{there}/$package")),
    )
    .unwrap();
    let release = "7.3.4+deb13-arm64";
    let find = || source.run("find", release, None);
    assert!(find().is_ok());
    source.0.write(&format!("bin/linux-headers-{release}"), "7.3.4-2");
    assert!(
        find()
            .unwrap_err()
            .contains("linux-source-7.3 is of no package, and the kernel is 7.3.4-2")
    );
    source.0.write("bin/linux-source-7.3", "7.3.4-1");
    assert!(find().unwrap_err().contains("linux-source-7.3 is 7.3.4-1, and the kernel is 7.3.4-2"));
    source.0.write("bin/linux-source-7.3", "7.3.4-2");
    assert!(find().is_ok());
}

#[test]
fn driver_is_found_only_if_it_can_be_patched() {
    let source = Source::new("patched", "3", "4", "");
    assert!(source.run("unpack", "7.3.4", Some("linux.tar.xz")).is_ok());
    let patched = source.0.0.join("linux/drivers/gpu/drm/panthor/panthor_drv.c");
    assert_eq!(fs::read_to_string(patched).unwrap(), "new\n");

    let source = Source::new("unpatched", "3", "4", "");
    source.0.write("linux/include/drm.h", "other\n");
    let said = source.run("find", "7.3.4", Some("linux")).unwrap_err();
    assert!(said.contains("0001.patch does not apply to"), "{said}");
    source.0.write("linux.tar.xz", "no archive");
    let said = source.run("find", "7.3.4", Some("linux.tar.xz")).unwrap_err();
    assert!(said.contains("is of Linux (unknown)"), "{said}");
    assert!(source.run("find", "7.3.4", Some("nowhere")).unwrap_err().contains("no "));
    source.0.write("headers/.config", "CONFIG_DRM_PANTHOR=y\n");
    assert!(source.run("find", "7.3.4", Some("linux")).unwrap_err().contains("CONFIG_DRM_PANTHOR"));
}

const PANTHOR: &str = "-rw-r--r-- 1 root root 9 Jan 1 00:00 usr/lib/modules/K/panthor.ko.zst\n";
const TYR: &str = "usr/lib/modules/K/kernel/drivers/gpu/drm/tyr/tyr.ko\n";
const OURS: &str = "usr/bin/protheap-bind\n";
const OTHERS: &str =
    "usr/lib/modules/K/panfrost.ko.xz\nusr/lib/modprobe.d/protheap.conf\nnot-panthor.ko.txt\n";
const DRACUT: &str = "lrwxrwxrwx 1 root root 9 Jan 1 00:00 usr/lib/dracut/build-parameter.txt\n";

/// A root with kernels and their initrds, which are lists of their contents.
struct Root(Dir);

impl Root {
    fn new(name: &str) -> Self {
        let dir = Dir::new(&format!("initrds-rescue-{name}"));
        dir.program("bin/lsinitrd", "cat \"$1\"");
        dir.program("bin/dracut", "echo dracut \"$@\" >&3");
        dir.program("bin/update-initramfs", "echo update-initramfs \"$@\" >&3");
        Self(dir)
    }

    fn without(&self, name: &str) {
        fs::remove_file(self.0.0.join("bin").join(name)).unwrap();
    }

    fn kernel(&self, release: &str, image: &str, files: &[&str]) {
        self.0.write(&format!("lib/modules/{release}/modules.dep"), "");
        self.0.write(image, &files.concat());
    }

    /// The commands that the script calls.
    fn calls(&self) -> Vec<String> {
        let script = script("update-initrds");
        let mut sh = Command::new("sh");
        sh.args(["-c", "exec 3>&1 >/dev/null; . \"$0\"", &script.display().to_string()]);
        // Without the host's commands, which could be called instead.
        let tools = self.0.0.join("tools");
        if !tools.exists() {
            fs::create_dir(&tools).unwrap();
            for tool in ["cat", "grep", "sh"] {
                let found = output(Command::new("sh").args(["-c", "command -v \"$0\"", tool]));
                symlink(found.trim(), tools.join(tool)).unwrap();
            }
        }
        sh.arg(&self.0.0);
        sh.env("PATH", format!("{0}/bin:{0}/tools", self.0.0.display()));
        let said = output(&mut sh);
        let place = format!("{}/", self.0.0.display());
        said.lines().map(|line| line.replace(&place, "/")).collect()
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
    root.0.write("boot/initramfs-0-rescue.img", PANTHOR);
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
    root.0.program("bin/lsinitrd", "exit 1");
    root.0.program("bin/lsinitramfs", "cat \"$1\"");
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
        root.0.write(path, "");
        assert_eq!(root.calls(), [""; 0], "{path}");
    }
}

#[test]
fn machines_without_a_gpu_update_nothing() {
    let root = Root::new("host");
    root.kernel("7.3.4", "boot/initramfs-7.3.4.img", &[PANTHOR, DRACUT]);
    root.0.program("bin/protheap-bind", "[ \"$*\" = --has-gpu ] || exit 3; exit 1");
    // An image for another machine is being built.
    assert_eq!(root.calls().len(), 1);
    root.0.write("run/systemd/system/x", "");
    assert_eq!(root.calls(), [""; 0]);
    root.0.program("bin/protheap-bind", "[ \"$*\" = --has-gpu ]");
    assert_eq!(root.calls().len(), 1);
    // The package was removed, and its files in the initrd have to go.
    root.without("protheap-bind");
    assert_eq!(root.calls().len(), 1);
}

#[test]
fn initrds_of_other_generators_are_left_alone() {
    let root = Root::new("arch");
    root.kernel("7.3.4-arch1-1", "boot/initramfs-linux.img", &[PANTHOR]);
    root.0.write("lib/modules/7.3.4-arch1-1/pkgbase", "linux\n");
    // The one of mkinitcpio.
    assert_eq!(root.calls(), [""; 0]);
    root.0.write("boot/initramfs-linux.img", &[PANTHOR, DRACUT].concat());
    root.0.write("boot/initramfs-linux-fallback.img", &[PANTHOR, DRACUT].concat());
    assert_eq!(root.calls(), ["dracut --force /boot/initramfs-linux.img 7.3.4-arch1-1"]);
}

#[test]
fn debian_updates_each_kernel_by_its_name() {
    let root = Root::new("debian");
    root.kernel("7.3.4+deb13-arm64", "boot/initrd.img-7.3.4+deb13-arm64", &[PANTHOR]);
    root.kernel("7.3.9+deb13-arm64", "boot/initrd.img-7.3.9+deb13-arm64", &[OTHERS]);
    assert_eq!(root.calls(), ["update-initramfs -u -k 7.3.4+deb13-arm64"]);
}

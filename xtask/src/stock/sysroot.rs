// SPDX-License-Identifier: MIT OR Apache-2.0
//! A root with the compilers of the kernel's build: packages of Debian 13, unpacked without their maintainer scripts.
//!
//! Programs run in it with chroot(2) in a mount namespace of their own, since Debian 12 cannot execute those of Debian
//! 13. The cache has the same path there.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;

use crate::apt::{self, Client, GUEST};
use crate::cache::{self, Digest, Workspace};
use crate::host;
use crate::pool;

/// Packages of the build, and of its options: the kernel's configuration depends on the tools that are there.
const PACKAGES: [&str; 26] = [
    "base-files",
    "bash",
    "bc",
    "bindgen",
    "bison",
    "coreutils",
    "dash",
    "diffutils",
    "dwarves",
    "findutils",
    "flex",
    "gcc",
    "gcc-14-arm-linux-gnueabihf",
    "grep",
    "kmod",
    "libelf-dev",
    "libssl-dev",
    "make",
    "mawk",
    "openssl",
    "perl",
    "python3",
    "rust-src",
    "rustc",
    "sed",
    "tar",
];
/// The cross compiler and its C library, where the host is not arm64.
const CROSS: [&str; 2] = ["gcc-14-aarch64-linux-gnu", "libc6-dev-arm64-cross"];
/// Links that maintainer scripts would make.
const LINKS: [(&str, &str); 2] = [("awk", "mawk"), ("cc", "gcc")];
/// Variables for the kernel's make, from the file `.kernelvariables` of Debian's headers.
const VARIABLES: [&str; 5] = [
    "ARCH=arm64",
    "CROSS_COMPILE=aarch64-linux-gnu-",
    "CROSS_COMPILE_COMPAT=arm-linux-gnueabihf-",
    "CC=aarch64-linux-gnu-gcc-14",
    "CC_COMPAT=arm-linux-gnueabihf-gcc-14",
];
/// Enters the root `$0`, where the directory `$1` has the same path, and executes the other arguments.
const ENTER: &str = "root=$0 cache=$1; shift
for dir in /dev /proc \"$cache\"; do
	mkdir -p \"$root$dir\" && mount --rbind \"$dir\" \"$root$dir\" || exit 1
done
exec chroot \"$root\" /usr/bin/env -i PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8 HOME=/tmp \"$@\"";

/// The unpacked root.
#[derive(Debug)]
pub(crate) struct Sysroot {
    root: PathBuf,
    cache: PathBuf,
}

impl Sysroot {
    /// Returns a command that runs a program in the root.
    fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new("nice");
        command.args(["-n", "10", "unshare", "--mount"]);
        // Another user is root in a user namespace.
        if fs::metadata("/proc/self")?.uid() != 0 {
            command.arg("--map-root-user");
        }
        command.args(["sh", "-c", ENTER]).arg(&self.root).arg(&self.cache).arg(program);
        Ok(command)
    }

    /// Returns the kernel's make for a kernel of that release, with its source and build directory in the cache.
    pub(super) fn make(&self, source: &Path, build: &Path, release: &str) -> Result<Command> {
        let mut make = self.command("make")?;
        make.arg("-C").arg(source).arg(format!("O={}", build.display())).args(VARIABLES);
        // Debian's build sets it as well; it is a part of each module's version magic.
        make.arg(format!("KERNELRELEASE={release}"));
        make.arg(format!("-j{}", pool::processors()));
        Ok(make)
    }
}

/// Unpacks the packages, unless that was done.
pub(super) fn prepare(workspace: &Workspace) -> Result<Sysroot> {
    let arch = host::debian()?.arch;
    let mut packages = PACKAGES.to_vec();
    packages.extend(if arch == "arm64" { &["gcc-14"][..] } else { &CROSS[..] });
    let mut digest = Digest::new();
    packages.iter().for_each(|package| digest.add(package.as_bytes()));
    let root = workspace.cache.join("stock").join(format!("sysroot-{}", digest.hex()));
    cache::create_dir(&workspace.cache.join("stock"))?;
    cache::once(&root, |part| {
        let client = Client::open(workspace, GUEST, "main", arch)?;
        let debs = part.with_extension("debs");
        let mut files = client.download_all(workspace, &packages, &debs)?;
        // It has the links /bin, /lib and others, which must exist before their contents.
        let is_first = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("base-files_"))
        };
        files.sort_by_key(|path| !is_first(path));
        for deb in &files {
            apt::unpack(deb, part)?;
        }
        for (link, target) in LINKS {
            symlink(target, part.join("usr/bin").join(link))
                .with_context(|| format!("failed to link {link} to {target}"))?;
        }
        cache::remove_dir(&debs)
    })?;
    Ok(Sysroot { root, cache: workspace.cache.clone() })
}

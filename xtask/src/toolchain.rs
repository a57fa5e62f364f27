// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tools that are unpacked in the cache instead of installed: the rustc that builds the kernel and arm64 user space
//! (with the sources of its library), bindgen, the libudev that arm64 programs are linked with, and the guest's
//! busybox.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Client};
use crate::cache::{self, Workspace};
use crate::host;
use crate::progress::output;
use crate::tools;

/// Suite whose security archive has a rustc that is new enough for the kernel, and that runs on later releases.
const SUITE: &str = "bookworm";
/// Version of bindgen; the kernel needs >= 0.71.1.
const BINDGEN: &str = "0.73.2";
/// Directory of Debian's libclang, for bindgen.
const LIBCLANG: &str = "/usr/lib/llvm-19/lib";
/// The cross compiler; on an arm64 host the compiler itself has this name.
pub(crate) const CROSS: &str = "aarch64-linux-gnu-";

/// Unpacked tools.
#[derive(Debug)]
pub(crate) struct Toolchain {
    usr: PathBuf,
    /// Directories of their shared libraries.
    pub(crate) libraries: PathBuf,
    bindgen: PathBuf,
    /// A tree with libudev for arm64.
    libudev: PathBuf,
    /// Static busybox for arm64.
    pub(crate) busybox: PathBuf,
    /// Versions of all tools that affect a kernel build, one per line.
    pub(crate) versions: String,
}

impl Toolchain {
    /// Returns the rustc for the kernel and for arm64.
    pub(crate) fn rustc(&self) -> PathBuf {
        self.usr.join("bin/rustc")
    }

    /// Returns bindgen.
    pub(crate) fn bindgen(&self) -> Command {
        let mut bindgen = Command::new(&self.bindgen);
        self.environment(&mut bindgen);
        bindgen
    }

    /// Sets the environment of a build with these tools.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env("LD_LIBRARY_PATH", &self.libraries).env("LIBCLANG_PATH", LIBCLANG);
    }

    /// Makes pkg-config find the libraries that arm64 programs are linked with, and no others.
    pub(crate) fn pkg_config(&self, command: &mut Command) {
        let libraries = self.libudev.join("usr/lib/aarch64-linux-gnu/pkgconfig");
        command.env("PKG_CONFIG_ALLOW_CROSS", "1").env("PKG_CONFIG_LIBDIR", libraries);
        command.env("PKG_CONFIG_SYSROOT_DIR", &self.libudev).env_remove("PKG_CONFIG_PATH");
    }

    /// Returns variables for the kernel's make.
    pub(crate) fn make_variables(&self) -> Vec<String> {
        vec![
            "ARCH=arm64".to_owned(),
            format!("CROSS_COMPILE={CROSS}"),
            format!("RUSTC={}", self.rustc().display()),
            format!("RUSTDOC={}", self.usr.join("bin/rustdoc").display()),
            format!("BINDGEN={}", self.bindgen.display()),
            format!("RUST_LIB_SRC={}", self.usr.join("lib/rustlib/src/rust/library").display()),
            // The same inputs give the same kernel.
            "KBUILD_BUILD_TIMESTAMP=@0".to_owned(),
            "KBUILD_BUILD_USER=protheap".to_owned(),
            "KBUILD_BUILD_HOST=protheap".to_owned(),
        ]
    }
}

/// Unpacks the tools that are not in the cache.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Toolchain> {
    let debian = host::debian()?;
    let dir = workspace.cache.join("tools");
    let [rust, busybox, libudev] = ["rust", "busybox", "libudev"].map(|name| dir.join(name));

    cache::once(&rust, |part| {
        let own = Client::open(workspace, &format!("{SUITE}-security"), "main", debian.arch)?;
        let target = Client::open(workspace, &format!("{SUITE}-security"), "main", "arm64")?;
        // The names of its library packages have version numbers, so the archive is asked for them.
        let mut packages = vec!["rustc-web".to_owned(), "rust-web-src".to_owned()];
        let mut next = 0;
        while let Some(package) = packages.get(next) {
            for name in own.depends(package)? {
                let part_of_it = name.starts_with("libstd-rust-web") || name.starts_with("libllvm");
                if part_of_it && !packages.contains(&name) {
                    packages.push(name);
                }
            }
            next += 1;
        }
        for package in &packages {
            apt::unpack(&own.download(workspace, package)?, part)?;
        }
        if debian.arch != "arm64" {
            for package in packages.iter().filter(|name| name.starts_with("libstd-rust-web")) {
                apt::unpack(&target.download(workspace, package)?, part)?;
            }
        }
        Ok(())
    })?;
    cache::once(&busybox, |part| {
        let client = Client::open(workspace, SUITE, "main", "arm64")?;
        apt::unpack(&client.download(workspace, "busybox-static")?, part)
    })?;
    // The oldest version that is supported: newer ones, and a guest's, are compatible.
    cache::once(&libudev, |part| {
        let client = Client::open(workspace, SUITE, "main", "arm64")?;
        for package in ["libudev-dev", "libudev1"] {
            apt::unpack(&client.download(workspace, package)?, part)?;
        }
        Ok(())
    })?;
    let bindgen = tools::cargo(workspace, "bindgen-cli", BINDGEN)?.with_file_name("bindgen");
    if !Path::new(LIBCLANG).is_dir() {
        bail!("{LIBCLANG} is missing: install libclang-19-dev");
    }
    // The packages are unpacked now.
    cache::remove_dir(&workspace.cache.join("debs"))?;

    let usr = rust.join("usr");
    let libraries = usr.join("lib").join(debian.multiarch());
    let mut toolchain = Toolchain {
        usr,
        libraries,
        bindgen,
        libudev,
        busybox: busybox.join("bin/busybox"),
        versions: String::new(),
    };
    let versions = [
        toolchain.version(Command::new(toolchain.rustc()))?,
        toolchain.version(Command::new(&toolchain.bindgen))?,
        toolchain.version(Command::new(format!("{CROSS}gcc")))?,
    ];
    toolchain.versions = versions.join("\n");
    Ok(toolchain)
}

impl Toolchain {
    /// Returns the first line of a tool's version.
    fn version(&self, mut command: Command) -> Result<String> {
        self.environment(&mut command);
        let text = output(command.arg("--version")).with_context(|| {
            "a build tool does not start: remove `tools` from the cache to unpack it again"
                .to_owned()
        })?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tools that are not installed but unpacked in the cache: the rustc that builds the kernel and arm64 user
//! space (with the library sources that match it), bindgen, the libudev that arm64 programs are linked to, and the
//! guest's busybox.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Client};
use crate::cache::{self, Workspace};
use crate::host;
use crate::progress::{Step, output};

/// The release whose security archive carries a rustc new enough for the kernel, and that runs on later ones.
const SUITE: &str = "bookworm";
/// The kernel wants bindgen >= 0.71.1.
const BINDGEN: &str = "0.73.2";
/// Where Debian's libclang is, for bindgen.
const LIBCLANG: &str = "/usr/lib/llvm-19/lib";
/// The cross compiler; on an arm64 host the compiler itself has this name.
pub(crate) const CROSS: &str = "aarch64-linux-gnu-";

/// Unpacked tools.
#[derive(Debug)]
pub(crate) struct Toolchain {
    usr: PathBuf,
    /// What they are loaded with.
    pub(crate) libraries: PathBuf,
    bindgen: PathBuf,
    /// A tree with libudev for arm64.
    libudev: PathBuf,
    /// Static busybox for arm64.
    pub(crate) busybox: PathBuf,
    /// Versions of all that shapes a kernel build, one a line.
    pub(crate) versions: String,
}

impl Toolchain {
    /// The rustc for the kernel and for arm64.
    pub(crate) fn rustc(&self) -> PathBuf {
        self.usr.join("bin/rustc")
    }

    /// Sets what a build with these tools needs in its environment.
    pub(crate) fn environment(&self, command: &mut Command) {
        command.env("LD_LIBRARY_PATH", &self.libraries).env("LIBCLANG_PATH", LIBCLANG);
    }

    /// Has pkg-config find the libraries that arm64 programs are linked to, and no others.
    pub(crate) fn pkg_config(&self, command: &mut Command) {
        let libraries = self.libudev.join("usr/lib/aarch64-linux-gnu/pkgconfig");
        command.env("PKG_CONFIG_ALLOW_CROSS", "1").env("PKG_CONFIG_LIBDIR", libraries);
        command.env("PKG_CONFIG_SYSROOT_DIR", &self.libudev).env_remove("PKG_CONFIG_PATH");
    }

    /// Variables for the kernel's make.
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

/// Unpacks the tools that are not in the cache yet.
pub(crate) fn prepare(workspace: &Workspace) -> Result<Toolchain> {
    let debian = host::debian()?;
    let tools = workspace.cache.join("tools");
    let [rust, busybox, cargo, libudev] =
        ["rust", "busybox", "cargo", "libudev"].map(|name| tools.join(name));

    cache::once(&rust, |part| {
        let own = Client::open(workspace, &format!("{SUITE}-security"), "main", debian.arch)?;
        let target = Client::open(workspace, &format!("{SUITE}-security"), "main", "arm64")?;
        // Its library packages carry version numbers in their names, so they are asked for, not written here.
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
    // The oldest that is supported: a newer one, and a guest's, can do the same.
    cache::once(&libudev, |part| {
        let client = Client::open(workspace, SUITE, "main", "arm64")?;
        for package in ["libudev-dev", "libudev1"] {
            apt::unpack(&client.download(workspace, package)?, part)?;
        }
        Ok(())
    })?;
    cache::once(&cargo, |part| {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args(["install", "--quiet", "bindgen-cli", "--version", BINDGEN, "--locked", "--root"])
            .arg(part)
            .current_dir(&tools)
            .env_remove("CARGO_TARGET_DIR");
        Step::new("building bindgen", Duration::from_secs(60))
            .run(command, &workspace.log("bindgen"))
    })?;
    if !Path::new(LIBCLANG).is_dir() {
        bail!("{LIBCLANG} is missing: install libclang-19-dev");
    }
    // The packages are unpacked now, and can be had again.
    cache::remove_dir(&workspace.cache.join("debs"))?;

    let usr = rust.join("usr");
    let libraries = usr.join("lib").join(debian.multiarch());
    let mut toolchain = Toolchain {
        usr,
        libraries,
        bindgen: cargo.join("bin/bindgen"),
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
    /// First line of what a tool says about its version.
    fn version(&self, mut command: Command) -> Result<String> {
        self.environment(&mut command);
        let text = output(command.arg("--version")).with_context(|| {
            "a build tool does not start: remove `tools` from the cache to unpack it anew"
                .to_owned()
        })?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's packages for arm64: built by `packaging/deb` as a distribution builds them, and checked by lintian and
//! against the lists of files in `packaging/deb/tests`.

use std::env;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use super::source;
use crate::cache::{self, Workspace};
use crate::progress::{Step, output};
use crate::{host, systemd, toolchain};

/// Host packages that build and check them.
pub(crate) const HOST: [&str; 4] = ["debhelper", "dh-apparmor", "dh-dkms", "lintian"];
/// Paths of the sources.
const INPUTS: [&str; 17] = [
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "daemon",
    "docs",
    "driver/module",
    "driver/patches",
    "packaging/apparmor",
    "packaging/build",
    "packaging/deb",
    "packaging/dkms",
    "packaging/dracut",
    "packaging/initramfs-tools",
    "packaging/install",
    "packaging/update-initrds",
    "policies",
    "systemd",
];
/// Maximum installed size of the daemon and the binder, in KiB.
pub(crate) const INSTALLED_KIB: u64 = 6 * 1024;
const PROGRAMS: [&str; 2] = ["protheap", "protheap-bind"];

/// Directory of libraries in the guest's tree of packages.
const LIBRARIES: &str = "usr/lib/aarch64-linux-gnu";
/// Dependencies for the libraries of arm64 that dpkg-shlibdeps does not find, because they are only in the cache.
const SHLIBS: &str = "libc 6 libc6 (>= 2.36)\nld-linux-aarch64 1 libc6 (>= 2.36)\n\
    libgcc_s 1 libgcc-s1 (>= 4.2)\nlibudev 1 libudev1 (>= 252)\n";

/// Builds the packages and copies them into `dir`; returns their paths.
pub(crate) fn write(workspace: &Workspace, dir: &Path) -> Result<Vec<PathBuf>> {
    build(workspace)?.iter().map(|package| cache::copy_into(package, dir)).collect()
}

/// Builds the packages from all files that git tracks, unless their inputs are unchanged; returns their paths.
pub(crate) fn build(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, &HOST)?;
    let tools = toolchain::prepare(workspace)?;
    let mut digest = source::digest(workspace, &INPUTS)?;
    digest.add(tools.versions.as_bytes());
    let all = workspace.checkout.join("debs");
    let dir = all.join(digest.hex());
    if !dir.is_dir() {
        cache::remove_dir(&all)?;
    }
    cache::once(&dir, |part| {
        let tree = copy(&source::unpacked(workspace)?, &workspace.checkout.join("deb"))?;
        cache::write(&tree.join("debian/shlibs.local"), SHLIBS)?;
        let mut build = Command::new("dpkg-buildpackage");
        build.args(["--host-arch", "arm64", "-b", "-d", "-us", "-uc"]).current_dir(&tree);
        build.env("DEB_BUILD_OPTIONS", "nocheck").env("LC_ALL", "C.UTF-8");
        build.env("CARGO_TARGET_DIR", target(workspace));
        build.env("RUSTC", tools.rustc()).env("PKG_CONFIG", "pkg-config");
        build.env("CARGO", env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
            build.env_remove(name);
        }
        tools.environment(&mut build);
        tools.pkg_config(&mut build);
        // dpkg-shlibdeps searches this directory too, and needs each library.
        let libraries = [tools.libraries.clone(), systemd::base(workspace)?.join(LIBRARIES)];
        build.env("LD_LIBRARY_PATH", env::join_paths(libraries)?);
        Step::new("building the Debian packages", 300).run(build, &workspace.log("deb"))?;
        for path in debs(&workspace.checkout.join("deb"))? {
            cache::copy_into(&path, part)?;
        }
        Ok(())
    })?;
    debs(&dir)
}

/// Directory with cargo's output for the packages, before it is stripped.
pub(crate) fn target(workspace: &Workspace) -> PathBuf {
    workspace.checkout.join("target-deb")
}

/// Copies the tree into `dir`, with debian/ at its top for dpkg. The files keep their time.
fn copy(tree: &Path, dir: &Path) -> Result<PathBuf> {
    cache::remove_dir(dir)?;
    cache::create_dir(dir)?;
    let copy = dir.join(source::name());
    output(Command::new("cp").arg("-al").args([tree, &copy]))?;
    let debian = copy.join("debian");
    output(Command::new("cp").arg("-r").args([&copy.join("packaging/deb"), &debian]))?;
    Ok(copy)
}

/// Returns the packages in a directory, without those of debug symbols.
fn debs(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(".deb") && !name.contains("-dbgsym_") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Checks the contents and sizes of the packages, and runs lintian.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let packages = build(workspace)?;
    let mut differences = String::new();
    for package in &packages {
        let name = field(package, "Package")?;
        let list = workspace.root.join("packaging/deb/tests").join(format!("{name}.list"));
        let found = files(package)?;
        if env::var_os("PROTHEAP_RENEW").is_some() {
            cache::write(&list, found)?;
            continue;
        }
        let expected = cache::read(&list).unwrap_or_default();
        for line in found.lines().filter(|line| !expected.lines().any(|l| l == *line)) {
            writeln!(differences, "{name}: not in its list: {line}")?;
        }
        for line in expected.lines().filter(|line| !found.lines().any(|l| l == *line)) {
            writeln!(differences, "{name}: not in the package: {line}")?;
        }
    }
    if !differences.is_empty() {
        bail!("{differences}run with PROTHEAP_RENEW=1 to update the lists");
    }
    let installed = installed_kib(&packages)?;
    if installed > INSTALLED_KIB {
        bail!("{} take {installed} KiB, more than {INSTALLED_KIB}", PROGRAMS.join(" and "));
    }

    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--pedantic", "--display-info", "--allow-root"]);
    // There is no bug for the packages in Debian's tracker.
    lintian.args(["--suppress-tags", "initial-upload-closes-no-bugs"]);
    lintian.args(["--profile", "debian"]).args(&packages);
    let output = lintian.output().context("failed to run lintian")?;
    let said = String::from_utf8_lossy(&output.stdout);
    print!("{said}");
    if !output.status.success() {
        bail!("lintian failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Returns the installed size of the programs' packages in KiB, from their control files.
pub(crate) fn installed_kib(packages: &[PathBuf]) -> Result<u64> {
    let mut sum = 0;
    for package in packages {
        if PROGRAMS.contains(&field(package, "Package")?.as_str()) {
            let size = field(package, "Installed-Size")?;
            sum += size.parse::<u64>().with_context(|| format!("Installed-Size: {size}"))?;
        }
    }
    Ok(sum)
}

/// Returns a field of a package's control file.
fn field(package: &Path, name: &str) -> Result<String> {
    let value = output(Command::new("dpkg-deb").arg("--field").arg(package).arg(name))?;
    Ok(value.trim().to_owned())
}

/// Returns modes and names of a package's files and links, one per line, sorted by name.
fn files(package: &Path) -> Result<String> {
    // MODE OWNER SIZE DATE TIME ./NAME [-> TARGET]
    let contents = output(Command::new("dpkg-deb").arg("--contents").arg(package))?;
    let mut lines = Vec::new();
    for line in contents.lines().filter(|line| !line.starts_with('d')) {
        let (Some(mode), Some((_, name))) = (line.get(..10), line.split_once(" ./")) else {
            bail!("dpkg-deb lists `{line}` in {}", package.display());
        };
        lines.push((name, mode));
    }
    lines.sort_unstable();
    Ok(lines.iter().map(|(name, mode)| format!("{mode} /{name}\n")).collect())
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The test kernels: Linux 7.3 and 7.2 for arm64 with `driver/patches`, configured by `driver/testing/kernel.config`; the
//! debug kernels of 7.3 by `debug.config` or `cfi.config` as well. Each is built once.
//!
//! The build directory is named by a digest of source version, configuration, patches and tools. A change of any of
//! them starts another build from a copy of the last one, so that only changed files are compiled.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, time::SystemTime};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use fs_err as fs;

use crate::apt::{self, Client};
use crate::cache::{self, Digest, Workspace};
use crate::pool;
use crate::progress::{self, Step, output};
use crate::toolchain::Toolchain;

/// Suite of the packages of sources.
const SUITE: &str = "trixie-backports";
/// The series with panthor's own interface for protected memory.
pub(crate) const UAPI: &str = "09-panthor-protected-uapi";
/// Beginnings of the paths of patches that Linux 7.2 does without: its selftest lacks the test that precedes the new one,
/// and its Tyr loads no firmware.
const NOT_FOR_7_2: [&str; 2] = ["upstream/06-dma-heap-attributes/0002-", "protheap/0004-drm-tyr-"];
/// Directory of the patches that Linux 7.2 needs before all others.
pub(crate) const FOR_7_2: &str = "linux-7.2";
/// Number of lines that make prints in a whole build.
const STEPS: u32 = 1560;
/// Number of builds that are kept: the present one, and one to go back to.
const KEPT: usize = 2;

/// Version of Linux for which modules are built.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Linux {
    /// The previous one, for a part of the scenarios
    #[value(name = "7.2")]
    V7_2,
    /// That of the test kernel
    #[default]
    #[value(name = "7.3")]
    V7_3,
}

impl Linux {
    /// Returns its first two numbers.
    pub(crate) fn series(self) -> &'static str {
        match self {
            Self::V7_2 => "7.2",
            Self::V7_3 => "7.3",
        }
    }

    /// Returns the version with these first two numbers.
    pub(crate) fn of_series(series: &str) -> Option<Self> {
        Self::value_variants().iter().copied().find(|linux| linux.series() == series)
    }

    /// Suffix of its directories in the cache.
    fn suffix(self) -> &'static str {
        match self {
            Self::V7_2 => "-7.2",
            Self::V7_3 => "",
        }
    }
}

/// A test kernel: its version and its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// As it would be shipped.
    Plain,
    /// The same of [`Linux::V7_2`].
    Previous,
    /// With all debug options for drivers; about ten times slower.
    Debug,
    /// With control-flow integrity: an indirect call of a function of another type panics.
    Cfi,
}

impl Flavor {
    /// Returns the flavor that the options of the command line select.
    pub(crate) fn chosen(debug: bool, cfi: bool, linux: Linux) -> Self {
        match (debug, cfi, linux) {
            (true, ..) => Self::Debug,
            (_, true, _) => Self::Cfi,
            (.., Linux::V7_2) => Self::Previous,
            (.., Linux::V7_3) => Self::Plain,
        }
    }

    /// Returns its version of Linux.
    pub(crate) fn linux(self) -> Linux {
        match self {
            Self::Previous => Linux::V7_2,
            Self::Plain | Self::Debug | Self::Cfi => Linux::V7_3,
        }
    }

    /// Returns the option of `cargo xtask vm` that selects it.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Previous => " --kernel 7.2",
            Self::Debug => " --debug-kernel",
            Self::Cfi => " --cfi-kernel",
        }
    }

    /// Suffix of its build directories.
    fn prefix(self) -> &'static str {
        match self {
            Self::Plain => "build-",
            Self::Previous => "build7.2-",
            Self::Debug => "debug-",
            Self::Cfi => "cfi-",
        }
    }

    /// Fragments of its configuration, in `driver/testing`.
    fn fragments(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Previous => &["kernel.config"],
            Self::Debug => &["kernel.config", "debug.config"],
            Self::Cfi => &["kernel.config", "cfi.config"],
        }
    }

    /// Debian packages that its build needs beside those of every build.
    pub(crate) fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Previous => &[],
            Self::Debug | Self::Cfi => &["clang-19", "lld-19", "llvm-19"],
        }
    }

    /// Variables for the kernel's make.
    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Plain | Self::Previous => &[],
            Self::Debug | Self::Cfi => &["LLVM=-19"],
        }
    }
}

/// A kernel that was built.
#[derive(Debug)]
pub(crate) struct Kernel {
    flavor: Flavor,
    /// Source tree.
    pub(crate) source: PathBuf,
    /// Build directory, for out-of-tree modules.
    pub(crate) build: PathBuf,
    /// Image that QEMU boots.
    pub(crate) image: PathBuf,
    /// `uname -r`.
    pub(crate) release: String,
    /// Digest of the inputs of the build.
    pub(crate) digest: String,
}

impl Kernel {
    /// Returns the kernel's make, to build modules for it.
    pub(crate) fn make(&self, tools: &Toolchain) -> Command {
        make(&self.source, &self.build, self.flavor, tools)
    }

    /// Returns the paths of its modules below the build directory, without those named in `without`.
    pub(crate) fn modules(&self, without: &[&str]) -> Result<Vec<PathBuf>> {
        let order = cache::read(&self.build.join("modules.order"))?;
        let modules = order.lines().map(|object| Path::new(object).with_extension("ko"));
        Ok(modules.filter(|module| !is_one_of(module, without)).collect())
    }
}

/// Returns whether a module's file has one of these names.
pub(crate) fn is_one_of(module: &Path, names: &[&str]) -> bool {
    names.iter().any(|name| module.file_stem().is_some_and(|stem| stem == *name))
}

/// Returns the kernel's make for a source tree and a build directory.
pub(crate) fn make(source: &Path, build: &Path, flavor: Flavor, tools: &Toolchain) -> Command {
    // A long build must leave the machine usable.
    let mut command = Command::new("nice");
    command.args(["-n", "10", "make", "-C"]).arg(source);
    command.arg(format!("O={}", build.display())).args(tools.make_variables());
    command.args(flavor.variables());
    command.arg(format!("-j{}", pool::processors()));
    // Variables of cargo and of an outer make are not for this build.
    command.env_remove("MAKEFLAGS").env_remove("RUSTFLAGS").env("LC_ALL", "C.UTF-8");
    tools.environment(&mut command);
    command
}

/// Builds the kernel, unless it is in the cache.
pub(crate) fn prepare(workspace: &Workspace, tools: &Toolchain, flavor: Flavor) -> Result<Kernel> {
    let config = fragments(workspace, flavor)?;
    let user = env::var_os("PROTHEAP_KERNEL_SRC").map(PathBuf::from);
    let (source, version) = match &user {
        Some(tree) => (tree.clone(), format!("tree {}", tree.display())),
        None => fetch(workspace, flavor.linux())?,
    };
    if !source.join("Kbuild").is_file() {
        bail!(
            "{} is no kernel source tree: correct PROTHEAP_KERNEL_SRC, or unset it",
            source.display()
        );
    }
    let mut digest = Digest::new();
    digest.add(version.as_bytes());
    digest.add(config.as_bytes());
    digest.add(tools.versions.as_bytes());
    let digest = digest.hex();
    let build = workspace.cache.join("kernel").join(format!("{}{digest}", flavor.prefix()));
    let stamp = build.join("complete");
    let image = build.join("arch/arm64/boot/Image");

    // The user's own tree may have changed: make detects that.
    if user.is_some() || !stamp.is_file() {
        // Objects of another tree are of no use for the user's own tree.
        seed(&build, flavor, user.is_none())?;
        let log = workspace.log("kernel");
        if !build.join(".config").is_file() || user.is_some() {
            configure(&source, &build, flavor, workspace, tools)?;
        }
        let mut command = make(&source, &build, flavor, tools);
        command.args(["Image", "modules"]);
        Step::new("building the kernel", 300).lines(STEPS).run(command, &log)?;
        cache::write(&stamp, &version)?;
        prune(workspace, flavor)?;
    }
    let release = cache::read(&build.join("include/config/kernel.release"))?.trim().to_owned();
    Ok(Kernel { flavor, source, build, image, release, digest })
}

/// Returns the fragments of a configuration, one after the other.
fn fragments(workspace: &Workspace, flavor: Flavor) -> Result<String> {
    let testing = workspace.root.join("driver/testing");
    let fragments = flavor.fragments().iter().map(|name| cache::read(&testing.join(name)));
    Ok(fragments.collect::<Result<Vec<_>>>()?.concat())
}

/// Returns the source tree of the test kernel, with its patches.
pub(crate) fn source(workspace: &Workspace) -> Result<PathBuf> {
    Ok(fetch(workspace, Linux::default())?.0)
}

/// Unpacks the source without patches, unless it is there.
pub(crate) fn unpack(workspace: &Workspace, linux: Linux, tree: &Path) -> Result<()> {
    let tar = tarball(workspace, linux)?;
    cache::once(tree, |part| {
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(&tar).arg("--strip-components=1").arg("-C").arg(part);
        Step::new("unpacking the kernel source", 60).run(unpack, &workspace.log("kernel-source"))
    })
}

/// Unpacks the newest source that is available, and patches it. Returns the tree and its version.
///
/// Each version has one tree, whose patches are exchanged when they change: another path would make all files be built
/// again.
fn fetch(workspace: &Workspace, linux: Linux) -> Result<(PathBuf, String)> {
    let patches = patches(workspace, linux)?;
    let dir = workspace.cache.join("kernel");
    cache::create_dir(&dir)?;
    let tree = dir.join(format!("source{}", linux.suffix()));
    let mut digest = Digest::new();
    for patch in &patches {
        digest.add(cache::read(patch)?.as_bytes());
    }
    let digest = digest.hex();
    let stamp = tree.join("protheap-version");
    let stamped = || {
        let version = cache::read(&stamp).ok()?;
        version.ends_with(&format!(" {digest}")).then_some(version)
    };
    if let Some(version) = stamped() {
        return Ok((tree, version));
    }
    // An interrupted exchange left no stamp.
    let remove = || fs::remove_file(&stamp).is_ok() && remove_patches(&tree).is_ok();
    if tree.is_dir() && !remove() {
        cache::remove_dir(&tree)?;
    }
    let tar = tarball(workspace, linux)?;
    unpack(workspace, linux, &tree)?;
    for path in &patches {
        apply(&tree, path)?;
    }
    let version = tar.file_name().unwrap_or_default().to_string_lossy();
    let version = format!("{} {digest}", version.trim_end_matches(".tar.xz"));
    cache::write(&stamp, &version)?;
    Ok((tree, version))
}

/// Directory where a tree keeps its applied patches.
fn kept(tree: &Path) -> PathBuf {
    tree.join("protheap-patches")
}

/// Returns the patches that were applied to a tree, in their order: none, if it is the user's own.
pub(crate) fn applied(tree: &Path) -> Result<Vec<PathBuf>> {
    cache::files(&kept(tree))
}

/// Applies the next patch without fuzz, and keeps it in the tree.
pub(crate) fn apply(tree: &Path, path: &Path) -> Result<()> {
    let index = if kept(tree).is_dir() { applied(tree)?.len() } else { 0 };
    patch(tree, path, &[])?;
    // Several series have a patch of the same number.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    cache::write(&kept(tree).join(format!("{index:03}-{name}")), cache::read(path)?)
}

/// Removes all patches of a tree, the last one first.
pub(crate) fn remove_patches(tree: &Path) -> Result<()> {
    if kept(tree).is_dir() {
        remove_last(tree, applied(tree)?.len())?;
        cache::remove_dir(&kept(tree))?;
    }
    Ok(())
}

/// Removes the patches that were applied last.
pub(crate) fn remove_last(tree: &Path, number: usize) -> Result<()> {
    for path in applied(tree)?.iter().rev().take(number) {
        patch(tree, path, &["--reverse"])?;
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Applies one patch to a tree without fuzz, with further options of patch(1).
pub(crate) fn patch(tree: &Path, patch: &Path, more: &[&str]) -> Result<()> {
    let mut command = Command::new("patch");
    command.args(["--fuzz=0", "--force", "--silent", "--strip=1", "--no-backup-if-mismatch"]);
    command.args(more).arg("--directory").arg(tree).arg("--input").arg(patch);
    output(&mut command).with_context(|| format!("failed to apply {}", patch.display()))?;
    Ok(())
}

/// Returns the patches of `driver/patches` for a version in their order: what it needs before all others, each series
/// for Linux, and then those that need protheap.ko.
fn patches(workspace: &Workspace, linux: Linux) -> Result<Vec<PathBuf>> {
    let dir = workspace.root.join("driver/patches");
    let mut patches = cache::files(&dir.join("upstream"))?;
    patches.extend(cache::files(&dir.join("protheap"))?);
    if linux == Linux::V7_2 {
        patches.retain(|path| !NOT_FOR_7_2.iter().any(|start| is_below(&dir, path, start)));
        patches.splice(..0, cache::files(&dir.join(FOR_7_2))?);
    }
    patches.retain(|path| path.extension().is_some_and(|extension| extension == "patch"));
    // Series of an interface that only Linux can assign numbers to are built for their scenarios only.
    patches.retain(|path| !path.components().any(|part| part.as_os_str() == UAPI));
    Ok(patches)
}

/// Returns whether the path of a patch, relative to `dir`, begins with `start`.
fn is_below(dir: &Path, path: &Path, start: &str) -> bool {
    path.strip_prefix(dir).is_ok_and(|path| path.to_string_lossy().starts_with(start))
}

/// Returns the source archive, which is kept, because other trees are unpacked from it as well.
pub(crate) fn tarball(workspace: &Workspace, linux: Linux) -> Result<PathBuf> {
    let dir = workspace.cache.join("kernel").join(format!("tarball{}", linux.suffix()));
    let there = cache::files(&dir)?;
    if let Some(tar) = there.into_iter().find(|path| path.extension().is_some_and(|e| e == "xz")) {
        return Ok(tar);
    }
    let client = Client::open(workspace, SUITE, "main", crate::host::debian()?.arch)?;
    let names = client.names("^linux-source-7\\.[0-9]+$")?;
    let wanted = format!("linux-source-{}", linux.series());
    let newest = names.last().filter(|_| linux == Linux::default());
    let package = match names.iter().find(|name| **name == wanted).or(newest) {
        Some(name) => name,
        None => bail!(
            "{SUITE} has no {wanted}: give a source tree of Linux {} by PROTHEAP_KERNEL_SRC=DIR",
            linux.series()
        ),
    };
    if *package != wanted {
        progress::remark(format_args!(
            "{wanted} is gone from {SUITE}: trying {package}, which was not tested"
        ));
    }
    let deb = client.download(workspace, package)?;
    let version = deb.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    cache::create_dir(&workspace.cache.join("kernel"))?;
    cache::once(&dir, |part| {
        let unpacked = part.join("deb");
        apt::unpack(&deb, &unpacked)?;
        let found = unpacked.join("usr/src").join(format!("{package}.tar.xz"));
        fs::rename(&found, part.join(format!("{version}.tar.xz")))
            .with_context(|| format!("failed to find the source in {}", deb.display()))?;
        cache::remove_dir(&unpacked)
    })?;
    fs::remove_file(&deb)?;
    Ok(dir.join(format!("{version}.tar.xz")))
}

/// Returns finished builds of that kernel, the newest first.
fn builds(dir: &Path, flavor: Flavor) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let named =
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(flavor.prefix()));
        if let (true, Ok(stamp)) = (named, path.join("complete").metadata()) {
            found.push((stamp.modified().unwrap_or(SystemTime::UNIX_EPOCH), path));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// Starts a build with a copy of the newest one, if there is one. An interrupted build continues as it is.
fn seed(build: &Path, flavor: Flavor, from_last: bool) -> Result<()> {
    let dir = build.parent().context("build directory has no parent")?;
    cache::create_dir(dir)?;
    cache::once(build, |part| {
        if let Some(last) = builds(dir, flavor)?.first().filter(|_| from_last) {
            output(
                Command::new("cp").args(["-a", "--reflink=auto"]).arg(last.join(".")).arg(part),
            )?;
            for stale in [".config", "complete"] {
                fs::remove_file(part.join(stale))?;
            }
        }
        Ok(())
    })
}

/// Removes all builds but the newest.
fn prune(workspace: &Workspace, flavor: Flavor) -> Result<()> {
    let builds = builds(&workspace.cache.join("kernel"), flavor)?;
    builds.iter().skip(KEPT).try_for_each(|path| cache::remove_dir(path))
}

/// Configures the kernel by allnoconfig and the fragments; an option that the kernel does not have is an error.
pub(crate) fn configure(
    source: &Path,
    build: &Path,
    flavor: Flavor,
    workspace: &Workspace,
    tools: &Toolchain,
) -> Result<()> {
    let fragment = build.join("fragment.config");
    let config = fragments(workspace, flavor)?;
    cache::write(&fragment, &config)?;
    let mut command = make(source, build, flavor, tools);
    command.arg(format!("KCONFIG_ALLCONFIG={}", fragment.display())).arg("allnoconfig");
    Step::new("configuring the kernel", 3).run(command, &workspace.log("kernel-config"))?;
    let lost = lost(&config, &cache::read(&build.join(".config"))?);
    if !lost.is_empty() {
        fs::remove_file(build.join(".config"))?;
        bail!(
            "the kernel does not take {} of driver/testing/{}: an option that it depends on is missing, or the \
             tools are too old (see `make rustavailable`)",
            lost.join(", "),
            flavor.fragments().join(" and ")
        );
    }
    Ok(())
}

/// Returns the options of the fragments that the configuration does not have.
fn lost(fragment: &str, config: &str) -> Vec<String> {
    let set: Vec<_> = config.lines().collect();
    let kept =
        |line: &str| match line.strip_prefix("# ").and_then(|l| l.strip_suffix(" is not set")) {
            Some(option) => !set.iter().any(|have| have.split('=').next() == Some(option)),
            None if line.starts_with("CONFIG_") => {
                set.contains(&line)
                    || line.strip_suffix("=n").is_some_and(|o| !set.contains(&&*format!("{o}=y")))
            }
            None => true,
        };
    fragment.lines().map(str::trim).filter(|line| !kept(line)).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_options_are_found() {
        let fragment =
            "# a comment\nCONFIG_A=y\nCONFIG_B=m\n\n# CONFIG_C is not set\nCONFIG_D=\"x\"\n";
        let config = "CONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D=\"x\"\nCONFIG_E=y\n";
        assert!(lost(fragment, config).is_empty());
        assert_eq!(lost("CONFIG_Z=y", config), ["CONFIG_Z=y"]);
        assert_eq!(lost("CONFIG_B=y", config), ["CONFIG_B=y"]);
        assert_eq!(lost("# CONFIG_E is not set", config), ["# CONFIG_E is not set"]);
        assert_eq!(lost("CONFIG_E=n", config), ["CONFIG_E=n"]);
    }

    #[test]
    fn versions_have_names_and_directories_of_their_own() {
        assert_eq!(Linux::of_series("7.2"), Some(Linux::V7_2));
        assert_eq!(Linux::of_series("7.20"), None);
        assert_ne!(Linux::V7_2.suffix(), Linux::V7_3.suffix());
        let all = [Flavor::Plain, Flavor::Previous, Flavor::Debug, Flavor::Cfi].map(Flavor::prefix);
        for prefix in all {
            assert_eq!(all.iter().filter(|other| other.starts_with(prefix)).count(), 1, "{prefix}");
        }
    }

    #[test]
    fn patches_of_versions_differ_only_as_listed() {
        let workspace = Workspace::open().unwrap();
        let dir = workspace.root.join("driver/patches");
        let [old, new] =
            [Linux::V7_2, Linux::V7_3].map(|linux| patches(&workspace, linux).unwrap());
        let first = old.iter().take_while(|path| is_below(&dir, path, FOR_7_2)).count();
        assert!(first > 0);
        for start in NOT_FOR_7_2 {
            assert_eq!(new.iter().filter(|path| is_below(&dir, path, start)).count(), 1, "{start}");
        }
        let left_out =
            |path: &&PathBuf| NOT_FOR_7_2.iter().any(|start| is_below(&dir, path, start));
        let common: Vec<_> = new.iter().filter(|path| !left_out(path)).collect();
        assert_eq!(old.iter().skip(first).collect::<Vec<_>>(), common);
    }

    /// panthor's patch adds a header of the interface, which must be the module's own.
    #[test]
    fn patches_have_the_header_of_the_module() {
        let workspace = Workspace::open().unwrap();
        let header = cache::read(&workspace.root.join("driver/module/protheap.h")).unwrap();
        let begin = "+++ b/include/drm/protheap.h\n";
        let texts = patches(&workspace, Linux::default())
            .unwrap()
            .into_iter()
            .map(|path| cache::read(&path).unwrap());
        let mut seen = 0;
        for text in texts.filter(|text| text.contains(begin)) {
            let (_, after) = text.split_once(begin).unwrap();
            let (_, lines) = after.split_once('\n').unwrap();
            let added = lines.lines().map_while(|line| line.strip_prefix('+'));
            assert_eq!(added.collect::<Vec<_>>(), header.lines().collect::<Vec<_>>());
            seen += 1;
        }
        assert_eq!(seen, 1);
    }
}

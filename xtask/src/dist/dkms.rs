// SPDX-License-Identifier: MIT OR Apache-2.0
//! The driver's source, built by DKMS for a machine's own kernel: the modules, and the kernels that are skipped.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::source;
use crate::apt::{self, Client};
use crate::archive::Archive;
use crate::cache::{self, VERSION, Workspace};
use crate::image;
use crate::kernel::{self, Flavor, Kernel};
use crate::progress::{Step, output};
use crate::toolchain::{self, Toolchain};
use crate::vm::Image;
use crate::{host, scenario};

/// Modules that are built, and the scenario that runs with both.
const MODULES: [&str; 2] = ["protheap.ko", "panthor.ko"];
const SCENARIO: &str = "panthor-bound";
/// Suite of Debian's newest kernel.
const SUITE: &str = "trixie-backports";
const HEADERS: &str = "linux-headers-arm64";
/// Exit status of dkms if a kernel is skipped.
const SKIPPED: i32 = 77;

/// Builds both modules with dkms for the test kernel, boots them, and checks that Debian's kernel is skipped.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let (modules, kernel) = {
        let _lock = workspace.lock()?;
        host::prepare(workspace, &["dkms"])?;
        let tools = toolchain::prepare(workspace)?;
        let kernel = kernel::prepare(workspace, &tools, Flavor::Plain)?;
        let modules = modules(workspace, &tools, &kernel)?;
        skipped(workspace, &headers(workspace)?)?;
        (modules, kernel)
    };
    let image = boots(workspace, &kernel, &modules)?;
    if !scenario::run_on(workspace, &image, SCENARIO)? {
        bail!("{SCENARIO} failed with the modules that dkms built: see above");
    }
    Ok(())
}

/// A tree for dkms, with the source in it.
#[derive(Debug)]
struct Tree {
    root: PathBuf,
}

impl Tree {
    fn new(workspace: &Workspace, root: PathBuf) -> Result<Self> {
        cache::remove_dir(&root)?;
        for dir in ["tree", "modules"] {
            cache::create_dir(&root.join(dir))?;
        }
        let mut install = Command::new(workspace.root.join("packaging/install"));
        output(install.arg("dkms").arg(&root))?;
        let conf = cache::read(&root.join("usr/src").join(source::name()).join("dkms.conf"))?;
        if !conf.lines().any(|line| line == format!("PACKAGE_VERSION=\"{VERSION}\"")) {
            bail!("packaging/dkms/dkms.conf has another version than {VERSION}");
        }
        Ok(Self { root })
    }

    /// Returns a command of dkms for a kernel, whose build directory or headers are in `kernel`.
    fn dkms(&self, action: &str, release: &str, kernel: &Path) -> Command {
        let mut command = Command::new("nice");
        command.args(["-n", "10", "dkms", action, "-m", "protheap", "-v", VERSION]);
        command.args(["-k", release, "-a", "aarch64", "--kernelsourcedir"]).arg(kernel);
        command.arg("--dkmstree").arg(self.root.join("tree"));
        command.arg("--sourcetree").arg(self.root.join("usr/src"));
        command.arg("--installtree").arg(self.root.join("modules"));
        command.env("LC_ALL", "C.UTF-8").env_remove("MAKEFLAGS");
        command
    }
}

/// Builds the modules with dkms, unless that was done. Returns their paths.
fn modules(workspace: &Workspace, tools: &Toolchain, kernel: &Kernel) -> Result<Vec<PathBuf>> {
    let dir = workspace.checkout.join("dkms").join(&kernel.digest);
    let below = ["packaging/dkms", "packaging/install", "driver/module", "driver/patches"];
    let digest = source::digest(workspace, &below)?.hex();
    let stamp = dir.join("complete");
    let built =
        dir.join("tree/protheap").join(VERSION).join(&kernel.release).join("aarch64/module");
    let modules: Vec<_> = MODULES.iter().map(|name| built.join(name)).collect();
    if !cache::read(&stamp).is_ok_and(|stamped| stamped == digest) {
        let tree = Tree::new(workspace, dir)?;
        let mut build = tree.dkms("build", &kernel.release, &kernel.build);
        build.env("ARCH", "arm64").env("CROSS_COMPILE", toolchain::CROSS);
        build.env("RUSTC", tools.rustc());
        // As in a distribution, although the kernel has its patches already.
        build.env("PROTHEAP_DRIVER_SOURCE", kernel::tarball(workspace)?);
        tools.environment(&mut build);
        Step::new("building the driver with dkms", Duration::from_secs(60))
            .run(build, &workspace.log("dkms"))?;
        for module in &modules {
            let release = output(Command::new("/sbin/modinfo").arg("-Fvermagic").arg(module))?;
            if release.split_whitespace().next() != Some(&kernel.release) {
                bail!("{} is for {release}, not for {}", module.display(), kernel.release);
            }
        }
        cache::write(&stamp, digest)?;
    }
    Ok(modules)
}

/// Makes the image of the scenarios, with these modules in place of the kernel's.
fn boots(workspace: &Workspace, kernel: &Kernel, modules: &[PathBuf]) -> Result<Image> {
    let mut archive = Archive::default();
    for (name, module) in MODULES.iter().zip(modules) {
        let path = format!("usr/lib/modules/{}/{name}", kernel.release);
        archive.file(&path, 0o644, &cache::bytes(module)?);
    }
    image::prepare(workspace, Flavor::Plain)?.with(workspace, "dkms", archive)
}

/// Returns the directory of the headers of Debian's newest arm64 kernel, unpacked once.
fn headers(workspace: &Workspace) -> Result<PathBuf> {
    let dir = workspace.cache.join("headers").join(SUITE);
    cache::once(&dir, |part| {
        let client = Client::open(workspace, SUITE, "main", "arm64")?;
        let named = |packages: Vec<String>| {
            packages.into_iter().filter(|name| name.starts_with("linux-headers-"))
        };
        let package = named(client.depends(HEADERS)?)
            .next()
            .with_context(|| format!("{HEADERS} of {SUITE} names no kernel"))?;
        for name in named(client.depends(&package)?).chain([package]) {
            apt::unpack(&client.download(workspace, &name)?, part)?;
        }
        Ok(())
    })?;
    // Only the headers of the architecture have a configuration.
    let found = fs::read_dir(dir.join("usr/src"))
        .with_context(|| format!("failed to find headers in {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.join(".config").is_file());
    found.with_context(|| format!("{} has no headers: remove it, and try again", dir.display()))
}

/// Checks that Debian's kernel is skipped with one line that names what it lacks, and that this is no failure.
fn skipped(workspace: &Workspace, headers: &Path) -> Result<()> {
    let name = headers.file_name().unwrap_or_default().to_string_lossy();
    let release = name.trim_start_matches("linux-headers-");
    let tree = Tree::new(workspace, workspace.checkout.join("dkms-skipped"))?;
    let run = |action| -> Result<Output> {
        let mut command = tree.dkms(action, release, headers);
        command.output().with_context(|| format!("failed to start dkms {action}"))
    };
    let build = run("build")?;
    let said = String::from_utf8_lossy(&build.stderr);
    let line = said.lines().find(|line| line.starts_with("protheap: "));
    say!("  {}", line.unwrap_or("dkms says nothing of protheap"));
    if build.status.code() != Some(SKIPPED) {
        bail!("dkms does not skip {release} ({}): {said}", build.status);
    }
    // Options that it lacked in November 2026. A kernel with all of them would not be skipped.
    for lacked in ["CONFIG_DMABUF_HEAPS", "Rust metadata"] {
        if !line.is_some_and(|line| line.contains(lacked)) {
            bail!("dkms skips {release} without naming the missing {lacked}: {said}");
        }
    }
    let remove = run("remove")?;
    if !remove.status.success() {
        bail!("failed to remove the skipped driver: {}", String::from_utf8_lossy(&remove.stderr));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the output of `missing` for headers with these options and files, and a compiler of version 1.96.0.
    fn missing(name: &str, release: &str, config: &str, files: &[&str]) -> String {
        let dir = std::env::temp_dir().join(format!("xtask-dkms-{name}-{}", std::process::id()));
        cache::remove_dir(&dir).unwrap();
        cache::write(&dir.join(".config"), config).unwrap();
        files.iter().for_each(|file| cache::write(&dir.join(file), "").unwrap());
        let rustc = dir.join("rustc");
        cache::write(&rustc, "#!/bin/sh\necho rustc 1.96.0 here\n").unwrap();
        output(Command::new("chmod").arg("755").arg(&rustc)).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/dkms/missing");
        let mut command = Command::new(script);
        let said = output(command.arg(&dir).arg(release).env("RUSTC", &rustc)).unwrap();
        cache::remove_dir(&dir).unwrap();
        said.trim().to_owned()
    }

    #[test]
    fn missing_kernel_options_are_named() {
        let config = "CONFIG_MODULES=y\nCONFIG_OF=y\nCONFIG_RUST=y\nCONFIG_CONFIGFS_FS=y\nCONFIG_DRM=m\n\
                      CONFIG_DMABUF_HEAPS=y\nCONFIG_RUSTC_VERSION_TEXT=\"rustc 1.96.0 here\"\n";
        let files = ["rust/libkernel.rmeta"];
        for release in ["7.3.4-x", "7.3", "7.3.0-rc3", "7.3~rc3-arm64", "7.3.4+deb13-arm64"] {
            assert_eq!(missing("all", release, config, &files), "");
        }
        let modular = config.replace("FIGFS_FS=y", "FIGFS_FS=m");
        assert_eq!(missing("modular", "7.3.4-x", &modular, &files), "");
        assert!(missing("old", "7.30.1", config, &files).starts_with("it is not Linux 7.3"));
        for (name, from, to, said) in [
            ("configfs", "CONFIG_CONFIGFS_FS=y\n", "", "CONFIG_CONFIGFS_FS is not set"),
            ("rust", "CONFIG_RUST=y\n", "", "CONFIG_RUST=y is not set"),
            ("heaps", "CONFIG_DMABUF_HEAPS=y", "", "CONFIG_DMABUF_HEAPS is not set"),
            ("rustc", "1.96.0", "1.95.0", "its compiler is 'rustc 1.95.0 here', and"),
        ] {
            let found = missing(name, "7.3", &config.replace(from, to), &files);
            assert!(found.starts_with(said) && !found.contains('\n'), "{name}: {found}");
        }
        assert!(missing("metadata", "7.3", config, &[]).contains("no Rust metadata"));
        assert!(missing("none", "7.3", "", &[]).contains("CONFIG_MODULES=y is not set; "));
    }

    /// Source of a kernel, with one patch for it.
    struct Source {
        dir: PathBuf,
    }

    impl Source {
        fn new(name: &str, patchlevel: &str, sublevel: &str, extra: &str) -> Self {
            let name = format!("xtask-dkms-driver-{name}-{}", std::process::id());
            let dir = std::env::temp_dir().join(name);
            cache::remove_dir(&dir).unwrap();
            let source = Self { dir };
            let makefile = format!(
                "# SPDX\nVERSION = 7\nPATCHLEVEL = {patchlevel}\nSUBLEVEL = {sublevel}\nEXTRAVERSION ={extra}\nNAME = x\n"
            );
            source.write("linux/Makefile", &makefile);
            source.write("linux/drivers/gpu/drm/panthor/Makefile", "obj-m += panthor.o\n");
            source.write("linux/drivers/gpu/drm/panthor/panthor_drv.c", "old\n");
            source.write("linux/include/drm.h", "old\n");
            source.write("headers/.config", "CONFIG_DRM_PANTHOR=m\n");
            let patch =
                |path: &str| format!("--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-old\n+new\n");
            let all = patch("drivers/gpu/drm/panthor/panthor_drv.c") + &patch("include/drm.h");
            source.write("patches/0001.patch", &all);
            // Files that dpkg knows, by package; a machine without dpkg has none.
            source.write(
                "bin/dpkg-query",
                "#!/bin/sh\nfor package; do :; done\ncat \"${0%/*}/$package\" 2>/dev/null\n",
            );
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/dkms/driver");
            fs::copy(script, source.dir.join("driver")).unwrap();
            output(Command::new("chmod").arg("755").arg(source.dir.join("bin/dpkg-query")))
                .unwrap();
            output(
                Command::new("tar")
                    .args(["-cJf", "linux.tar.xz", "linux"])
                    .current_dir(&source.dir),
            )
            .unwrap();
            source
        }

        fn write(&self, path: &str, text: &str) {
            cache::write(&self.dir.join(path), text).unwrap();
        }

        /// Runs the script on a tree or an archive; without its name, the script has to find Debian's.
        fn run(&self, what: &str, release: &str, named: Option<&str>) -> Result<String, String> {
            let mut command = Command::new(self.dir.join("driver"));
            command.args([what, "headers", release]).current_dir(&self.dir);
            command.env_remove("PROTHEAP_DRIVER_SOURCE");
            let path = format!("{}/bin:{}", self.dir.display(), std::env::var("PATH").unwrap());
            command.env("PATH", path);
            if let Some(named) = named {
                command.env("PROTHEAP_DRIVER_SOURCE", self.dir.join(named));
            }
            let output = command.output().unwrap();
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            if output.status.success() {
                Ok(text(&output.stdout))
            } else {
                Err(text(&output.stderr))
            }
        }
    }

    impl Drop for Source {
        fn drop(&mut self) {
            cache::remove_dir(&self.dir).unwrap();
        }
    }

    #[test]
    fn driver_needs_the_source_of_the_whole_version() {
        let of =
            |(sublevel, extra)| Source::new(&format!("{sublevel}{extra}"), "3", sublevel, extra);
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
                    assert_eq!(
                        found.is_ok(),
                        good.contains(&index),
                        "{release}: {index}: {found:?}"
                    );
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
        let script = fs::read_to_string(source.dir.join("driver")).unwrap();
        let there = source.dir.join("usr-src").display().to_string();
        cache::create_dir(&source.dir.join("usr-src")).unwrap();
        fs::copy(
            source.dir.join("linux.tar.xz"),
            source.dir.join("usr-src/linux-source-7.3.tar.xz"),
        )
        .unwrap();
        assert!(script.contains("/usr/src/$package"));
        fs::write(
            source.dir.join("driver"),
            script.replace("/usr/src/$package", &format!("{there}/$package")),
        )
        .unwrap();
        let release = "7.3.4+deb13-arm64";
        let find = || source.run("find", release, None);
        assert!(find().is_ok());
        source.write(&format!("bin/linux-headers-{release}"), "7.3.4-2");
        assert!(
            find()
                .unwrap_err()
                .contains("linux-source-7.3 is of no package, and the kernel is 7.3.4-2")
        );
        source.write("bin/linux-source-7.3", "7.3.4-1");
        assert!(
            find().unwrap_err().contains("linux-source-7.3 is 7.3.4-1, and the kernel is 7.3.4-2")
        );
        source.write("bin/linux-source-7.3", "7.3.4-2");
        assert!(find().is_ok());
    }

    #[test]
    fn driver_is_found_only_if_it_can_be_patched() {
        let source = Source::new("patched", "3", "4", "");
        assert!(source.run("unpack", "7.3.4", Some("linux.tar.xz")).is_ok());
        let patched = source.dir.join("linux/drivers/gpu/drm/panthor/panthor_drv.c");
        assert_eq!(fs::read_to_string(patched).unwrap(), "new\n");

        let source = Source::new("unpatched", "3", "4", "");
        source.write("linux/include/drm.h", "other\n");
        let said = source.run("find", "7.3.4", Some("linux")).unwrap_err();
        assert!(said.contains("0001.patch does not apply to"), "{said}");
        source.write("linux.tar.xz", "no archive");
        let said = source.run("find", "7.3.4", Some("linux.tar.xz")).unwrap_err();
        assert!(said.contains("is of Linux (unknown)"), "{said}");
        assert!(source.run("find", "7.3.4", Some("nowhere")).unwrap_err().contains("no "));
        source.write("headers/.config", "CONFIG_DRM_PANTHOR=y\n");
        assert!(
            source.run("find", "7.3.4", Some("linux")).unwrap_err().contains("CONFIG_DRM_PANTHOR")
        );
    }
}

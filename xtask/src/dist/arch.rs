// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages for Arch Linux, made by makepkg from the programs of the packages for Fedora.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err::os::unix::fs::symlink;

use super::rpm::{KEPT, UPDATE};
use super::{layout, rpm, source};
use crate::cache::{self, Workspace};
use crate::host;
use crate::progress::{Step, output};

/// Host packages that are needed.
pub(crate) const PACKAGES: [&str; 5] =
    ["fakeroot", "libarchive-tools", "makepkg", "pacman-package-manager", "shellcheck"];
/// The packages and their parts.
const NAMES: [(&str, &[&str]); 3] = [
    ("protheap", &["daemon", "client"]),
    ("protheap-bind", &["bind", "dracut"]),
    ("protheap-dkms", &["dkms"]),
];
/// Files that makepkg reads.
const RECIPE: [&str; 2] = ["PKGBUILD", "protheap-bind.install"];
/// Warnings of shellcheck that do not apply to a file read by makepkg: unused variables, and `cd` without a check.
const EXCEPT: &str = "SC2034,SC2154,SC2164";

/// Makes the packages in `directory`; returns their paths.
pub(crate) fn write(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    rpm::packages(workspace)?;
    let _lock = workspace.lock()?;
    host::prepare(workspace, &PACKAGES)?;
    let target = rpm::target(workspace);
    let dir = workspace.checkout.join("arch");
    cache::remove_dir(&dir)?;
    for name in RECIPE {
        cache::write(
            &dir.join(name),
            cache::read(&workspace.root.join("packaging/arch").join(name))?,
        )?;
    }
    let sources = dir.join("src");
    cache::create_dir(&sources)?;
    let tree = source::unpacked(workspace)?;
    let link = sources.join(source::name());
    symlink(&tree, &link)?;
    let config = dir.join("makepkg.conf");
    // Without tools such as strip, which are the host's.
    cache::write(
        &config,
        ". /etc/makepkg.conf\nCARCH=aarch64\nOPTIONS=(!strip !debug docs emptydirs zipman)\nPKGEXT=.pkg.tar.zst\n",
    )?;
    // makepkg refuses to run as root.
    let mut makepkg = Command::new("unshare");
    makepkg.args(["--user", "--map-user=1000", "--map-group=1000", "makepkg"]);
    makepkg.args(["--repackage", "--nodeps", "--force", "--config"]).arg(&config);
    makepkg.current_dir(&dir).env_remove("BUILDDIR").env("PKGDEST", directory);
    makepkg.env("TARGET_DIR", target.join(rpm::RELEASE)).env("SHARE", target.join("share"));
    Step::new("making the packages for Arch Linux", 10).run(makepkg, &workspace.log("makepkg"))?;
    let made = cache::files(directory)?;
    Ok(made.into_iter().filter(|path| path.to_string_lossy().ends_with(".pkg.tar.zst")).collect())
}

/// Makes the packages and checks their contents.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let directory = workspace.checkout.join("arch-packages");
    cache::remove_dir(&directory)?;
    cache::create_dir(&directory)?;
    let packages = write(workspace, &directory)?;
    let mut shellcheck = Command::new("shellcheck");
    shellcheck.args(["--shell=bash", "--exclude", EXCEPT]);
    output(shellcheck.args(RECIPE).current_dir(workspace.root.join("packaging/arch")))?;
    check_removal(workspace)?;

    let mut found = BTreeMap::new();
    for package in &packages {
        let information = output(Command::new("bsdtar").arg("-xOqf").arg(package).arg(".PKGINFO"))?;
        let name = information.lines().find_map(|line| line.strip_prefix("pkgname = "));
        let name = name.with_context(|| format!("{} has no name", package.display()))?;
        let list = output(Command::new("bsdtar").arg("-tf").arg(package))?;
        // Files of pacman itself.
        let files = list.lines().filter(|path| !path.ends_with('/') && !path.starts_with('.'));
        let files = files.map(|path| format!("/{path}")).collect();
        found.insert(name.to_owned(), files);
    }
    layout::check(workspace, &rpm::target(workspace), &NAMES, &found)
}

/// Simulates the removal of Arch Linux's package, and reads its hook.
fn check_removal(workspace: &Workspace) -> Result<()> {
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

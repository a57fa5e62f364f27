// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask release`: the preconditions of a release, checked one by one, and its files. docs/release.md describes
//! the manual steps before and after it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;

use crate::cache::{self, VERSION, Workspace};
use crate::dist::{self, offline, sbom};
use crate::progress::output;
use crate::tested::{Group, Outcome};
use crate::{audit, boards, results, suite};

/// Artifacts that `cargo xtask dist` makes. Not the UKI, which users sign with their own key.
const MADE: [&str; 5] = ["source", "sbom", "deb", "rpm", "arch"];
/// File with the digests of all files, for sha256sum --check.
const DIGESTS: &str = "SHA256SUMS";

/// Arguments of the `release` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Skip the tests, which stay open
    #[arg(long)]
    skip_tests: bool,
    /// Parent of the directory for the files of the release
    #[arg(default_value = "target")]
    directory: PathBuf,
}

/// Checks all items; returns `false` if one is open.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let directory = std::path::absolute(&args.directory).context("failed to find the directory")?;
    let release = directory.join(dist::source::name());
    let mut list = List::default();
    for (file, version) in FILES {
        list.item(&format!("version in {file}"), same_version(workspace, file, version));
    }
    list.item("packages name a contact", contact(workspace));
    list.item("release date in CHANGELOG.md", dated(workspace));
    list.item("suite in packaging/deb/changelog", addressed(workspace));
    list.item("nothing uncommitted", results::commit(workspace).map(|_| Outcome::Good));
    list.item("tag is free", tag(workspace));
    list.item("docs/boards.md", boards::check(workspace).map(|()| Outcome::Good));
    list.item("reuse", audit::reuse(workspace));
    list.item("cargo deny", audit::deny(workspace));
    list.item("cargo deny advisories", audit::advisories(workspace));
    list.item("sbom", sbom::check(workspace));
    list.item("offline build", offline::check(workspace));
    list.item("cargo xtask test", tests(workspace, args.skip_tests));
    list.item("scenarios on Debian's kernel", stock(workspace, args.skip_tests));
    cache::remove_dir(&release)?;
    cache::create_dir(&release)?;
    for what in MADE {
        list.item(&format!("cargo xtask dist {what}"), make(workspace, what, &release));
    }
    list.item(DIGESTS, digests(&release));
    println!("{} is in {}", dist::source::name(), release.display());
    println!("{} done, {} open", list.done, list.open);
    Ok(list.open == 0)
}

/// Numbers of items that are done, and open.
#[derive(Debug, Default)]
struct List {
    done: u32,
    open: u32,
}

impl List {
    /// Prints the state of an item. A skipped one is open.
    fn item(&mut self, name: &str, result: Result<Outcome>) {
        let open = match result {
            Ok(Outcome::Good | Outcome::Unchanged | Outcome::Tests { .. }) => None,
            Ok(Outcome::Skipped(why)) => Some(format!("skipped: {why}")),
            Err(error) => Some(format!("{error:#}")),
        };
        match open {
            None => {
                println!("{name} ... done");
                self.done += 1;
            }
            Some(why) => {
                println!("{name} ... OPEN: {why}");
                self.open += 1;
            }
        }
    }
}

/// Finds the first version in a file.
type Version = fn(&str) -> Option<&str>;

/// Files with a version, besides Cargo.toml.
const FILES: [(&str, Version); 4] = [
    ("CHANGELOG.md", changelog),
    ("packaging/deb/changelog", debian_changelog),
    ("packaging/rpm/protheap.spec", spec),
    ("packaging/arch/PKGBUILD", pkgbuild),
];

fn same_version(workspace: &Workspace, file: &str, version: Version) -> Result<Outcome> {
    let text = cache::read(&workspace.root.join(file))?;
    match version(&text) {
        Some(VERSION) => Ok(Outcome::Good),
        Some(found) => {
            bail!("its version is {found}, that of Cargo.toml is {VERSION}: make them the same")
        }
        None => bail!("it has no version: that of Cargo.toml is {VERSION}"),
    }
}

/// `## [VERSION] - DATE`
fn changelog(text: &str) -> Option<&str> {
    Some(text.lines().find_map(|line| line.strip_prefix("## ["))?.split_once(']')?.0)
}

/// `protheap (VERSION-REVISION) SUITE; urgency=medium`
fn debian_changelog(text: &str) -> Option<&str> {
    let version = text.lines().next()?.split_once('(')?.1.split_once(')')?.0;
    Some(version.rsplit_once('-').map_or(version, |(upstream, _)| upstream))
}

/// `Version: VERSION`
fn spec(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("Version:")).map(str::trim)
}

/// `pkgver=VERSION`
fn pkgbuild(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("pkgver=")).map(str::trim)
}

/// Debian's package has no address of a placeholder, which is in `.invalid` (RFC 2606).
fn contact(workspace: &Workspace) -> Result<Outcome> {
    for file in ["packaging/deb/control", "packaging/deb/changelog"] {
        if cache::read(&workspace.root.join(file))?.contains(".invalid>") {
            bail!("{file} has a placeholder: enter the name and address of the packager");
        }
    }
    Ok(Outcome::Good)
}

/// Checks that the newest version has its release date.
fn dated(workspace: &Workspace) -> Result<Outcome> {
    let text = cache::read(&workspace.root.join("CHANGELOG.md"))?;
    let heading = text.lines().find(|line| line.starts_with("## [")).unwrap_or_default();
    if !heading.ends_with(|c: char| c.is_ascii_digit()) {
        bail!("write the day (`## [{VERSION}] - YYYY-MM-DD`) in place of {heading:?}");
    }
    Ok(Outcome::Good)
}

/// Checks that the newest version names a suite, instead of UNRELEASED.
fn addressed(workspace: &Workspace) -> Result<Outcome> {
    let text = cache::read(&workspace.root.join("packaging/deb/changelog"))?;
    if text.lines().next().is_some_and(|line| line.contains(") UNRELEASED;")) {
        bail!("write a suite, such as unstable, in place of UNRELEASED (`dch --release`)");
    }
    Ok(Outcome::Good)
}

fn tag(workspace: &Workspace) -> Result<Outcome> {
    let name = format!("v{VERSION}");
    if !workspace.git(&["tag", "--list", &name])?.is_empty() {
        bail!("tag {name} exists already: raise the version in Cargo.toml");
    }
    Ok(Outcome::Good)
}

/// Checks that all tests pass, or have passed on this commit before.
fn tests(workspace: &Workspace, skip: bool) -> Result<Outcome> {
    let commit = results::commit(workspace)?;
    if results::has_commit(workspace, &commit) {
        return Ok(Outcome::Good);
    }
    if skip {
        return Ok(Outcome::Skipped("--skip-tests".to_owned()));
    }
    if !suite::run(workspace, &suite::Args::default())? {
        bail!("see above");
    }
    Ok(Outcome::Good)
}

/// Checks that the scenarios pass on Debian's own kernel.
fn stock(workspace: &Workspace, skip: bool) -> Result<Outcome> {
    if skip {
        return Ok(Outcome::Skipped("--skip-tests".to_owned()));
    }
    if !suite::run(workspace, &suite::Args::of(Group::Stock))? {
        bail!("see above");
    }
    Ok(Outcome::Good)
}

/// Makes an artifact as packagers do.
fn make(workspace: &Workspace, what: &str, directory: &Path) -> Result<Outcome> {
    let mut xtask = workspace.cargo();
    xtask.args(["xtask", "dist", what]).arg(directory).stdout(Stdio::null());
    if !xtask.status().context("failed to run cargo xtask")?.success() {
        bail!("see above");
    }
    Ok(Outcome::Good)
}

/// Writes the digests of all files of the release, beside them.
fn digests(directory: &Path) -> Result<Outcome> {
    let mut names = Vec::new();
    for path in cache::files(directory)? {
        let name = path.strip_prefix(directory)?.to_owned();
        if name.extension().is_some_and(|extension| extension == "efi") {
            bail!("{} is signed by an unknown key: remove it", path.display());
        }
        names.push(name);
    }
    if names.is_empty() {
        bail!("no file was made");
    }
    let digests = output(Command::new("sha256sum").args(names).current_dir(directory))?;
    cache::write(&directory.join(DIGESTS), digests)?;
    Ok(Outcome::Good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found() {
        assert_eq!(
            changelog("# Changelog\n\n## [0.2.0] - 2027-01-01\n## [0.1.0]\n"),
            Some("0.2.0")
        );
        assert_eq!(debian_changelog("protheap (0.1.0-1) unstable; urgency=low\n"), Some("0.1.0"));
        assert_eq!(debian_changelog("protheap (0.1.0) unstable; urgency=low\n"), Some("0.1.0"));
        assert_eq!(spec("Name: protheap\nVersion:        0.1.0\n"), Some("0.1.0"));
        assert_eq!(pkgbuild("pkgname=(a b)\npkgver=0.1.0\npkgrel=1\n"), Some("0.1.0"));
        assert_eq!(spec("Name: protheap\n"), None);
    }

    #[test]
    fn skipped_item_is_open() {
        let mut list = List::default();
        list.item("good", Ok(Outcome::Good));
        list.item("skipped", Ok(Outcome::Skipped("no network".to_owned())));
        list.item("bad", Err(anyhow::anyhow!("wrong")));
        assert_eq!((list.done, list.open), (1, 2));
    }
}

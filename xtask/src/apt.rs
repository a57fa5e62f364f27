// SPDX-License-Identifier: MIT OR Apache-2.0
//! A private apt client, which fetches packages of other Debian suites without changing the system.
//!
//! It has its own sources, lists and cache. It uses the machine's mirrors, keys and proxies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Digest, Workspace};
use crate::host;
use crate::mirrors::mirrors;
use crate::progress::{Step, output};

/// Suite of the guest's packages.
pub(crate) const GUEST: &str = "trixie";

/// A private client for some suites and one architecture.
#[derive(Debug)]
pub(crate) struct Client {
    dir: PathBuf,
    debs: PathBuf,
    suite: String,
}

impl Client {
    /// Sets up the client and fetches the package lists. `suite` can be one of the security archive.
    pub(crate) fn open(
        workspace: &Workspace,
        suite: &str,
        component: &str,
        arch: &str,
    ) -> Result<Self> {
        Self::set_up(workspace, "deb", suite, component, arch)
    }

    /// Sets up a client for the source packages of a suite's `main`, and fetches their list.
    pub(crate) fn open_sources(workspace: &Workspace, suite: &str) -> Result<Self> {
        Self::set_up(workspace, "deb-src", suite, "main", "source")
    }

    fn set_up(
        workspace: &Workspace,
        kind: &str,
        suite: &str,
        component: &str,
        arch: &str,
    ) -> Result<Self> {
        let (main, security) = mirrors(&host::debian()?.codename)?;
        let source = if suite.ends_with("-security") { security } else { main };
        let architecture = if kind == "deb-src" { "arm64" } else { arch };
        let dir = workspace.cache.join("apt").join(format!("{suite}-{component}-{arch}"));
        cache::create_dir(&dir.join("lists/partial"))?;
        cache::create_dir(&dir.join("cache/archives/partial"))?;
        cache::write(&dir.join("debian.sources"), source.entry_of(kind, suite, component))?;
        let at = dir.display();
        cache::write(
            &dir.join("apt.conf"),
            format!(
                "Dir::Etc::sourcelist \"{at}/debian.sources\";\n\
                 Dir::Etc::sourceparts \"/dev/null\";\n\
                 Dir::Etc::preferences \"/dev/null\";\n\
                 Dir::Etc::preferencesparts \"/dev/null\";\n\
                 Dir::State::lists \"{at}/lists\";\n\
                 Dir::State::status \"/dev/null\";\n\
                 Dir::Cache \"{at}/cache\";\n\
                 APT::Architecture \"{architecture}\";\n\
                 APT::Architectures \"{architecture}\";\n\
                 APT::Sandbox::User \"\";\n\
                 Acquire::Languages \"none\";\n"
            ),
        )?;
        let debs = workspace.cache.join("debs");
        cache::create_dir(&debs)?;
        let client = Self { dir, debs, suite: suite.to_owned() };
        let mut update = client.command("apt-get");
        update.args(["-q", "update"]);
        let what = format!("fetching the package lists of {suite}/{component} ({arch})");
        Step::new(&what, 10).run(update, &workspace.log("apt-update"))?;
        Ok(client)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Returns the names of packages that match a regular expression, sorted.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let found = output(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        let mut names: Vec<_> =
            found.lines().filter_map(|line| Some(line.split(" - ").next()?.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    /// Returns the direct dependencies of a package.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let found = output(self.command("apt-cache").args(["depends", package]))?;
        let name = |line: &str| Some(line.trim().strip_prefix("Depends: ")?.to_owned());
        Ok(found.lines().filter_map(name).collect())
    }

    /// Downloads the newest version of a package, unless it is there already.
    pub(crate) fn download(&self, workspace: &Workspace, package: &str) -> Result<PathBuf> {
        // 'URI' FILE SIZE HASH
        let uris = output(self.command("apt-get").args(["download", "--print-uris", package]))
            .with_context(|| format!("failed to find {package} in {}", self.suite))?;
        let mut words =
            uris.lines().filter(|l| l.starts_with('\'')).flat_map(str::split_whitespace).skip(1);
        let (Some(file), Some(size)) =
            (words.next(), words.next().and_then(|s| s.parse::<u64>().ok()))
        else {
            bail!("{} has no package {package}", self.suite);
        };
        let path = self.debs.join(file);
        if path.metadata().is_ok_and(|found| found.len() == size) {
            return Ok(path);
        }
        let part = self.debs.join("part");
        cache::create_dir(&part)?;
        let mut download = self.command("apt-get");
        download.args(["-q", "download", package]).current_dir(&part);
        let what = format!("downloading {package} ({} MB)", size.div_ceil(1_000_000));
        // 4 MB/s is a slow line.
        Step::new(&what, 1 + size / 4_000_000).run(download, &workspace.log("apt-download"))?;
        fs::rename(part.join(file), &path)
            .with_context(|| format!("{package} was downloaded, but not as {file}"))?;
        Ok(path)
    }

    /// Downloads the newest version of a source package, and unpacks it with Debian's patches as `into`, which must not
    /// exist. Returns the version.
    pub(crate) fn source(
        &self,
        workspace: &Workspace,
        package: &str,
        into: &Path,
    ) -> Result<String> {
        let debs = into.with_extension("dsc");
        cache::remove_dir(&debs)?;
        cache::create_dir(&debs)?;
        let mut download = self.command("apt-get");
        download.args(["-q", "source", "--download-only", package]).current_dir(&debs);
        let what = format!("downloading the source of {package}");
        Step::new(&what, 3)
            .run(download, &workspace.log("apt-download"))
            .with_context(|| format!("failed to find the source of {package} in {}", self.suite))?;
        let files = cache::files(&debs)?;
        let Some(dsc) = files.iter().find(|path| path.extension().is_some_and(|e| e == "dsc"))
        else {
            bail!("the source of {package} has no .dsc file");
        };
        // apt has compared the download with the signed list.
        let mut unpack = Command::new("dpkg-source");
        output(unpack.args(["--no-check", "--extract"]).args([dsc, into]))?;
        let text = cache::read(dsc)?;
        let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
        let version = version.with_context(|| format!("{} has no version", dsc.display()))?;
        cache::remove_dir(&debs)?;
        Ok(version.trim().to_owned())
    }

    /// Downloads packages and all their dependencies into a directory of their own.
    pub(crate) fn download_all(
        &self,
        workspace: &Workspace,
        packages: &[&str],
        into: &Path,
    ) -> Result<Vec<PathBuf>> {
        // Inst NAME (VERSION ...)
        let mut plan = self.command("apt-get");
        plan.args(["--simulate", "--no-install-recommends", "install"]).args(packages);
        let plan = output(&mut plan)
            .with_context(|| format!("failed to find {} in {}", packages.join(", "), self.suite))?;
        let name = |line: &str| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_owned);
        let names: Vec<_> = plan.lines().filter_map(name).collect();
        cache::remove_dir(into)?;
        cache::create_dir(into)?;
        let mut download = self.command("apt-get");
        download.args(["-q", "download"]).args(&names).current_dir(into);
        let what = format!("downloading {} packages of {}", names.len(), self.suite);
        Step::new(&what, 10).run(download, &workspace.log("apt-download"))?;
        cache::files(into)
    }
}

/// Unpacks a package below `into`; no maintainer script runs.
pub(crate) fn unpack(deb: &Path, into: &Path) -> Result<()> {
    output(Command::new("dpkg-deb").arg("-x").args([deb, into]))?;
    Ok(())
}

/// Returns the tree of packages of the guest's suite with all their dependencies, and of those in `alone` without.
pub(crate) fn guest_tree(workspace: &Workspace, asked: &[&str], alone: &[&str]) -> Result<PathBuf> {
    let mut packages = Digest::new();
    asked.iter().chain(alone).for_each(|package| packages.add(package.as_bytes()));
    let dir = workspace.cache.join("systemd").join(format!("{GUEST}-{}", packages.hex()));
    cache::once(&dir, |part| {
        let client = Client::open(workspace, GUEST, "main", "arm64")?;
        let debs = part.with_extension("debs");
        if !asked.is_empty() {
            for deb in client.download_all(workspace, asked, &debs)? {
                unpack(&deb, part)?;
            }
        }
        for package in alone {
            unpack(&client.download(workspace, package)?, part)?;
        }
        cache::remove_dir(&debs)
    })?;
    Ok(dir)
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! A private apt client: packages of other Debian suites without touching the system.
//!
//! It has its own list of sources, lists and cache, and shares only the machine's mirrors, keys and proxies.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cache::{self, Workspace};
use crate::progress::{Step, output};

/// The key ring that Debian's own sources name.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One entry of the machine's apt configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    signed_by: Option<String>,
}

impl Source {
    /// This mirror's deb822 entry for other suites, and one component of theirs.
    pub(crate) fn entry(&self, suites: &str, component: &str) -> String {
        self.entry_of("deb", suites, component)
    }

    /// The same for source packages (`deb-src`), or packages (`deb`).
    fn entry_of(&self, kind: &str, suites: &str, component: &str) -> String {
        format!(
            "Types: {kind}\nURIs: {}\nSuites: {suites}\nComponents: {component}\nSigned-By: {}\n\n",
            self.uris.join(" "),
            self.signed_by.as_deref().unwrap_or(KEYRING),
        )
    }
}

/// Where this machine gets Debian from: (main archive, security archive).
pub(crate) fn mirrors(codename: &str) -> Result<(Source, Source)> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    paths.extend(cache::files(Path::new("/etc/apt/sources.list.d"))?);
    let mut sources = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_lines(&cache::read(path)?)),
            Some("sources") => sources.extend(parse_deb822(&cache::read(path)?)),
            _ => {}
        }
    }
    choose(&sources, codename).with_context(|| {
        format!("/etc/apt names no Debian archive with the suite `{codename}`: add one and run `apt-get update`")
    })
}

fn choose(sources: &[Source], codename: &str) -> Option<(Source, Source)> {
    let with = |names: &[String]| {
        let named = |source: &&Source| source.suites.iter().any(|suite| names.contains(suite));
        sources.iter().find(named).cloned()
    };
    let main = with(&[codename.to_owned(), "stable".to_owned()])?;
    let security = with(&[format!("{codename}-security"), "stable-security".to_owned()]);
    // A machine without security updates still has a mirror, and mirrors carry both archives side by side.
    let security = security.or_else(|| {
        let beside = |uri: &String| {
            let base = uri.trim_end_matches('/').strip_suffix("/debian")?;
            Some(format!("{base}/debian-security"))
        };
        let uris = main.uris.iter().map(beside).collect::<Option<_>>()?;
        Some(Source { uris, ..main.clone() })
    })?;
    Some((main, security))
}

/// One-line format: `deb [option=value ...] URI SUITE COMPONENT...`.
fn parse_lines(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace();
        Some(Source {
            uris: vec![words.next()?.to_owned()],
            suites: vec![words.next()?.to_owned()],
            signed_by: signed_by.map(str::to_owned),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// deb822 format: stanzas of `Field: values`, parted by empty lines.
fn parse_deb822(text: &str) -> Vec<Source> {
    let parse = |stanza: &[&str]| {
        let field = |name: &str| {
            let mut values: Option<Vec<String>> = None;
            for line in stanza.iter().filter(|line| !line.starts_with('#')) {
                let value = if line.starts_with([' ', '\t']) {
                    values.is_some().then_some(*line)
                } else {
                    match line.split_once(':') {
                        Some((key, value)) if key.eq_ignore_ascii_case(name) => Some(value),
                        // The next field ends the one that was asked for.
                        _ if values.is_some() => break,
                        _ => None,
                    }
                };
                if let Some(value) = value {
                    let words = value.split_whitespace().map(str::to_owned);
                    values.get_or_insert_default().extend(words);
                }
            }
            values
        };
        let enabled = field("Enabled").is_none_or(|v| v.first().is_none_or(|v| v != "no"));
        if !enabled || !field("Types")?.iter().any(|kind| kind == "deb") {
            return None;
        }
        // A key that is written into the file itself would span lines: only a path is of use here.
        let signed_by = field("Signed-By").and_then(|v| v.into_iter().next());
        Some(Source {
            uris: field("URIs")?,
            suites: field("Suites")?,
            signed_by: signed_by.filter(|path| path.starts_with('/')),
        })
    };
    let lines: Vec<&str> = text.lines().collect();
    lines.split(|line| line.trim().is_empty()).filter_map(parse).collect()
}

/// A private client for some suites and one architecture.
#[derive(Debug)]
pub(crate) struct Client {
    dir: PathBuf,
    debs: PathBuf,
    suite: String,
}

impl Client {
    /// Sets up the client and fetches the package lists. `suite` may be one of the security archive.
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
        let (main, security) = mirrors(&crate::host::debian()?.codename)?;
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
        Step::new(&what, Duration::from_secs(10)).run(update, &workspace.log("apt-update"))?;
        Ok(client)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }

    /// Names of packages that match a regular expression, sorted.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let found = output(self.command("apt-cache").args(["search", "--names-only", pattern]))?;
        let mut names: Vec<_> =
            found.lines().filter_map(|line| Some(line.split(" - ").next()?.to_owned())).collect();
        names.sort();
        Ok(names)
    }

    /// What a package depends on, directly.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let found = output(self.command("apt-cache").args(["depends", package]))?;
        let name = |line: &str| Some(line.trim().strip_prefix("Depends: ")?.to_owned());
        Ok(found.lines().filter_map(name).collect())
    }

    /// Downloads the newest version of a package, unless it is there already.
    pub(crate) fn download(&self, workspace: &Workspace, package: &str) -> Result<PathBuf> {
        // 'URI' FILE SIZE HASH
        let uris = output(self.command("apt-get").args(["download", "--print-uris", package]))
            .with_context(|| format!("looking for {package} in {}", self.suite))?;
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
        // 4 MB/s is a slow line of today.
        Step::new(&what, Duration::from_secs(1 + size / 4_000_000))
            .run(download, &workspace.log("apt-download"))?;
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
        Step::new(&what, Duration::from_secs(3))
            .run(download, &workspace.log("apt-download"))
            .with_context(|| format!("looking for the source of {package} in {}", self.suite))?;
        let files = cache::files(&debs)?;
        let Some(dsc) = files.iter().find(|path| path.extension().is_some_and(|e| e == "dsc"))
        else {
            bail!("the source of {package} has no .dsc file");
        };
        // apt has compared what it downloaded with the signed list.
        let mut unpack = Command::new("dpkg-source");
        output(unpack.args(["--no-check", "--extract"]).args([dsc, into]))?;
        let text = cache::read(dsc)?;
        let version = text.lines().find_map(|line| line.strip_prefix("Version: "));
        let version = version.with_context(|| format!("{} has no version", dsc.display()))?;
        cache::remove_dir(&debs)?;
        Ok(version.trim().to_owned())
    }

    /// Downloads packages and all that they depend on, into a directory of their own.
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
            .with_context(|| format!("looking for {} in {}", packages.join(", "), self.suite))?;
        let name = |line: &str| line.strip_prefix("Inst ")?.split(' ').next().map(str::to_owned);
        let names: Vec<_> = plan.lines().filter_map(name).collect();
        cache::remove_dir(into)?;
        cache::create_dir(into)?;
        let mut download = self.command("apt-get");
        download.args(["-q", "download"]).args(&names).current_dir(into);
        let what = format!("downloading {} packages of {}", names.len(), self.suite);
        Step::new(&what, Duration::from_secs(10)).run(download, &workspace.log("apt-download"))?;
        cache::files(into)
    }
}

/// Unpacks a package below `into`; no maintainer script runs.
pub(crate) fn unpack(deb: &Path, into: &Path) -> Result<()> {
    output(Command::new("dpkg-deb").arg("-x").args([deb, into]))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_formats_are_read() {
        let lines = parse_lines(
            "# deb http://old.example/debian trixie main\n\
             deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian trixie main # ours\n\
             deb-src https://mirror.example/debian trixie main\n\
             deb http://mirror.example/debian-security trixie-security main\n",
        );
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].uris, ["https://mirror.example/debian"]);
        assert_eq!(lines[0].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(lines[1].suites, ["trixie-security"]);

        let stanzas = parse_deb822(
            "Types: deb deb-src\n# a comment\nURIs: http://a.example/debian\n http://b.example/debian\n\
             Suites: bookworm bookworm-updates\nSigned-By: /k.gpg\n\n\
             Types: deb\nURIs: http://c.example\nSuites: x\nEnabled: no\n\n\
             Types: deb-src\nURIs: http://d.example\nSuites: x\n",
        );
        assert_eq!(stanzas.len(), 1);
        assert_eq!(stanzas[0].uris, ["http://a.example/debian", "http://b.example/debian"]);
        assert_eq!(stanzas[0].suites, ["bookworm", "bookworm-updates"]);
    }

    #[test]
    fn a_key_inside_the_file_is_not_taken_for_a_path() {
        let text = "Types: deb\nURIs: http://a.example/debian\nSuites: trixie\nSigned-By:\n -----BEGIN\n .\n";
        assert_eq!(parse_deb822(text)[0].signed_by, None);
    }

    #[test]
    fn the_security_archive_is_found_or_derived() {
        let both = parse_lines(
            "deb http://m.example/debian trixie main\ndeb http://s.example/sec trixie-security main\n",
        );
        let (main, security) = choose(&both, "trixie").unwrap();
        assert_eq!(main.uris, ["http://m.example/debian"]);
        assert_eq!(security.uris, ["http://s.example/sec"]);

        let (_, security) = choose(&both[..1], "trixie").unwrap();
        assert_eq!(security.uris, ["http://m.example/debian-security"]);
        assert!(choose(&both, "bookworm").is_none());
    }

    #[test]
    fn an_entry_names_the_other_suite_and_its_component() {
        let source = &parse_lines("deb http://m.example/debian trixie main")[0];
        let entry = source.entry("bookworm-security", "non-free-firmware");
        assert_eq!(parse_deb822(&entry)[0].suites, ["bookworm-security"]);
        assert!(entry.contains("Suites: bookworm-security\nComponents: non-free-firmware\n"));
    }
}

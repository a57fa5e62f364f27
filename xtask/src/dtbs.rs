// SPDX-License-Identifier: MIT OR Apache-2.0
//! The device trees of Debian's newest arm64 kernel.
//!
//! They are downloaded once, and again when `dtbs` is removed from the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Client};
use crate::cache::{self, Workspace};
use crate::progress::output;

/// Suites that get new kernels first; testing gets its packages from sid.
const SUITES: [&str; 3] = ["trixie-backports", "sid", "experimental"];
/// Packages that have had the trees; of one version, the last.
const KINDS: [&str; 2] = ["linux-image-", "linux-base-"];
const ARCH: &str = "arm64";

/// Compatible string of every Mali GPU with a command stream frontend (`arm,mali-valhall-csf.yaml` of Linux).
pub(crate) const GPU: &str = "arm,mali-valhall-csf";
/// Compatible string of an OP-TEE (`linaro,optee-tz.yaml` of Linux).
const OPTEE: &str = "linaro,optee-tz";
/// Status of an enabled node.
pub(crate) const OKAY: &str = "okay";

/// Package that may have the trees; the greatest is of the newest kernel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    /// Leading numbers of its release.
    version: Vec<u64>,
    /// Index in [`KINDS`].
    kind: usize,
    /// `7.3.4+deb13-arm64`
    release: String,
}

impl Package {
    /// Parses its name. Other flavours (`-rt-arm64`, `-arm64-16k`) have the same trees, and package has no version
    /// has none.
    fn parse(name: &str) -> Option<Self> {
        let strip = |(kind, prefix): (usize, &&str)| Some((kind, name.strip_prefix(*prefix)?));
        let (kind, release) = KINDS.iter().enumerate().find_map(strip)?;
        let (version, arch) = release.split_once('-')?;
        let numbers = version.split('+').next()?.split('.');
        let version = numbers.map(|number| number.parse().ok()).collect::<Option<_>>()?;
        (arch == ARCH).then(|| Self { version, kind, release: release.to_owned() })
    }

    fn name(&self) -> String {
        KINDS[self.kind].to_owned() + &self.release
    }
}

/// The device trees of a kernel.
#[derive(Debug)]
pub(crate) struct Trees {
    /// `7.3.4+deb13-arm64`
    pub(crate) release: String,
    /// Paths of the trees, sorted.
    pub(crate) files: Vec<PathBuf>,
}

/// Downloads the trees, unless that was done.
pub(crate) fn all(workspace: &Workspace) -> Result<Trees> {
    let _lock = workspace.lock()?;
    let dir = workspace.cache.join("dtbs");
    cache::once(&dir, |part| {
        let mut newest: Option<(Package, Client)> = None;
        for suite in SUITES {
            let client = Client::open(workspace, suite, "main", ARCH)?;
            let names = client.names(&format!("^linux-(image|base)-[0-9].*-{ARCH}$"))?;
            let Some(package) = names.iter().filter_map(|name| Package::parse(name)).max() else {
                continue;
            };
            if newest.as_ref().is_none_or(|(found, _)| package > *found) {
                newest = Some((package, client));
            }
        }
        let (package, client) = newest
            .with_context(|| format!("no kernel for {ARCH} in any of {}", SUITES.join(", ")))?;
        let (name, release) = (package.name(), &package.release);
        let unpacked = part.join("package");
        apt::unpack(&client.download(workspace, &name)?, &unpacked)?;
        // A directory, or since 7.2 a link to the one of the modules.
        let trees = format!("usr/lib/linux-image-{release}");
        fs::canonicalize(unpacked.join(&trees))
            .and_then(|trees| fs::rename(trees, part.join(release)))
            .with_context(|| format!("{name} has no {trees}: name the package that has"))?;
        cache::remove_dir(&unpacked)
    })?;
    let mut files = cache::files(&dir)?;
    // The others are overlays.
    files.retain(|path| path.extension().is_some_and(|extension| extension == "dtb"));
    let release = files.first().and_then(|path| path.strip_prefix(&dir).ok()?.iter().next());
    let Some(release) = release.map(|release| release.to_string_lossy().into_owned()) else {
        bail!("{} has no device trees: remove it, and try again", dir.display());
    };
    Ok(Trees { release, files })
}

/// Contents of a tree as dtc reads it, to which the output of Protheap's own reader is compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Board {
    /// `compatible` of the root.
    pub(crate) compatible: Vec<String>,
    /// `compatible` and status of each Mali CSF GPU.
    pub(crate) gpus: Vec<(Vec<String>, String)>,
    /// Whether it has the node of an enabled OP-TEE.
    pub(crate) has_optee: bool,
}

impl Board {
    /// Reads it, if the GPU's string is anywhere in the blob: without it there is no such GPU.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let blob = cache::bytes(path)?;
        let string = [GPU.as_bytes(), b"\0"].concat();
        if !blob.windows(string.len()).any(|bytes| bytes == string) {
            return Ok(None);
        }
        let mut dtc = Command::new("dtc");
        let source = output(dtc.args(["-q", "-I", "dtb", "-O", "dts"]).arg(path))?;
        let board = Self::parse(&source);
        if board.gpus.is_empty() {
            bail!("{} names {GPU}, but not as what a node is compatible to", path.display());
        }
        Ok(Some(board))
    }

    /// Parses the output of dtc: each property is a line, and those of a node precede its child nodes.
    fn parse(source: &str) -> Self {
        // Compatible string of each node, and its status or that of the nearest parent that is not okay.
        let mut nodes: Vec<(Vec<String>, String)> = Vec::new();
        let mut way: Vec<usize> = Vec::new();
        for line in source.lines().map(str::trim) {
            let inner = way.last().copied();
            if line.ends_with('{') {
                let status = inner.and_then(|node| nodes.get(node)).map(|(_, status)| status);
                let status = status.map_or(OKAY, |status| status).to_owned();
                way.push(nodes.len());
                nodes.push((Vec::new(), status));
            } else if line == "};" {
                way.pop();
            } else if let Some((name, value)) = line.split_once(" = ")
                && let Some((compatible, status)) = inner.and_then(|node| nodes.get_mut(node))
            {
                // Several strings, or, in newer versions, one with `\0` in it.
                let strings = value.split('"').skip(1).step_by(2);
                let mut strings = strings.flat_map(|text| text.split("\\0")).map(str::to_owned);
                match name {
                    "compatible" => *compatible = strings.collect(),
                    "status" if status == OKAY => {
                        *status = strings.next().filter(|own| own != "ok").unwrap_or(OKAY.into());
                    }
                    _ => {}
                }
            }
        }
        let is = |compatible: &[String], string| compatible.iter().any(|one| one == string);
        Self {
            compatible: nodes.first().map(|(root, _)| root.clone()).unwrap_or_default(),
            has_optee: nodes.iter().any(|(node, status)| is(node, OPTEE) && status == OKAY),
            gpus: nodes.into_iter().filter(|(node, _)| is(node, GPU)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_package_is_found_by_its_version() {
        let newest = |names: &[&str]| {
            names.iter().filter_map(|name| Package::parse(name)).max().map(|package| package.name())
        };
        let names = [
            "linux-base-7.3-arm64",
            "linux-base-7.3.10+deb13-arm64",
            "linux-base-7.3.10+deb13-arm64-16k",
            "linux-base-7.4.1+deb13-rt-arm64",
            "linux-base-arm64",
            "linux-image-7.3.10+deb13-arm64",
            "linux-image-7.4.1+deb13-arm64-dbg",
            "linux-image-7.3.9+deb13-arm64",
        ];
        assert_eq!(newest(&names).as_deref(), Some("linux-base-7.3.10+deb13-arm64"));
        let before = ["linux-image-6.19.8+deb13-arm64", "linux-image-6.9.12+bpo-arm64"];
        assert_eq!(newest(&before).as_deref(), Some(before[0]));
        assert_eq!(newest(&["linux-image-cloud-arm64", "linux-base-x.y-arm64"]), None);
    }

    #[test]
    fn output_of_dtc_is_parsed() {
        let source = r#"/dts-v1/;

/ {
	#address-cells = <0x02>;
	compatible = "acme,a9\0acme,a";
	model = "Acme = {";

	firmware {

		optee {
			compatible = "linaro,optee-tz";
			status = "ok";
		};
	};

	soc {
		status = "disabled";

		gpu@1000 {
			compatible = "acme,mali", "arm,mali-valhall-csf";
			status = "okay";
		};
	};

	gpu@2000 {
		compatible = "arm,mali-valhall-csf";
	};

	aliases {
		compatible = "acme,none";
	};
};
"#;
        let strings = |strings: &[&str]| strings.iter().map(|&one| one.to_owned()).collect();
        let gpu = |compatible: &[&str], status: &str| (strings(compatible), status.to_owned());
        assert_eq!(
            Board::parse(source),
            Board {
                compatible: strings(&["acme,a9", "acme,a"]),
                gpus: vec![gpu(&["acme,mali", GPU], "disabled"), gpu(&[GPU], OKAY)],
                has_optee: true,
            }
        );
        let without = source.replace("\"ok\"", "\"disabled\"");
        assert!(!Board::parse(&without).has_optee);
    }

    #[test]
    #[ignore = "needs the network"]
    fn trees_of_debian() {
        let trees = all(&Workspace::open().unwrap()).unwrap().files;
        assert!(trees.iter().any(|path| path.ends_with("rockchip/rk3588-rock-5b.dtb")));
    }
}

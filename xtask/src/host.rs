// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requirements of the host: Debian packages, and a recent QEMU.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::cache::{self, Workspace};
use crate::mirrors::mirrors;
use crate::progress::{Step, output};

/// Oldest QEMU whose `virt` machine has a second serial port, which the guest uses.
const QEMU: (u32, u32) = (9, 1);

/// Packages for the kernel, its modules, the device trees, and programs.
const PACKAGES: [&str; 20] = [
    "bc",
    "bison",
    "build-essential",
    "device-tree-compiler",
    "flex",
    "kmod",
    "libclang-19-dev",
    "libedit2",
    "libelf-dev",
    "libssl-dev",
    "libudev-dev",
    "libxml2",
    "libz3-4",
    "make",
    "patch",
    "perl",
    "pkgconf",
    "python3",
    "xz-utils",
    "zstd",
];

/// The Debian release of the host.
#[derive(Debug)]
pub(crate) struct Debian {
    /// `bookworm` or `trixie`.
    pub(crate) codename: String,
    /// Debian's name of the processor: `amd64` or `arm64`.
    pub(crate) arch: &'static str,
}

impl Debian {
    /// Directory of libraries below `lib`.
    pub(crate) fn multiarch(&self) -> &'static str {
        if self.arch == "arm64" { "aarch64-linux-gnu" } else { "x86_64-linux-gnu" }
    }
}

/// Identifies the host.
///
/// # Errors
///
/// The host is not Debian 12 or 13.
pub(crate) fn debian() -> Result<Debian> {
    let release = cache::read(Path::new("/etc/os-release")).unwrap_or_default();
    let field = |name: &str| {
        let value = release.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let arch = match env::consts::ARCH {
        "x86_64" => Some("amd64"),
        "aarch64" => Some("arm64"),
        _ => None,
    };
    match (field("ID").as_str(), field("VERSION_CODENAME"), arch) {
        ("debian", codename, Some(arch)) if ["bookworm", "trixie"].contains(&codename.as_str()) => {
            Ok(Debian { codename, arch })
        }
        (id, version, _) => bail!(
            "this host ({id} {version}, {}) is not supported; Debian 12 and 13 on x86_64 and aarch64 are",
            env::consts::ARCH
        ),
    }
}

/// Checks the requirements of a build for this machine, where nothing may be installed.
pub(crate) fn must_build() -> Result<()> {
    let has = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let needs: [(&str, &str, &[&str]); 5] = [
        ("gcc", "cc", &["--version"]),
        ("pkgconf", "pkg-config", &["--version"]),
        ("patch", "patch", &["--version"]),
        ("xz-utils", "xz", &["--version"]),
        ("libudev-dev", "pkg-config", &["--exists", "libudev"]),
    ];
    let missing = needs.iter().filter(|(_, program, args)| !has(program, args));
    let missing: Vec<_> = missing.map(|(package, ..)| *package).collect();
    if !missing.is_empty() {
        bail!("packages are missing; install {}", missing.join(" "));
    }
    Ok(())
}

/// Checks that every host package and `more` are installed, and installs missing ones where this user may.
pub(crate) fn prepare(workspace: &Workspace, more: &[&str]) -> Result<()> {
    let debian = debian()?;
    let mut wanted = [&PACKAGES, more].concat();
    // On arm64, the host's own compiler makes arm64 code.
    if debian.arch == "amd64" {
        wanted.extend(["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"]);
    }
    let query = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(&wanted)
        .stderr(Stdio::null())
        .output()?;
    let known = String::from_utf8_lossy(&query.stdout);
    let installed: Vec<_> =
        known.lines().filter_map(|line| line.strip_suffix(" installed")).collect();
    wanted.retain(|package| !installed.contains(package));
    let qemu = qemu_version().is_some_and(|version| version >= QEMU);
    if wanted.is_empty() && qemu {
        return Ok(());
    }

    // All packages come from the release, except QEMU, which comes from its backports where the release's is too old.
    let backports = format!("{}-backports", debian.codename);
    let old = debian.codename == "bookworm";
    let dir = workspace.cache.join("apt/host");
    cache::create_dir(&dir.join("lists/partial"))?;
    let (main, security) = mirrors(&debian.codename)?;
    let sources = dir.join("debian.sources");
    let suites = format!("{0} {0}-updates {1}", debian.codename, if old { &backports } else { "" });
    let entries = main.entry(suites.trim(), "main")
        + &security.entry(&format!("{}-security", debian.codename), "main");
    cache::write(&sources, entries)?;
    let apt_get = |args: &[&str]| {
        let mut words = vec!["apt-get".to_owned(), "-q".to_owned(), "-y".to_owned()];
        for option in [
            format!("Dir::Etc::sourcelist={}", sources.display()),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            format!("Dir::State::lists={}", dir.join("lists").display()),
            "APT::Sandbox::User=root".to_owned(),
        ] {
            words.extend(["-o".to_owned(), option]);
        }
        words.extend(args.iter().map(|&arg| arg.to_owned()));
        words
    };
    let mut commands = vec![apt_get(&["update"])];
    if !wanted.is_empty() {
        let args = [&["install", "--no-install-recommends"], wanted.as_slice()].concat();
        commands.push(apt_get(&args));
    }
    if !qemu {
        let mut args = vec!["install", "--no-install-recommends", "qemu-system-arm"];
        if old {
            args.extend(["-t", &backports]);
        }
        commands.push(apt_get(&args));
    }

    let prefix: &[&str] = if output(Command::new("id").arg("-u"))?.trim() == "0" {
        &[]
    } else if Command::new("sudo")
        .args(["-n", "true"])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
    {
        &["sudo", "-n"]
    } else {
        let lines: Vec<_> =
            commands.iter().map(|words| format!("  sudo {}", words.join(" "))).collect();
        bail!(
            "packages are missing and this user may not install them ({}{}); run these, then try again:\n{}",
            wanted.join(" "),
            if qemu { "" } else { " qemu-system-arm" },
            lines.join("\n")
        );
    };
    for (number, words) in commands.iter().enumerate() {
        let mut line = prefix.iter().copied().chain(words.iter().map(String::as_str));
        let mut command = Command::new(line.next().unwrap_or("apt-get"));
        command.args(line).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C.UTF-8");
        let what =
            if number == 0 { "fetching package lists" } else { "installing Debian packages" };
        Step::new(what, if number == 0 { 10 } else { 90 })
            .run(command, &workspace.log(&format!("apt-host-{number}")))?;
    }
    match qemu_version() {
        Some(version) if version >= QEMU => Ok(()),
        found => bail!("qemu-system-aarch64 >= {}.{} is needed, found {found:?}", QEMU.0, QEMU.1),
    }
}

/// Returns the version of QEMU for arm64, if it is installed.
fn qemu_version() -> Option<(u32, u32)> {
    let text = output(Command::new("qemu-system-aarch64").arg("--version")).ok()?;
    parse_qemu(&text)
}

/// Parses `QEMU emulator version 10.0.2 (Debian ...)`.
fn parse_qemu(text: &str) -> Option<(u32, u32)> {
    let version = text.split("version ").nth(1)?;
    let mut parts = version.split(['.', ' ']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_version_is_parsed() {
        let text =
            "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright (c)";
        assert_eq!(parse_qemu(text), Some((10, 0)));
        assert!(parse_qemu("QEMU emulator version 7.2.19").unwrap() < QEMU);
        assert_eq!(parse_qemu("something else"), None);
    }
}

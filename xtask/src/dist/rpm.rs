// SPDX-License-Identifier: MIT OR Apache-2.0
//! Packages for Fedora and its derivatives, built by rpmbuild from the archives of the source, without the network.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{layout, source};
use crate::cache::{self, VERSION, Workspace};
use crate::host;
use crate::progress::{Step, output};
use crate::toolchain::{self, CROSS, Toolchain};

/// Host packages that are needed.
pub(crate) const PACKAGES: [&str; 2] = ["rpm", "rpmlint"];
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Directory of programs, below the one that cargo builds in.
pub(crate) const RELEASE: &str = "aarch64-unknown-linux-gnu/release";
/// The packages and their parts.
const NAMES: [(&str, &[&str]); 4] = [
    ("protheap", &["daemon"]),
    ("protheap-bind", &["bind", "dracut"]),
    ("protheap-devel", &["client"]),
    ("protheap-dkms", &["dkms"]),
];
/// Commands that scriptlets call: the package, the scriptlet, its argument (`1` for an installation or the rest after
/// an upgrade, `0` for a removal), and the command. All other scriptlets call nothing: a running binder is never
/// restarted. dkms does not build, because the simulated machine has no headers.
const CALLS: [(&str, &str, &str, &str); 7] = [
    (
        "protheap",
        "PREUN",
        "0",
        "systemctl --no-reload disable --now protheapd.timer protheapd.service",
    ),
    ("protheap", "POSTUN", "1", "systemctl try-restart protheapd.service"),
    ("protheap-bind", "POSTTRANS", "1", "update-initrds "),
    ("protheap-bind", "POSTUN", "0", "update-initrds "),
    ("protheap-dkms", "POSTIN", "1", "dkms add -m protheap -v VERSION --rpm_safe_upgrade"),
    ("protheap-dkms", "PREUN", "0", "dkms remove -m protheap -v VERSION --all --rpm_safe_upgrade"),
    ("protheap-dkms", "PREUN", "1", "dkms remove -m protheap -v VERSION --all --rpm_safe_upgrade"),
];
/// Commands of scriptlets that are simulated.
const PLAYED: [&str; 4] = ["dkms", "dracut", "systemctl", "update-initrds"];

/// The script that updates initrds, and its copy while the package is removed.
pub(super) const UPDATE: &str = "/usr/lib/protheap/update-initrds";
pub(super) const KEPT: &str = "/run/protheap-update-initrds";

/// Builds the packages and copies them into `directory`; returns their paths.
pub(crate) fn write(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    packages(workspace)?.iter().map(|package| cache::copy_into(package, directory)).collect()
}

/// Builds the packages and checks their contents and their scriptlets.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let packages = packages(workspace)?;
    let dir = workspace.root.join("packaging/rpm");
    let mut lint = Command::new("rpmlint");
    lint.arg("--rpmlintrc").arg(dir.join("protheap.rpmlintrc"));
    output(lint.arg(dir.join("protheap.spec")).args(&packages))?;

    let query = |package: &Path, format: &str| {
        output(Command::new("rpm").args(["-qp", "--nosignature", "--qf", format]).arg(package))
    };
    let mut found = BTreeMap::new();
    for package in &packages {
        let name = query(package, "%{NAME}")?;
        let list = query(package, "[%{FILEMODES:perms} %{FILENAMES}\n]")?;
        let files = list.lines().filter(|line| !line.starts_with('d'));
        let files = files.filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
        for tag in ["PREIN", "POSTIN", "PREUN", "POSTUN", "PRETRANS", "POSTTRANS"] {
            let script = query(package, &format!("%|{tag}?{{%{{{tag}}}}}|"))?;
            // Only a removal leaves nothing.
            let removal = tag.ends_with("UN");
            for argument in ["0", "1"].into_iter().filter(|argument| removal || *argument == "1") {
                let called = play(workspace, &script, argument)?;
                let expected: String = CALLS
                    .iter()
                    .filter(|(n, t, a, _)| (*n, *t, *a) == (&*name, tag, argument))
                    .map(|(_, _, _, call)| call.replace("VERSION", VERSION) + "\n")
                    .collect();
                if called != expected {
                    bail!("{name}: %{tag} {argument} calls `{called}` instead of `{expected}`");
                }
            }
        }
        found.insert(name, files);
    }
    layout::check(workspace, &target(workspace), &NAMES, &found)
}

/// Runs a scriptlet with commands that only print their arguments.
fn play(workspace: &Workspace, script: &str, argument: &str) -> Result<String> {
    let dir = workspace.checkout.join("rpm/played");
    for name in PLAYED {
        let path = dir.join(name);
        cache::write(&path, "#!/bin/sh\necho \"${0##*/} $*\" >&3\n")?;
        output(Command::new("chmod").arg("755").arg(&path))?;
    }
    // Packages call it by its path, and keep a copy while they are removed.
    let kept = dir.join("run/update-initrds");
    cache::create_dir(&dir.join("run"))?;
    let script = script.replace(UPDATE, &dir.join("update-initrds").display().to_string());
    let script = script.replace(KEPT, &kept.display().to_string());
    cache::write(&dir.join("script"), script)?;
    let mut sh = Command::new("sh");
    sh.args(["-c", "exec 3>&1 >/dev/null; uname() { echo none; }; . ./script"]);
    sh.args(["scriptlet", argument]).current_dir(&dir);
    sh.env("PATH", format!("{}:/usr/bin:/bin", dir.display()));
    output(&mut sh)
}

/// Directory with cargo's output for the packages, whose programs are in [`RELEASE`]. It exists if the packages do.
pub(crate) fn target(workspace: &Workspace) -> PathBuf {
    top(workspace).join("target")
}

/// Returns rpmbuild's directory.
fn top(workspace: &Workspace) -> PathBuf {
    workspace.checkout.join("rpm")
}

/// Builds the packages with rpmbuild, unless their inputs are unchanged. Returns their paths.
pub(crate) fn packages(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let below = ["Cargo.toml", "Cargo.lock", "LICENSES", "daemon", "docs", "driver/module"];
    let more = ["driver/patches", "packaging", "policies", "systemd", ".cargo"];
    let digest = source::digest(workspace, &[&below[..], &more].concat())?.hex();
    let top = top(workspace);
    let stamp = top.join("complete");
    let built = top.join("RPMS");
    if !cache::read(&stamp).is_ok_and(|stamped| stamped == digest) {
        let sources = top.join("SOURCES");
        cache::create_dir(&sources)?;
        let _lock = workspace.lock()?;
        source::own(workspace, &sources)?;
        // This one takes a minute, and changes rarely.
        let (lock, of) = (source::crates_digest(workspace)?, top.join("crates"));
        if cache::read(&of).ok().as_ref() != Some(&lock) {
            source::crates(workspace, &sources)?;
            cache::write(&of, lock)?;
        }
        host::prepare(workspace, &PACKAGES)?;
        let tools = toolchain::prepare(workspace)?;
        cache::remove_dir(&built)?;
        forget(&target(workspace))?;
        let mut rpmbuild = Command::new("nice");
        rpmbuild.args(["-n", "10", "rpmbuild", "-bb", "--target", "aarch64"]);
        // Debian's rpm has no database of installed packages.
        rpmbuild.args(["--nodeps", "--define"]).arg(format!("_topdir {}", top.display()));
        // Debian's rpm does not strip.
        let strip = format!("__os_install_post {CROSS}strip %{{buildroot}}%{{_bindir}}/*");
        rpmbuild.arg("--define").arg(strip);
        rpmbuild.arg(workspace.root.join("packaging/rpm/protheap.spec"));
        cross(&mut rpmbuild, &tools, &target(workspace));
        Step::new("building the packages for Fedora", 240)
            .run(rpmbuild, &workspace.log("rpmbuild"))?;
        cache::write(&stamp, digest)?;
    }
    let packages = cache::files(&built)?;
    if packages.is_empty() {
        bail!("{} has no packages: remove {}, and try again", built.display(), stamp.display());
    }
    Ok(packages)
}

/// Makes cargo build our own crates again. Files of an archive have the time of the last commit, so cargo sees no
/// change.
fn forget(target: &Path) -> Result<()> {
    for built in [RELEASE, "debug"] {
        let dir = target.join(built).join(".fingerprint");
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.with_context(|| format!("failed to read {}", dir.display()))?.path();
            if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("protheap")) {
                cache::remove_dir(&path)?;
            }
        }
    }
    Ok(())
}

/// Makes packaging/build, which a command runs, build arm64 programs with our tools in `target`.
fn cross(command: &mut Command, tools: &Toolchain, target: &Path) {
    command.env("CARGO_TARGET_DIR", target).env("CARGO_BUILD_TARGET", TARGET);
    command.env("RUSTC", tools.rustc());
    command.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", format!("{CROSS}gcc"));
    for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_ENCODED_RUSTFLAGS"]
    {
        command.env_remove(name);
    }
    tools.environment(command);
    tools.pkg_config(command);
}

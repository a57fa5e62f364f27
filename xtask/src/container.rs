// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs `cargo xtask` in a container on hosts that it cannot set up.

use std::env;
use std::ffi::OsStr;
use std::io::IsTerminal;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache::Workspace;
use crate::host;
use crate::progress::output;

/// Programs that run containers, in the order of preference.
const ENGINES: [&str; 2] = ["podman", "docker"];
/// Name of the image of `xtask/Containerfile`.
const IMAGE: &str = "protheap-xtask";
/// Set to use a container on any host; the value is the base image, or empty for that of the Containerfile.
const FORCED: &str = "PROTHEAP_CONTAINER";
/// Set within the container.
const WITHIN: &str = "PROTHEAP_WITHIN_CONTAINER";
/// Variables that commands of xtask read, and those of proxies.
const PASSED: [&str; 8] = [
    "PROTHEAP_KERNEL_SRC",
    "PROTHEAP_OPTEE_SRC",
    "PROTHEAP_RENEW",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NO_COLOR",
    "TERM",
];

/// Runs this command in a container and returns whether it succeeded. Returns `None` if this host needs no container.
///
/// # Errors
///
/// The host is not supported, and has no program that runs containers.
pub(crate) fn run(workspace: &Workspace) -> Result<Option<bool>> {
    let forced = env::var(FORCED).ok();
    if env::var_os(WITHIN).is_some() {
        return Ok(None);
    }
    let unsupported = match (host::debian(), &forced) {
        (Ok(_), None) => return Ok(None),
        (Ok(_), Some(_)) => String::new(),
        (Err(why), _) => format!("{why}; "),
    };
    let Some(engine) = ENGINES.into_iter().find(|engine| is_installed(engine)) else {
        bail!("{unsupported}install podman or docker, and xtask runs in a container");
    };
    let mut build = Command::new(engine);
    build.args(["build", "--quiet", "--network=host", "--tag", IMAGE]);
    if let Some(base) = forced.filter(|base| !base.is_empty()) {
        build.arg(format!("--build-arg=BASE={base}"));
    }
    let context = workspace.root.join("xtask");
    build.arg("--file").arg(context.join("Containerfile")).arg(context);
    output(&mut build).with_context(|| format!("failed to build the container image {IMAGE}"))?;
    let mut command = Command::new(engine);
    command.args(options(workspace, std::io::stdin().is_terminal()));
    command.args([IMAGE, "cargo", "xtask"]).args(env::args_os().skip(1));
    let status = command.status().with_context(|| format!("failed to start {engine}"))?;
    Ok(Some(status.success()))
}

/// Returns the options of `podman run`. The checkout and the cache have the same paths inside, because builds record
/// them. What the container builds has its own directory: the host's programs need not run there.
fn options(workspace: &Workspace, is_terminal: bool) -> Vec<String> {
    let (root, cache) = (workspace.root.display(), workspace.cache.display());
    let mut options: Vec<_> =
        ["run", "--rm", "--network=host", "--security-opt=label=disable", "--pids-limit=-1"]
            .map(str::to_owned)
            .into();
    if is_terminal {
        options.push("--interactive".to_owned());
        options.push("--tty".to_owned());
    }
    options.extend([
        format!("--volume={root}:{root}"),
        format!("--volume={cache}:{cache}"),
        format!("--workdir={root}"),
        format!("--env=PROTHEAP_CACHE={cache}"),
        format!("--env=CARGO_TARGET_DIR={cache}/container/target"),
        format!("--env=CARGO_HOME={cache}/container/cargo"),
        format!("--env={WITHIN}=1"),
    ]);
    let is_set = |name: &&&str| env::var_os(name).is_some_and(|value| !value.is_empty());
    options.extend(PASSED.iter().filter(is_set).map(|name| format!("--env={name}")));
    options
}

/// Returns whether a program is in `PATH`.
fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(OsStr::new(program)).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_sees_checkout_and_cache_at_their_paths() {
        let workspace = Workspace::open().unwrap();
        let options = options(&workspace, false);
        for path in [&workspace.root, &workspace.cache] {
            let volume = format!("--volume={0}:{0}", path.display());
            assert!(options.contains(&volume), "{options:?}");
        }
        assert!(!options.contains(&"--tty".to_owned()));
    }
}

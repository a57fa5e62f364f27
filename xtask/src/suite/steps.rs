// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that are not scenarios.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::inputs::Inputs;
use super::{style, unit};
use crate::cache::{self, Workspace};
use crate::progress::output;
use crate::tested::{BUILD, Group, Outcome};
use crate::{audit, boards, demo, dist, extension, firmware, kernel, systemd, uefi, units};

/// A test that is not a scenario.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) group: Group,
    /// Debian packages that it needs, beside those that every build needs.
    pub(super) packages: &'static [&'static [&'static str]],
    pub(super) inputs: Inputs,
    /// Resource that no other job uses at the same time.
    pub(super) uses: Option<&'static str>,
    pub(super) run: fn(&Workspace) -> Result<Outcome>,
}

/// Resources, beside [`BUILD`]: the target directory of the checkout, and cargo-deny.
const TARGET: Option<&str> = Some("target");
const DENY: Option<&str> = Some("deny");

/// Package that installs tools in Python.
const PIP: &[&str] = &["python3-pip"];

/// Paths of the sources of programs and packages.
const PROGRAMS: &[&str] = &[
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSES",
    "daemon",
    "docs",
    "driver/module",
    "driver/patches",
    "packaging",
    "policies",
    "systemd",
    "xtask/src",
];
/// Paths of the sources of programs, packages, and images of the guest.
const GUEST: &[&str] = &[
    ".cargo",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSES",
    "daemon",
    "docs",
    "driver",
    "packaging",
    "policies",
    "systemd",
    "tests/initrds",
    "tests/vm",
    "xtask",
];

impl Step {
    /// Returns the expected duration of a step that never ran.
    pub(super) fn estimate(&self) -> Duration {
        Duration::from_secs(if self.uses == Some(BUILD) { 120 } else { 30 })
    }
}

/// All steps.
pub(super) const STEPS: &[Step] = &[
    Step {
        name: "cargo fmt",
        group: Group::Check,
        packages: &[],
        inputs: Inputs::Unknown,
        uses: None,
        run: unit::fmt,
    },
    Step {
        name: "cargo clippy",
        group: Group::Check,
        packages: &[],
        inputs: Inputs::Unknown,
        uses: TARGET,
        run: unit::clippy,
    },
    Step {
        name: "cargo test",
        group: Group::Check,
        packages: &[],
        inputs: Inputs::Unknown,
        uses: TARGET,
        run: unit::test,
    },
    Step {
        name: "policies",
        group: Group::Check,
        packages: &[],
        inputs: Inputs::Unknown,
        uses: TARGET,
        run: policies,
    },
    Step {
        name: "units",
        group: Group::Check,
        packages: &[],
        inputs: Inputs::Unknown,
        uses: None,
        run: units::check,
    },
    Step {
        name: "language",
        group: Group::Check,
        packages: &[],
        inputs: Inputs::Unknown,
        uses: None,
        run: style::check,
    },
    Step {
        name: "reuse",
        group: Group::Check,
        packages: &[PIP],
        inputs: Inputs::Below(&[""]),
        uses: None,
        run: audit::reuse,
    },
    Step {
        name: "firmware images",
        group: Group::Audit,
        packages: &[],
        inputs: Inputs::Downloaded(PROGRAMS, "firmware"),
        uses: Some(BUILD),
        run: |workspace| firmware::check(workspace).map(good),
    },
    Step {
        name: "boards",
        group: Group::Audit,
        packages: &[],
        inputs: Inputs::Downloaded(PROGRAMS, "dtbs"),
        uses: Some(BUILD),
        run: |workspace| boards::check(workspace).map(good),
    },
    Step {
        name: "cargo deny",
        group: Group::Audit,
        packages: &[],
        inputs: Inputs::Below(&[
            "Cargo.lock",
            "Cargo.toml",
            "daemon",
            "deny.toml",
            "tests/vm/guest",
            "xtask",
        ]),
        uses: DENY,
        run: audit::deny,
    },
    Step {
        name: "cargo deny advisories",
        group: Group::Audit,
        packages: &[],
        inputs: Inputs::Unknown,
        uses: DENY,
        run: audit::advisories,
    },
    Step {
        name: "sbom",
        group: Group::Audit,
        packages: &[PIP],
        inputs: Inputs::Below(&["Cargo.lock", "Cargo.toml", "daemon", "tests/vm/guest", "xtask"]),
        uses: Some(BUILD),
        run: dist::sbom::check,
    },
    Step {
        name: "checkpatch",
        group: Group::Audit,
        packages: &[],
        inputs: Inputs::Below(&["driver", "xtask/src"]),
        uses: Some(BUILD),
        run: |workspace| kernel::check_patches(workspace).map(good),
    },
    Step {
        name: "offline build",
        group: Group::Packages,
        packages: &[],
        inputs: Inputs::Below(&[""]),
        uses: Some(BUILD),
        run: dist::offline::check,
    },
    Step {
        name: "SELinux module",
        group: Group::Packages,
        packages: &[&dist::selinux::PACKAGES],
        inputs: Inputs::Below(&["packaging/selinux", "xtask/src"]),
        uses: Some(BUILD),
        run: |workspace| dist::selinux::check(workspace).map(good),
    },
    Step {
        name: "Debian's packages",
        group: Group::Packages,
        packages: &[&dist::deb::HOST],
        inputs: Inputs::Below(PROGRAMS),
        uses: Some(BUILD),
        run: |workspace| dist::deb::check(workspace).map(good),
    },
    Step {
        name: "packages for Fedora",
        group: Group::Packages,
        packages: &[&dist::rpm::PACKAGES],
        inputs: Inputs::Below(PROGRAMS),
        uses: Some(BUILD),
        run: |workspace| dist::rpm::check(workspace).map(good),
    },
    Step {
        name: "packages for Arch Linux",
        group: Group::Packages,
        packages: &[&dist::arch::PACKAGES],
        inputs: Inputs::Below(PROGRAMS),
        uses: Some(BUILD),
        run: |workspace| dist::arch::check(workspace).map(good),
    },
    Step {
        name: "reproducible programs",
        group: Group::Packages,
        packages: &[],
        inputs: Inputs::Below(PROGRAMS),
        uses: Some(BUILD),
        run: |workspace| dist::reproducible::check(workspace).map(good),
    },
    Step {
        name: "dkms",
        group: Group::Packages,
        packages: &[&["dkms"]],
        inputs: Inputs::Below(GUEST),
        uses: Some(BUILD),
        run: |workspace| dist::dkms::check(workspace).map(good),
    },
    Step {
        name: "initrds",
        group: Group::Images,
        packages: &[systemd::PACKAGES],
        inputs: Inputs::Below(GUEST),
        uses: Some(BUILD),
        run: |workspace| dist::lists::check(workspace).map(good),
    },
    Step {
        name: "signed images",
        group: Group::Images,
        packages: &[systemd::PACKAGES, uefi::PACKAGES, extension::PACKAGES],
        inputs: Inputs::Below(GUEST),
        uses: Some(BUILD),
        run: |workspace| demo::uki::check(workspace).map(good),
    },
    Step {
        name: "signed image on OP-TEE",
        group: Group::Images,
        packages: &[systemd::PACKAGES, uefi::PACKAGES, extension::PACKAGES],
        inputs: Inputs::Below(GUEST),
        uses: Some(BUILD),
        run: |workspace| demo::optee::check_uki(workspace).map(good),
    },
];

fn good((): ()) -> Outcome {
    Outcome::Good
}

/// Checks that the programs accept every policy, without warnings.
fn policies(workspace: &Workspace) -> Result<Outcome> {
    let mut policies = cache::files(&workspace.root.join("policies"))?;
    policies.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    if policies.is_empty() {
        bail!("policies/ has no policy");
    }
    let mut check = workspace.cargo();
    check.args(["run", "--quiet", "--locked", "--package", "protheapctl", "--", "check"]);
    output(check.args(policies)).context("failed to check the policies")?;
    Ok(Outcome::Good)
}

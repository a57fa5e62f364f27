// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests that are not scenarios.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::inputs::Inputs;
use super::{style, unit};
use crate::cache::{self, Workspace};
use crate::progress::output;
use crate::tested::{BUILD, Group, Outcome};
use crate::{audit, boards, demo, dist, extension, firmware, patches, systemd, uefi, units};

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
    pub(super) run: Run,
}

type Run = fn(&Workspace) -> Result<Outcome>;

/// Resources, beside [`BUILD`]: the target directory of the checkout, and cargo-deny.
const TARGET: &str = "target";
const DENY: &str = "deny";

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
    /// Returns a step that always runs, needs no package, and shares nothing.
    const fn new(name: &'static str, group: Group, run: Run) -> Self {
        Self { name, group, packages: &[], inputs: Inputs::Unknown, uses: None, run }
    }

    /// Returns a step that builds something, and runs only when its inputs have changed.
    const fn built(name: &'static str, group: Group, inputs: Inputs, run: Run) -> Self {
        Self::new(name, group, run).inputs(inputs).uses(BUILD)
    }

    const fn packages(self, packages: &'static [&'static [&'static str]]) -> Self {
        Self { packages, ..self }
    }

    const fn inputs(self, inputs: Inputs) -> Self {
        Self { inputs, ..self }
    }

    const fn uses(self, resource: &'static str) -> Self {
        Self { uses: Some(resource), ..self }
    }

    /// Returns the expected duration of a step that never ran.
    pub(super) fn estimate(&self) -> Duration {
        Duration::from_secs(if self.uses == Some(BUILD) { 120 } else { 30 })
    }
}

/// All steps.
pub(super) const STEPS: &[Step] = &[
    Step::new("cargo fmt", Group::Check, unit::fmt),
    Step::new("cargo clippy", Group::Check, unit::clippy).uses(TARGET),
    Step::new("cargo test", Group::Check, unit::test).uses(TARGET),
    Step::new("policies", Group::Check, policies).uses(TARGET),
    Step::new("units", Group::Check, units::check),
    Step::new("language", Group::Check, style::check),
    Step::new("reuse", Group::Check, audit::reuse).packages(&[PIP]).inputs(Inputs::Below(&[""])),
    Step::built("firmware images", Group::Audit, Inputs::Downloaded(PROGRAMS, "firmware"), |w| {
        firmware::check(w).map(good)
    }),
    Step::built("boards", Group::Audit, Inputs::Downloaded(PROGRAMS, "dtbs"), |w| {
        boards::check(w).map(good)
    }),
    Step::new("cargo deny", Group::Audit, audit::deny)
        .inputs(Inputs::Below(&[
            "Cargo.lock",
            "Cargo.toml",
            "daemon",
            "deny.toml",
            "tests/vm/guest",
            "xtask",
        ]))
        .uses(DENY),
    Step::new("cargo deny advisories", Group::Audit, audit::advisories).uses(DENY),
    Step::built(
        "sbom",
        Group::Audit,
        Inputs::Below(&["Cargo.lock", "Cargo.toml", "daemon", "tests/vm/guest", "xtask"]),
        dist::sbom::check,
    )
    .packages(&[PIP]),
    Step::built("checkpatch", Group::Audit, Inputs::Below(&["driver", "xtask/src"]), |w| {
        patches::check(w).map(good)
    }),
    Step::built("offline build", Group::Packages, Inputs::Below(&[""]), dist::offline::check),
    Step::built(
        "SELinux module",
        Group::Packages,
        Inputs::Below(&["packaging/selinux", "xtask/src"]),
        |w| dist::selinux::check(w).map(good),
    )
    .packages(&[&dist::selinux::PACKAGES]),
    Step::built("Debian's packages", Group::Packages, Inputs::Below(PROGRAMS), |w| {
        dist::deb::check(w).map(good)
    })
    .packages(&[&dist::deb::HOST]),
    Step::built("packages for Fedora", Group::Packages, Inputs::Below(PROGRAMS), |w| {
        dist::rpm::check(w).map(good)
    })
    .packages(&[&dist::rpm::PACKAGES]),
    Step::built("packages for Arch Linux", Group::Packages, Inputs::Below(PROGRAMS), |w| {
        dist::arch::check(w).map(good)
    })
    .packages(&[&dist::arch::PACKAGES]),
    Step::built("reproducible programs", Group::Packages, Inputs::Below(PROGRAMS), |w| {
        dist::reproducible::check(w).map(good)
    }),
    Step::built("dkms", Group::Packages, Inputs::Below(GUEST), |w| dist::dkms::check(w).map(good))
        .packages(&[&["dkms"]]),
    Step::built("initrds", Group::Images, Inputs::Below(GUEST), |w| {
        dist::lists::check(w).map(good)
    })
    .packages(&[systemd::PACKAGES]),
    Step::built("signed images", Group::Images, Inputs::Below(GUEST), |w| {
        demo::uki::check(w).map(good)
    })
    .packages(&[systemd::PACKAGES, uefi::PACKAGES, extension::PACKAGES]),
    Step::built("signed image on OP-TEE", Group::Images, Inputs::Below(GUEST), |w| {
        demo::optee::check_uki(w).map(good)
    })
    .packages(&[systemd::PACKAGES, uefi::PACKAGES, extension::PACKAGES]),
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

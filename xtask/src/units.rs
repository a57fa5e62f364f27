// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks of the units by the host's systemd: that it knows every setting, and how much the sandboxes leave open. The
//! guest has another version of systemd.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::cache::{self, Workspace};
use crate::tested::Outcome;

const ANALYZE: &str = "systemd-analyze";

/// Units, and ten times their maximum exposure in `systemd-analyze security`. Both need
/// CAP_SYS_ADMIN, which adds 0.4: the capability, and no user namespace.
const EXPOSURE: [(&str, u32); 2] = [("protheapd.service", 20), ("protheap-bind.service", 30)];

/// Checks every unit that is shipped.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let mut version = Command::new(ANALYZE);
    version.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        let why = "this host has no systemd-analyze; install systemd";
        return Ok(Outcome::Skipped(why.to_owned()));
    }
    let mut units = cache::files(&workspace.root.join("systemd/system"))?;
    // Drop-ins are read with their units, which ours depend on.
    units.retain(|unit| unit.extension().is_none_or(|extension| extension != "conf"));
    let run = |command: &mut Command| {
        command.output().with_context(|| format!("failed to run {ANALYZE}"))
    };
    // Its exit status also covers programs that are not installed here.
    let output = run(Command::new(ANALYZE).args(["verify", "--man=no"]).args(&units))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let absent = "is not executable: No such file or directory";
    let complaints: Vec<_> = said.lines().filter(|line| !line.ends_with(absent)).collect();
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    for unit in units.iter().filter(|unit| unit.extension().is_some_and(|e| e == "service")) {
        let name = unit.file_name().unwrap_or_default();
        let Some((_, limit)) = EXPOSURE.iter().find(|(known, _)| name == *known) else {
            bail!(
                "{}: unknown unit: add its maximum exposure to xtask/src/units.rs",
                unit.display()
            );
        };
        let threshold = format!("--threshold={limit}");
        let args = ["security", "--offline=true", "--no-pager", &threshold];
        let output = run(Command::new(ANALYZE).args(args).arg(unit))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            let result = said.lines().last().unwrap_or_default();
            bail!("more than {}.{}: {result}", limit / 10, limit % 10);
        }
    }
    Ok(Outcome::Good)
}

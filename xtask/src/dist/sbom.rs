// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask dist sbom DIR`: bills of materials of the programs in CycloneDX's JSON, made by cargo-cyclonedx.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::source;
use crate::cache::{self, VERSION, Workspace};
use crate::progress::output;
use crate::tested::Outcome;
use crate::tools::{self, Python};

const TOOL: &str = "cargo-cyclonedx";
/// Newest version of it that was tested.
const CYCLONEDX: &str = "0.5.9";
/// Programs that are shipped, and their directories.
const PROGRAMS: [(&str, &str); 3] = [
    ("protheap-bind", "daemon/bind"),
    ("protheapctl", "daemon/ctl"),
    ("protheapd", "daemon/service"),
];
/// Target of the build.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// Version of CycloneDX, in the documents and in the API of its Python library.
const SPECIFICATION: (&str, &str) = ("1.5", "V1_5");
/// The Python library, which includes the schemas.
const VALIDATOR: [&str; 1] = ["cyclonedx-python-lib[json-validation]==11.12.0"];
/// Script that validates a file and prints the errors.
const VALIDATE: &str = "\
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
validator = JsonStrictValidator(SchemaVersion[sys.argv[2]])
error = validator.validate_str(open(sys.argv[1], encoding='utf-8').read())
sys.exit(error and f'{error.data.json_path}: {error.data.message}')
";

/// Writes a document for each program into a directory; returns their paths. The same commit gives the same bytes.
pub(crate) fn write(workspace: &Workspace, directory: &Path) -> Result<Vec<PathBuf>> {
    make(workspace, &tools::cargo(workspace, TOOL, CYCLONEDX)?, directory)
}

fn make(workspace: &Workspace, tool: &Path, directory: &Path) -> Result<Vec<PathBuf>> {
    let _lock = workspace.lock()?;
    // The tool writes beside the manifests.
    let tree = source::unpacked(workspace)?;
    let mut cyclonedx = Command::new(tool);
    cyclonedx.args(["cyclonedx", "-qq", "--format=json", "--no-build-deps", "--target", TARGET]);
    cyclonedx.args(["--spec-version", SPECIFICATION.0]).current_dir(&tree);
    // Instead of the time of the run and a random serial number.
    cyclonedx.env("SOURCE_DATE_EPOCH", source::time(workspace)?);
    output(&mut cyclonedx)?;
    let mut made = Vec::new();
    for (program, at) in PROGRAMS {
        let text = cache::read(&tree.join(at).join(format!("{program}.cdx.json")))?;
        let path = directory.join(format!("{program}-{VERSION}.cdx.json"));
        // Its references to our own crates contain the path of the tree.
        cache::write(&path, text.replace(&tree.display().to_string(), "/protheap"))?;
        made.push(path);
    }
    Ok(made)
}

/// Makes the documents and validates them.
pub(crate) fn check(workspace: &Workspace) -> Result<Outcome> {
    let tool = match tools::cargo(workspace, TOOL, CYCLONEDX) {
        Ok(tool) => tool,
        Err(error) => return Ok(Outcome::Skipped(format!("{error:#}"))),
    };
    let made = make(workspace, &tool, &workspace.checkout.join("sbom"))?;
    let python = match Python::prepare(workspace, "cyclonedx", &VALIDATOR) {
        Ok(python) => python,
        Err(error) => return Ok(Outcome::Skipped(format!("without the schema: {error:#}"))),
    };
    for path in made {
        output(python.command().args(["-c", VALIDATE]).arg(&path).arg(SPECIFICATION.1))
            .with_context(|| format!("{} is not CycloneDX {}", path.display(), SPECIFICATION.0))?;
    }
    Ok(Outcome::Good)
}

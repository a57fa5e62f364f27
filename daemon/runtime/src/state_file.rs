// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads the state file.

use protheap_board::Problem;
use protheap_board::root::Root;
use protheap_core::state_file::{LARGEST, PATH, SCHEMA, StateFile};

/// Reads the state file below `root`. Returns `None` if there is none, or, with a problem, if it cannot
/// be used.
pub fn read(root: &Root, problems: &mut Vec<Problem>) -> Option<StateFile> {
    let bytes = root.read(PATH, LARGEST, problems)?;
    let message = match serde_json::from_slice::<StateFile>(&bytes) {
        Ok(file) if file.schema == SCHEMA => return Some(file),
        Ok(file) => format!("has schema {}, but only schema {SCHEMA} is supported", file.schema),
        Err(error) => format!("failed to parse: {error}"),
    };
    problems.push(Problem::new(root.shown(PATH), message));
    None
}

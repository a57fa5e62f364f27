// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finds claims that something was tested without the circumstances of the test.

use crate::evidence::{Evidence, EvidenceStatus};
use crate::node::{Origin, Table};

/// A claim without its circumstances: its position, a message and the remedy.
pub(super) struct Claim<'t> {
    pub(super) at: &'t Origin,
    pub(super) message: String,
    pub(super) help: String,
}

/// Returns the first claim of `evidence`, which was read from `table`, that lacks its circumstances.
pub(super) fn incomplete<'t>(evidence: &Evidence, table: &'t Table) -> Option<Claim<'t>> {
    let claims = [("status", Some(evidence.status)), ("firewall", evidence.firewall)];
    let (key, _) = claims.iter().find(|(_, claim)| *claim == Some(EvidenceStatus::Tested))?;
    let (_, node) = table.get(*key)?;
    // A fault in such a key is reported as an error.
    let missing = evidence.missing().map(|(key, _)| key).filter(|key| !table.contains_key(*key));
    let missing: Vec<_> = missing.map(|key| format!("`{key}`")).collect();
    if missing.is_empty() {
        return None;
    }
    let missing = missing.join(", ");
    Some(Claim {
        at: &node.origin,
        message: format!("`{key}` is \"tested\" without {missing}"),
        help: format!("add {missing}, or write \"documented\" or \"unverified\""),
    })
}

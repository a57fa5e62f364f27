// SPDX-License-Identifier: MIT OR Apache-2.0

//! Warns of claims that something was tested without the circumstances of the test.

use super::{Faults, tables};
use crate::evidence::{Evidence, EvidenceStatus};
use crate::fragment::Fragment;
use crate::node::{Origin, Table};

/// Warns of the first such claim of each heap.
pub(super) fn warn(fragment: &Fragment, faults: &mut Faults) {
    for (heap, _, table) in tables(&fragment.table, "evidence") {
        let evidence = fragment.content.evidence.get(heap);
        if let Some(claim) = evidence.and_then(|evidence| incomplete(evidence, table)) {
            faults.warn(claim.at, claim.message, claim.help);
        }
    }
}

/// A claim without its circumstances: its position, a message and the remedy.
struct Claim<'t> {
    at: &'t Origin,
    message: String,
    help: String,
}

/// Returns the first claim of `evidence`, which was read from `table`, that lacks its circumstances.
fn incomplete<'t>(evidence: &Evidence, table: &'t Table) -> Option<Claim<'t>> {
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

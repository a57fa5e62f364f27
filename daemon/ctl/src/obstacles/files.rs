// SPDX-License-Identifier: MIT OR Apache-2.0

//! Policy files that are not used.

use std::collections::BTreeSet;

use protheap_core::state_file::Refused;

use super::{Found, Obstacle, Situation};

pub(super) fn find(at: &Situation<'_>, found: &mut Found) {
    let mut paths = BTreeSet::new();
    for refused in at.refused.iter().filter(|refused| paths.insert(&refused.path)) {
        let Refused { path, line, column, message, kept } = refused;
        let place = if *line == 0 { String::new() } else { format!(":{line}:{column}") };
        let kept = if *kept { "; its last valid contents still apply" } else { "" };
        let next = if path.ends_with(".toml") {
            format!("protheapctl check {path}")
        } else {
            String::new()
        };
        found.push(Obstacle {
            what: "refused-file",
            gpu: None,
            message: format!("{path}{place}: {message}{kept}"),
            next,
        });
    }
}

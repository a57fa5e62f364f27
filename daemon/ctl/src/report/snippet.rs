// SPDX-License-Identifier: MIT OR Apache-2.0

//! The evidence tables that the owner of a board fills in.

use std::collections::BTreeSet;

use protheap_core::facts::Tee;
use protheap_policy::evidence::LONGEST_VERSION;
use protheap_policy::name::HeapName;

use crate::draft::quoted;
use crate::machine::Machine;

/// Returns an evidence table for each of `heaps`. A value that the machine does not know is a
/// placeholder in angle brackets, which the reader of policies refuses.
pub(super) fn of(machine: &Machine, heaps: &BTreeSet<HeapName>) -> String {
    if heaps.is_empty() {
        return "# No candidate heap is present: there is nothing to test.\n".to_owned();
    }
    let facts = &machine.facts;
    let board = facts.platform.model.as_deref().or(facts.platform.compatible.first().map(|s| &**s));
    let known = |text: &str| !text.is_empty() && text.len() <= LONGEST_VERSION;
    let kernel = Some(facts.kernel.release.as_str()).filter(|release| known(release));
    let firmware = facts.tees.iter().filter(|tee| tee.revision.is_some()).map(Tee::to_string);
    let firmware = firmware.collect::<Vec<_>>().join(", ");
    let firmware = Some(firmware.as_str()).filter(|firmware| known(firmware));
    let mut text = "# Replace each value in angle brackets, or remove its line.\n".to_owned();
    for heap in heaps {
        let source = format!("protheapctl report on {}", board.unwrap_or("an unknown board"));
        let rows = [
            ("status", "<tested if protected content was played with this heap>"),
            ("source", &source),
            ("firewall", "<tested if an access from outside of the secure world was seen to fail>"),
            ("kernel", kernel.unwrap_or("<release of the kernel>")),
            ("firmware", firmware.unwrap_or("<version of the TEE or of the firmware>")),
            ("date", "<date of the test: YYYY-MM-DD>"),
            ("observer", "<who saw it>"),
            ("link", "<public address of the report>"),
        ];
        text.push_str(&format!("\n[evidence.{}]\n", quoted(heap.as_str())));
        for (key, value) in rows {
            text.push_str(&format!("{key} = {}\n", quoted(value)));
        }
    }
    text
}

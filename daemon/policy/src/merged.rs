// SPDX-License-Identifier: MIT OR Apache-2.0

//! All policy files that apply to a board, in order of precedence.

use crate::fragment::Fragment;
use crate::name::DeviceName;
use crate::node::{Table, Value, merge};

/// All policy files that apply to a board. Nothing is selected or checked across files yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merged {
    fragments: Vec<Fragment>,
}

impl Merged {
    /// Combines `fragments`, the most general first.
    pub fn new(fragments: Vec<Fragment>) -> Self {
        Self { fragments }
    }

    /// Returns the fragments, the most general first.
    pub fn fragments(&self) -> &[Fragment] {
        &self.fragments
    }

    /// Merges the top-level tables `name` of all files.
    pub(crate) fn top(&self, name: &str) -> Table {
        let mut merged = Table::new();
        for fragment in &self.fragments {
            if let Some(entry) = fragment.table.get(name) {
                merge(&mut merged, &Table::from([(name.to_owned(), entry.clone())]));
            }
        }
        merged
    }

    /// Merges the settings for one GPU. In each file the most specific table counts: the device
    /// name precedes the compatible strings, which count in their order. Then files are merged, so
    /// that a more specific file outranks a more specific table in a file below it.
    pub(crate) fn gpu(&self, device: &DeviceName, compatible: &[String]) -> Option<Table> {
        let mut merged: Option<Table> = None;
        for fragment in &self.fragments {
            let Some(Value::Table(gpus)) = fragment.table.get("gpu").map(|(_, node)| &node.value)
            else {
                continue;
            };
            let table = std::iter::once(device.as_str())
                .chain(compatible.iter().map(String::as_str))
                .find_map(|key| gpus.get(key));
            if let Some(Value::Table(table)) = table.map(|(_, node)| &node.value) {
                merge(merged.get_or_insert_default(), table);
            }
        }
        merged
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! A simple model of the rules for a set of policy files.

use std::collections::BTreeMap;

use protheap_policy::cascade::Outcome;

use crate::set::{Content, IMAGES, Kind, NO_DROP_INS, Place, Set};

impl Set {
    /// Returns whether policies in `etc` and `run` are ignored.
    pub(crate) fn closed(&self) -> bool {
        let counts = self.image.map_or([true, false], |image| IMAGES[image].2);
        !counts[usize::from(self.lockdown)]
    }

    /// Returns the outcome of each file, in merge order.
    pub(crate) fn outcomes(&self, board: &[String]) -> Vec<(Place, Outcome)> {
        let mut all = Vec::new();
        for key in std::iter::once("default").chain(board.iter().rev().map(String::as_str)) {
            let mut hidden = BTreeMap::new();
            for (place, entry) in self.files.iter().filter(|(place, _)| place.key == key) {
                if place.drop_in.is_some_and(|name| NO_DROP_INS.contains(&name)) {
                    continue;
                }
                let open = |directory| self.open.contains_key(&directory);
                let is_local = place.layer < 2;
                let outcome = if is_local && self.closed()
                    || open(place.layer())
                    || open(place.directory())
                {
                    Outcome::Untrusted
                } else if let Some(outcome) = hidden.get(&place.drop_in) {
                    *outcome
                } else if entry.mode & 0o022 != 0 {
                    Outcome::Untrusted
                } else {
                    let (outcome, below) = match entry.kind {
                        Kind::Text(_) => (Outcome::Applied, Outcome::Shadowed),
                        Kind::Empty | Kind::Null => (Outcome::Masked, Outcome::Masked),
                        _ => (Outcome::Refused, Outcome::Shadowed),
                    };
                    hidden.insert(place.drop_in, below);
                    outcome
                };
                all.push((*place, outcome));
            }
        }
        all
    }

    pub(crate) fn applied(&self, board: &[String]) -> Vec<Place> {
        let applies = |(place, outcome)| (outcome == Outcome::Applied).then_some(place);
        self.outcomes(board).into_iter().filter_map(applies).collect()
    }

    /// Returns the merged values, each with the path of the last file that contains it.
    pub(crate) fn merged(
        &self,
        applied: &[Place],
        table: impl Fn(&Content) -> Option<Vec<String>>,
    ) -> Said {
        let mut merged = Said::new();
        for place in applied {
            let Kind::Text(content) = &self.files[place].kind else { continue };
            let Some(table) = table(content) else { continue };
            for (keys, value) in &content.values {
                if keys.starts_with(&table) && keys.len() > table.len() {
                    let key = keys[table.len()..].join(" ");
                    merged.insert(key, (place.path(), value.clone()));
                }
            }
        }
        merged
    }
}

/// Path and value, by key.
pub(crate) type Said = BTreeMap<String, (String, String)>;

/// Returns the most specific table of a GPU in one file.
pub(crate) fn table_of(content: &Content, gpu: &[&str]) -> Option<Vec<String>> {
    let tables = gpu.iter().map(|key| vec!["gpu".to_owned(), (*key).to_owned()]);
    tables.into_iter().find(|table| content.values.keys().any(|keys| keys.starts_with(table)))
}

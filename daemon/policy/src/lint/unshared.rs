// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finds candidates of a GPU that its `share` table lacks, in one file or in several.
//!
//! `FindHeap` never returns such a heap for the GPU, even if it is the one that the GPU is bound to.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Checked, Faults, elements, tables, text};
use crate::cascade::DEFAULT;
use crate::fragment::Fragment;
use crate::node::{Origin, Value};

/// Maximum number of keys that a key is assumed to refine.
const MOST_ABOVE: usize = 16;

/// A statement, and the index of its file.
#[derive(Clone, Copy)]
struct At<'f> {
    file: usize,
    origin: &'f Origin,
}

/// Statements about one GPU in the files of one key.
#[derive(Default)]
struct Said<'f> {
    /// The candidates; `None` if no file has the key `heaps`.
    candidates: Option<Vec<(&'f str, At<'f>)>>,
    /// The heaps of each usage, and where the usage is.
    usages: BTreeMap<&'f str, (At<'f>, HashSet<&'f str>)>,
}

/// Contents of the files of one key.
#[derive(Default)]
struct OfKey<'f> {
    gpus: BTreeMap<&'f str, Said<'f>>,
    /// Whether one of the files is rejected. It may contain what the others lack.
    is_broken: bool,
}

/// Returns the warnings for each file.
///
/// Only a device tree states which keys apply together. A key is assumed to refine those that it
/// continues after a `-`, as `acme,a9-kiosk` does `acme,a9`, and every key refines `default`. Files
/// of the same key are not ordered here: their lists count together.
pub(super) fn warnings(files: &[Checked]) -> Vec<Faults> {
    let mut keys = HashMap::<&str, OfKey<'_>>::new();
    for (number, file) in files.iter().enumerate() {
        if let Some(fragment) = &file.policy {
            let of = keys.entry(fragment.file.key.as_str()).or_default();
            of.is_broken |= file.is_refused();
            add(fragment, number, of);
        }
    }
    let mut warnings: Vec<_> = files.iter().map(|_| Faults::default()).collect();
    let mut names: Vec<_> = keys.keys().copied().collect();
    names.sort_unstable();
    for key in names {
        let chain: Vec<_> = above(key).filter_map(|key| keys.get(key)).collect();
        if chain.iter().any(|of| of.is_broken) {
            continue;
        }
        let Some(own) = keys.get(key) else { continue };
        for gpu in own.gpus.keys() {
            compare(gpu, &chain, &mut warnings);
        }
    }
    warnings
}

/// Returns the keys that apply together with `key`, the most specific first.
fn above(key: &str) -> impl Iterator<Item = &str> {
    let parts = key.rmatch_indices('-').filter_map(|(at, _)| key.get(..at)).take(MOST_ABOVE);
    let default = (key != DEFAULT).then_some(DEFAULT);
    std::iter::once(key).chain(parts).chain(default)
}

fn add<'f>(fragment: &'f Fragment, file: usize, of: &mut OfKey<'f>) {
    for (gpu, _, table) in tables(&fragment.table, "gpu") {
        if !table.contains_key("heaps") {
            continue;
        }
        let candidates = of.gpus.entry(gpu).or_default().candidates.get_or_insert_default();
        for node in elements(table, "heaps") {
            if let Value::Table(candidate) = &node.value
                && let Some((_, name)) = candidate.get("name")
                && let Some(heap) = text(&name.value)
            {
                candidates.push((heap, At { file, origin: &name.origin }));
            }
        }
    }
    for (device, _, table) in tables(&fragment.table, "share") {
        let said = of.gpus.entry(device).or_default();
        for (usage, (origin, _)) in table {
            let at = At { file, origin };
            let (_, heaps) = said.usages.entry(usage).or_insert_with(|| (at, HashSet::new()));
            heaps.extend(elements(table, usage).iter().filter_map(|heap| text(&heap.value)));
        }
    }
}

/// Adds a warning for each candidate of `gpu` that no list contains. `chain` is the most specific
/// first. Warns only if the files of the first key have one side: otherwise the warning is that of
/// another key.
fn compare<'f>(gpu: &str, chain: &[&OfKey<'f>], warnings: &mut [Faults]) {
    let said: Vec<_> = chain.iter().map(|of| of.gpus.get(gpu)).collect();
    let candidates = said.iter().position(|said| said.is_some_and(|s| s.candidates.is_some()));
    let Some(level) = candidates else { return };
    let candidates = said.get(level).copied().flatten().and_then(|said| said.candidates.as_ref());
    let mut usages = BTreeMap::new();
    for (level, said) in said.iter().enumerate() {
        for (usage, list) in said.iter().flat_map(|said| &said.usages) {
            usages.entry(*usage).or_insert((level, list));
        }
    }
    let lists = || usages.values().map(|(_, (_, heaps))| heaps);
    if lists().all(HashSet::is_empty) {
        return;
    }
    let names = usages.keys().copied().collect::<Vec<_>>().join(", ");
    let own = usages.values().find(|(level, _)| *level == 0).map(|(_, (at, _))| *at);
    for (heap, at) in candidates.into_iter().flatten() {
        let is_listed = match heap.strip_suffix('*') {
            Some(prefix) => lists().flatten().any(|one| one.starts_with(prefix)),
            None => lists().any(|heaps| heaps.contains(heap)),
        };
        // The candidates may be those of a less specific file.
        let at = if level == 0 { Some(*at) } else { own };
        if is_listed {
            continue;
        }
        if let Some(At { file, origin }) = at
            && let Some(faults) = warnings.get_mut(file)
        {
            let message = format!(
                "[share.\"{gpu}\"] does not list the candidate `{heap}` for {names}: FindHeap does \
                 not return it for the GPU"
            );
            let help = match own {
                Some(_) => "add it to a list of that table".to_owned(),
                None => format!("add [share.\"{gpu}\"] to this file, with a list that contains it"),
            };
            faults.warn(origin, message, help);
        }
    }
}

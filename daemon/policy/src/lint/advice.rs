// SPDX-License-Identifier: MIT OR Apache-2.0

//! Recognizes common mistakes in policies, and suggests corrections.

use std::collections::BTreeMap;

use crate::image::LocalPolicy;
use crate::name::Key;
use crate::node::{Node, Origin, Table, Value};
use crate::quantity;
use crate::revision::Range;
use crate::schema::{GPU_KEYS, SCHEMA, TEES, distance, is_usage};

/// Header of a table for any Mali CSF GPU.
const GPU_TABLE: &str = "[gpu.\"arm,mali-valhall-csf\"]";

/// Help texts for faults, by the byte range of the fault.
#[derive(Default)]
pub(super) struct Advice(BTreeMap<(usize, usize), String>);

/// Returns the word of `known` that an unknown `word` most likely means.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let steps = |known: &'k str| {
        if is_alike(known, word) {
            return Some((0, known));
        }
        // All short words have a small distance to each other.
        let most = 2.min(word.len().max(known.len()) / 3);
        let is_near = word.len().abs_diff(known.len()) <= most;
        let steps = is_near.then(|| steps_between(word, known)).filter(|steps| *steps <= most)?;
        Some((steps, known))
    };
    known.into_iter().filter_map(steps).min().map(|(_, known)| known)
}

/// Computes `distance`, but is fast for words with a common prefix or suffix.
fn steps_between(one: &str, other: &str) -> usize {
    let common = |pair: &(char, char)| pair.0 == pair.1;
    let bytes = |pair: (char, char)| pair.0.len_utf8();
    let start: usize = one.chars().zip(other.chars()).take_while(common).map(bytes).sum();
    let (one, other) = (&one[start..], &other[start..]);
    let end: usize = one.chars().rev().zip(other.chars().rev()).take_while(common).map(bytes).sum();
    distance(&one[..one.len() - end], &other[..other.len() - end])
}

/// Returns a normal form that ignores case and the kind of separators.
pub(super) fn alike(word: &str) -> String {
    word.chars().map(plain).collect()
}

fn is_alike(one: &str, other: &str) -> bool {
    one.len() == other.len() && one.chars().map(plain).eq(other.chars().map(plain))
}

fn plain(c: char) -> char {
    match c {
        '_' | ',' => '-',
        c => c.to_ascii_lowercase(),
    }
}

impl Advice {
    /// Computes the help texts for the policy of `key`.
    pub(super) fn for_policy(key: &Key, top: &Table) -> Self {
        let mut advice = Self::default();
        advice.version(top);
        for (name, (at, node)) in top {
            match (name.as_str(), &node.value) {
                ("gpu", Value::Array(_)) => {
                    advice
                        .report(&node.origin, format!("write {GPU_TABLE}: each GPU has one table"));
                }
                ("gpu", Value::Table(gpus)) => advice.gpus(gpus),
                ("share", Value::Table(devices)) => advice.share(devices),
                ("evidence", Value::Table(heaps)) => advice.evidence(heaps),
                (name, _) if GPU_KEYS.contains(&name) => {
                    advice.report(at, format!("move it below {GPU_TABLE}"));
                }
                (name, value) => advice.foreign(key, at, name, value),
            }
        }
        advice
    }

    /// Computes the help texts for an `image.toml`.
    pub(super) fn for_image(top: &Table) -> Self {
        let mut advice = Self::default();
        advice.version(top);
        let words = [LocalPolicy::Never, LocalPolicy::Unlocked, LocalPolicy::Always]
            .map(LocalPolicy::as_str);
        advice.word(top, "local-policy", &words);
        advice
    }

    /// Removes and returns the help text for these bytes.
    pub(super) fn take(&mut self, span: (usize, usize)) -> Option<String> {
        self.0.remove(&span)
    }

    fn report(&mut self, at: &Origin, help: String) {
        self.0.entry(at.span).or_insert(help);
    }

    fn version(&mut self, top: &Table) {
        if let Some((_, Node { value: Value::String(text), origin })) = top.get("schema")
            && text.trim().parse() == Ok(SCHEMA)
        {
            self.report(origin, format!("write `schema = {SCHEMA}`"));
        }
    }

    /// Suggests a replacement for a key that belongs to another file format or place.
    fn foreign(&mut self, key: &Key, at: &Origin, name: &str, value: &Value) {
        match name {
            "compatible" => {
                self.report(at, format!("remove it: the file name selects `{key}`"));
            }
            "protected_heap_name" | "protected-heap-name" => {
                let heap = match value {
                    Value::String(heap) => heap,
                    _ => "…",
                };
                let help = format!("write `heaps = [{{ name = \"{heap}\" }}]` below {GPU_TABLE}");
                self.report(at, help);
            }
            _ => {}
        }
    }

    fn gpus(&mut self, gpus: &Table) {
        for (name, (_, node)) in gpus {
            let is_key = GPU_KEYS.contains(&name.as_str());
            match &node.value {
                _ if is_key => {
                    let help = format!("write {GPU_TABLE}: `[gpu]` does not name a GPU");
                    if let Value::Table(inner) = &node.value {
                        inner.values().for_each(|(at, _)| self.report(at, help.clone()));
                    }
                    self.report(&node.origin, help);
                }
                Value::Table(table) => self.gpu(name, table),
                Value::Array(_) => {
                    self.report(
                        &node.origin,
                        format!("write [gpu.\"{name}\"]: one table for each GPU"),
                    );
                }
                _ => {}
            }
        }
    }

    fn gpu(&mut self, gpu: &str, table: &Table) {
        for (name, (at, node)) in table {
            let help = match (name.as_str(), &node.value) {
                ("heaps", Value::String(heap)) => {
                    format!("write `heaps = [{{ name = \"{heap}\" }}]`")
                }
                ("heaps", Value::Table(_)) => {
                    "write `heaps = [{ … }]`: heaps are a list".to_owned()
                }
                ("heaps", Value::Array(nodes)) => {
                    self.candidates(nodes);
                    continue;
                }
                ("suspend", Value::Table(suspend)) => {
                    self.count(suspend);
                    continue;
                }
                ("suspend", Value::String(text)) => {
                    let bytes = quantity::SIZE.suggest(text);
                    let bytes = bytes.unwrap_or_else(|| "64KiB".to_owned());
                    format!("write `suspend = {{ bytes = \"{bytes}\" }}`")
                }
                ("firmware", Value::String(text)) => match image(text) {
                    Some(image) => format!("did you mean \"{image}\"?"),
                    None => continue,
                },
                ("allow-unprotected", Value::String(text)) => match text.as_str() {
                    "true" | "false" => format!("write `allow-unprotected = {text}`"),
                    _ => continue,
                },
                // `[gpu.fb000000.gpu]` is a table `gpu` in a table `fb000000`.
                (inner, Value::Table(_)) => {
                    self.report(
                        at,
                        format!("quote a name that contains dots: [gpu.\"{gpu}.{inner}\"]"),
                    );
                    continue;
                }
                ("compatible", _) => {
                    format!("remove it: the table name [gpu.\"{gpu}\"] selects the GPU")
                }
                ("protected_heap_name" | "protected-heap-name", Value::String(heap)) => {
                    format!("write `heaps = [{{ name = \"{heap}\" }}]`")
                }
                _ => continue,
            };
            // The fault of an unknown key is at the key, that of a known one at its value.
            self.report(if GPU_KEYS.contains(&name.as_str()) { &node.origin } else { at }, help);
        }
    }

    fn candidates(&mut self, nodes: &[Node]) {
        for node in nodes {
            match &node.value {
                Value::String(heap) => {
                    self.report(&node.origin, format!("write {{ name = \"{heap}\" }}"));
                }
                Value::Table(candidate) => {
                    self.word(candidate, "tee", &TEES);
                    for key in ["tee-revision", "kernel", "soc-revision"] {
                        self.range(candidate, key);
                    }
                }
                _ => {}
            }
        }
    }

    fn range(&mut self, candidate: &Table, key: &str) {
        let Some((_, node)) = candidate.get(key) else { return };
        let (first, after) = node.origin.span;
        let written = match &node.value {
            Value::String(text) => text.trim(),
            _ => node.origin.file.text.get(first..after).unwrap_or_default(),
        };
        let meant = ["=", "<=", ">="].into_iter().find_map(|sign| {
            // Covers `==4.6`, `=<4.6`, `=>4.6`, and a number alone.
            let swapped: String = sign.chars().rev().collect();
            let rest = written.strip_prefix(&*swapped).unwrap_or(written);
            if rest.len() == written.len() && sign != "=" {
                return None;
            }
            let meant = format!("{sign}{}", rest.trim_start_matches('='));
            Range::new(&meant).map(|_| meant)
        });
        if let Some(meant) = meant {
            self.report(&node.origin, format!("did you mean \"{meant}\"?"));
        } else if key == "kernel"
            && let Some(meant) = without_words(written)
        {
            let help = format!("write only the version number: did you mean \"{meant}\"?");
            self.report(&node.origin, help);
        }
    }

    fn count(&mut self, suspend: &Table) {
        if let Some((_, Node { value: Value::String(text), origin })) = suspend.get("count")
            && let Ok(count) = text.trim().parse::<u8>()
        {
            self.report(origin, format!("write `count = {count}`"));
        }
    }

    fn share(&mut self, devices: &Table) {
        for (device, (_, node)) in devices {
            let Value::Table(usages) = &node.value else {
                let help = format!("write `{device} = […]` below [share.\"<compatible string>\"]");
                self.report(&node.origin, help);
                continue;
            };
            for (usage, (at, node)) in usages {
                let lower = usage.to_lowercase().replace(['_', ' ', ','], "-");
                if is_usage(&lower) {
                    self.report(at, format!("did you mean `{lower}`?"));
                }
                match &node.value {
                    Value::String(heap) => self.report(&node.origin, format!("write [\"{heap}\"]")),
                    Value::Array(heaps) => heaps.iter().for_each(|heap| self.shared(heap)),
                    _ => {}
                }
            }
        }
    }

    /// Suggests a plain heap name for an element of a `share` list.
    fn shared(&mut self, heap: &Node) {
        if let Value::Table(table) = &heap.value
            && let Some((_, Node { value: Value::String(name), .. })) = table.get("name")
        {
            self.report(&heap.origin, format!("write \"{name}\""));
        }
    }

    fn evidence(&mut self, heaps: &Table) {
        for (heap, (_, node)) in heaps {
            match &node.value {
                Value::Table(evidence) => {
                    // The edit distance would suggest `unverified`.
                    if let Some((_, Node { value: Value::String(word), origin })) =
                        evidence.get("status")
                        && word == "verified"
                    {
                        self.report(origin, "did you mean \"tested\"?".to_owned());
                    }
                    for key in ["status", "firewall"] {
                        self.word(evidence, key, &["tested", "documented", "unverified"]);
                    }
                    self.date(evidence);
                }
                Value::String(text) if heap == "status" || heap == "source" => {
                    let help = format!("write `{heap} = \"{text}\"` below [evidence.\"<heap>\"]");
                    self.report(&node.origin, help);
                }
                Value::String(text) => {
                    self.report(&node.origin, format!("write {{ status = \"{text}\" }}"));
                }
                _ => {}
            }
        }
    }

    /// Suggests a string for a date of TOML.
    fn date(&mut self, evidence: &Table) {
        let Some((_, node)) = evidence.get("date") else { return };
        let (first, after) = node.origin.span;
        if matches!(node.value, Value::Other(_))
            && let Some(date) =
                node.origin.file.text.get(first..after).and_then(|text| text.get(..10))
        {
            self.report(&node.origin, format!("write \"{date}\""));
        }
    }

    /// Suggests a word for a key that accepts only some words.
    fn word(&mut self, table: &Table, key: &str, known: &[&str]) {
        if let Some((_, Node { value: Value::String(word), origin })) = table.get(key)
            && !known.contains(&word.as_str())
            && let Some(meant) = nearest(word, known.iter().copied())
        {
            self.report(origin, format!("did you mean \"{meant}\"?"));
        }
    }
}

/// Removes suffixes of version numbers from a range of releases, as in `>=7.3-rc1`.
fn without_words(range: &str) -> Option<String> {
    let number = |bound: &str| {
        let release = bound.trim_start_matches(['<', '>', '=', ' ']);
        let sign = bound.strip_suffix(release).unwrap_or_default().trim();
        let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
        let number = release.get(..end.unwrap_or(release.len())).unwrap_or_default();
        let sign = if sign.is_empty() { "=" } else { sign };
        format!("{sign}{}", number.trim_end_matches('.'))
    };
    let meant = range.split(',').map(|bound| number(bound.trim())).collect::<Vec<_>>().join(", ");
    Range::new(&meant).map(|_| meant)
}

/// Returns the image directory that a text such as `10.8` or the path of an image most likely
/// means.
fn image(text: &str) -> Option<String> {
    let number = text.split('/').find_map(|part| {
        let number = part.trim().trim_start_matches(|c: char| !c.is_ascii_digit());
        let (major, minor) = number.split_once(['.', '_', '-'])?;
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        (digits(major) && digits(minor)).then(|| format!("{major}.{minor}"))
    })?;
    Some(format!("arch{number}"))
}

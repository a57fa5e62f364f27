// SPDX-License-Identifier: MIT OR Apache-2.0

//! The text of a draft: comments for the observations, and tables for their consequences.

use std::fmt::Write as _;

use protheap_core::facts::Firmware;
use protheap_policy::sanitize::is_hidden;

use super::gpu::Table;
use super::heaps::{Candidate, OPTEE_HEAP};
use super::{Draft, Source};
use crate::output::Sanitized;

/// Maximum length of a comment with observations, in characters, if its words permit.
const WIDTH: usize = 110;

/// Lines of a policy.
#[derive(Default)]
struct Lines(String);

impl Lines {
    /// Appends a line. All text from outside in it must be quoted or part of a comment.
    fn add(&mut self, line: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{}", Sanitized(line));
    }
}

impl Lines {
    /// Appends a comment of one or more lines, each after `indent`. The lines after the first have
    /// two more spaces than `text` begins with.
    fn comment(&mut self, indent: &str, text: &str) {
        let spaces = text.len() - text.trim_start_matches(' ').len();
        let mut line = format!("{indent}#");
        for word in text.split(' ') {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                self.add(&line);
                line = format!("{indent}#{:1$}", "", spaces + 2);
            }
            line.push(' ');
            line.push_str(word);
        }
        self.add(&line);
    }
}

impl Draft {
    /// Returns the policy.
    pub(super) fn text(&self) -> String {
        let mut lines = Lines::default();
        self.head(&mut lines);
        lines.add("schema = 1");
        let platform = &self.machine.facts.platform;
        let model = platform.model.as_deref().unwrap_or(self.key.as_str());
        lines.add(&format!("description = {}", quoted(model)));
        for table in &self.tables {
            lines.add("");
            lines.add(&format!("[gpu.{}]", quoted(&table.name)));
            self.heaps(&mut lines);
            self.firmware(&mut lines, table);
        }
        self.notes(&mut lines);
        lines.add("# See protheap-policy(5) for all settings.");
        for candidate in &self.candidates {
            evidence(&mut lines, candidate);
        }
        self.share(&mut lines);
        lines.0
    }

    /// Writes the file name that the policy needs, and the observations.
    fn head(&self, lines: &mut Lines) {
        let (facts, key) = (&self.machine.facts, &self.key);
        lines.add(&format!(
            "# Draft of /etc/protheap/policies/{key}.toml, which applies to this board only."
        ));
        let others = facts.platform.compatible.iter().filter(|one| *one != key.as_str());
        for other in others {
            lines.add(&format!(
                "# Name it {other}.toml to apply it to all boards with that compatible string."
            ));
        }
        lines.add("# It refines more general policies: remove settings that they already have.");
        lines.add("#");
        if self.machine.is_blob {
            lines.add("# Source: the board's device tree, which does not list heaps.");
        } else {
            let tees: Vec<_> = facts.tees.iter().map(ToString::to_string).collect();
            let (release, tees) =
                (or(&facts.kernel.release, "of unknown release"), tees.join(", "));
            let tees = or(&tees, "none");
            lines.add(&format!(
                "# Source: the heaps and the device tree of the board; kernel {release}, TEEs: {tees}."
            ));
        }
        for (device, gpu) in &facts.gpus {
            let driver = gpu.driver.as_deref().map_or(String::new(), |d| format!(", driver {d}"));
            lines.add(&format!("# GPU {device}: {}{driver}", gpu.compatible.join(" ")));
        }
        let is_there = |device: &str| facts.gpus.keys().any(|name| name.as_str() == device);
        for node in self.machine.nodes.values().filter(|node| !is_there(&node.device)) {
            lines.add(&format!(
                "# GPU {}: omitted, because the status of its node is {:?}",
                node.device, node.status
            ));
        }
    }

    fn heaps(&self, lines: &mut Lines) {
        if self.candidates.iter().all(|candidate| candidate.is_guess) {
            lines.add(
                "# No heap was found that could be protected and that this GPU is known to reach, \
                 so the heaps of more",
            );
            lines.add(
                "# general policies apply. The heap of a TEE needs CONFIG_OPTEE, \
                 CONFIG_TEE_DMABUF_HEAPS, and an OP-TEE with",
            );
            lines.add(
                "# protected memory. To use another heap, name it here. The order is that of \
                 preference:",
            );
            lines.add("# heaps = [{ name = \"...\" }]");
            for candidate in &self.candidates {
                observations(lines, "", candidate);
                lines.add(&format!("# heaps = [{}]", entry(candidate)));
            }
            return;
        }
        lines.add(
            "# In order of preference: the first heap that is present, meets its conditions and is \
             protected is bound.",
        );
        lines.add("# Remove heaps that this GPU cannot access, which the kernel does not show.");
        lines.add("heaps = [");
        for candidate in &self.candidates {
            observations(lines, "  ", candidate);
            let mark = if candidate.is_guess { "# " } else { "" };
            lines.add(&format!("  {mark}{},", entry(candidate)));
        }
        lines.add("]");
    }

    /// Writes the firmware that the GPUs of a table load.
    fn firmware(&self, lines: &mut Lines, table: &Table) {
        match (&table.firmware, &table.applied) {
            (Some((firmware, id)), applied) => {
                lines
                    .add(&format!("# The GPU driver has logged the id {id}: it loads {firmware}."));
                if applied.as_ref() == Some(firmware) {
                    lines.add("# The applied policies already set this firmware.");
                } else {
                    if let Some(applied) = applied {
                        lines.add(&format!("# The applied policies set {applied}."));
                    }
                    lines.add(&format!("firmware = {}", quoted(firmware)));
                }
            }
            (None, Some(applied)) => {
                lines.add(&format!("# The applied policies already set firmware {applied}."));
            }
            (None, None) => self.images(lines),
        }
    }

    fn images(&self, lines: &mut Lines) {
        if self.machine.is_blob {
            return;
        }
        if self.images.is_empty() {
            lines.add(
                "# No firmware image was found: 256 KiB are assumed, which is what all known \
                 images need.",
            );
            return;
        }
        lines.add(
            "# Uncomment the image that the GPU loads. By default, the largest protected section \
             of all images is assumed.",
        );
        for Firmware { name, protected_bytes } in &self.images {
            let kib = protected_bytes / 1024;
            lines.add(&format!("# firmware = {}  # {kib} KiB", quoted(name)));
        }
    }

    /// Writes what is not part of the policy.
    fn notes(&self, lines: &mut Lines) {
        if !self.left_out.is_empty() {
            lines.add("# Rejected heaps:");
        }
        for left_out in &self.left_out {
            lines.comment("", &format!("  {}: {}", left_out.name, left_out.why));
        }
        if !self.sources.is_empty() {
            lines.add(
                "# Possible sources of heaps; a name in /dev/dma_heap shows whether there is one:",
            );
        }
        for Source { what, provider } in &self.sources {
            lines.comment("", &format!("  {what}"));
            if let Some(provider) = provider {
                lines.add(&format!("#     {{ name = \"...\", provider = {} }}", quoted(provider)));
            }
        }
        if !self.options.is_empty() {
            lines.add("# Disabled kernel options:");
        }
        for option in &self.options {
            lines.comment("", &format!("  {option}"));
        }
    }

    /// Writes a commented table for each device of the media pipeline.
    fn share(&self, lines: &mut Lines) {
        lines.add("");
        lines.add(
            "# Heaps that each device of the media pipeline can use, by the compatible string of \
             its node. Media stacks",
        );
        lines.add(
            "# get the heap that all of these devices can use, or none without such tables. \
             Nothing on a board shows",
        );
        lines.add("# which heaps a device can use: uncomment a table, and keep only the heaps that passed a test.");
        let all = list(&self.candidates);
        let mut known = list(self.candidates.iter().filter(|candidate| !candidate.is_guess));
        if known.is_empty() {
            known.clone_from(&all);
        }
        // A usage needs at least one heap.
        let or_optee = |heaps: String| if heaps.is_empty() { quoted(OPTEE_HEAP) } else { heaps };
        let (known, all) = (or_optee(known), or_optee(all));
        let mut table = |name: &str, heaps: &str| {
            lines.add(&format!("# [share.{}]", quoted(name)));
            lines.add(&format!("# secure-video = [{heaps}]"));
        };
        let share = &self.machine.policy.content().share;
        for gpu in self.tables.iter().filter(|gpu| !share.contains_key(&gpu.name)) {
            table(&gpu.name, &known);
        }
        for device in &self.pipeline {
            lines.add(&format!("# {}:", device.seen));
            lines.add(&format!("# [share.{}]", quoted(&device.compatible)));
            lines.add(&format!("# secure-video = [{all}]"));
        }
        if !share.is_empty() {
            let names: Vec<_> = share.keys().map(String::as_str).collect();
            lines.add(&format!("# The applied policies have tables of: {}.", names.join(" ")));
        } else if self.pipeline.is_empty() {
            lines.add("# The device tree names no decoder and no display.");
        }
    }
}

/// Returns the names of heaps for an array.
fn list<'c>(candidates: impl IntoIterator<Item = &'c Candidate>) -> String {
    let names = candidates.into_iter().map(|candidate| quoted(candidate.name.as_str()));
    names.collect::<Vec<_>>().join(", ")
}

/// Writes comments about a candidate.
fn observations(lines: &mut Lines, indent: &str, candidate: &Candidate) {
    lines.comment(indent, &candidate.seen);
    if let [module] = candidate.modules.as_slice() {
        let module = quoted(module);
        let text = format!(
            "the only installed heap module of a vendor is {module}: remove `module` if it does not register this heap"
        );
        return lines.comment(indent, &text);
    }
    for module in &candidate.modules {
        let module = quoted(module);
        let text = format!("a module that may register it is installed: module = {module}");
        lines.comment(indent, &text);
    }
}

/// Returns an entry of `heaps`.
fn entry(candidate: &Candidate) -> String {
    let name = quoted(candidate.name.as_str());
    match (&candidate.provider, candidate.modules.as_slice()) {
        (Some(provider), _) => format!("{{ name = {name}, provider = {} }}", quoted(provider)),
        (None, [module]) => format!("{{ name = {name}, module = {} }}", quoted(module)),
        (None, _) => format!("{{ name = {name} }}"),
    }
}

fn evidence(lines: &mut Lines, candidate: &Candidate) {
    let mark = if candidate.is_guess { "# " } else { "" };
    let Candidate { name, seen, .. } = candidate;
    lines.add("");
    lines.add(&format!("{mark}[evidence.{}]", quoted(name.as_str())));
    lines.add("# Change this to \"tested\" once protected content has been played with this heap.");
    lines.add(&format!("{mark}status = \"unverified\""));
    let source = format!("protheapctl draft on this board: {seen}");
    lines.add(&format!("{mark}source = {}", quoted(&source)));
}

fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// Returns a TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_hidden(c) => {
                // Writing to a `String` cannot fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}
#[cfg(test)]
mod tests {
    use protheap_policy::name::Key;

    use super::*;

    #[test]
    fn any_text_is_quoted() {
        for text in [
            "",
            "Acme \"A9\" \\ TV",
            "line\nline",
            "\u{7f}\u{1b}[2J\u{85}",
            "\u{202e}\u{e0041}",
            "Müller",
        ] {
            let toml = format!("schema = 1\ndescription = {}\n", quoted(text));
            let key = Key::new("k").unwrap();
            protheap_policy::fragment::Fragment::parse(&key, "k.toml", &toml).unwrap();
            assert!(!toml.trim_end_matches('\n').contains(|c| is_hidden(c) && c != '\n'));
        }
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Schema of policies: converts [`Table`]s to types, and collects every fault with its position.

use std::collections::BTreeMap;

use crate::conditions::Conditions;
use crate::diagnostic::Diagnostic;
pub use crate::evidence::{Evidence, EvidenceStatus};
use crate::evidence::{FACTS, Fact};
use crate::name::HeapName;
use crate::node::{Node, Origin, Table, Value};
use crate::quantity::{self, Kind};
use crate::revision::Range;
use crate::words;

/// Version of the format.
pub const SCHEMA: i64 = 1;

/// Maximum number of faults to report for one file.
pub const MOST_FAULTS: usize = 20;

/// Maximum `hold`, in microseconds. After ten seconds the kernel reports a deferred probe as a
/// failure (`deferred_probe_timeout`, `drivers/base/dd.c`).
pub const LONGEST_HOLD: u64 = 10_000_000;

/// Maximum number of suspend buffers for one GPU: panthor's limit of groups for one open file
/// (`MAX_GROUPS_PER_POOL`, `drivers/gpu/drm/panthor/panthor_sched.c`).
pub const MOST_SUSPEND_BUFFERS: i64 = 128;

/// Maximum accepted size of a suspend buffer, in bytes.
pub const LARGEST_SUSPEND_BUFFER: u64 = 16 << 20;

/// TEE implementations for which the kernel has drivers.
pub const TEES: [&str; 4] = ["optee", "amdtee", "tstee", "qtee"];

/// Keys of a GPU table.
pub(crate) const GPU_KEYS: [&str; 6] =
    ["heaps", "bind", "hold", "suspend", "firmware", "allow-unprotected"];

/// Keys of a candidate.
const CANDIDATE_KEYS: [&str; 8] =
    ["name", "tee", "tee-revision", "kernel", "soc-id", "soc-revision", "provider", "module"];

/// Maximum length of a kernel module's name, in bytes (`MODULE_NAME_LEN`, `linux/moduleparam.h`).
const LONGEST_MODULE: usize = 55;

/// Keys of an evidence table.
const EVIDENCE_KEYS: [&str; 8] =
    ["status", "source", "firewall", "kernel", "firmware", "date", "observer", "link"];

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Position of the value.
    pub origin: Origin,
}

/// A candidate heap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Name of the heap, or its prefix.
    pub name: Pattern,
    /// Conditions that the machine must meet.
    pub conditions: Conditions,
    /// Compatible string of the device whose driver registers the heap.
    pub provider: Option<String>,
    /// Name of the kernel module whose initialization registers the heap, with `_` for each `-`.
    /// A candidate has no provider and module at once.
    pub module: Option<String>,
    /// Position of the candidate.
    pub origin: Origin,
}

/// A pattern for heap names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Matches this name.
    Exact(HeapName),
    /// Matches the only heap whose name begins so. Written with a `*` at the end.
    Prefix(String),
}

impl Pattern {
    /// Returns whether the pattern matches `heap`.
    pub fn fits(&self, heap: &HeapName) -> bool {
        match self {
            Self::Exact(name) => name == heap,
            Self::Prefix(prefix) => heap.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// Contents of a `[gpu."…"]` table. Missing settings are `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GpuTable {
    /// Candidate heaps, in order of preference.
    pub heaps: Option<Sourced<Vec<Candidate>>>,
    /// Time at which a heap is bound.
    pub bind: Option<Sourced<Bind>>,
    /// Hold timeout, in microseconds.
    pub hold: Option<Sourced<u64>>,
    /// Size of a suspend buffer until the firmware reports its own, in bytes.
    pub suspend_bytes: Option<Sourced<u64>>,
    /// Maximum number of suspend buffers.
    pub suspend_count: Option<Sourced<u32>>,
    /// Firmware image that the GPU loads, such as `arch10.8`.
    pub firmware: Option<Sourced<String>>,
    /// Whether memory that the CPU can map may be bound, for bring-up.
    pub allow_unprotected: Option<Sourced<bool>>,
}

words! {
    /// Time at which a heap is bound to a GPU.
    Bind {
        /// Before the GPU driver probes, or as soon as the heap appears.
        Boot = "boot",
        /// When the first protected group is created, or a client requests it.
        Demand = "demand",
    }
}

/// Heaps that a device can use, by usage, in order of preference.
pub type Share = BTreeMap<String, Sourced<Vec<HeapName>>>;

/// Contents of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// Description for people.
    pub description: Option<String>,
    /// Tables for GPUs, by compatible string or device name.
    pub gpu: BTreeMap<String, GpuTable>,
    /// Usable heaps of the devices of a media pipeline, by compatible string or device name.
    pub share: BTreeMap<String, Share>,
    /// Evidence for heap names.
    pub evidence: BTreeMap<String, Evidence>,
}

/// Returns whether `name` can be that of a kernel module. It becomes part of paths.
fn is_module(name: &str) -> bool {
    (1..=LONGEST_MODULE).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Returns the name of the module whose file has this path.
fn module_name(path: &str) -> Option<&str> {
    let file = path.trim().rsplit('/').next()?;
    let (name, _) = file.split_once(".ko").unwrap_or((file, ""));
    is_module(name).then_some(name)
}

/// Message for a file without a version, at its beginning.
pub(crate) const NO_SCHEMA: &str = "missing `schema`";

/// Message for evidence without a status, at its key.
pub(crate) const NO_STATUS: &str = "missing `status`";

/// Reads tables, and collects their faults.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) faults: Vec<Diagnostic>,
    /// Number of faults to keep beyond [`MOST_FAULTS`].
    pub(crate) room: usize,
    /// Number of faults that were not kept.
    pub(crate) more: usize,
}

impl Reader {
    pub(crate) fn fault(&mut self, at: &Origin, message: impl Into<String>) {
        self.fault_with(at, message, None);
    }

    fn fault_with(&mut self, at: &Origin, message: impl Into<String>, help: Option<String>) {
        if self.faults.len() < MOST_FAULTS + self.room {
            self.faults.push(at.fault(message.into()).with_help(help));
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn content(&mut self, root: &Origin, table: &Table) -> Content {
        self.keys(table, &["schema", "description", "gpu", "share", "evidence"]);
        if !self.version(table) {
            let help = format!("write `schema = {SCHEMA}` at the top");
            self.fault_with(root, NO_SCHEMA, Some(help));
        }
        Content {
            description: self.string(table, "description").map(|text| text.value),
            gpu: self.tables(table, "gpu", |reader, _, table| Some(reader.gpu(table))),
            share: self.tables(table, "share", |reader, _, table| Some(reader.share(table))),
            evidence: self.tables(table, "evidence", Self::evidence),
        }
    }

    /// Checks the version of the format. Returns whether there is one.
    pub(crate) fn version(&mut self, table: &Table) -> bool {
        match table.get("schema").map(|(_, node)| node) {
            None => return false,
            Some(Node { value: Value::Integer(Some(SCHEMA)), .. }) => {}
            Some(node) => self.fault(
                &node.origin,
                format!("unsupported schema: this version of Protheap reads schema {SCHEMA}"),
            ),
        }
        true
    }

    pub(crate) fn gpu(&mut self, table: &Table) -> GpuTable {
        self.keys(table, &GPU_KEYS);
        let suspend = self.table(table, "suspend");
        if let Some(suspend) = suspend {
            self.keys(suspend, &["bytes", "count"]);
        }
        let none = Table::new();
        let suspend = suspend.unwrap_or(&none);
        GpuTable {
            heaps: self.heaps(table),
            bind: self.word(table, "bind", &[Bind::Boot, Bind::Demand]),
            hold: self.hold(table),
            suspend_bytes: self.suspend_bytes(suspend),
            suspend_count: self.suspend_count(suspend),
            firmware: self.firmware(table),
            allow_unprotected: self.boolean(table, "allow-unprotected"),
        }
    }

    fn heaps(&mut self, table: &Table) -> Option<Sourced<Vec<Candidate>>> {
        let (origin, nodes) = self.array(table, "heaps")?;
        let value = nodes.iter().filter_map(|node| self.candidate(node)).collect();
        Some(Sourced { value, origin })
    }

    fn candidate(&mut self, node: &Node) -> Option<Candidate> {
        let Value::Table(table) = &node.value else {
            let message = format!(
                "expected a table such as {{ name = \"protected,secure-video\" }}, found {}",
                node.value.kind()
            );
            self.fault(&node.origin, message);
            return None;
        };
        self.keys(table, &CANDIDATE_KEYS);
        let Some(name) = self.string(table, "name") else {
            if !table.contains_key("name") {
                self.fault(&node.origin, "missing `name` of the heap");
            }
            return None;
        };
        let pattern = match name.value.strip_suffix('*') {
            // The prefix is checked as a name, which rejects `*` alone: it would match any heap.
            Some(prefix) => HeapName::new(prefix).map(|name| Pattern::Prefix(name.as_str().into())),
            None => HeapName::new(&name.value).map(Pattern::Exact),
        };
        let pattern = match pattern {
            Ok(Pattern::Exact(exact)) if exact.as_str().contains('*') => {
                self.fault(&name.origin, "`*` is allowed only at the end of a heap name");
                return None;
            }
            Ok(pattern) => pattern,
            Err(error) => {
                self.fault(&name.origin, format!("the heap name {error}"));
                return None;
            }
        };
        Some(Candidate {
            name: pattern,
            conditions: self.conditions(table),
            provider: self.string(table, "provider").map(|provider| provider.value),
            module: self.module(table),
            origin: node.origin.clone(),
        })
    }

    /// Reads the name of a kernel module. In file names and in configurations `-` stands for `_`.
    fn module(&mut self, table: &Table) -> Option<String> {
        let module = self.string(table, "module")?;
        if table.contains_key("provider") {
            let help = "use `provider` if the module is the driver of a device, else `module`";
            let message = "a candidate cannot have both `provider` and `module`";
            self.fault_with(&module.origin, message, Some(help.to_owned()));
            return None;
        }
        if !is_module(&module.value) {
            let help = module_name(&module.value).map(|meant| format!("did you mean \"{meant}\"?"));
            let message = "expected the name of a kernel module, such as \"restricted_heap\"";
            self.fault_with(&module.origin, message, help);
            return None;
        }
        Some(module.value.replace('-', "_"))
    }

    fn conditions(&mut self, table: &Table) -> Conditions {
        let tee = self.string(table, "tee");
        if let Some(tee) = &tee
            && !TEES.contains(&tee.value.as_str())
        {
            let help = format!("the kernel supports {}", TEES.join(", "));
            self.fault_with(&tee.origin, format!("unknown TEE `{}`", tee.value), Some(help));
        }
        Conditions {
            tee: tee.map(|tee| tee.value),
            tee_revision: self.range(table, "tee-revision"),
            kernel: self.range(table, "kernel"),
            soc_id: self.string(table, "soc-id").map(|id| id.value),
            soc_revision: self.range(table, "soc-revision"),
        }
    }

    fn range(&mut self, table: &Table, key: &str) -> Option<Range> {
        let text = self.string(table, key)?;
        let range = Range::new(&text.value);
        if range.is_none() {
            self.fault(&text.origin, "expected bounds such as \"<4.6\" or \">=4.2, <4.6\"");
        }
        range
    }

    fn hold(&mut self, table: &Table) -> Option<Sourced<u64>> {
        let hold = self.quantity(table, "hold", &quantity::DURATION)?;
        if hold.value > LONGEST_HOLD {
            let message =
                "a hold must not exceed 10 seconds, after which the kernel reports a failure";
            self.fault(&hold.origin, message);
            return None;
        }
        Some(hold)
    }

    fn suspend_bytes(&mut self, table: &Table) -> Option<Sourced<u64>> {
        let bytes = self.quantity(table, "bytes", &quantity::SIZE)?;
        if !(1..=LARGEST_SUSPEND_BUFFER).contains(&bytes.value) {
            self.fault(&bytes.origin, "expected a size from 1KiB to 16MiB");
            return None;
        }
        Some(bytes)
    }

    /// Reads a number with a unit.
    fn quantity(&mut self, table: &Table, key: &str, kind: &Kind) -> Option<Sourced<u64>> {
        let (_, node) = table.get(key)?;
        let number;
        let text = match &node.value {
            Value::String(text) => text.as_str(),
            Value::Integer(Some(integer)) => {
                number = integer.to_string();
                number.as_str()
            }
            other => {
                self.expected(&node.origin, kind.expected, other);
                return None;
            }
        };
        // A number without a unit is rejected, because its unit would be a guess.
        if let (Value::String(_), Some(value)) = (&node.value, kind.read(text)) {
            return Some(Sourced { value, origin: node.origin.clone() });
        }
        let help = kind.suggest(text).map(|meant| format!("did you mean \"{meant}\"?"));
        self.fault_with(&node.origin, format!("expected {}", kind.expected), help);
        None
    }

    fn suspend_count(&mut self, table: &Table) -> Option<Sourced<u32>> {
        let (_, node) = table.get("count")?;
        let count = match node.value {
            Value::Integer(Some(count @ 0..=MOST_SUSPEND_BUFFERS)) => u32::try_from(count).ok(),
            _ => None,
        };
        let Some(value) = count else {
            self.fault(&node.origin, format!("expected a number from 0 to {MOST_SUSPEND_BUFFERS}"));
            return None;
        };
        Some(Sourced { value, origin: node.origin.clone() })
    }

    fn firmware(&mut self, table: &Table) -> Option<Sourced<String>> {
        let firmware = self.string(table, "firmware")?;
        let number = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        let version = firmware.value.strip_prefix("arch").and_then(|v| v.split_once('.'));
        if !version.is_some_and(|(major, minor)| number(major) && number(minor)) {
            self.fault(
                &firmware.origin,
                "expected the directory of the image, such as \"arch10.8\"",
            );
            return None;
        }
        Some(firmware)
    }

    fn share(&mut self, table: &Table) -> Share {
        let mut share = Share::new();
        for (usage, (at, _)) in table {
            if !is_usage(usage) {
                self.fault(at, "a usage may contain only lower-case letters, digits and `-`");
                continue;
            }
            let Some((origin, nodes)) = self.array(table, usage) else {
                continue;
            };
            let mut value = Vec::new();
            for node in nodes {
                match &node.value {
                    Value::String(name) if name.contains('*') => {
                        let message = "expected a heap name, found a pattern";
                        self.fault(&node.origin, message);
                    }
                    Value::String(name) => match HeapName::new(name) {
                        Ok(name) => value.push(name),
                        Err(error) => self.fault(&node.origin, format!("the heap name {error}")),
                    },
                    other => self.expected(&node.origin, "a heap name", other),
                }
            }
            share.insert(usage.clone(), Sourced { value, origin });
        }
        share
    }

    fn evidence(&mut self, at: &Origin, table: &Table) -> Option<Evidence> {
        self.keys(table, &EVIDENCE_KEYS);
        let source = self.string(table, "source").map(|source| source.value);
        let all = EvidenceStatus::ALL;
        let firewall = self.word(table, "firewall", all).map(|firewall| firewall.value);
        let [kernel, firmware, date, observer, link] = FACTS.map(|fact| self.fact(table, fact));
        if !table.contains_key("status") {
            self.fault(at, NO_STATUS);
        }
        let status = self.word(table, "status", all)?.value;
        Some(Evidence { status, source, firewall, kernel, firmware, date, observer, link })
    }

    fn fact(&mut self, table: &Table, fact: Fact) -> Option<String> {
        let text = self.string(table, fact.as_str())?;
        if let Err(invalid) = fact.check(&text.value) {
            self.fault_with(&text.origin, invalid.to_string(), invalid.help());
            return None;
        }
        Some(text.value)
    }

    // Helpers that read one value of one type.

    fn expected(&mut self, at: &Origin, what: &str, found: &Value) {
        self.fault(at, format!("expected {what}, found {}", found.kind()));
    }

    pub(crate) fn keys(&mut self, table: &Table, known: &[&str]) {
        for (key, (at, _)) in table {
            if !known.contains(&key.as_str()) {
                let nearest = known.iter().min_by_key(|candidate| distance(key, candidate));
                let help = match nearest.filter(|nearest| distance(key, nearest) <= 2) {
                    Some(nearest) => format!("did you mean `{nearest}`?"),
                    None => format!("use one of: {}", known.join(", ")),
                };
                self.fault_with(at, format!("unknown key `{key}`"), Some(help));
            }
        }
    }

    fn table<'t>(&mut self, table: &'t Table, key: &str) -> Option<&'t Table> {
        let (_, node) = table.get(key)?;
        match &node.value {
            Value::Table(table) => Some(table),
            other => {
                self.expected(&node.origin, "a table", other);
                None
            }
        }
    }

    fn tables<T>(
        &mut self,
        table: &Table,
        key: &str,
        read: fn(&mut Self, &Origin, &Table) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let Some(tables) = self.table(table, key) else {
            return BTreeMap::new();
        };
        let mut all = BTreeMap::new();
        for (name, (at, _)) in tables {
            if let Some(inner) = self.table(tables, name)
                && let Some(value) = read(self, at, inner)
            {
                all.insert(name.clone(), value);
            }
        }
        all
    }

    fn array<'t>(&mut self, table: &'t Table, key: &str) -> Option<(Origin, &'t [Node])> {
        let (_, node) = table.get(key)?;
        match &node.value {
            Value::Array(nodes) => Some((node.origin.clone(), nodes)),
            other => {
                self.expected(&node.origin, "an array", other);
                None
            }
        }
    }

    pub(crate) fn string(&mut self, table: &Table, key: &str) -> Option<Sourced<String>> {
        let (_, node) = table.get(key)?;
        match &node.value {
            Value::String(text) => {
                Some(Sourced { value: text.clone(), origin: node.origin.clone() })
            }
            other => {
                self.expected(&node.origin, "a string", other);
                None
            }
        }
    }

    /// Reads a string that must be one of `all`.
    fn word<T: Copy + ToString>(
        &mut self,
        table: &Table,
        key: &str,
        all: &[T],
    ) -> Option<Sourced<T>> {
        let found = self.string(table, key)?;
        if let Some(value) = all.iter().find(|word| word.to_string() == found.value) {
            return Some(Sourced { value: *value, origin: found.origin });
        }
        let quoted: Vec<_> = all.iter().map(|word| format!("{:?}", word.to_string())).collect();
        let expected = match quoted.split_last() {
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        };
        self.fault(&found.origin, format!("expected {expected}"));
        None
    }

    fn boolean(&mut self, table: &Table, key: &str) -> Option<Sourced<bool>> {
        let (_, node) = table.get(key)?;
        match node.value {
            Value::Boolean(value) => Some(Sourced { value, origin: node.origin.clone() }),
            ref other => {
                self.expected(&node.origin, "true or false", other);
                None
            }
        }
    }
}

/// Returns whether `name` is a valid usage. It becomes the name of a link below
/// `/run/protheap/heaps`.
pub fn is_usage(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

/// Returns the edit distance between `a` and `b`: the number of characters to change, add or
/// remove.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, right) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(left != right);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests;

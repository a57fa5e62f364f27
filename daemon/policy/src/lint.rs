// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checks policy files for all errors and for likely mistakes, for their authors.
//!
//! At boot it matters only whether a file can be used: nothing here is part of it.

mod advice;
mod heaps;
mod recovery;
mod tested;
mod unshared;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use toml::de::DeTable;

use crate::cascade::DEFAULT;
use crate::conditions::Conditions;
use crate::diagnostic::{Diagnostic, Place, Severity};
use crate::fragment::{Fragment, file, too_large};
use crate::image::LocalPolicy;
use crate::name::{HeapName, Key};
use crate::node::{File, Node, Origin, Table, Value};
use crate::revision::Range;
use crate::schema::{self, Candidate, GPU_KEYS, GpuTable, NO_SCHEMA, NO_STATUS, Reader, Sourced};
use advice::{Advice, alike};
use heaps::{MAPPABLE_HEAPS, kernel_heaps};
use recovery::{Recovered, note_lines};

pub use advice::nearest;

/// Maximum number of faults to report for one file.
pub const MOST_FAULTS: usize = 1000;

/// Compatible strings of GPUs in `Documentation/devicetree/bindings/gpu/arm,mali-valhall-csf.yaml`.
const GPUS: [&str; 4] =
    ["arm,mali-valhall-csf", "rockchip,rk3588-mali", "mediatek,mt8196-mali", "nxp,imx95-mali"];

/// Name of a table for any GPU.
const ANY_GPU: &str = GPUS[0];

/// The only TEE with a revision attribute in Linux 7.3 (`get_tee_revision`, `drivers/tee`).
const TEE_WITH_REVISION: &str = "optee";

/// Maximum number of known names to compute the edit distance to.
const MOST_COMPARED: usize = 64;

/// Maximum number of candidates for one heap, or of bounds of ranges, to compare with each other.
const MOST_PAIRS: usize = 16;

/// A list of faults with a maximum length.
#[derive(Debug, Default)]
struct Faults {
    kept: Vec<Diagnostic>,
    more: usize,
}

impl Faults {
    fn push(&mut self, fault: impl FnOnce() -> Diagnostic) {
        if self.kept.len() < MOST_FAULTS {
            self.kept.push(fault());
        } else {
            self.more += 1;
        }
    }

    fn warn(&mut self, at: &Origin, message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into());
        self.push(|| at.fault(message.into()).as_warning().with_help(help));
    }
}

/// A file, and the result of checking it without regard to other files.
#[derive(Debug, Default)]
pub struct Checked {
    /// The policy, as far as it could be parsed.
    pub policy: Option<Fragment>,
    /// Problems of the file, in the order of the text.
    pub problems: Vec<Diagnostic>,
    /// Number of problems that exceed the maximum.
    pub more: usize,
    /// Content of the file.
    text: Option<Arc<File>>,
}

impl Checked {
    fn new(text: Option<Arc<File>>, policy: Option<Fragment>, faults: Faults) -> Self {
        let Faults { kept: mut problems, more } = faults;
        problems.sort_by_key(|fault| fault.place);
        Self { policy, problems, more, text }
    }

    /// Returns the position after the end of a problem of this file.
    pub fn end(&self, problem: &Diagnostic) -> Place {
        let text = self.text.as_ref().map_or("", |file| &file.text);
        Place::of(text, problem.span.1)
    }

    /// Returns whether the file is rejected.
    pub fn is_refused(&self) -> bool {
        self.problems.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// Returns the heaps that the file names.
    pub fn heaps(&self) -> BTreeSet<String> {
        let names = self.policy.iter().flat_map(|policy| mentions(policy).0);
        names.map(|mention| mention.name.to_owned()).collect()
    }
}

impl From<Diagnostic> for Checked {
    /// Creates the result for a file that cannot be checked further.
    fn from(problem: Diagnostic) -> Self {
        Self { problems: vec![problem], ..Self::default() }
    }
}

/// Checks the policy `path`, whose name contains `key`.
pub fn policy(key: &Key, path: &str, text: &str) -> Checked {
    let mut faults = Faults::default();
    let Some((recovered, file, table)) = read(key, path, text, &mut faults) else {
        return Checked::new(None, None, faults);
    };
    let root = Origin { file: Arc::clone(&file), span: (0, 0) };
    let mut reader = reader();
    let content = reader.content(&root, &table);
    let fragment = Fragment { file, table, content };
    note(reader, &recovered, Advice::for_policy(key, &fragment.table), &mut faults);
    warn_of_gpus(&fragment, &mut faults);
    if faults.kept.iter().all(|fault| fault.severity == Severity::Warning) {
        warn_of_share(&fragment, &mut faults);
    }
    tested::warn(&fragment, &mut faults);
    let is_error = |fault: &Diagnostic| fault.severity == Severity::Error;
    faults.kept.retain(|fault| is_error(fault) || !recovered.is_reported(fault.span));
    Checked::new(Some(Arc::clone(&fragment.file)), Some(fragment), faults)
}

/// Checks the `image.toml` at `path`.
pub fn image(path: &str, text: &str) -> Checked {
    let mut faults = Faults::default();
    let file = Key::new("image").ok().and_then(|key| {
        let (recovered, file, table) = read(&key, path, text, &mut faults)?;
        let mut reader = reader();
        LocalPolicy::read(&mut reader, &table);
        note(reader, &recovered, Advice::for_image(&table), &mut faults);
        Some(file)
    });
    Checked::new(file, None, faults)
}

/// Parses a text as far as possible, and adds a fault for each part that is not TOML.
fn read(
    key: &Key,
    path: &str,
    text: &str,
    faults: &mut Faults,
) -> Option<(Recovered, Arc<File>, Table)> {
    if let Some(fault) = too_large(path, text) {
        faults.push(|| fault);
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let (file, table) = file(key, path, text, table.into_inner());
        return Some((Recovered::default(), file, table));
    }
    let recovered = Recovered::of(path, text, faults);
    let (table, left) = DeTable::parse_recoverable(&recovered.text);
    note_lines(path, text, 0..text.len(), &recovered.unreported(left), faults);
    if faults.kept.is_empty() {
        note_lines(path, text, 0..text.len(), &errors, faults);
    }
    let (file, table) = file(key, path, text, table.into_inner());
    Some((recovered, file, table))
}

/// Returns a reader that keeps up to the maximum number of faults that are reported here.
fn reader() -> Reader {
    Reader { room: MOST_FAULTS - schema::MOST_FAULTS, ..Reader::default() }
}

/// Adds the reader's faults, except those that follow from omitted statements.
fn note(reader: Reader, recovered: &Recovered, mut advice: Advice, faults: &mut Faults) {
    faults.more += reader.more;
    for mut fault in reader.faults {
        let is_absence = fault.message == NO_SCHEMA || fault.message == NO_STATUS;
        if is_absence && recovered.is_damaged(fault.span.0) || recovered.is_reported(fault.span) {
            continue;
        }
        if let Some(help) = advice.take(fault.span) {
            fault.help = Some(help);
        }
        faults.push(|| fault);
    }
}

/// Returns the value of the key `name` in `table`.
fn value<'t>(table: &'t Table, name: &str) -> Option<&'t Value> {
    table.get(name).map(|(_, node)| &node.value)
}

/// Returns the tables in the table `name`, with their names.
fn tables<'t>(
    table: &'t Table,
    name: &str,
) -> impl Iterator<Item = (&'t str, &'t Origin, &'t Table)> {
    let inner = match value(table, name) {
        Some(Value::Table(inner)) => Some(inner),
        _ => None,
    };
    inner.into_iter().flatten().filter_map(|(name, (at, node))| match &node.value {
        Value::Table(table) => Some((name.as_str(), at, table)),
        _ => None,
    })
}

/// Returns the elements of the array `name`.
fn elements<'t>(table: &'t Table, name: &str) -> &'t [Node] {
    match value(table, name) {
        Some(Value::Array(nodes)) => nodes,
        _ => &[],
    }
}

fn warn_of_gpus(fragment: &Fragment, faults: &mut Faults) {
    for (name, at, table) in tables(&fragment.table, "gpu") {
        warn_of_name(name, at, table, faults);
        if let Some(gpu) = fragment.content.gpu.get(name) {
            warn_of_gpu(gpu, table, faults);
        }
    }
}

/// Warns of a table name that matches no GPU.
fn warn_of_name(name: &str, at: &Origin, table: &Table, faults: &mut Faults) {
    // `[gpu.suspend]` and `[gpu.fb000000.gpu]` are rejected with a help text that covers this.
    let is_part = |(key, (_, node)): (&String, &(Origin, Node))| {
        matches!(node.value, Value::Table(_)) && !GPU_KEYS.contains(&key.as_str())
    };
    if GPUS.contains(&name) || GPU_KEYS.contains(&name) || table.iter().any(is_part) {
        return;
    }
    let of_arm = || name.starts_with("arm,mali").then_some(ANY_GPU);
    if let Some(meant) = nearest(name, GPUS).or_else(of_arm) {
        let help = format!("did you mean `{meant}`?");
        faults.warn(at, format!("`{name}` is not a known GPU"), help);
    } else if !name.contains([',', '.', ':']) {
        let message = format!("`{name}` is neither a compatible string nor a device name");
        faults.warn(at, message, format!("use `{ANY_GPU}` for all Mali CSF GPUs"));
    }
}

fn warn_of_gpu(gpu: &GpuTable, table: &Table, faults: &mut Faults) {
    if let Some(Sourced { value: true, origin }) = &gpu.allow_unprotected {
        let help = "use it for driver bring-up only, and remove it before a release";
        faults.warn(origin, "a heap that the CPU can map may be bound", help);
    }
    let allows = matches!(gpu.allow_unprotected, Some(Sourced { value: true, .. }));
    let candidates = gpu.heaps.as_ref().map_or(&[][..], |heaps| &heaps.value);
    let awaited = candidates.iter().find_map(|candidate| {
        let provider = candidate.provider.as_deref().map(|name| ("provider", name));
        provider.or(candidate.module.as_deref().map(|name| ("module", name)))
    });
    if let (Some(Sourced { value: 0, origin }), Some((key, name))) = (&gpu.hold, awaited) {
        let help = format!("set a duration such as \"5s\", or remove `{key}`");
        faults.warn(origin, format!("no GPU is held for `{name}`"), help);
    }
    let mut same: HashMap<String, Vec<&Candidate>> = HashMap::new();
    let mut candidates = candidates.iter().peekable();
    for node in elements(table, "heaps") {
        // Candidates with faults are not in the list.
        let Some(candidate) = candidates.next_if(|one| one.origin.span == node.origin.span) else {
            continue;
        };
        if let Value::Table(table) = &node.value {
            warn_of_conditions(&candidate.conditions, table, faults);
            if let Some((_, Node { value: Value::String(name), origin })) = table.get("name")
                && !allows
                && MAPPABLE_HEAPS.contains(&name.as_str())
            {
                let help = "remove it, or set `allow-unprotected` for driver bring-up only";
                faults.warn(origin, "never bound: the CPU can map this heap's memory", help);
            }
        }
        let before = same.entry(candidate.name.to_string()).or_default();
        if let Some(first) = before.iter().find(|before| covers(before, candidate)) {
            let line = first.origin.place().line;
            let message = format!(
                "never reached: line {line} names this heap with the same or weaker conditions"
            );
            faults.warn(&node.origin, message, "remove it, or move it before that line");
        } else if before.len() < MOST_PAIRS {
            before.push(candidate);
        }
    }
}

/// Warns of conditions that no machine meets.
fn warn_of_conditions(conditions: &Conditions, table: &Table, faults: &mut Faults) {
    let ranges = [
        ("tee-revision", &conditions.tee_revision),
        ("kernel", &conditions.kernel),
        ("soc-revision", &conditions.soc_revision),
    ];
    for (key, range) in ranges {
        if let (Some(range), Some((_, node))) = (range, table.get(key))
            && is_empty(range)
        {
            let help = "all bounds must hold, as in \">=4.2, <4.6\"";
            faults.warn(&node.origin, format!("the range {range} contains no revision"), help);
        }
    }
    if let (Some(tee), Some(_), Some((at, _))) =
        (&conditions.tee, &conditions.tee_revision, table.get("tee-revision"))
        && tee != TEE_WITH_REVISION
    {
        let help = format!("remove `tee-revision`, which only {TEE_WITH_REVISION} reports");
        faults.warn(at, format!("never met: {tee} does not report its revision"), help);
    }
}

/// Returns whether `first` is a candidate under all conditions under which `later` is one.
fn covers(first: &Candidate, later: &Candidate) -> bool {
    let wider = |first: &Option<Range>, later: &Option<Range>| match (first, later) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(first), Some(later)) => is_within(later, first),
    };
    let freer = |first: &Option<String>, later: &Option<String>| first.is_none() || first == later;
    let (one, other) = (&first.conditions, &later.conditions);
    // Provider and module only determine what to wait for. They are no conditions.
    freer(&later.provider, &first.provider)
        && freer(&later.module, &first.module)
        && freer(&one.tee, &other.tee)
        && freer(&one.soc_id, &other.soc_id)
        && wider(&one.tee_revision, &other.tee_revision)
        && wider(&one.kernel, &other.kernel)
        && wider(&one.soc_revision, &other.soc_revision)
}

/// Returns one revision of each kind that the ranges can distinguish: the least, each limit, and
/// one directly after each limit. Returns `None` if there are too many.
fn samples(ranges: &[&Range]) -> Option<Vec<String>> {
    let text = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let limits: Vec<_> =
        text.split(',').map(|bound| bound.trim_start_matches([' ', '<', '>', '='])).collect();
    let parts = |limit: &str| limit.matches('.').count();
    let most = limits.iter().map(|limit| parts(limit)).max()?;
    // The result is less than any greater limit.
    let after = |limit: &&str| format!("{limit}{}.1", ".0".repeat(most - parts(limit)));
    let all = limits.iter().map(ToString::to_string).chain(limits.iter().map(after));
    (limits.len() <= MOST_PAIRS).then(|| std::iter::once("0".to_owned()).chain(all).collect())
}

fn is_empty(range: &Range) -> bool {
    samples(&[range]).is_some_and(|all| !all.iter().any(|one| range.contains(one)))
}

fn is_within(inner: &Range, outer: &Range) -> bool {
    let inside = |one: &String| !inner.contains(one) || outer.contains(one);
    samples(&[inner, outer]).is_some_and(|all| all.iter().all(inside))
}

/// Heaps that a device can use for one usage.
struct List<'f> {
    device: &'f str,
    key: &'f Origin,
    at: &'f Origin,
    heaps: HashSet<&'f str>,
}

/// Warns of usages that no heap can meet.
fn warn_of_share(fragment: &Fragment, faults: &mut Faults) {
    let mut usages: BTreeMap<&str, Vec<List<'_>>> = BTreeMap::new();
    let mut devices = 0;
    for (device, _, table) in tables(&fragment.table, "share") {
        devices += 1;
        for (usage, (key, node)) in table {
            let Value::Array(heaps) = &node.value else { continue };
            if heaps.is_empty() {
                let help = "name the heaps that the device can use, or remove the usage";
                faults.warn(
                    &node.origin,
                    format!("the list of heaps for `{usage}` is empty"),
                    help,
                );
            }
            let heaps = heaps.iter().filter_map(|heap| text(&heap.value)).collect();
            let list = List { device, key, at: &node.origin, heaps };
            usages.entry(usage).or_default().push(list);
        }
    }
    for (usage, lists) in &usages {
        let is_common = |heap: &&str| lists.iter().all(|list| list.heaps.contains(*heap));
        match lists.as_slice() {
            // A policy with a single device may have usages of that device alone.
            [List { device, key, .. }] if devices > 1 => {
                let others = usages.keys().copied().filter(|other| other != usage);
                let help = match nearest(usage, others.take(MOST_COMPARED)) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "add the usage to another device, or remove it".to_owned(),
                };
                faults.warn(key, format!("only `{device}` has the usage `{usage}`"), help);
            }
            [first, ..]
                if lists.iter().all(|list| !list.heaps.is_empty())
                    && !first.heaps.iter().any(is_common) =>
            {
                let message = format!("the devices have no heap in common for `{usage}`");
                faults.warn(first.at, message, "add a heap to the lists of all devices");
            }
            _ => {}
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// A heap name in a policy.
struct Mention<'f> {
    name: &'f str,
    at: &'f Origin,
    /// Whether the name is that of a candidate.
    is_candidate: bool,
}

/// Returns the heaps that a policy names, each at its first position, and the prefixes.
fn mentions(fragment: &Fragment) -> (Vec<Mention<'_>>, Vec<&str>) {
    let candidates = tables(&fragment.table, "gpu")
        .flat_map(|(_, _, gpu)| elements(gpu, "heaps"))
        .filter_map(|node| match &node.value {
            Value::Table(candidate) => candidate.get("name").map(|(_, node)| (node, true)),
            _ => None,
        });
    let shared = tables(&fragment.table, "share")
        .flat_map(|(_, _, device)| device.keys().flat_map(|usage| elements(device, usage)))
        .map(|node| (node, false));
    let (mut names, mut prefixes, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    for (node, is_candidate) in candidates.chain(shared) {
        let Some(name) = text(&node.value) else { continue };
        match name.strip_suffix('*') {
            Some(prefix) => prefixes.push(prefix),
            None if HeapName::new(name).is_ok() && seen.insert(name) => {
                names.push(Mention { name, at: &node.origin, is_candidate });
            }
            None => {}
        }
    }
    (names, prefixes)
}

/// Returns the heap names for which a policy has evidence, with their positions.
fn evidence(fragment: &Fragment) -> impl Iterator<Item = (&str, &Origin)> {
    tables(&fragment.table, "evidence").map(|(name, at, _)| (name, at))
}

/// Combined contents of the files of one key.
#[derive(Default)]
struct Together<'f> {
    named: HashSet<&'f str>,
    prefixes: BTreeSet<&'f str>,
    evidence: HashSet<&'f str>,
    /// Whether one of the files is rejected. It may contain what the others lack.
    is_broken: bool,
}

impl Together<'_> {
    fn uses(&self, heap: &str) -> bool {
        self.named.contains(heap) || self.prefixes.iter().any(|prefix| heap.starts_with(prefix))
    }
}

/// Adds the problems that concern several policies. `heaps` returns names that are known from other
/// sources. It is called only if a name is not known otherwise.
pub fn between(files: &mut [Checked], heaps: &mut dyn FnMut() -> BTreeSet<String>) {
    let unshared = unshared::warnings(files);
    let warnings = warnings_between(files, heaps);
    for (file, found) in files.iter_mut().zip(warnings) {
        file.more += found.more;
        file.problems.extend(found.kept);
    }
    for (file, found) in files.iter_mut().zip(unshared) {
        file.more += found.more;
        file.problems.extend(found.kept);
        file.problems.sort_by_key(|fault| fault.place);
    }
}

fn warnings_between(files: &[Checked], heaps: &mut dyn FnMut() -> BTreeSet<String>) -> Vec<Faults> {
    // `all` combines all keys, because `default` applies to every board.
    let (mut keys, mut all) = (HashMap::<&str, Together<'_>>::new(), Together::default());
    let mut files_with = HashMap::<&str, usize>::new();
    let said: Vec<_> = files.iter().map(|file| file.policy.as_ref().map(mentions)).collect();
    for (file, said) in files.iter().zip(&said) {
        let (Some(fragment), Some((names, prefixes))) = (&file.policy, said) else { continue };
        for key in [keys.entry(fragment.file.key.as_str()).or_default(), &mut all] {
            key.named.extend(names.iter().map(|mention| mention.name));
            key.prefixes.extend(prefixes);
            key.evidence.extend(evidence(fragment).map(|(name, _)| name));
            key.is_broken |= file.is_refused();
        }
        for mention in names {
            *files_with.entry(mention.name).or_default() += 1;
        }
    }
    let default = keys.remove(DEFAULT).unwrap_or_default();
    let mut known = Known::new(&all.evidence, &files_with, heaps);
    let warn = |(file, said): (&Checked, &Option<(Vec<Mention<'_>>, _)>)| {
        let mut faults = Faults::default();
        let (Some(fragment), Some((names, _))) = (&file.policy, said) else { return faults };
        let own = keys.get(fragment.file.key.as_str()).unwrap_or(&default);
        let users = if fragment.file.key.as_str() == DEFAULT { &all } else { own };
        for Mention { name, at, is_candidate } in names {
            if let Some(meant) = known.near(name) {
                let help = format!("did you mean `{meant}`?");
                faults.warn(at, format!("`{name}` is not a known heap"), help);
            } else if *is_candidate
                && !MAPPABLE_HEAPS.contains(name)
                && ![own, &default].iter().any(|key| key.is_broken || key.evidence.contains(name))
            {
                let help = format!(
                    "add [evidence.\"{name}\"] with a `status`: tested, documented or unverified"
                );
                faults.warn(at, format!("no evidence for the heap name `{name}`"), help);
            }
        }
        for (name, at) in evidence(fragment).filter(|(name, _)| !users.uses(name)) {
            if !users.is_broken {
                let used = names.iter().map(|mention| mention.name).take(MOST_COMPARED);
                let help = match nearest(name, used) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => "remove it, or add the heap to a list".to_owned(),
                };
                faults.warn(at, format!("unused evidence for `{name}`"), help);
            }
        }
        faults
    };
    files.iter().zip(&said).map(warn).collect()
}

/// Known heap names.
struct Known<'f> {
    evidence: &'f HashSet<&'f str>,
    files_with: &'f HashMap<&'f str, usize>,
    elsewhere: &'f mut dyn FnMut() -> BTreeSet<String>,
    /// All known names, and a map from their normalized forms. Computed on first use.
    all: Option<(BTreeSet<String>, HashMap<String, String>)>,
}

impl<'f> Known<'f> {
    fn new(
        evidence: &'f HashSet<&'f str>,
        files_with: &'f HashMap<&'f str, usize>,
        elsewhere: &'f mut dyn FnMut() -> BTreeSet<String>,
    ) -> Self {
        Self { evidence, files_with, elsewhere, all: None }
    }

    /// Returns the known name that an unknown `name` most likely means.
    fn near(&mut self, name: &str) -> Option<String> {
        let files_with = self.files_with;
        // Several files can contain the same typing mistake.
        let is_slip = |name: &str| nearest(name, kernel_heaps()).is_some();
        let is_common =
            |name: &str| files_with.get(name).is_some_and(|files| *files > 1) && !is_slip(name);
        if kernel_heaps().any(|heap| heap == name)
            || self.evidence.contains(name)
            || is_common(name)
        {
            return None;
        }
        let (all, by_likeness) = self.all.get_or_insert_with(|| {
            let mut all = (self.elsewhere)();
            all.extend(kernel_heaps().map(str::to_owned));
            all.extend(self.evidence.iter().map(ToString::to_string));
            let common = files_with.keys().filter(|name| is_common(name));
            all.extend(common.map(ToString::to_string));
            let by_likeness = all.iter().map(|name| (alike(name), name.clone())).collect();
            (all, by_likeness)
        });
        if all.contains(name) {
            return None;
        }
        let alike = by_likeness.get(&alike(name)).map(String::as_str);
        let others = all.iter().map(String::as_str).take(MOST_COMPARED);
        let compared = kernel_heaps().chain(others);
        alike.or_else(|| nearest(name, compared)).map(str::to_owned)
    }
}

#[cfg(test)]
mod tests;

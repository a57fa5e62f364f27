// SPDX-License-Identifier: MIT OR Apache-2.0

//! State file `/run/protheap/state.json`. The binder and the daemon write it; any program may read
//! it.
//!
//! `docs/state.md` describes the members.

use std::collections::BTreeMap;

use protheap_policy::diagnostic::Diagnostic;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::Policy;
use protheap_policy::schema::EvidenceStatus;
use serde::{Deserialize, Serialize};

use crate::facts::{Delivery, Facts, Platform, Protection, Section, Verdict};
use crate::next::Next;
use crate::state::{Reason, State, optional_word};
use crate::timeline::{Monotonic, Step};
use crate::trace::{Considered, Outcome};

/// Path of the file below the root.
pub const PATH: &str = "run/protheap/state.json";
/// Maximum size of the file, in bytes.
pub const LARGEST: usize = 1 << 20;
/// Version of the file's format.
pub const SCHEMA: u32 = 1;

/// The content of the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StateFile {
    /// Version of the format.
    pub schema: u32,
    /// Name and version of the program that wrote the file.
    #[serde(default)]
    pub written_by: String,
    /// The board.
    #[serde(default)]
    pub platform: Platform,
    /// Keys of the applicable policy files, most specific first.
    #[serde(default)]
    pub policies: Vec<Key>,
    /// Mechanism that delivers a binding to a GPU driver: of those of the GPUs, the first in the
    /// order of precedence.
    pub delivery: Option<Delivery>,
    /// Rejected files and attributes.
    #[serde(default)]
    pub refused: Vec<Refused>,
    /// The GPUs.
    #[serde(default)]
    pub gpus: Vec<GpuState>,
    /// Heap that suits a whole media pipeline, by usage.
    #[serde(default)]
    pub heaps: BTreeMap<String, HeapName>,
    /// Reliability of what the policies say about these heaps.
    #[serde(default)]
    pub evidence: BTreeMap<HeapName, HeapEvidence>,
}

/// Reliability of what the policies say about a heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeapEvidence {
    /// Reliability of the heap's name; `None` if no policy has evidence for it.
    pub status: Option<EvidenceStatus>,
    /// Reliability of the claim that a firewall protects the heap's memory.
    pub firewall: Option<EvidenceStatus>,
}

impl HeapEvidence {
    /// Returns the evidence for `heap`.
    pub fn of(policy: &Policy, heap: &HeapName) -> Self {
        let evidence = policy.evidence(heap);
        Self {
            status: evidence.map(|evidence| evidence.status),
            firewall: evidence.and_then(|evidence| evidence.firewall),
        }
    }
}

/// A rejected file or attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its path.
    pub path: String,
    /// Line of the error, from 1; 0 for the whole file.
    #[serde(default)]
    pub line: usize,
    /// Column of the error, from 1; 0 for the whole file.
    #[serde(default)]
    pub column: usize,
    /// The error.
    pub message: String,
    /// Whether the last valid content of the file still applies.
    #[serde(default)]
    pub kept: bool,
}

impl Refused {
    /// Makes an entry that concerns a file as a whole.
    pub fn whole(path: impl Into<String>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        Self { path, line: 0, column: 0, message, kept: false }
    }
}

impl From<&Diagnostic> for Refused {
    fn from(fault: &Diagnostic) -> Self {
        let (line, column) = (fault.place.line, fault.place.column);
        Self { line, column, ..Self::whole(&fault.path, &fault.message) }
    }
}

/// The state of one GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "docs/state.md describes the members")]
pub struct GpuState {
    pub device: DeviceName,
    #[serde(default)]
    pub compatible: Vec<String>,
    pub driver: Option<String>,
    pub delivery: Option<Delivery>,
    pub state: State,
    #[serde(default, with = "optional_word")]
    pub reason: Option<Reason>,
    pub heap: Option<HeapName>,
    pub protection: Option<Protection>,
    pub exporter: Option<String>,
    pub evidence: Option<EvidenceStatus>,
    pub firewall: Option<EvidenceStatus>,
    pub policy: Option<Key>,
    pub firmware_bytes: Option<u64>,
    pub suspend_bytes: Option<u64>,
    pub suspend_count: Option<u32>,
    pub suspend_buffers: Option<u32>,
    pub suspend_shortage: Option<String>,
    pub next: Option<Next>,
    #[serde(default)]
    pub held_us: u64,
    #[serde(default)]
    pub considered: Vec<Considered>,
    #[serde(default)]
    pub timeline: Vec<Step>,
}

impl StateFile {
    /// Returns the state of one GPU.
    pub fn gpu(&self, device: &DeviceName) -> Option<&GpuState> {
        self.gpus.iter().find(|gpu| gpu.device == *device)
    }

    /// Returns the protected section of a firmware whose driver takes a buffer by ioctl.
    pub fn section(&self, device: &DeviceName) -> Option<Section> {
        let gpu = self.gpu(device).filter(|gpu| gpu.delivery == Some(Delivery::Ioctl))?;
        Some(Section { firmware_bytes: gpu.firmware_bytes?, suspend_bytes: gpu.suspend_bytes? })
    }

    /// Returns the name of the program that wrote the file.
    pub fn program(&self) -> &str {
        self.written_by.split(' ').next().unwrap_or_default()
    }

    /// Adds the verdicts on heaps to `facts`.
    pub fn add_verdicts(&self, facts: &mut Facts) {
        for (device, gpu) in &mut facts.gpus {
            if let Some(state) = self.gpu(device) {
                gpu.verdicts.extend(state.verdicts());
            }
        }
    }
}

impl GpuState {
    /// Returns the time at which the GPU was bound or its binding was adopted, in microseconds of
    /// `CLOCK_MONOTONIC`; `None` if it is not bound.
    pub fn bound_at(&self) -> Option<u64> {
        // An adopted binding may be in use from its first step on.
        let last = |word| self.timeline.iter().rev().find(|step| step.step == word);
        let bound = last("bound").or(last("in-use")).filter(|_| self.state.is_bound());
        bound.map(|step| step.at.0)
    }

    /// Returns the position of the bound candidate in its policy file.
    pub fn origin(&self) -> Option<&str> {
        let is_bound = |one: &&Considered| matches!(one.outcome, Outcome::Bound | Outcome::Chosen);
        Some(&self.considered.iter().find(is_bound)?.origin)
    }

    /// Returns the detail of the first candidate whose outcome is the reason of the state.
    pub fn detail(&self) -> Option<&str> {
        let outcome = match self.reason? {
            Reason::NoHeap => Outcome::Absent,
            Reason::HeapTooSmall => Outcome::TooSmall,
            Reason::HeapNotProtected => Outcome::NotProtected,
            Reason::HeapDead => Outcome::Dead,
            _ => return None,
        };
        let is_it = |one: &&Considered| one.outcome == outcome && !one.detail.is_empty();
        Some(&self.considered.iter().find(is_it)?.detail)
    }

    /// Returns the heap and the key of the policy file that named it.
    pub(crate) fn named(&self) -> Option<(HeapName, Key)> {
        self.heap.clone().zip(self.policy.clone())
    }

    /// Returns the steps up to `now`.
    pub(crate) fn timeline_until(&self, now: Monotonic) -> impl Iterator<Item = &Step> {
        self.timeline.iter().filter(move |step| step.at <= now)
    }

    fn verdicts(&self) -> Vec<(HeapName, Verdict)> {
        let allocated = |protection| {
            let exporter = self.exporter.clone().unwrap_or_else(|| "unknown".to_owned());
            Verdict::Allocated { protection, exporter, shortage: None }
        };
        let mut verdicts = Vec::new();
        for considered in &self.considered {
            let verdict = match considered.outcome {
                Outcome::Dead => Verdict::Dead,
                Outcome::TooSmall => Verdict::TooSmall(considered.detail.clone()),
                Outcome::NotProtected => allocated(Protection::None),
                _ => continue,
            };
            verdicts.extend(HeapName::new(&considered.candidate).ok().map(|heap| (heap, verdict)));
        }
        let heap = self.heap.clone().filter(|_| self.state.is_bound());
        verdicts.extend(heap.zip(self.protection.map(allocated)));
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Gpu;

    /// Returns the state of `a.gpu` with these members besides its name.
    fn gpu(members: &str) -> GpuState {
        serde_json::from_str(&format!(r#"{{"device": "a.gpu", {members}}}"#)).unwrap()
    }

    /// Returns the member `considered` with these candidates, outcomes and details.
    fn considered(all: &[(&str, Outcome, &str)]) -> String {
        let one = |(index, (candidate, outcome, detail)): (usize, &(&str, Outcome, &str))| {
            format!(
                r#"{{"candidate": "{candidate}", "origin": "a.toml:{index}:1", "outcome": "{outcome}", "detail": "{detail}"}}"#
            )
        };
        let all: Vec<_> = all.iter().enumerate().map(one).collect();
        format!(r#""considered": [{}]"#, all.join(", "))
    }

    fn failed(reason: Reason, all: &[(&str, Outcome, &str)]) -> GpuState {
        gpu(&format!(r#""state": "failed", "reason": "{reason}", {}"#, considered(all)))
    }

    #[test]
    fn absent_reason_is_an_empty_word() {
        let bound = gpu(r#""state": "bound", "reason": """#);
        assert_eq!(bound.reason, None);
        assert_eq!(serde_json::to_value(&bound).unwrap()["reason"], "");
        let late = gpu(r#""state": "unprotected", "reason": "heap-late""#);
        assert_eq!(late.reason, Some(Reason::HeapLate));
        assert_eq!(serde_json::to_value(&late).unwrap()["reason"], "heap-late");
        let unknown = r#"{"device": "a.gpu", "state": "failed", "reason": "no-such-word"}"#;
        assert!(serde_json::from_str::<GpuState>(unknown).is_err());
    }

    #[test]
    fn refused_file_has_the_position_of_its_fault() {
        let text = "schema = 1\nx = 2\n";
        let fault = Diagnostic::new("a.toml", text, 11..12, "unknown key `x`".into());
        let refused = Refused::from(&fault);
        assert_eq!((refused.line, refused.column, refused.kept), (2, 1, false));
        assert_eq!((&*refused.path, &*refused.message), ("a.toml", "unknown key `x`"));
        let whole = Refused::whole("a.toml", "is a directory");
        assert_eq!((whole.line, whole.column), (0, 0));
    }

    #[test]
    fn program_is_the_first_word_of_its_writer() {
        let program = |written_by: &str| {
            let file = format!(r#"{{"schema": 1, "written_by": "{written_by}"}}"#);
            serde_json::from_str::<StateFile>(&file).unwrap().program().to_owned()
        };
        assert_eq!(program("protheapd 0.1.0"), "protheapd");
        assert_eq!(program(""), "");
    }

    #[test]
    fn section_is_that_of_a_gpu_with_delivery_by_ioctl() {
        let section = |delivery: &str, members: &str| {
            let gpu = gpu(&format!(r#""state": "bound", "delivery": "{delivery}"{members}"#));
            StateFile { gpus: vec![gpu], ..empty() }.section(&DeviceName::new("a.gpu").unwrap())
        };
        let sizes = r#", "firmware_bytes": 4096, "suspend_bytes": 8192"#;
        let found = Some(Section { firmware_bytes: 4096, suspend_bytes: 8192 });
        assert_eq!(section("ioctl", sizes), found);
        assert_eq!(section("ioctl", ""), None);
        assert_eq!(section("module", sizes), None);
    }

    #[test]
    fn origin_is_that_of_the_bound_candidate() {
        let origin = |outcome| {
            let all = [("a", Outcome::Absent, ""), ("b", outcome, "")];
            gpu(&format!(r#""state": "bound", {}"#, considered(&all))).origin().map(str::to_owned)
        };
        assert_eq!(origin(Outcome::Bound).as_deref(), Some("a.toml:1:1"));
        assert_eq!(origin(Outcome::Chosen).as_deref(), Some("a.toml:1:1"));
        assert_eq!(origin(Outcome::Untried), None);
    }

    #[test]
    fn detail_is_that_of_the_first_candidate_with_the_outcome_of_the_reason() {
        for (reason, outcome) in [
            (Reason::NoHeap, Outcome::Absent),
            (Reason::HeapTooSmall, Outcome::TooSmall),
            (Reason::HeapNotProtected, Outcome::NotProtected),
            (Reason::HeapDead, Outcome::Dead),
        ] {
            let all = [
                ("a", Outcome::ConditionUnmet, "another"),
                ("b", outcome, ""),
                ("c", outcome, "first"),
                ("d", outcome, "second"),
            ];
            assert_eq!(failed(reason, &all).detail(), Some("first"), "{reason}");
            assert_eq!(failed(reason, &all[..2]).detail(), None, "{reason}");
        }
        let all = [("a", Outcome::Absent, "probe failed")];
        assert_eq!(failed(Reason::HeapLate, &all).detail(), None);
        assert_eq!(gpu(&format!(r#""state": "bound", {}"#, considered(&all))).detail(), None);
    }

    #[test]
    fn verdicts_are_those_of_rejected_heaps_and_of_the_bound_one() {
        let verdicts = |members: &str| {
            let file = StateFile { gpus: vec![gpu(members)], ..empty() };
            let mut facts = Facts::default();
            for name in ["a.gpu", "b.gpu"] {
                facts.gpus.insert(DeviceName::new(name).unwrap(), Gpu::default());
            }
            file.add_verdicts(&mut facts);
            assert_eq!(facts.gpus[&DeviceName::new("b.gpu").unwrap()], Gpu::default());
            let verdicts = facts.gpus.remove(&DeviceName::new("a.gpu").unwrap()).unwrap().verdicts;
            verdicts.into_iter().map(|(heap, verdict)| (heap.to_string(), verdict)).collect()
        };
        let all = considered(&[
            ("dead", Outcome::Dead, ""),
            ("small", Outcome::TooSmall, "no memory"),
            ("open", Outcome::NotProtected, ""),
            ("absent", Outcome::Absent, ""),
        ]);
        let allocated = |protection, exporter: &str| {
            let exporter = exporter.to_owned();
            Verdict::Allocated { protection, exporter, shortage: None }
        };
        let rejected = vec![
            ("dead".to_owned(), Verdict::Dead),
            ("open".to_owned(), allocated(Protection::None, "unknown")),
            ("small".to_owned(), Verdict::TooSmall("no memory".into())),
        ];
        let found: Vec<_> = verdicts(&format!(r#""state": "failed", {all}"#));
        assert_eq!(found, rejected);
        let bound = |state: &str| {
            let members = format!(
                r#""state": "{state}", "heap": "good", "protection": "tee", "exporter": "tee""#
            );
            verdicts(&members)
        };
        assert_eq!(bound("in-use"), [("good".to_owned(), allocated(Protection::Tee, "tee"))]);
        assert_eq!(bound("failed"), []);
    }

    fn empty() -> StateFile {
        serde_json::from_str(r#"{"schema": 1}"#).unwrap()
    }
}

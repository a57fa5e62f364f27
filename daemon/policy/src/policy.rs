// SPDX-License-Identifier: MIT OR Apache-2.0

//! What applies to a board, checked and complete.

use std::sync::Arc;

use crate::fragment::Fragment;
use crate::merged::Merged;
use crate::name::{DeviceName, HeapName, Key};
use crate::node::{File, Node, Origin, Table, Value};
use crate::schema::{Bind, Candidate, Content, GpuTable, Pattern, Reader};

/// How long a GPU is held at most where no policy says it, in microseconds.
pub const HOLD: u64 = 5_000_000;

/// The size of a suspend buffer where no policy says it, in bytes. Nobody has published what
/// firmware asks for; it is only used until the firmware has said its own.
pub const SUSPEND_BYTES: u64 = 64 * 1024;

/// The number of suspend buffers where no policy says it.
pub const SUSPEND_COUNT: u32 = 16;

/// What applies to a board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    merged: Merged,
    content: Content,
    closed: bool,
    /// What an earlier run has bound, for all GPUs.
    kept: Option<HeapName>,
}

impl Policy {
    /// Makes a policy of all files that apply.
    pub fn new(merged: Merged) -> Self {
        let mut table = merged.top("share");
        table.extend(merged.top("evidence"));
        // Every fragment was checked on its own, and no check looks beyond one file: what the
        // reader would say of the missing `schema` is not a fault here.
        let content = match merged.fragments().first() {
            Some(first) => {
                let root = Origin { file: Arc::clone(&first.file), span: (0, 0) };
                Reader::default().content(&root, &table)
            }
            None => Content::default(),
        };
        Self { merged, content, closed: false, kept: None }
    }

    /// The same where an image lets no other policies count than its own: what the initrd bound is
    /// not decided again.
    #[must_use]
    pub fn closed(self, closed: bool) -> Self {
        Self { closed, ..self }
    }

    /// The same after an earlier run has bound `heap` for all GPUs.
    #[must_use]
    pub fn keeping_to(self, heap: HeapName) -> Self {
        Self { kept: Some(heap), ..self }
    }

    /// The files that apply, the most general first.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = &File> {
        self.merged.fragments().iter().map(|fragment| &*fragment.file)
    }

    /// The keys of the files that apply, the most specific first, each once.
    pub fn keys(&self) -> Vec<&Key> {
        let mut keys: Vec<_> = self.files().rev().map(|file| &file.key).collect();
        keys.dedup();
        keys
    }

    /// What applies to one GPU; `None` if no file names heaps for it.
    pub fn gpu(&self, device: &DeviceName, compatible: &[String]) -> Option<GpuPolicy> {
        let table = self.merged.gpu(device, compatible)?;
        let table = Reader::default().gpu(&table);
        table.heaps.as_ref()?;
        let mut gpu = GpuPolicy { table, closed: self.closed };
        if let Some(heap) = &self.kept {
            gpu.keep_to(heap);
        }
        Some(gpu)
    }

    /// What the devices of a media pipeline can use, and how names are known.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// The names of all tables for GPUs, in any file, and where each stands.
    pub fn gpu_tables(&self) -> impl Iterator<Item = (&str, &Origin)> {
        fn gpus(fragment: &Fragment) -> Option<&Table> {
            match fragment.table.get("gpu") {
                Some((_, Node { value: Value::Table(gpus), .. })) => Some(gpus),
                _ => None,
            }
        }
        let tables = self.merged.fragments().iter().filter_map(gpus).flatten();
        tables.map(|(name, (origin, _))| (name.as_str(), origin))
    }

    /// Some candidate is one only of a certain SoC.
    pub fn asks_for_soc(&self) -> bool {
        self.candidates().any(|heap| heap.conditions.ask_for_soc())
    }

    /// The compatible strings that heaps name as their `provider`, in any file.
    pub fn provider_compatibles(&self) -> Vec<&str> {
        self.candidates().filter_map(|heap| heap.provider.as_deref()).collect()
    }

    /// The candidates of all GPUs, in any file.
    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        let gpus = self.merged.fragments().iter().flat_map(|file| file.content.gpu.values());
        gpus.flat_map(|gpu| &gpu.heaps).flat_map(|heaps| &heaps.value)
    }
}

/// What applies to one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuPolicy {
    table: GpuTable,
    closed: bool,
}

impl GpuPolicy {
    /// The heaps that may be bound, in the order of preference.
    pub fn heaps(&self) -> &[Candidate] {
        self.table.heaps.as_ref().map_or(&[], |heaps| &heaps.value)
    }

    /// An earlier run has bound `heap`: where the image is closed, nothing else is a candidate any
    /// more.
    pub fn keep_to(&mut self, heap: &HeapName) {
        if self.closed
            && let Some(heaps) = &mut self.table.heaps
        {
            heaps.value.retain(|candidate| candidate.name.fits(heap));
            for candidate in &mut heaps.value {
                candidate.name = Pattern::Exact(heap.clone());
            }
        }
    }

    /// When a heap is bound.
    pub fn bind(&self) -> Bind {
        self.table.bind.as_ref().map_or(Bind::Boot, |bind| bind.value)
    }

    /// How long the GPU's probe may be held at most, in microseconds. A GPU that is bound on demand is
    /// not held.
    pub fn hold(&self) -> u64 {
        self.table.hold.as_ref().map_or(HOLD, |hold| hold.value)
    }

    /// The size of a suspend buffer until the firmware says its own, in bytes.
    pub fn suspend_bytes(&self) -> u64 {
        self.table.suspend_bytes.as_ref().map_or(SUSPEND_BYTES, |bytes| bytes.value)
    }

    /// How many suspend buffers there are at most.
    pub fn suspend_count(&self) -> u32 {
        self.table.suspend_count.as_ref().map_or(SUSPEND_COUNT, |count| count.value)
    }

    /// The firmware image that the GPU loads, such as `arch10.8`.
    pub fn firmware(&self) -> Option<&str> {
        self.table.firmware.as_ref().map(|firmware| firmware.value.as_str())
    }

    /// Memory that can be mapped may be bound.
    pub fn allow_unprotected(&self) -> bool {
        self.table.allow_unprotected.as_ref().is_some_and(|allow| allow.value)
    }

    /// Every value with its origin.
    pub fn table(&self) -> &GpuTable {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(files: &[(&str, &str)]) -> Policy {
        let fragments = files
            .iter()
            .map(|(key, text)| {
                let text = format!("schema = 1\n{text}");
                Fragment::parse(&Key::new(key).unwrap(), &format!("{key}.toml"), &text).unwrap()
            })
            .collect();
        Policy::new(Merged::new(fragments))
    }

    fn gpu(policy: &Policy) -> GpuPolicy {
        let compatible = ["rockchip,rk3588-mali".to_owned(), "arm,mali-valhall-csf".to_owned()];
        policy.gpu(&DeviceName::new("fb000000.gpu").unwrap(), &compatible).unwrap()
    }

    fn names(policy: &GpuPolicy) -> Vec<String> {
        policy.heaps().iter().map(|heap| heap.name.to_string()).collect()
    }

    #[test]
    fn a_board_refines_its_platform() {
        let policy = policy(&[
            ("default", "[gpu.'arm,mali-valhall-csf']\nheaps = [{name='protected,*'}]\n"),
            (
                "acme,a9",
                "[gpu.'arm,mali-valhall-csf']\nheaps = [{name='svp'}]\nhold = '2s'\nsuspend = {bytes='128KiB', count=4}\n",
            ),
            ("acme,a9-kiosk", "[gpu.'arm,mali-valhall-csf']\nsuspend = {count=8}\n"),
        ]);
        let gpu = gpu(&policy);
        assert_eq!(names(&gpu), ["svp"]);
        assert_eq!((gpu.hold(), gpu.suspend_bytes(), gpu.suspend_count()), (2_000_000, 131_072, 8));
        let table = gpu.table();
        let origin = |origin: &Origin| origin.to_string();
        assert_eq!(
            origin(&table.suspend_count.as_ref().unwrap().origin),
            "acme,a9-kiosk.toml:3:18"
        );
        assert_eq!(origin(&table.suspend_bytes.as_ref().unwrap().origin), "acme,a9.toml:5:18");
        assert_eq!(
            policy.keys().iter().map(|k| k.as_str()).collect::<Vec<_>>(),
            ["acme,a9-kiosk", "acme,a9", "default"]
        );
    }

    #[test]
    fn the_file_outranks_the_keys_specificity() {
        let policy = policy(&[
            ("default", "[gpu.'fb000000.gpu']\nheaps = [{name='by-name'}]\nhold = '1s'\n"),
            (
                "acme,a9",
                "[gpu.'rockchip,rk3588-mali']\nheaps = [{name='specific'}]\n[gpu.'arm,mali-valhall-csf']\nheaps = [{name='general'}]\nhold = '3s'\n",
            ),
        ]);
        let gpu = gpu(&policy);
        assert_eq!(names(&gpu), ["specific"]);
        assert_eq!(gpu.hold(), 1_000_000);
    }

    #[test]
    fn a_gpu_that_no_file_gives_heaps_has_no_policy() {
        let policy = policy(&[("default", "[gpu.'arm,mali-valhall-csf']\nhold = '1s'\n")]);
        let compatible = ["arm,mali-valhall-csf".to_owned()];
        assert_eq!(policy.gpu(&DeviceName::new("x.gpu").unwrap(), &compatible), None);
    }

    #[test]
    fn what_is_not_said_has_a_default() {
        let policy = policy(&[("default", "[gpu.'arm,mali-valhall-csf']\nheaps = []\n")]);
        let gpu = gpu(&policy);
        assert_eq!(
            (gpu.hold(), gpu.suspend_bytes(), gpu.suspend_count()),
            (HOLD, SUSPEND_BYTES, SUSPEND_COUNT)
        );
        assert!(!gpu.allow_unprotected());
    }

    #[test]
    fn a_pattern_keeps_its_prefix() {
        let policy = policy(&[(
            "default",
            "[gpu.'arm,mali-valhall-csf']\nheaps = [{name='protected,*'}]\n",
        )]);
        assert_eq!(gpu(&policy).heaps()[0].name, Pattern::Prefix("protected,".into()));
    }
}

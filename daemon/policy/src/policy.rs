// SPDX-License-Identifier: MIT OR Apache-2.0

//! The policy that applies to a board, checked and complete.

use std::sync::Arc;

use crate::fragment::Fragment;
use crate::merged::Merged;
use crate::name::{DeviceName, HeapName, Key};
use crate::node::{File, Node, Origin, Table, Value};
use crate::schema::{Bind, Candidate, Content, Evidence, GpuTable, Pattern, Reader};

/// Default of the hold timeout, in microseconds.
pub const HOLD: u64 = 5_000_000;

/// Default size of a suspend buffer, in bytes. No document states the size that firmware requires.
/// This value applies only until the firmware reports its own.
pub const SUSPEND_BYTES: u64 = 64 * 1024;

/// Default number of suspend buffers.
pub const SUSPEND_COUNT: u32 = 16;

/// The policy that applies to a board.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    merged: Merged,
    content: Content,
    closed: bool,
    /// Heap that an earlier run bound, for all GPUs.
    kept: Option<HeapName>,
}

impl Policy {
    /// Makes a policy from all files that apply.
    pub fn new(merged: Merged) -> Self {
        let mut table = merged.top("share");
        table.extend(merged.top("evidence"));
        // Every fragment was checked on its own, and no check concerns several files. The reader's
        // fault for a missing `schema` does not apply here.
        let content = match merged.fragments().first() {
            Some(first) => {
                let root = Origin { file: Arc::clone(&first.file), span: (0, 0) };
                Reader::default().content(&root, &table)
            }
            None => Content::default(),
        };
        Self { merged, content, closed: false, kept: None }
    }

    /// Sets whether the image trusts only its own policies. If it does, the heap that the initrd
    /// bound is kept.
    #[must_use]
    pub fn closed(self, closed: bool) -> Self {
        Self { closed, ..self }
    }

    /// Records that an earlier run bound `heap` for all GPUs.
    #[must_use]
    pub fn keeping_to(self, heap: HeapName) -> Self {
        Self { kept: Some(heap), ..self }
    }

    /// Returns the files that apply, the most general first.
    pub fn files(&self) -> impl DoubleEndedIterator<Item = &File> {
        self.merged.fragments().iter().map(|fragment| &*fragment.file)
    }

    /// Returns the keys of the files that apply, the most specific first and without duplicates.
    pub fn keys(&self) -> Vec<&Key> {
        let mut keys: Vec<_> = self.files().rev().map(|file| &file.key).collect();
        keys.dedup();
        keys
    }

    /// Returns the policy that applies to one GPU; `None` if no file names heaps for it.
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

    /// Returns the merged `share` and `evidence` tables.
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Returns the names of the GPU tables of all files, with their positions.
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

    /// Returns whether any candidate has a condition on the SoC.
    pub fn asks_for_soc(&self) -> bool {
        self.candidates().any(|heap| heap.conditions.ask_for_soc())
    }

    /// Returns the compatible strings that candidates of any file name as `provider`.
    pub fn provider_compatibles(&self) -> Vec<&str> {
        self.candidates().filter_map(|heap| heap.provider.as_deref()).collect()
    }

    /// Returns the kernel modules that candidates of any file name as `module`.
    pub fn module_names(&self) -> Vec<&str> {
        self.candidates().filter_map(|heap| heap.module.as_deref()).collect()
    }

    /// Returns the evidence for a heap: that of its name, or else of the longest prefix that
    /// matches it.
    pub fn evidence(&self, heap: &HeapName) -> Option<&Evidence> {
        let all = &self.content.evidence;
        let of_prefix = || {
            let prefixes = all.iter().filter(|(name, _)| {
                name.strip_suffix('*').is_some_and(|prefix| heap.as_str().starts_with(prefix))
            });
            prefixes.max_by_key(|(name, _)| name.len()).map(|(_, evidence)| evidence)
        };
        all.get(heap.as_str()).or_else(of_prefix)
    }

    /// Returns the candidates of all GPUs in all files.
    fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        let gpus = self.merged.fragments().iter().flat_map(|file| file.content.gpu.values());
        gpus.flat_map(|gpu| &gpu.heaps).flat_map(|heaps| &heaps.value)
    }
}

/// The policy that applies to one GPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuPolicy {
    table: GpuTable,
    closed: bool,
}

impl GpuPolicy {
    /// Returns the candidate heaps, in order of preference.
    pub fn heaps(&self) -> &[Candidate] {
        self.table.heaps.as_ref().map_or(&[], |heaps| &heaps.value)
    }

    /// Records that an earlier run bound `heap`. If the image trusts only its own policies, no
    /// other heap remains a candidate.
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

    /// Returns when a heap is bound.
    pub fn bind(&self) -> Bind {
        self.table.bind.as_ref().map_or(Bind::Boot, |bind| bind.value)
    }

    /// Returns the hold timeout, in microseconds. A GPU that is bound on demand is not held.
    pub fn hold(&self) -> u64 {
        self.table.hold.as_ref().map_or(HOLD, |hold| hold.value)
    }

    /// Returns the size of a suspend buffer until the firmware reports its own, in bytes.
    pub fn suspend_bytes(&self) -> u64 {
        self.table.suspend_bytes.as_ref().map_or(SUSPEND_BYTES, |bytes| bytes.value)
    }

    /// Returns the maximum number of suspend buffers.
    pub fn suspend_count(&self) -> u32 {
        self.table.suspend_count.as_ref().map_or(SUSPEND_COUNT, |count| count.value)
    }

    /// Returns the firmware image that the GPU loads, such as `arch10.8`.
    pub fn firmware(&self) -> Option<&str> {
        self.table.firmware.as_ref().map(|firmware| firmware.value.as_str())
    }

    /// Returns whether memory that the CPU can map may be bound.
    pub fn allow_unprotected(&self) -> bool {
        self.table.allow_unprotected.as_ref().is_some_and(|allow| allow.value)
    }

    /// Returns every value with its origin.
    pub fn table(&self) -> &GpuTable {
        &self.table
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::EvidenceStatus;

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
    fn board_policy_refines_its_platform() {
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
    fn specific_file_outranks_specific_table() {
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
    fn gpu_without_heaps_has_no_policy() {
        let policy = policy(&[("default", "[gpu.'arm,mali-valhall-csf']\nhold = '1s'\n")]);
        let compatible = ["arm,mali-valhall-csf".to_owned()];
        assert_eq!(policy.gpu(&DeviceName::new("x.gpu").unwrap(), &compatible), None);
    }

    #[test]
    fn missing_settings_have_defaults() {
        let policy = policy(&[("default", "[gpu.'arm,mali-valhall-csf']\nheaps = []\n")]);
        let gpu = gpu(&policy);
        assert_eq!((gpu.hold(), gpu.suspend_bytes(), gpu.suspend_count()), (5_000_000, 65_536, 16));
        assert!(!gpu.allow_unprotected());
        assert_eq!(gpu.firmware(), None);
    }

    #[test]
    fn firmware_and_permission_are_those_of_the_file() {
        let policy = policy(&[(
            "default",
            "[gpu.'arm,mali-valhall-csf']\nheaps = []\nfirmware = 'arch10.8'\nallow-unprotected = true\n",
        )]);
        let gpu = gpu(&policy);
        assert_eq!((gpu.firmware(), gpu.allow_unprotected()), (Some("arch10.8"), true));
    }

    #[test]
    fn closed_image_keeps_only_candidates_for_the_bound_heap() {
        let heaps = "[{name='svp'}, {name='protected,*', kernel='>=7'}, {name='protected,a'}]";
        let text = format!("[gpu.'arm,mali-valhall-csf']\nheaps = {heaps}\n");
        let policy = || policy(&[("default", text.as_str())]);
        let heap = |name| HeapName::new(name).unwrap();
        let all = ["svp", "protected,*", "protected,a"];
        assert_eq!(names(&gpu(&policy().keeping_to(heap("protected,a")))), all);
        assert_eq!(names(&gpu(&policy().closed(true))), all);
        let closed = gpu(&policy().keeping_to(heap("protected,a")).closed(true));
        assert_eq!(names(&closed), ["protected,a", "protected,a"]);
        assert!(closed.heaps()[0].conditions.kernel.is_some());
        let opened = policy().closed(true).closed(false).keeping_to(heap("svp"));
        assert_eq!(names(&gpu(&opened)), all);
        let mut of_gpu = gpu(&policy().closed(true));
        of_gpu.keep_to(&heap("svp"));
        assert_eq!(names(&of_gpu), ["svp"]);
        of_gpu.keep_to(&heap("other"));
        assert_eq!(names(&of_gpu), [""; 0]);
    }

    #[test]
    fn shares_and_evidence_of_all_files_are_merged() {
        let policy = policy(&[
            (
                "default",
                "[share.vdec]\nsecure-video = ['a']\nui = ['b']\n[evidence.a]\nstatus = 'tested'\n",
            ),
            (
                "acme,a9",
                "[share.vdec]\nui = ['c', 'd']\n[evidence.a]\nfirewall = 'documented'\nstatus = 'unverified'\n[evidence.b]\nstatus = 'tested'\n",
            ),
        ]);
        let content = policy.content();
        let heaps = |usage: &str| -> Vec<_> {
            content.share["vdec"][usage].value.iter().map(HeapName::as_str).collect()
        };
        assert_eq!((heaps("secure-video"), heaps("ui")), (vec!["a"], vec!["c", "d"]));
        let a = &content.evidence["a"];
        let (unverified, documented) = (EvidenceStatus::Unverified, EvidenceStatus::Documented);
        assert_eq!((a.status, a.firewall), (unverified, Some(documented)));
        assert_eq!(content.evidence.len(), 2);
    }

    #[test]
    fn facts_to_collect_are_those_of_any_file() {
        let of = |files: &[(&str, &str)]| {
            let policy = policy(files);
            let tables: Vec<_> =
                policy.gpu_tables().map(|(name, at)| format!("{name} {at}")).collect();
            let providers: Vec<_> =
                policy.provider_compatibles().into_iter().map(str::to_owned).collect();
            (tables, providers, policy.asks_for_soc())
        };
        let file = ("default", "[gpu.x]\nheaps = [{name='a', provider='acme,svp'}]\n");
        let other = "[gpu.y]\nheaps = [{name='b', soc-id='A9'}, {name='c', provider='acme,tz'}]\n";
        let (x, y) = ("x default.toml:2:6".to_owned(), "y acme,a9.toml:2:6".to_owned());
        let (svp, tz) = ("acme,svp".to_owned(), "acme,tz".to_owned());
        assert_eq!(of(&[file]), (vec![x.clone()], vec![svp.clone()], false));
        assert_eq!(of(&[file, ("acme,a9", other)]), (vec![x, y], vec![svp, tz], true));
    }

    #[test]
    fn pattern_keeps_its_prefix() {
        let policy = policy(&[(
            "default",
            "[gpu.'arm,mali-valhall-csf']\nheaps = [{name='protected,*'}]\n",
        )]);
        assert_eq!(gpu(&policy).heaps()[0].name, Pattern::Prefix("protected,".into()));
    }
}

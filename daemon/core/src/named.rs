// SPDX-License-Identifier: MIT OR Apache-2.0

//! The heaps of a machine that its policy names.

use std::collections::{BTreeMap, BTreeSet};

use protheap_policy::name::HeapName;
use protheap_policy::policy::{GpuPolicy, Policy};

use crate::facts::Facts;

/// Returns the present heaps that `policy` names: as a candidate of a present GPU, whatever its
/// conditions, or in a `share` table.
pub fn named_heaps<'f>(policy: &Policy, facts: &'f Facts) -> BTreeSet<&'f HeapName> {
    let gpus = facts.gpus.iter().filter_map(|(device, gpu)| policy.gpu(device, &gpu.compatible));
    let gpus: Vec<_> = gpus.collect();
    let candidates: Vec<_> = gpus.iter().flat_map(GpuPolicy::heaps).collect();
    let shares = policy.content().share.values().flat_map(BTreeMap::values);
    let shared: BTreeSet<_> = shares.flat_map(|list| &list.value).collect();
    let is_named = |heap: &&HeapName| {
        shared.contains(heap) || candidates.iter().any(|candidate| candidate.name.fits(heap))
    };
    facts.heaps.iter().filter(is_named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Gpu;
    use protheap_policy::fragment::Fragment;
    use protheap_policy::merged::Merged;
    use protheap_policy::name::{DeviceName, Key};

    fn policy(files: &[(&str, &str)]) -> Policy {
        let parse = |(key, text): &(&str, &str)| {
            let text = format!("schema = 1\n{text}");
            Fragment::parse(&Key::new(key).unwrap(), &format!("{key}.toml"), &text).unwrap()
        };
        Policy::new(Merged::new(files.iter().map(parse).collect()))
    }

    #[test]
    fn named_heaps_include_present_gpus_and_shares() {
        let policy = policy(&[
            ("default", "[gpu.'arm,mali-valhall-csf']\nheaps = [{name='protected,*'}]\n"),
            (
                "acme,a9",
                "[gpu.'a.gpu']\nheaps = [{name='svp', kernel='>=99'}]\n[gpu.'c.gpu']\nheaps = [{name='other'}]\n[share.vdec]\nsecure-video = ['vdec', 'absent']\n",
            ),
        ]);
        let heaps = ["other", "protected,a", "protected,b", "svp", "system", "vdec"];
        let mut facts = Facts {
            heaps: heaps.iter().map(|name| HeapName::new(name).unwrap()).collect(),
            ..Facts::default()
        };
        let named = |facts: &Facts| {
            named_heaps(&policy, facts).into_iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(named(&facts), ["vdec"]);
        let gpu = Gpu { compatible: vec!["arm,mali-valhall-csf".into()], ..Gpu::default() };
        // The more specific policy replaces this heap.
        facts.gpus.insert(DeviceName::new("a.gpu").unwrap(), gpu.clone());
        assert_eq!(named(&facts), ["svp", "vdec"]);
        facts.gpus.insert(DeviceName::new("b.gpu").unwrap(), gpu);
        assert_eq!(named(&facts), ["protected,a", "protected,b", "svp", "vdec"]);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any text is either a policy that can be laid over others and decided by, or refused with places in it that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protheap_core::decision::decide;
use protheap_core::facts::{Facts, Gpu, HeapModule, Module, Provider, Soc, Tee};
use protheap_core::notes::notes;
use protheap_core::share::common_heaps;
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::node::Origin;
use protheap_policy::policy::Policy;

const DEFAULT: &str = include_str!("../../policies/default.toml");
const PATH: &str = "/etc/protheap/policies/acme,a9.toml";
const ABOVE: &str = r#"
schema = 1
[gpu."arm,mali-valhall-csf"]
suspend = { count = 3 }
"#;

fuzz_target!(|text: &str| {
    let key = |key| Key::new(key).expect("a key");
    let parse = |name, text| Fragment::parse(&key(name), name, text).expect("a policy");
    match Fragment::parse(&key("acme,a9"), PATH, text) {
        Ok(fragment) => {
            let files = vec![parse("default", DEFAULT), fragment, parse("acme,kiosk", ABOVE)];
            use_policy(&Policy::new(Merged::new(files)));
        }
        Err(faults) => {
            assert!(!faults.is_empty());
            let lines = text.matches('\n').count() + 1;
            for fault in faults {
                assert!((1..=lines).contains(&fault.place.line) && fault.place.column >= 1);
                let shown = fault.to_string();
                assert!(shown.starts_with(PATH));
                let drives = |c: char| c.is_control() && c != '\n';
                assert!(!shown.contains(drives), "{shown:?}");
            }
        }
    }
});

/// What the programs do with a policy.
fn use_policy(policy: &Policy) {
    let device = DeviceName::new("fb000000.gpu").expect("a device");
    let heap = HeapName::new("protected,secure-video").expect("a heap");
    let gpu = Gpu { compatible: vec!["arm,mali-valhall-csf".into()], ..Gpu::default() };
    let of_gpu = policy.gpu(&device, &gpu.compatible).expect("the heaps of default.toml, at least");
    // A table of the device's own name hides the others of its file, not those of other files.
    assert_eq!(of_gpu.suspend_count(), 3);
    for candidate in of_gpu.heaps() {
        lies_in_its_file(&candidate.origin);
    }
    let table = of_gpu.table();
    let mut origins = Vec::new();
    origins.extend(table.heaps.as_ref().map(|value| &value.origin));
    origins.extend(table.bind.as_ref().map(|value| &value.origin));
    origins.extend(table.hold.as_ref().map(|value| &value.origin));
    origins.extend(table.suspend_bytes.as_ref().map(|value| &value.origin));
    origins.extend(table.suspend_count.as_ref().map(|value| &value.origin));
    origins.extend(table.firmware.as_ref().map(|value| &value.origin));
    origins.extend(table.allow_unprotected.as_ref().map(|value| &value.origin));
    let shares = policy.content().share.values();
    origins.extend(shares.flat_map(|share| share.values().map(|heaps| &heaps.origin)));
    origins.into_iter().for_each(lies_in_its_file);

    let mut facts = Facts::default();
    facts.gpus.insert(device.clone(), gpu);
    facts.heaps.insert(heap);
    facts.kernel.release = "7.3.0".into();
    facts.kernel.module = Some(Module { abi: 1, can_allocate: true });
    facts.tees = vec![Tee { implementation: "optee".into(), revision: Some("4.6".into()) }];
    facts.socs = vec![Soc { id: Some("i.MX95".into()), revision: Some("2.0".into()) }];
    for compatible in policy.provider_compatibles() {
        // A name of any length: the scan of the devices only compares it.
        let provider = Provider { compatible: vec![compatible.into()], ..Provider::default() };
        facts.providers.insert(device.clone(), provider);
    }
    for (module, state) in policy.module_names().into_iter().zip(HeapModule::ALL.iter().cycle()) {
        facts.heap_modules.insert(module.to_owned(), *state);
    }
    let decision = decide(policy, &facts);
    assert_eq!(decision.gpus[&device].trace.len(), of_gpu.heaps().len());
    let common = common_heaps(policy, &facts);
    assert!(common.values().all(|heap| facts.heaps.contains(heap)));
    assert!(notes(policy, &facts).iter().all(|note| note.gpu == device));
}

fn lies_in_its_file(origin: &Origin) {
    let text = &origin.file.text;
    assert!(text.get(origin.span.0..origin.span.1).is_some_and(|value| !value.is_empty()));
    let place = origin.place();
    let line = text.split('\n').nth(place.line - 1).expect("a line of the file");
    assert!(place.column <= line.chars().count());
}

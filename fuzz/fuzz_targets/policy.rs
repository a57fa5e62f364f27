// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any text is either a fragment that can be laid over others, or refused with places in it that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protheap_core::fragment::Fragment;
use protheap_core::merged::Merged;
use protheap_core::name::{DeviceName, HeapName, Key};
use protheap_core::policy::Policy;

const DEFAULT: &str = include_str!("../../policies/default.toml");
const PATH: &str = "/etc/protheap/policies/acme,a9.toml";

fuzz_target!(|text: &str| {
    let key = |key| Key::new(key).expect("a key");
    match Fragment::parse(&key("acme,a9"), PATH, text) {
        Ok(fragment) => {
            let below =
                Fragment::parse(&key("default"), "default.toml", DEFAULT).expect("a policy");
            let policy = Policy::new(Merged::new(vec![below, fragment]));
            let gpu = DeviceName::new("fb000000.gpu").expect("a device");
            assert!(
                policy
                    .gpu(&gpu, &["arm,mali-valhall-csf".to_owned()])
                    .is_some()
            );
            policy.provider_compatibles();
            let heap = HeapName::new("protected,secure-video").expect("a heap");
            policy.common_heaps(&[heap].into());
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any files, one above the other (a NUL between each two): of each value the last file that has it
//! counts, and a file with a fault changes nothing.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use protheap_policy::cascade::{Outcome, PolicyFile, Standing, judge};
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::Policy;
use protheap_policy::schema::{GpuTable, Sourced};

/// Below all others, so that the GPU has a policy.
const LOWEST: &str = "schema = 1\n[gpu.'arm,mali-valhall-csf']\nheaps = []\n";

fuzz_target!(|input: &str| {
    let files: Vec<_> = input.split('\0').take(8).enumerate().collect();
    let (policy, applied) = read(&files);
    let (lowest, _) = read(&[]);
    let mut expected = gpu(&lowest);
    let mut shares = BTreeMap::new();
    for (file, applied) in files.iter().zip(applied) {
        let (alone, _) = read(&[*file]);
        let own = gpu(&alone);
        if !applied {
            assert_eq!(own, gpu(&lowest));
            continue;
        }
        let path = file.0.to_string();
        replace(&path, &mut expected.heaps, own.heaps);
        replace(&path, &mut expected.bind, own.bind);
        replace(&path, &mut expected.hold, own.hold);
        replace(&path, &mut expected.suspend_bytes, own.suspend_bytes);
        replace(&path, &mut expected.suspend_count, own.suspend_count);
        replace(&path, &mut expected.firmware, own.firmware);
        replace(&path, &mut expected.allow_unprotected, own.allow_unprotected);
        shares.extend(flat(&alone));
    }
    assert_eq!(gpu(&policy), expected);
    assert_eq!(flat(&policy), shares);
});

/// The policy of these files, and which of them apply.
fn read(files: &[(usize, &str)]) -> (Policy, Vec<bool>) {
    let file = |path: String, text: &str| PolicyFile {
        key: Key::new("acme,a9").expect("a key"),
        path,
        standing: Standing::Text(text.to_owned()),
    };
    let all = files.iter().map(|(number, text)| file(number.to_string(), text));
    let lowest = file("lowest".into(), LOWEST);
    let (merged, judged) = judge(std::iter::once(lowest).chain(all).collect());
    let applied = judged.iter().skip(1).map(|file| file.outcome == Outcome::Applied).collect();
    (Policy::new(merged), applied)
}

fn gpu(policy: &Policy) -> GpuTable {
    let device = DeviceName::new("fb000000.gpu").expect("a device");
    let compatible = ["rockchip,rk3588-mali", "arm,mali-valhall-csf"].map(str::to_owned);
    policy.gpu(&device, &compatible).expect("the heaps of the lowest").table().clone()
}

/// What devices can use, by device and usage.
fn flat(policy: &Policy) -> BTreeMap<(String, String), Sourced<Vec<HeapName>>> {
    let shares = policy.content().share.iter();
    shares
        .flat_map(|(device, share)| {
            share.iter().map(|(usage, heaps)| ((device.clone(), usage.clone()), heaps.clone()))
        })
        .collect()
}

/// Takes over a value that the file `path` has.
fn replace<T>(path: &str, lower: &mut Option<Sourced<T>>, upper: Option<Sourced<T>>) {
    if let Some(upper) = upper.filter(|value| value.origin.file.path == path) {
        *lower = Some(upper);
    }
}

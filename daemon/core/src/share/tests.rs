// SPDX-License-Identifier: MIT OR Apache-2.0

use proptest::prelude::*;

use super::*;
use crate::facts::Gpu;
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::Key;

fn policy(text: &str) -> Policy {
    let key = Key::new("acme,a9").unwrap();
    let text = format!("schema = 1\n{text}");
    Policy::new(Merged::new(vec![Fragment::parse(&key, "acme,a9.toml", &text).unwrap()]))
}

fn heaps(names: &[&str]) -> BTreeSet<HeapName> {
    names.iter().map(|name| HeapName::new(name).unwrap()).collect()
}

fn facts(there: &[&str]) -> Facts {
    Facts { heaps: heaps(there), ..Facts::default() }
}

fn device(name: &str, compatible: &[&str]) -> Result<Device, String> {
    let compatible = compatible.iter().map(|one| (*one).to_owned()).collect();
    Ok(Device { name: DeviceName::new(name).unwrap(), compatible })
}

/// Numbers the devices in order.
fn numbered(devices: &[Result<Device, String>]) -> BTreeMap<Number, Result<Device, String>> {
    (0..).map(|minor| Number { major: 81, minor }).zip(devices.iter().cloned()).collect()
}

fn vdec() -> Result<Device, String> {
    device("a.video-codec", &["acme,a9-vdec", "acme,vdec"])
}

fn gpu() -> Result<Device, String> {
    device("a.gpu", &["acme,a9-mali", "arm,mali-valhall-csf"])
}

/// Returns the result for `secure-video` under a policy with tables for decoder, GPU and display:
/// the heap, its worst rank and the unknown devices as `HEAP WORST-RANK UNKNOWN...`, or the error.
fn found(
    devices: &[Result<Device, String>],
    there: &[&str],
    allow_unknown: bool,
) -> Result<String, ShareError> {
    let policy = policy(
        "[gpu.'arm,mali-valhall-csf']\nheaps = [{name='bound'}]
[share.'acme,a9-vdec']\nsecure-video = ['a', 'b', 'c']
[share.'acme,vdec']\nsecure-video = ['d']
[share.'a.display']\nsecure-video = ['c', 'b']\nsecure-ui = ['d']
[share.'acme,a9-display']\nsecure-video = ['a']
[share.'acme,camera']\nsecure-ui = ['d']
[share.'acme,nothing']\nsecure-video = []\n",
    );
    let (devices, heaps) = (numbered(devices), heaps(there));
    let question =
        Question { usage: "secure-video", devices: &devices, heaps: &heaps, allow_unknown };
    let answer = find(&policy, question)?;
    let unknown: Vec<_> = answer.unknown.iter().map(|number| format!(" {number}")).collect();
    Ok(format!("{} {}{}", answer.heap, answer.worst_rank, unknown.concat()))
}

#[test]
fn common_heap_suits_every_device() {
    let policy = policy(
        "[share.vdec]\nsecure-video = ['a', 'b', 'c']\n[share.gpu]\nsecure-video = ['c', 'b']\nsecure-ui = ['c']\n[share.display]\nsecure-ui = ['d']\n",
    );
    let answers = common_heaps(&policy, &facts(&["a", "b", "c", "d"]));
    // Ranks of b are 1 and 1. Ranks of c are 2 and 0, which has the larger worst rank. The lists
    // for secure-ui share no heap.
    assert_eq!(
        answers.into_iter().map(|(u, h)| (u, h.to_string())).collect::<Vec<_>>(),
        [("secure-video".into(), "b".into())]
    );
    assert!(common_heaps(&policy, &facts(&["a"])).is_empty());
}

#[test]
fn tables_of_gpus_alone_have_no_common_heap() {
    let common = |text: &str, gpu: Option<&str>| {
        let mut facts = facts(&["a"]);
        let compatible = gpu.into_iter().map(str::to_owned).collect();
        let one = Gpu { compatible, ..Gpu::default() };
        facts.gpus.insert(DeviceName::new("a.gpu").unwrap(), one);
        common_heaps(&policy(text), &facts).into_keys().collect::<Vec<_>>()
    };
    let shared = "[share.'acme,mali']\nvideo = ['a']\n";
    let gpu_table = format!("{shared}[gpu.'acme,mali']\nheaps = []\n");
    assert_eq!(common(shared, Some("acme,mali")), [""; 0]);
    assert_eq!(common(&gpu_table, None), [""; 0]);
    assert_eq!(common("[share.'a.gpu']\nvideo = ['a']\n", None), [""; 0]);
    // Another device has the usage, or only another one.
    let decoder = format!("{shared}[share.vdec]\nvideo = ['a']\n");
    assert_eq!(common(&decoder, Some("acme,mali")), ["video"]);
    let other = format!("{shared}[share.vdec]\nui = ['a']\n");
    assert_eq!(common(&other, Some("acme,mali")), ["ui"]);
    // The GPU's table still counts.
    let differs = format!("{shared}[share.vdec]\nvideo = ['b']\n");
    assert_eq!(common(&differs, Some("acme,mali")), [""; 0]);
}

#[test]
fn worst_rank_precedes_the_sum_of_ranks() {
    let display = device("a.display", &["acme,a9-display"]);
    // Ranks of b are 1 and 1, ranks of c are 2 and 0.
    assert_eq!(found(&[vdec(), display.clone()], &["b", "c"], false).unwrap(), "b 1");
    assert_eq!(found(&[vdec(), display], &["c"], false).unwrap(), "c 2");
}

#[test]
fn sum_of_ranks_precedes_the_name() {
    let policy =
        policy("[share.x]\nu = ['a', 'b']\n[share.y]\nu = ['b', 'a']\n[share.z]\nu = ['b', 'a']\n");
    let devices = ["x", "y", "z"].map(|name| device(name, &[]));
    let (devices, heaps) = (numbered(&devices), heaps(&["a", "b"]));
    let question = Question { usage: "u", devices: &devices, heaps: &heaps, allow_unknown: false };
    let answer = find(&policy, question).unwrap();
    assert_eq!((answer.heap.as_str(), answer.worst_rank), ("b", 1));
}

#[test]
fn most_specific_table_replaces_the_others() {
    assert_eq!(found(&[vdec()], &["a", "d"], false).unwrap(), "a 0");
    assert_eq!(found(&[device("x", &["acme,vdec"])], &["a", "d"], false).unwrap(), "d 0");
    // A table for the device name precedes one for a compatible string.
    let display = device("a.display", &["acme,a9-display"]);
    assert_eq!(found(&[display], &["a", "b"], false).unwrap(), "b 1");
}

#[test]
fn duplicate_devices_count_once() {
    let policy = policy("[share.x]\nu = ['a', 'b']\n[share.y]\nu = ['b', 'a']\n");
    // The sums are equal, and the name decides; with y counted twice, b would have the smaller sum.
    let devices = ["x", "y", "y"].map(|name| device(name, &[]));
    let (devices, heaps) = (numbered(&devices), heaps(&["a", "b"]));
    let question = Question { usage: "u", devices: &devices, heaps: &heaps, allow_unknown: false };
    let answer = find(&policy, question).unwrap();
    assert_eq!((answer.heap.as_str(), answer.worst_rank), ("a", 1));
}

#[test]
fn gpu_needs_a_share_table_despite_its_binding() {
    let error = found(&[gpu()], &["bound"], false).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no policy describes 81:0 (a.gpu): add [share.\"acme,a9-mali\"] to a policy of this board"
    );
}

#[test]
fn unknown_devices_are_ignored_only_if_allowed_and_one_is_known() {
    let camera = Err("/sys/dev/char/81:2 has no node in the device tree".to_owned());
    let devices = [vdec(), gpu(), camera];
    let error = found(&devices, &["a"], false).unwrap_err();
    let ShareError::UnknownDevice(refusals) = &error else { panic!("{error}") };
    let numbers: Vec<_> = refusals.iter().map(|refusal| refusal.number.to_string()).collect();
    assert_eq!(numbers, ["81:1", "81:2"]);
    assert!(error.to_string().ends_with("81:2: /sys/dev/char/81:2 has no node in the device tree"));
    assert_eq!(found(&devices, &["a"], true).unwrap(), "a 0 81:1 81:2");
    let unknown = found(&devices[1..], &["a"], true);
    assert!(matches!(unknown, Err(ShareError::UnknownDevice(refusals)) if refusals.len() == 2));
}

#[test]
fn error_has_a_reason_for_each_device() {
    let devices = [
        vdec(),
        device("x", &["acme,vdec"]),
        device("y", &["acme,camera"]),
        device("z", &["acme,nothing"]),
        gpu(),
    ];
    let error = found(&devices, &["b", "c"], true).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no present heap suits all devices for `secure-video`: \
         81:0 (a.video-codec): it can use b, c; \
         81:1 (x): none of its heaps is present: d; \
         81:2 (y): [share.\"acme,camera\"] names no heap for this usage; \
         81:3 (z): [share.\"acme,nothing\"] names no heap for this usage"
    );
}

#[test]
fn usage_and_device_are_required() {
    assert_eq!(found(&[], &["a"], true), Err(ShareError::NoDevice));
    let policy = policy("[share.'acme,a9-vdec']\nsecure-video = ['a']\n");
    let (devices, heaps) = (numbered(&[vdec()]), heaps(&["a"]));
    for usage in ["", "Secure Video", "../x"] {
        let question = Question { usage, devices: &devices, heaps: &heaps, allow_unknown: true };
        assert_eq!(find(&policy, question), Err(ShareError::Usage(usage.to_owned())));
    }
    let question = Question { usage: "ui", devices: &devices, heaps: &heaps, allow_unknown: true };
    assert!(matches!(find(&policy, question), Err(ShareError::NoCommonHeap { .. })));
}

/// Heaps that a device can use, by table name.
type Tables = BTreeMap<String, Vec<String>>;

fn tables() -> impl Strategy<Value = Tables> {
    let heaps = proptest::sample::subsequence(vec!["a", "b", "c", "d", "e"], 2..=5).prop_shuffle();
    let heaps = heaps.prop_map(|heaps| heaps.into_iter().map(str::to_owned).collect());
    proptest::collection::btree_map("[nt][0-3]", heaps, 3..8)
}

/// Devices `n0` to `n3`, each compatible with some of `t0` to `t3`, and some unidentified ones.
fn devices() -> impl Strategy<Value = Vec<Result<Device, String>>> {
    let compatible = proptest::sample::subsequence(vec!["t0", "t1", "t2", "t3"], 0..=3);
    let known = ("n[0-3]", compatible).prop_map(|(name, compatible)| device(&name, &compatible));
    proptest::collection::vec(
        prop_oneof![8 => known, 1 => Just(Err("it has gone".to_owned()))],
        0..5,
    )
}

fn policy_of(tables: &Tables) -> Policy {
    let table = |(name, heaps): (&String, &Vec<String>)| format!("[share.{name}]\nu = {heaps:?}\n");
    policy(&tables.iter().map(table).collect::<String>())
}

/// Naive implementation of [`find`]: returns the heap, its worst rank, and the number of unknown
/// devices.
fn model(
    tables: &Tables,
    devices: &[Result<Device, String>],
    there: &[&str],
    allow_unknown: bool,
) -> Option<(String, usize, usize)> {
    let mut names = BTreeSet::new();
    let mut unknown = 0;
    for device in devices {
        let keys = device.iter().flat_map(|device| {
            [device.name.to_string()].into_iter().chain(device.compatible.clone())
        });
        match keys.into_iter().find(|key| tables.contains_key(key)) {
            Some(table) => _ = names.insert(table),
            None => unknown += 1,
        }
    }
    if names.is_empty() || (unknown > 0 && !allow_unknown) {
        return None;
    }
    let mut best: Option<(usize, usize, &str)> = None;
    'heaps: for heap in there {
        let (mut worst, mut sum) = (0, 0);
        for name in &names {
            let Some(rank) = tables[name].iter().position(|one| one == heap) else {
                continue 'heaps;
            };
            worst = worst.max(rank);
            sum += rank;
        }
        let this = (worst, sum, *heap);
        best = Some(best.map_or(this, |best| best.min(this)));
    }
    best.map(|(worst, _, heap)| (heap.to_owned(), worst, unknown))
}

proptest! {
    #[test]
    fn result_equals_that_of_a_naive_model(
        tables in tables(),
        devices in devices(),
        there in proptest::sample::subsequence(vec!["a", "b", "c", "d", "e"], 0..=5),
        allow_unknown in any::<bool>(),
    ) {
        let policy = policy_of(&tables);
        let (numbered, heaps) = (numbered(&devices), heaps(&there));
        let question = Question { usage: "u", devices: &numbered, heaps: &heaps, allow_unknown };
        let answer = find(&policy, question);
        let seen = answer.as_ref().ok();
        let seen = seen.map(|one| (one.heap.to_string(), one.worst_rank, one.unknown.len()));
        prop_assert_eq!(seen, model(&tables, &devices, &there, allow_unknown));

        if let Ok(answer) = answer {
            // The heap is present and every known device lists it.
            prop_assert!(heaps.contains(&answer.heap));
            for (number, device) in &numbered {
                let share = device.as_ref().ok().and_then(|one| one.share(&policy.content().share));
                prop_assert_eq!(share.is_none(), answer.unknown.contains(number));
                let lists_it = |share: &Share| share["u"].value.contains(&answer.heap);
                prop_assert!(share.is_none_or(|(_, share)| lists_it(share)));
            }
        }
    }

    #[test]
    fn order_of_devices_does_not_matter(
        tables in tables(),
        (devices, shuffled) in devices().prop_flat_map(|all| (Just(all.clone()), Just(all).prop_shuffle())),
        allow_unknown in any::<bool>(),
    ) {
        let (policy, heaps) = (policy_of(&tables), heaps(&["a", "b", "c"]));
        let ask = |devices: &[Result<Device, String>]| {
            let devices = numbered(devices);
            let question = Question { usage: "u", devices: &devices, heaps: &heaps, allow_unknown };
            find(&policy, question).ok().map(|answer| (answer.heap, answer.worst_rank))
        };
        prop_assert_eq!(ask(&devices), ask(&shuffled));
    }

    #[test]
    fn additional_device_never_improves_the_worst_rank(
        tables in tables(),
        devices in devices(),
        another in devices(),
        allow_unknown in any::<bool>(),
    ) {
        let (policy, heaps) = (policy_of(&tables), heaps(&["a", "b", "c", "d"]));
        let ask = |devices: &[Result<Device, String>]| {
            let devices = numbered(devices);
            let question = Question { usage: "u", devices: &devices, heaps: &heaps, allow_unknown };
            find(&policy, question).map(|answer| answer.worst_rank)
        };
        let more = [&devices[..], &another[..]].concat();
        match (ask(&devices), ask(&more)) {
            (Ok(few), Ok(more)) => prop_assert!(more >= few),
            (Err(ShareError::NoCommonHeap { .. }), more) => prop_assert!(more.is_err()),
            _ => {}
        }
    }

    /// D-Bus answers with the result of `find`, and the links are those of `common_heaps`. For one
    /// device per table both must name the same heap.
    #[test]
    fn common_heap_is_that_of_one_device_per_table(tables in tables()) {
        let (policy, heaps) = (policy_of(&tables), heaps(&["a", "b", "c", "d"]));
        let all: Vec<_> = tables.keys().map(|table| device("x", &[table])).collect();
        let devices = numbered(&all);
        let question =
            Question { usage: "u", devices: &devices, heaps: &heaps, allow_unknown: false };
        let answer = find(&policy, question).ok().map(|answer| answer.heap);
        let facts = Facts { heaps, ..Facts::default() };
        prop_assert_eq!(answer, common_heaps(&policy, &facts).remove("u"));
    }
}

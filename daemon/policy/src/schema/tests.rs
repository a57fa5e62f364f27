// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

#[test]
fn pattern_fits_its_heap_or_all_heaps_with_its_prefix() {
    let heap = |name: &str| HeapName::new(name).unwrap();
    let exact = Pattern::Exact(heap("protected,a"));
    let prefix = Pattern::Prefix("protected,".into());
    for (name, is_exact, has_prefix) in
        [("protected,a", true, true), ("protected,ab", false, true), ("a", false, false)]
    {
        let fits = (exact.fits(&heap(name)), prefix.fits(&heap(name)));
        assert_eq!(fits, (is_exact, has_prefix), "{name}");
    }
    assert_eq!([exact, prefix].map(|pattern| pattern.to_string()), ["protected,a", "protected,*"]);
}

#[test]
fn distance_counts_changed_added_and_removed_characters() {
    for (a, b, steps) in [
        ("", "", 0),
        ("hold", "hold", 0),
        ("hold", "holt", 1),
        ("hold", "hod", 1),
        ("hold", "", 4),
        ("kitten", "sitting", 3),
        ("abc", "cab", 2),
    ] {
        assert_eq!((distance(a, b), distance(b, a)), (steps, steps), "{a} {b}");
    }
}

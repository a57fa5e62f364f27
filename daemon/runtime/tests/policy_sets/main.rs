// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests random sets of policy files in a directory tree: which of them apply, their merged
//! contents, and the origin of each value, compared with a model of the rules.

#![allow(clippy::unwrap_used, reason = "tests")]

mod found;
mod model;
mod set;
mod tree;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use protheap_core::decision::decide;
use protheap_policy::cascade::{Judged, Outcome};
use protheap_runtime::survey::Extent;

use crate::found::{evidence, gpu_of, said_of_gpu, said_of_shares};
use crate::model::{Said, table_of};
use crate::set::{Entry, FAULTY, GPUS, Kind, Set, boards, facts, sets};
use crate::tree::Tree;

/// A case creates a tree on disk and is expensive: a quarter of the usual number.
fn cases() -> ProptestConfig {
    ProptestConfig::with_cases(ProptestConfig::default().cases / 4)
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn policies_apply_as_in_the_model(set in sets(), board in boards()) {
        let tree = Tree::new(&set);
        let (policy, judged) = tree.read(&set, &board, Extent::All);
        let found: Vec<_> = judged.iter().map(|file| (file.path.clone(), file.outcome)).collect();
        let expected = set.outcomes(&board).into_iter();
        let expected: Vec<_> = expected.map(|(place, outcome)| (place.path(), outcome)).collect();
        prop_assert_eq!(found, expected);

        let places = set.applied(&board);
        let expected: Vec<_> = places.iter().map(|place| place.path()).collect();
        prop_assert_eq!(tree.files(&policy), expected);
        let relative = |said: Said| -> Said {
            said.into_iter().map(|(key, (path, value))| (key, (tree.without(&path), value))).collect()
        };
        for gpu in GPUS {
            let expected = set.merged(&places, |content| table_of(content, &gpu));
            let found = gpu_of(&policy, gpu).map(|gpu| relative(said_of_gpu(&gpu)));
            prop_assert_eq!(found, expected.contains_key("heaps").then_some(expected));
        }
        let shares = set.merged(&places, |_| Some(vec!["share".to_owned()]));
        prop_assert_eq!(relative(said_of_shares(&policy)), shares);
        let known = set.merged(&places, |_| Some(vec!["evidence".to_owned()]));
        let known = known.into_iter().map(|(key, (_, value))| (key, value)).collect();
        prop_assert_eq!(evidence(&policy), known);

        // A smaller extent yields the same policy and the same faults.
        let refused = |judged: &[Judged]| -> Vec<_> {
            judged.iter().filter(|file| file.outcome == Outcome::Refused).cloned().collect()
        };
        for extent in [Extent::Applying, Extent::AndTrust] {
            let (less, some) = tree.read(&set, &board, extent);
            prop_assert_eq!(tree.shown(&less), tree.shown(&policy));
            prop_assert_eq!(refused(&some), refused(&judged));
            prop_assert!(some.iter().all(|file| judged.contains(file)));
        }
    }

    #[test]
    fn order_of_file_creation_does_not_matter(
        (set, orders) in sets().prop_flat_map(|set| {
            let places: Vec<_> = set.files.keys().copied().collect();
            (Just(set), [Just(places.clone()).prop_shuffle(), Just(places).prop_shuffle()])
        }),
        board in boards(),
        facts in facts(),
    ) {
        let [one, other] = orders.map(|order| {
            let tree = Tree::in_order(&set, &order);
            let (policy, judged) = tree.read(&set, &board, Extent::All);
            let decision = format!("{:?}", decide(&policy, &facts));
            let judged = tree.without(&format!("{judged:?}"));
            (tree.shown(&policy), judged, tree.without(&decision))
        });
        prop_assert_eq!(one, other);
    }

    #[test]
    fn closed_image_ignores_local_files(
        set in sets().prop_filter("open", Set::closed),
        other in sets(),
        board in boards(),
        facts in facts(),
    ) {
        let is_local = |path: &str| !path.starts_with("usr/");
        let mut none = set.clone();
        none.files.retain(|place, _| !is_local(&place.path()));
        none.open.retain(|path, _| !is_local(path));
        let mut changed = none.clone();
        changed.files.extend(other.files.into_iter().filter(|(place, _)| is_local(&place.path())));
        changed.open.extend(other.open.into_iter().filter(|(path, _)| is_local(path)));
        for extent in [Extent::Applying, Extent::AndTrust, Extent::All] {
            let [one, two, three] = [&set, &changed, &none].map(|set| {
                let tree = Tree::new(set);
                let (policy, _) = tree.read(set, &board, extent);
                (tree.shown(&policy), tree.without(&format!("{:?}", decide(&policy, &facts))))
            });
            prop_assert_eq!(&one, &two);
            prop_assert_eq!(&two, &three);
        }
    }

    #[test]
    fn unusable_file_affects_no_other_file(
        set in sets().prop_filter("empty", |set| !set.files.is_empty()),
        index in any::<Index>(),
        bytes in select(&FAULTY[..]),
        board in boards(),
    ) {
        let place = *index.get(&set.files.keys().collect::<Vec<_>>());
        let of = |set: &Set| {
            let tree = Tree::new(set);
            tree.files(&tree.read(set, &board, Extent::Applying).0)
        };
        let mut without = of(&set);
        without.retain(|path| *path != place.path());
        let mut faulty = set.clone();
        faulty.files.get_mut(place).unwrap().kind = Kind::Faulty(bytes);
        prop_assert_eq!(of(&faulty), without);

        let mut absent = set.clone();
        absent.files.remove(place);
        let mut untrusted = set.clone();
        let kind = Kind::Faulty(bytes);
        untrusted.files.insert(*place, Entry { kind, mode: 0o666 });
        prop_assert_eq!(of(&untrusted), of(&absent));
    }
}

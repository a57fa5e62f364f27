// SPDX-License-Identifier: MIT OR Apache-2.0

//! Which policy files apply to a board, in which order, and what became of each.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::fragment::Fragment;
use crate::merged::Merged;
use crate::name::Key;
use crate::words;

/// The key of the policy that applies to every board, below all others.
pub const DEFAULT: &str = "default";

/// The most compatible strings of a board that are looked at.
pub const MOST_KEYS: usize = 64;

/// The keys of the files that apply to a board with this root `compatible` (most specific first,
/// as in the device tree), from the most general to the most specific.
///
/// A string that cannot be a file's name is passed over: `protheap-board` reports it. Boards have
/// a handful of strings; what comes after [`MOST_KEYS`] is passed over too.
pub fn keys(compatible: &[String]) -> Vec<Key> {
    let mut keys = Vec::new();
    let compatible = &compatible[..compatible.len().min(MOST_KEYS)];
    for name in std::iter::once(DEFAULT).chain(compatible.iter().rev().map(String::as_str)) {
        match Key::new(name) {
            Ok(key) if !keys.contains(&key) => keys.push(key),
            _ => {}
        }
    }
    keys
}

/// A file that is named so that it could apply to the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// The string that names it; drop-ins have the key of the file that they refine.
    pub key: Key,
    /// Where it is, with the root.
    pub path: String,
    /// What was found there.
    pub standing: Standing,
}

/// What a file is beside the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It counts: what it says.
    Text(String),
    /// It is a mask, or one hides it: why.
    Masked(String),
    /// One of the same name in a directory before it counts: why.
    Shadowed(String),
    /// Others than root could have written it, or the image lets it not count: why. It hides
    /// nothing.
    Untrusted(String),
    /// It cannot be read: why. Nothing of a lower directory takes its place.
    Refused(String),
}

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// The string that names it.
    pub key: Key,
    /// Where it is, with the root.
    pub path: String,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it does not apply, for people; empty if it does.
    pub why: String,
    /// What is wrong with what it says.
    pub faults: Vec<Diagnostic>,
}

words! {
    /// What became of a file.
    Outcome {
        /// It is a part of the policy.
        Applied = "applied",
        /// It is a mask, or one hides it.
        Masked = "masked",
        /// One of the same name hides it.
        Shadowed = "shadowed",
        /// It cannot be used.
        Refused = "refused",
        /// Others than root could have written it, or the image lets it not count.
        Untrusted = "untrusted",
    }
}

/// Reads the files of a board, in the order in which they merge: what applies, and what became of
/// each.
pub fn judge(files: Vec<PolicyFile>) -> (Merged, Vec<Judged>) {
    let mut fragments = Vec::new();
    let mut judged = Vec::new();
    for PolicyFile { key, path, standing } in files {
        let mut faults = Vec::new();
        let (outcome, why) = match standing {
            Standing::Text(text) => match Fragment::parse(&key, &path, &text) {
                Ok(fragment) => {
                    fragments.push(fragment);
                    (Outcome::Applied, String::new())
                }
                Err(found) => {
                    faults = found;
                    let count = faults.len();
                    let first = faults.first().map(|fault| {
                        let (place, message) = (fault.place, &fault.message);
                        let more = if count > 1 { ", and more" } else { "" };
                        format!("{}:{}: {message}{more}", place.line, place.column)
                    });
                    (Outcome::Refused, first.unwrap_or_default())
                }
            },
            Standing::Masked(why) => (Outcome::Masked, why),
            Standing::Shadowed(why) => (Outcome::Shadowed, why),
            Standing::Untrusted(why) => (Outcome::Untrusted, why),
            Standing::Refused(why) => (Outcome::Refused, why),
        };
        judged.push(Judged { key, path, outcome, why, faults });
    }
    (Merged::new(fragments), judged)
}

/// What policy files said when they were last good, by path: a file that became bad goes on to say
/// that, for as long as the program that knows it runs.
#[derive(Debug, Default)]
pub struct LastGood {
    texts: BTreeMap<String, String>,
}

impl LastGood {
    /// Puts what bad files said before in their place, and returns what is wrong with those. What a
    /// file said before it was masked, hidden, removed, or could have been written by others than
    /// root, is forgotten.
    pub fn keep(&mut self, files: &mut [PolicyFile]) -> Vec<Judged> {
        let mut known = std::mem::take(&mut self.texts);
        let mut kept = Vec::new();
        for file in files {
            let (_, judged) = judge(vec![file.clone()]);
            let Some(judged) = judged.into_iter().next() else { continue };
            match (judged.outcome, &file.standing, known.remove(&file.path)) {
                (Outcome::Applied, Standing::Text(text), _) => {
                    self.texts.insert(file.path.clone(), text.clone());
                }
                (Outcome::Refused, _, Some(text)) => {
                    self.texts.insert(file.path.clone(), text.clone());
                    file.standing = Standing::Text(text);
                    kept.push(judged);
                }
                _ => {}
            }
        }
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cascade_goes_from_default_to_the_board() {
        let compatible = ["acme,kiosk", "acme,a9", "bad/name", "..", "acme,a9"];
        let keys = keys(&compatible.map(str::to_owned));
        let keys: Vec<_> = keys.iter().map(Key::as_str).collect();
        assert_eq!(keys, ["default", "acme,a9", "acme,kiosk"]);
    }

    #[test]
    fn a_file_that_became_bad_says_what_it_said_when_it_was_good() {
        let good = |hold: &str| format!("schema = 1\n[gpu.x]\nhold = '{hold}'\n");
        let mut last_good = LastGood::default();
        let mut texts = |standing: Option<Standing>| {
            let path = "a.toml".to_owned();
            let key = Key::new("a").unwrap();
            let mut files: Vec<_> = standing
                .into_iter()
                .map(|standing| PolicyFile { key: key.clone(), path: path.clone(), standing })
                .collect();
            let kept = last_good.keep(&mut files).len();
            (kept, files.into_iter().next().map(|file| file.standing))
        };
        let text = |text: &str| Some(Standing::Text(text.to_owned()));
        let unreadable = || Some(Standing::Refused("is a directory".into()));
        assert_eq!(texts(text("bad")), (0, text("bad")), "it never was good");
        assert_eq!(texts(text(&good("1s"))), (0, text(&good("1s"))));
        for bad in [text("bad"), unreadable(), text("x = 1")] {
            assert_eq!(texts(bad), (1, text(&good("1s"))));
        }
        assert_eq!(texts(text(&good("2s"))), (0, text(&good("2s"))));
        let untrusted = Some(Standing::Untrusted("root does not own it".into()));
        for past in [None, untrusted, Some(Standing::Masked("by another".into()))] {
            assert_eq!(texts(text(&good("1s"))).0, 0);
            assert_eq!(texts(past.clone()), (0, past));
            assert_eq!(texts(unreadable()), (0, unreadable()));
        }
    }

    #[test]
    fn what_counts_is_applied_unless_it_has_faults() {
        let file = |path: &str, standing| PolicyFile {
            key: Key::new("a").unwrap(),
            path: path.to_owned(),
            standing,
        };
        let (merged, judged) = judge(vec![
            file("1", Standing::Text("schema = 1\n".into())),
            file("2", Standing::Text("schema = 1\nx = 2\ny = 3\n".into())),
            file("3", Standing::Shadowed("by 2".into())),
            file("4", Standing::Text("schema = 1\n".into())),
        ]);
        let paths: Vec<_> = merged.fragments().iter().map(|f| f.file.path.as_str()).collect();
        assert_eq!(paths, ["1", "4"]);
        let outcomes: Vec<_> =
            judged.iter().map(|file| (file.outcome, file.why.as_str())).collect();
        assert_eq!(
            outcomes,
            [
                (Outcome::Applied, ""),
                (Outcome::Refused, "2:1: unknown key `x`, and more"),
                (Outcome::Shadowed, "by 2"),
                (Outcome::Applied, ""),
            ]
        );
        assert_eq!(judged[1].faults.len(), 2);
    }
}

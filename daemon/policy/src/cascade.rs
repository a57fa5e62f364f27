// SPDX-License-Identifier: MIT OR Apache-2.0

//! Selects the policy files that apply to a board, and orders them from general to specific.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::fragment::Fragment;
use crate::merged::Merged;
use crate::name::Key;
use crate::words;

/// Key of the policy that applies to every board, with the lowest precedence.
pub const DEFAULT: &str = "default";

/// Maximum number of a board's compatible strings to read.
pub const MOST_KEYS: usize = 64;

/// Returns the keys of the files that apply to a board with this root `compatible` (most specific
/// first, as in the device tree), from the most general to the most specific.
///
/// Strings that cannot be a file name are ignored; `protheap-board` reports them. Boards have a
/// handful of strings. Those after the first [`MOST_KEYS`] are ignored too.
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

/// A file whose name matches the board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFile {
    /// Key from the file name. A drop-in has the key of the file that it refines.
    pub key: Key,
    /// Path, including the root.
    pub path: String,
    /// Content of the file, or the reason why it does not count.
    pub standing: Standing,
}

/// Content of a file, or the reason why it does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The file counts. Contains its text.
    Text(String),
    /// The file is a mask, or is hidden by one. Contains the reason.
    Masked(String),
    /// A file of the same name in a directory of higher precedence replaces it. Contains the
    /// reason.
    Shadowed(String),
    /// The file does not count and hides no other: users other than root can have written it, or
    /// the image does not trust local policies. Contains the reason.
    Untrusted(String),
    /// The file cannot be read. Contains the reason. No file of a lower directory replaces it.
    Refused(String),
}

/// A file and its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Key from the file name.
    pub key: Key,
    /// Path, including the root.
    pub path: String,
    /// Outcome of the file.
    pub outcome: Outcome,
    /// Reason why the file does not apply, as text; empty if it does.
    pub why: String,
    /// Faults in the file's content.
    pub faults: Vec<Diagnostic>,
}

words! {
    /// Outcome of a file.
    Outcome {
        /// The file is part of the policy.
        Applied = "applied",
        /// The file is a mask, or is hidden by one.
        Masked = "masked",
        /// A file of the same name replaces it.
        Shadowed = "shadowed",
        /// The file cannot be used.
        Refused = "refused",
        /// Users other than root can have written the file, or the image does not trust local
        /// policies.
        Untrusted = "untrusted",
    }
}

/// Parses the files of a board, in merge order. Returns the merged policy and the outcome of each
/// file.
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

/// Last valid content of policy files, by path. It replaces the content of files that have become
/// unusable, for as long as the program runs.
#[derive(Debug, Default)]
pub struct LastGood {
    texts: BTreeMap<String, String>,
}

impl LastGood {
    /// Replaces unusable files by their last valid content, and returns the replaced files with
    /// their faults. Forgets the content of files that were masked, hidden or removed, or that
    /// users other than root can have written.
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
    fn keys_are_ordered_from_default_to_the_board() {
        let compatible = ["acme,kiosk", "acme,a9", "bad/name", "..", "acme,a9"];
        let keys = keys(&compatible.map(str::to_owned));
        let keys: Vec<_> = keys.iter().map(Key::as_str).collect();
        assert_eq!(keys, ["default", "acme,a9", "acme,kiosk"]);
    }

    #[test]
    fn invalid_file_keeps_its_last_valid_content() {
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
    fn text_is_applied_unless_it_has_faults() {
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
            file("5", Standing::Text("schema = 1\nx = 2\n".into())),
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
                (Outcome::Refused, "2:1: unknown key `x`"),
            ]
        );
        assert_eq!(judged[1].faults.len(), 2);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reads udev's rules for the owner and the permissions of a heap's device node.
//!
//! Only what such rules use is evaluated (udev(7)): the keys `SUBSYSTEM`, `KERNEL`, `ACTION`, `ENV`
//! and `TAG`, and `GOTO`. Any other condition counts as met.

use std::collections::{BTreeMap, BTreeSet};

use protheap_policy::name::HeapName;

use crate::Problem;
use crate::root::Root;

/// Directories of rules. A file hides those with the same name in later ones.
const DIRECTORIES: [&str; 4] =
    ["etc/udev/rules.d", "run/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d"];
/// Maximum number of files that are read.
const MOST_FILES: usize = 1000;
/// Maximum size of a file, in bytes.
const LONGEST: usize = 1 << 20;
/// Property with which an earlier rule keeps the permissions that it gave to a heap's node; see
/// `systemd/udev/rules.d/99-zz-protheap-heaps.rules`.
pub const KEEP: &str = "PROTHEAP_KEEP_MODE";

/// Permissions that rules give to a heap's device node. Without rules, it belongs to root.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// Value of `OWNER`.
    pub owner: Option<Setting>,
    /// Value of `GROUP`.
    pub group: Option<Setting>,
    /// Value of `MODE`.
    pub mode: Option<Setting>,
    /// Rule that tags the node with `uaccess`, which opens it to the users of active sessions.
    pub uaccess: Option<String>,
    /// Whether an earlier rule sets [`KEEP`].
    pub kept: bool,
}

/// A value that a rule assigns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The value.
    pub value: String,
    /// Position of the rule: path and line.
    pub origin: String,
    /// Whether later rules cannot change the value (`:=`).
    pub is_final: bool,
}

impl Given {
    /// Returns who can open the node besides root, as in `the group video`, and the position of the
    /// rule that says so.
    pub fn opened_to(&self) -> Option<(String, &str)> {
        let mode = self.mode.as_ref().and_then(|mode| u32::from_str_radix(&mode.value, 8).ok());
        let is_root = |name: &str| matches!(name, "root" | "0");
        let other = |who: &Option<Setting>| who.clone().filter(|who| !is_root(&who.value));
        if let (Some(mode), Some(setting)) = (mode, &self.mode)
            && mode & 0o006 != 0
        {
            return Some(("all users".to_owned(), &setting.origin));
        }
        // udev sets 0660 if a rule sets a group and no mode, else 0600.
        let group_bits = mode.map_or(0o060, |mode| mode & 0o060);
        if let (Some(group), Some(setting)) = (other(&self.group), &self.group)
            && group_bits != 0
        {
            return Some((format!("the group {}", group.value), &setting.origin));
        }
        if let (Some(owner), Some(setting)) = (other(&self.owner), &self.owner) {
            return Some((format!("the user {}", owner.value), &setting.origin));
        }
        let uaccess = self.uaccess.as_deref();
        uaccess.map(|origin| ("the users of active sessions".to_owned(), origin))
    }

    /// Returns whether later rules cannot take the node back to root.
    pub fn is_final(&self) -> bool {
        [&self.owner, &self.group, &self.mode].into_iter().flatten().any(|one| one.is_final)
    }
}

/// Returns the permissions that the rules of `root` give to the node of `heap`.
pub fn given(root: &Root, heap: &HeapName, problems: &mut Vec<Problem>) -> Given {
    let mut names = BTreeSet::new();
    for directory in DIRECTORIES {
        root.each(directory, problems, &mut |name, _| {
            if name.ends_with(".rules") && names.len() < MOST_FILES {
                names.insert(name.to_owned());
            }
        });
    }
    let mut device = Device { heap: heap.as_str(), given: Given::default(), env: BTreeMap::new() };
    for name in names {
        // The first directory counts. An empty file, or a link to /dev/null, hides the others.
        let path = |directory: &&str| format!("{directory}/{name}");
        let exists = |path: &String| root.link_stat(path).is_ok();
        let Some(path) = DIRECTORIES.iter().map(path).find(exists) else { continue };
        if root.link(&path).is_some_and(|target| target == "null") {
            continue;
        }
        let Some(bytes) = root.read(&path, LONGEST, problems) else { continue };
        device.apply(&root.shown(&path), &String::from_utf8_lossy(&bytes));
    }
    device.given
}

/// The evaluated device.
struct Device<'a> {
    heap: &'a str,
    given: Given,
    env: BTreeMap<String, String>,
}

impl Device<'_> {
    /// Applies the rules of a file.
    fn apply(&mut self, path: &str, text: &str) {
        let mut skip_to: Option<String> = None;
        for (number, rule) in rules(text) {
            let tokens = tokens(&rule);
            if let Some(label) = &skip_to {
                let is_label = |token: &Token| token.key == "LABEL" && token.value == *label;
                if !tokens.iter().any(is_label) {
                    continue;
                }
                skip_to = None;
            }
            if !tokens.iter().all(|token| self.meets(token)) {
                continue;
            }
            for token in tokens {
                if token.key == "GOTO" && !token.is_match() {
                    skip_to = Some(token.value);
                } else if !token.is_match() {
                    self.assign(token, &format!("{path}:{number}"));
                }
            }
        }
    }

    /// Returns whether a condition is met. Assignments are.
    fn meets(&self, token: &Token) -> bool {
        let value = match (token.key.as_str(), &token.argument) {
            _ if !token.is_match() => return true,
            ("SUBSYSTEM" | "SUBSYSTEMS", _) => "dma_heap",
            ("KERNEL" | "KERNELS", _) => self.heap,
            ("ACTION", _) => "add",
            ("ENV", Some(name)) => self.env.get(name).map_or("", String::as_str),
            ("TAG" | "TAGS", _) if token.value == "uaccess" && self.given.uaccess.is_some() => {
                "uaccess"
            }
            ("TAG" | "TAGS", _) => "",
            // A heap has no parent with a driver, and is no network device.
            ("DRIVER" | "DRIVERS", _) => "",
            _ => return true,
        };
        let matches =
            token.value.split('|').any(|pattern| fits(pattern.as_bytes(), value.as_bytes()));
        matches == (token.operator == "==")
    }

    fn assign(&mut self, token: Token, origin: &str) {
        let Token { key, argument, operator, value } = token;
        if key == "ENV"
            && let Some(name) = argument
        {
            self.given.kept |= name == KEEP && !value.is_empty();
            self.env.insert(name, value);
            return;
        }
        if key == "TAG" && value == "uaccess" {
            self.given.uaccess = (operator != "-=").then(|| origin.to_owned());
            return;
        }
        let setting = match key.as_str() {
            "OWNER" => &mut self.given.owner,
            "GROUP" => &mut self.given.group,
            "MODE" => &mut self.given.mode,
            _ => return,
        };
        if setting.as_ref().is_none_or(|setting| !setting.is_final) {
            let is_final = operator == ":=";
            *setting = Some(Setting { value, origin: origin.to_owned(), is_final });
        }
    }
}

/// A condition or an assignment of a rule.
struct Token {
    key: String,
    /// `NAME` of `ENV{NAME}`.
    argument: Option<String>,
    operator: &'static str,
    value: String,
}

impl Token {
    fn is_match(&self) -> bool {
        matches!(self.operator, "==" | "!=")
    }
}

/// Returns the rules of a file, each with the number of its first line. A line that ends in a
/// backslash continues.
fn rules(text: &str) -> Vec<(usize, String)> {
    let mut rules: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let (part, more) = match line.strip_suffix('\\') {
            Some(part) => (part, true),
            None => (line, false),
        };
        match rules.last_mut() {
            Some((_, rule)) if continues => rule.push_str(part),
            _ => rules.push((number, part.to_owned())),
        }
        continues = more;
    }
    rules
}

/// Returns the tokens of a rule up to the first one that is not valid.
fn tokens(rule: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = rule;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let Some(at) = rest.find(['=', '!', ':', '+', '-']) else { return tokens };
        let (key, after) = rest.split_at(at);
        let operators = ["==", "!=", "+=", "-=", ":=", "="];
        let Some(operator) = operators.into_iter().find(|one| after.starts_with(one)) else {
            return tokens;
        };
        let after = after.get(operator.len()..).unwrap_or_default().trim_start();
        // Strings such as e"..." have escapes, i"..." ignores the case.
        let after = after.strip_prefix(['e', 'i']).unwrap_or(after);
        let Some((value, after)) = after.strip_prefix('"').and_then(|text| text.split_once('"'))
        else {
            return tokens;
        };
        let key = key.trim();
        let (key, argument) = match key.strip_suffix('}').and_then(|key| key.split_once('{')) {
            Some((key, argument)) => (key, Some(argument.to_owned())),
            None => (key, None),
        };
        tokens.push(Token { key: key.to_owned(), argument, operator, value: value.to_owned() });
        rest = after;
    }
}

/// Returns whether `text` matches a pattern with `*`, `?` and `[...]`. Each set of characters
/// counts as matching any character. The time is bounded by the product of both lengths.
fn fits(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while of < text.len() {
        let (step, is_fit) = match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, of));
                at += 1;
                continue;
            }
            Some(b'?') => (1, true),
            Some(b'[') => {
                let rest = pattern.get(at..).unwrap_or_default();
                (rest.iter().position(|byte| *byte == b']').map_or(1, |end| end + 1), true)
            }
            Some(byte) => (1, text.get(of) == Some(byte)),
            None => (0, false),
        };
        if is_fit {
            (at, of) = (at + step, of + 1);
        } else if let Some((starred, tried)) = star {
            star = Some((starred, tried + 1));
            (at, of) = (starred + 1, tried + 1);
        } else {
            return false;
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    const OURS: &str = include_str!("../../../systemd/udev/rules.d/99-zz-protheap-heaps.rules");

    fn opened(tree: &Tree, heap: &str) -> Option<String> {
        let heap = HeapName::new(heap).unwrap();
        let given = given(&tree.root(), &heap, &mut Vec::new());
        given.opened_to().map(|(who, _)| who)
    }

    #[test]
    fn rules_of_distributions_open_all_heaps_and_ours_closes_protected_ones() {
        for rule in [
            "SUBSYSTEM==\"dma_heap\", GROUP=\"video\", MODE=\"0660\"\n",
            "SUBSYSTEM==\"dma_heap\", KERNEL==\"*\", \\\n  GROUP=\"video\"\n",
            "KERNEL!=\"system\", SUBSYSTEM==\"dma_*|udmabuf\", GROUP=\"video\"\n",
        ] {
            let tree = Tree::new();
            tree.file("usr/lib/udev/rules.d/99-com.rules", rule);
            let video = Some("the group video".to_owned());
            assert_eq!(opened(&tree, "protected,secure-video"), video, "{rule}");
            tree.file("usr/lib/udev/rules.d/99-zz-protheap-heaps.rules", OURS);
            for heap in ["protected,secure-video", "restricted,secure-video", "protected"] {
                assert_eq!(opened(&tree, heap), None, "{heap}: {rule}");
            }
            assert_eq!(opened(&tree, "linux,cma"), video, "{rule}");
        }
    }

    #[test]
    fn earlier_rule_keeps_the_permissions_of_a_heap() {
        let tree = Tree::new();
        tree.file("lib/udev/rules.d/99-zz-protheap-heaps.rules", OURS);
        let keep =
            "SUBSYSTEM==\"dma_heap\", GROUP=\"tv\", MODE=\"0660\", ENV{PROTHEAP_KEEP_MODE}=\"1\"\n";
        tree.file("etc/udev/rules.d/50-tv.rules", keep);
        let heap = HeapName::new("protected,secure-video").unwrap();
        let given = given(&tree.root(), &heap, &mut Vec::new());
        assert_eq!(given.opened_to().unwrap().0, "the group tv");
        assert!(given.kept);
    }

    #[test]
    fn final_assignment_and_masks_are_understood() {
        let tree = Tree::new();
        tree.file("usr/lib/udev/rules.d/99-zz-protheap-heaps.rules", OURS);
        tree.file(
            "usr/lib/udev/rules.d/50-a.rules",
            "SUBSYSTEM==\"dma_heap\", GROUP:=\"video\", MODE:=\"0660\"\n",
        );
        let heap = HeapName::new("protected,secure-video").unwrap();
        let found = given(&tree.root(), &heap, &mut Vec::new());
        assert!(found.is_final());
        let (who, origin) = found.opened_to().unwrap();
        assert_eq!(who, "the group video");
        assert!(origin.ends_with("usr/lib/udev/rules.d/50-a.rules:1"), "{origin}");
        tree.link("/dev/null", "etc/udev/rules.d/50-a.rules");
        assert_eq!(opened(&tree, "protected,secure-video"), None);
    }

    #[test]
    fn rules_for_others_open_nothing() {
        let tree = Tree::new();
        let others = "# SUBSYSTEM==\"dma_heap\", MODE=\"0666\"\n\
            SUBSYSTEM==\"drm\", MODE=\"0666\"\n\
            SUBSYSTEM!=\"dma_heap\", MODE=\"0666\"\n\
            SUBSYSTEM==\"dma_heap\", KERNEL==\"system\", MODE=\"0666\"\n\
            SUBSYSTEM==\"dma_heap\", ACTION==\"remove\", MODE=\"0666\"\n\
            SUBSYSTEM==\"dma_heap\", GOTO=\"end\"\nMODE=\"0666\"\nLABEL=\"end\"\nbad\n\
            SUBSYSTEM==\"dma_heap\", GROUP=\"video\", MODE=\"0600\"\n";
        tree.file("usr/lib/udev/rules.d/60-x.rules", others);
        assert_eq!(opened(&tree, "protected,secure-video"), None);
        assert_eq!(opened(&tree, "system").as_deref(), None);
        tree.file("usr/lib/udev/rules.d/70-x.rules", "SUBSYSTEM==\"dma_heap\", TAG+=\"uaccess\"\n");
        let who = opened(&tree, "protected,secure-video");
        assert_eq!(who.as_deref(), Some("the users of active sessions"));
        tree.file("usr/lib/udev/rules.d/80-x.rules", "SUBSYSTEM==\"dma_heap\", MODE=\"0666\"\n");
        assert_eq!(opened(&tree, "protected,secure-video").as_deref(), Some("all users"));
    }

    #[test]
    fn patterns_take_bounded_time() {
        assert!(fits(b"protected,*", b"protected,a"));
        assert!(fits(b"[pr]?*d", b"protected"));
        assert!(!fits(b"protected", b"protected,a"));
        let (pattern, text) = ("*a".repeat(2000), "a".repeat(4000) + "b");
        assert!(!fits(pattern.as_bytes(), text.as_bytes()));
    }
}

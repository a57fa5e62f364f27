// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks that `docs/abi` describes the interfaces that the source of protheap.ko defines, and no
//! others.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

type Names = BTreeSet<String>;

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Concatenated Rust source of the module, without its tests.
fn module() -> String {
    fn read(directory: &Path, text: &mut String) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, text);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let file = fs::read_to_string(path).unwrap();
                *text += file.split("#[kunit_tests").next().unwrap();
            }
        }
    }
    let mut text = String::new();
    read(&project().join("driver/module"), &mut text);
    text
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
}

/// Returns the texts between each `begin` and the next `end`.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> impl Iterator<Item = &'a str> {
    text.split(begin).skip(1).filter_map(move |rest| Some(rest.split_once(end)?.0))
}

/// Returns the words of an enum's variants in the module, such as `State::Held => "held"`.
fn words(source: &str, of: &str) -> Names {
    between(source, &format!("{of}::"), "\",\n")
        .filter_map(|arm| arm.split_once(" => \""))
        .filter(|(variant, word)| {
            variant.bytes().all(|byte| byte.is_ascii_alphanumeric()) && is_word(word)
        })
        .map(|(_, word)| word.to_owned())
        .collect()
}

/// One entry of a file in `docs/abi`.
struct Entry {
    what: String,
    text: String,
}

impl Entry {
    /// Returns the first word of each row of the tables.
    fn rows(&self) -> Names {
        let mut rows = Names::new();
        let mut in_table = false;
        for line in self.text.lines().filter_map(|line| line.strip_prefix("\t\t")) {
            if line.starts_with("===") {
                in_table = !in_table;
            } else if in_table && !line.starts_with(char::is_whitespace) {
                rows.extend(line.split_whitespace().next().map(str::to_owned));
            }
        }
        rows
    }
}

/// Returns the entries of one file. Each entry must have every field of the format.
fn entries(name: &str) -> Vec<Entry> {
    let text = fs::read_to_string(project().join("docs/abi").join(name)).unwrap();
    let entries: Vec<_> = format!("\n{text}")
        .split("\nWhat:\t\t")
        .skip(1)
        .map(|entry| {
            let (what, text) = entry.split_once('\n').unwrap();
            Entry { what: what.to_owned(), text: text.to_owned() }
        })
        .collect();
    for entry in &entries {
        for field in ["Date:", "KernelVersion:", "Contact:", "Description:", "Users:"] {
            let has_it = entry.text.lines().any(|line| line.starts_with(field));
            assert!(has_it, "{name}: {} lacks {field}", entry.what);
        }
    }
    entries
}

fn entry<'a>(entries: &'a [Entry], what: &str) -> &'a Entry {
    entries.iter().find(|entry| entry.what == what).unwrap_or_else(|| panic!("no entry {what}"))
}

#[test]
fn every_configfs_attribute_is_described() {
    let mut defined = Names::new();
    for macros in between(&module(), "= configfs_attrs! {", "};") {
        let directory = if macros.contains("Subsystem<") { "" } else { "<device>/" };
        let (_, list) = macros.split_once("attributes: [").unwrap();
        let (list, _) = list.split_once(']').unwrap();
        for attribute in list.split(',').filter_map(|item| item.trim().split_once(':')) {
            defined.insert(format!("{directory}{}", attribute.0));
        }
    }
    assert!(defined.contains("abi") && defined.contains("<device>/heap"), "{defined:?}");
    let entries = entries("configfs-protheap");
    let described = entries
        .iter()
        .filter_map(|entry| entry.what.strip_prefix("/sys/kernel/config/protheap/"))
        .filter(|name| *name != "<device>")
        .map(str::to_owned);
    assert_eq!(described.collect::<Names>(), defined);
}

#[test]
fn every_configfs_value_is_described() {
    let entries = entries("configfs-protheap");
    let rows = |name: &str| {
        let what = format!("/sys/kernel/config/protheap/{name}");
        let rows = entry(&entries, &what).rows().into_iter();
        rows.filter(|row| is_word(row)).collect::<Names>()
    };
    let source = module();
    for (attribute, of) in [
        ("<device>/state", "State"),
        ("<device>/reason", "Reason"),
        ("<device>/commit", "Decision"),
    ] {
        let words = words(&source, of);
        assert!(words.len() >= 3, "{words:?}");
        assert_eq!(rows(attribute), words, "{attribute}");
    }
}

#[test]
fn every_event_variable_is_described() {
    let defined: Names = module()
        .split("\"PROTHEAP_")
        .skip(1)
        .map(|rest| format!("PROTHEAP_{}", rest.split_once('=').unwrap().0))
        .collect();
    assert!(defined.contains("PROTHEAP_DEVICE"), "{defined:?}");
    let entries = entries("uevent-protheap");
    let described = entries.iter().map(|entry| entry.what.clone());
    let described = described.filter(|what| what.starts_with("PROTHEAP_"));
    assert_eq!(described.collect::<Names>(), defined);

    let wants = between(&module(), "\"PROTHEAP_WANT=", "\"").map(str::to_owned).collect::<Names>();
    assert_eq!(entry(&entries, "PROTHEAP_WANT").rows(), wants);
}

#[test]
fn every_ioctl_and_its_errors_are_described() {
    let header = project().join("driver/module/uapi/protheap.h");
    let header = fs::read_to_string(header).unwrap();
    let defined: Names = between(&header, "#define PROTHEAP_IOCTL_", "\t")
        .map(|name| format!("PROTHEAP_IOCTL_{name}"))
        .collect();
    assert!(!defined.is_empty());
    let entries = entries("dev-protheap");
    let described = entries.iter().map(|entry| entry.what.clone());
    let described = described.filter(|what| what.starts_with("PROTHEAP_"));
    assert_eq!(described.collect::<Names>(), defined);

    let is_error = |word: &&str| word.starts_with('E') && !word.contains(char::is_lowercase);
    let comment = header.split("Errors:").nth(1).unwrap();
    let errors = comment.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_error);
    let mut errors: Names = errors.map(str::to_owned).collect();
    // Any ioctl whose argument is a structure can fail with EFAULT.
    errors.insert("EFAULT".to_owned());
    let rows = entry(&entries, "PROTHEAP_IOCTL_HAND_OVER").rows().into_iter();
    let rows = rows.filter(|row| row.starts_with('E'));
    assert_eq!(rows.collect::<Names>(), errors);
}

#[test]
fn every_debugfs_line_is_described() {
    let source = module();
    let mut defined = Names::new();
    for text in between(&source, "writeln!(out, \"", "\"").chain(between(
        &source,
        "out.write_fmt(fmt!(\"",
        "\"",
    )) {
        for line in text.split("\\n") {
            if let Some((name, _)) = line.split_once(' ').filter(|(name, _)| is_word(name)) {
                defined.insert(name.to_owned());
            }
        }
    }
    let reasons = source.split("const REASONS:").nth(1).unwrap().split("];").next().unwrap();
    for reason in between(reasons, ", \"", "\"").chain(["other"]) {
        defined.insert(format!("refused-{reason}"));
    }
    assert!(defined.len() > 20, "{defined:?}");
    let entries = entries("debugfs-protheap");
    assert_eq!(entry(&entries, "/sys/kernel/debug/protheap/<device>").rows(), defined);
}

#[test]
fn every_module_parameter_is_described() {
    let source = module();
    let params = source.split("params: {").nth(1).unwrap().split("\n    },").next().unwrap();
    let mut defined = Names::new();
    let mut described = Names::new();
    for line in params.lines().filter(|line| line.ends_with('{')) {
        let (name, kind) = line.trim().split_once(": ").unwrap();
        defined.insert(format!("protheap.{name} {}", kind.trim_end_matches(" {")));
    }
    for entry in entries("module-protheap") {
        let kind = entry.text.split("Module parameter, ").nth(1).unwrap();
        described.insert(format!("{} {}", entry.what, kind.split(',').next().unwrap()));
    }
    assert!(!defined.is_empty());
    assert_eq!(described, defined);
}

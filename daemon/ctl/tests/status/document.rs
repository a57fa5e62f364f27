// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks docs/protheapctl.md: its examples are actual output, and its tables name each member of
//! them.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::machine::repository;
use crate::scene::golden;

const DOCUMENT: &str = include_str!("../../../../docs/protheapctl.md");
const STATE: &str = include_str!("../../../../docs/state.md");

fn section(title: &str) -> &'static str {
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(title));
    section.unwrap_or_else(|| panic!("{title}"))
}

/// Returns the words in backquotes in the first cells of the tables with these headers.
fn first_cells(text: &'static str, heads: &[&str]) -> Vec<&'static str> {
    let mut words = Vec::new();
    let mut is_wanted = false;
    for line in text.lines() {
        let is_row = line.starts_with('|');
        is_wanted = is_row && (is_wanted || heads.iter().any(|head| line.starts_with(head)));
        if is_wanted {
            let cell = line.split('|').nth(1).unwrap_or_default();
            words.extend(cell.split('`').skip(1).step_by(2));
        }
    }
    words
}

fn keys(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            into.extend(members.keys().cloned());
            members.values().for_each(|member| keys(member, into));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, into)),
        _ => {}
    }
}

#[test]
fn examples_match_the_output_and_every_member_is_documented() {
    for (title, file) in [
        ("`status --json`", "better-heap.json"),
        ("`timeline --json`", "timeline.json"),
        ("`list --json`", "list.json"),
        ("`find-heap --json`", "find-heap.json"),
    ] {
        let section = section(title);
        let example = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
        let example: Value = serde_json::from_str(example).unwrap();
        let printed = fs::read_to_string(golden(file)).unwrap();
        assert_eq!(example, serde_json::from_str::<Value>(&printed).unwrap(), "{title}");

        let mut members = BTreeSet::new();
        keys(&example, &mut members);
        let before = section.split("```json\n").next().unwrap();
        let named: BTreeSet<_> = before.split('`').skip(1).step_by(2).collect();
        // The members for a path, a line and a column are defined in state.md.
        let elsewhere = |member: &str| STATE.contains(&format!("`{member}`"));
        for member in &members {
            assert!(named.contains(member.as_str()) || elsewhere(member), "{title}: {member}");
        }
        for word in first_cells(section, &["| member |", "| member of a GPU |"]) {
            assert!(members.contains(word), "{title}: {word}");
        }
    }
}

/// Returns the text of all files about obstacles, and about notes, which become obstacles.
fn sources() -> String {
    let directory = repository().join("daemon/ctl/src/obstacles");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let notes = repository().join("daemon/core/src/notes.rs");
    files.chain([notes]).map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn obstacles_match_the_documentation() {
    let documented = first_cells(section("Obstacles"), &["| obstacle |"]);
    assert!(documented.len() >= 10, "{documented:?}");
    let sources = sources();
    for word in &documented {
        assert!(sources.contains(&format!("\"{word}\"")), "{word}");
    }
    for word in sources.split("what: \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(documented.contains(&word), "{word}");
    }
    for entry in fs::read_dir(golden("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let found: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        for obstacle in found["obstacles"].as_array().into_iter().flatten() {
            let what = obstacle["what"].as_str().unwrap();
            let known = documented.contains(&what) || STATE.contains(&format!("| `{what}` |"));
            assert!(known, "{what}");
        }
    }
}

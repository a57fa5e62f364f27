// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks `docs/design.md`: its diagrams are generated from [`TRANSITIONS`], its example quotes an
//! actual policy and actual messages, and it names every crate and every file.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use protheap_core::state::{State, TRANSITIONS};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap()
}

/// Returns the concatenated Rust files below a directory.
fn sources(directory: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// Returns a Mermaid diagram of the transitions from ends, or from all other states.
fn diagram(from_ends: bool) -> String {
    let id = |state: State| match state {
        State::Absent => "[*]".to_owned(),
        _ => state.as_str().replace('-', "_"),
    };
    let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
    writeln!(text, "    state \"{}\" as {}", State::InUse, id(State::InUse)).unwrap();
    for &(from, to, cause) in TRANSITIONS.iter().filter(|(from, ..)| from.is_end() == from_ends) {
        writeln!(text, "    {} --> {}: {cause}", id(from), id(to)).unwrap();
    }
    text + "```\n"
}

#[test]
fn diagrams_match_the_table_of_transitions() {
    let before = read("docs/design.md");
    let mut after = before.clone();
    for (name, from_ends) in [("attempt", false), ("upkeep", true)] {
        let begin = format!("<!-- states: {name} -->\n");
        let (head, rest) = after.split_once(&begin).unwrap();
        let (_, tail) = rest.split_once("<!-- end -->").unwrap();
        after = format!("{head}{begin}{}<!-- end -->{tail}", diagram(from_ends));
    }
    if std::env::var_os("PROTHEAP_RENEW").is_some() {
        // Other tests read the page concurrently, so it is replaced atomically.
        let new = path("docs/.design.md.new");
        fs::write(&new, after).unwrap();
        fs::rename(new, path("docs/design.md")).unwrap();
    } else {
        assert!(before == after, "PROTHEAP_RENEW=1 renews the diagrams of docs/design.md");
    }
}

#[test]
fn example_quotes_a_policy_and_the_kernel_log() {
    let design = read("docs/design.md");
    let policy = read("policies/rockchip,rk3588.toml");
    let line = "heaps = [{ name = \"protected,secure-video\" }]";
    let number = policy.lines().position(|text| text == line).unwrap() + 1;
    let column = line.find("{ name").unwrap() + 1;
    let origin = format!("/usr/lib/protheap/policies/rockchip,rk3588.toml:{number}:{column}");
    let quoted = format!("Line {number} is\n\n   ```\n   {line}\n");
    assert!(design.contains(&quoted), "{quoted}");
    let module = sources(&path("driver/module"));
    for (message, shown) in [
        ("\"protheap: held for at most {hold} ms\\n\"", "held for at most 5000 ms"),
        (
            "\"protheap: bound to {}{}\\n\"",
            &*format!("bound to protected,secure-video by {origin}"),
        ),
    ] {
        assert!(module.contains(message), "{message}");
        let shown = format!("\n   platform fb000000.gpu: protheap: {shown}\n");
        assert!(design.contains(&shown), "{shown}");
    }
}

#[test]
fn design_page_names_every_crate() {
    let design = read("docs/design.md");
    let manifest = read("Cargo.toml");
    let (_, members) = manifest.split_once("\nmembers = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let members: Vec<_> = members.split('"').skip(1).step_by(2).collect();
    assert!(members.contains(&"daemon/core"), "{members:?}");
    // Programs of the guest belong to the tests in virtual machines.
    for member in members.iter().filter(|member| !member.ends_with("/guest")) {
        assert!(design.contains(&format!("\n| `{member}` | ")), "{member}");
    }
}

#[test]
fn every_file_is_named() {
    let design = read("docs/design.md");
    let mut directories: Vec<_> = fs::read_dir(path("daemon"))
        .unwrap()
        .map(|entry| format!("daemon/{}", entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    directories.push("driver/module".to_owned());
    for directory in directories {
        let sources = if directory.starts_with("daemon/") { "/src" } else { "" };
        let files: BTreeSet<_> = fs::read_dir(path(&(directory.clone() + sources)))
            .unwrap()
            .filter_map(|entry| {
                let name = entry.unwrap().file_name().into_string().unwrap();
                Some(name.strip_suffix(".rs")?.to_owned())
            })
            .filter(|name| !["lib", "main", "protheap_main"].contains(&name.as_str()))
            .collect();
        let section = design.split(&format!("\n### `{directory}`\n")).nth(1).unwrap_or_default();
        let rows = section.lines().take_while(|line| !line.starts_with('#'));
        let rows = rows.filter_map(|row| Some(row.strip_prefix("| `")?.split_once('`')?.0));
        let rows: BTreeSet<_> = rows.map(str::to_owned).collect();
        assert_eq!(rows, files, "{directory}");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Runs the transcripts in docs/policy.md on the machines of tests/boards, and compares the output.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::machine::{Directory, repository, text};

/// If set, the test writes the output into the document instead of comparing it.
const RENEW: &str = "PROTHEAP_RENEW";
/// Line before a transcript, with the name of its machine. The next transcripts until another such
/// line continue with the same files.
const MACHINE: &str = "<!-- tests/boards/";
/// First line of a transcript.
const BEGIN: &str = "```console";
/// Prompt before each command.
const PROMPT: &str = "$ ";

/// Runs a command of a transcript in `directory`, and returns its output. A command that fails must
/// end with `; echo $?`, which shows that it does.
fn run(command: &str, directory: &Path) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_protheapctl")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("umask 022; exec 2>&1; {command}")])
        .env("PATH", format!("{}:{path}", program.display()))
        .current_dir(directory)
        .output()
        .unwrap();
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{command}: {printed}");
    printed
}

/// Returns the document with the actual output of its transcripts, the number of transcripts, and
/// the machines.
fn actual(document: &str) -> (String, usize, Vec<String>) {
    let (mut written, mut transcripts, mut machines) = (String::new(), 0, Vec::new());
    let mut directory: Option<Directory> = None;
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        writeln!(written, "{line}").unwrap();
        if let Some(name) = line.strip_prefix(MACHINE) {
            let name = name.strip_suffix(" -->").unwrap();
            let new = Directory::new("transcript");
            fs::rename(&Directory::machine(name).0, new.0.join("board")).unwrap();
            directory = Some(new);
            machines.push(name.to_owned());
        }
        if line != BEGIN {
            continue;
        }
        transcripts += 1;
        let directory = directory.as_ref().expect("a transcript has a machine");
        let block = lines.by_ref().take_while(|line| *line != "```");
        let commands: Vec<_> = block.filter_map(|line| line.strip_prefix(PROMPT)).collect();
        // The output must not look like a command.
        for command in commands {
            writeln!(written, "{PROMPT}{command}").unwrap();
            let printed = run(command, &directory.0);
            assert!(printed.is_empty() || printed.ends_with('\n'), "{command}: {printed}");
            assert!(!printed.lines().any(|line| line.starts_with(PROMPT)), "{printed}");
            written.push_str(&printed);
        }
        written.push_str("```\n");
    }
    (written, transcripts, machines)
}

#[test]
fn transcripts_show_the_actual_output() {
    let path = repository().join("docs/policy.md");
    let document = fs::read_to_string(&path).unwrap();
    let (actual, transcripts, machines) = actual(&document);
    assert!(transcripts >= 6 && machines.len() >= 4, "{transcripts} {machines:?}");
    if std::env::var_os(RENEW).is_some() {
        fs::write(&path, actual).unwrap();
        return;
    }
    let differ = document.lines().zip(actual.lines()).find(|(shown, actual)| shown != actual);
    assert!(
        document == actual,
        "docs/policy.md differs: {differ:#?}; `{RENEW}=1 cargo test -p protheapctl` writes the \
         transcripts anew, for `git diff` to show"
    );
}

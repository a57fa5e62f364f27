// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests of the helpers in `tests/vm/scenarios/lib.sh`, run by this machine's shell: a check that cannot fail shows
//! nothing.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Path of `lib.sh` and its text.
fn lib() -> (PathBuf, String) {
    let path = checkout().join("tests/vm/scenarios/lib.sh");
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

/// Runs commands after `lib.sh`, in an empty directory, and returns whether they succeeded.
fn succeeds(commands: &str) -> bool {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let dir = std::env::temp_dir().join(format!("xtask-helpers-{}-{run}", std::process::id()));
    fs::create_dir(&dir).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-u", "-c", &format!(". \"$0\"; {commands}")]).arg(lib().0);
    shell.envs([("CLOCK", "instructions"), ("TEE", "sim")]).current_dir(&dir);
    let output = shell.output().unwrap();
    fs::remove_dir_all(&dir).unwrap();
    output.status.success()
}

fn assert_outcomes(passing: &[&str], failing: &[&str]) {
    for commands in passing {
        assert!(succeeds(commands), "fails: {commands}");
    }
    for commands in failing {
        assert!(!succeeds(commands), "passes: {commands}");
    }
}

#[test]
fn helpers_fail_if_a_command_in_their_arguments_fails() {
    assert_outcomes(
        &[
            "is a a",
            "empty true",
            "equal_nonzero 3 3",
            "at_most 3 3",
            "at_least 3 3",
            "fails false",
            "absent a b",
        ],
        &[
            "is a b",
            r#"is "$(false)" "$(false)""#,
            "is '' ''",
            "empty echo a",
            "empty false",
            "empty sh -c 'echo a >&2'",
            "empty no-such-command",
            "equal_nonzero 3 4",
            "equal_nonzero 0 0",
            r#"equal_nonzero "$(false)" "$(false)""#,
            r#"at_most "$(false)" 3"#,
            r#"at_least 3 "$(false)""#,
            "fails true",
            "fails no-such-command",
            ">b; absent a b",
        ],
    );
}

#[test]
fn missing_and_empty_logs_fail_claims_about_absence() {
    const DAEMON: &str = "DAEMON_LOG=log; echo 'protheapd: gpu: bound: heap' >log;";
    const KERNEL: &str = "KERNEL_LOG=log; dmesg() { echo '[ 0.0] Booting'; ";
    assert_outcomes(
        &[
            "echo a >log; empty matching log b",
            "echo a >log; empty others log 'a|b'",
            "printf 'a\\nb\\n' >log; empty repeated log",
            &format!("{DAEMON} empty complaints"),
            &format!("{DAEMON} echo 'protheapd: x failed' >>log; empty complaints 'x failed'"),
            &format!("{KERNEL} echo \"gpu: $HELD 5 ms\"; }}; hold_ended_in_time"),
        ],
        &[
            "echo a >log; empty matching log a",
            "empty matching log b",
            ">log; empty matching log b",
            "echo a >log; empty others log b",
            "empty others log a",
            "printf 'a\\na\\n' >log; empty repeated log",
            ">log; empty repeated log",
            &format!("{DAEMON} echo 'protheapd: x failed' >>log; empty complaints"),
            "DAEMON_LOG=log; empty complaints",
            "DAEMON_LOG=log; >log; empty complaints",
            &format!("{KERNEL} echo \"$HELD\"; echo \"$HOLD_TIMED_OUT\"; }}; hold_ended_in_time"),
            &format!("{KERNEL} :; }}; hold_ended_in_time"),
            "KERNEL_LOG=log; dmesg() { false; }; empty kernel_log a",
            "KERNEL_LOG=log; dmesg() { :; }; empty kernel_log a",
            "echo '1 a' >before; empty more_ran before after",
        ],
    );
}

#[test]
fn journal_without_the_unit_fails_claims_about_absence() {
    let journal = |all: &str, warnings: &str| {
        format!(
            "journalctl() {{ case $* in --sync) ;; *--priority=warning*) printf '{warnings}' ;; \
             *) printf '{all}' ;; esac; }}; empty warnings_of protheapd"
        )
    };
    assert_outcomes(
        &[&journal("serving\\n", "")],
        &[
            &journal("serving\\n", "a warning\\n"),
            &journal("", ""),
            "journalctl() { false; }; empty warnings_of protheapd",
        ],
    );
}

#[test]
fn missing_device_fails_the_claim_that_it_has_no_driver() {
    const GPU: &str = "DEVICES=devices; GPU=gpu; mkdir -p devices/gpu;";
    assert_outcomes(
        &[&format!("{GPU} has_no_driver")],
        &[
            &format!("{GPU} >devices/gpu/driver; has_no_driver"),
            "DEVICES=devices; GPU=gpu; has_no_driver",
        ],
    );
}

#[test]
fn absent_messages_exist_in_the_module() {
    let mut source = String::new();
    let mut directories = vec![checkout().join("driver/module")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let (_, text) = lib();
    let messages = text.lines().filter_map(|line| line.split_once("='protheap: "));
    let messages: Vec<_> = messages.map(|(_, message)| message.trim_end_matches('\'')).collect();
    assert_eq!(messages.len(), 3);
    for message in messages {
        assert!(source.contains(&format!("\"protheap: {message}")), "{message}");
    }
}

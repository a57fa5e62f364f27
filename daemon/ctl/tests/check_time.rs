// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long `protheapctl check` takes: alone in this file, so that no other test runs beside it.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::Command;
use std::time::Instant;

#[test]
fn many_files_take_as_long_as_their_number_says() {
    let tree = std::env::temp_dir().join(format!("protheapctl-time-{}", std::process::id()));
    // Each has names of its own that nobody knows, near to those of others.
    let body = |number: usize| {
        format!(
            "schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nheaps = [{{ name = \"acme_svp{number}\" }}, \
             {{ name = \"acme_other{number}\" }}]\n[evidence.\"acme_other{number}\"]\nstatus = \"tested\"\n"
        )
    };
    for (directory, count) in [("few", 10), ("many", 1000)] {
        fs::create_dir_all(tree.join(directory)).unwrap();
        for number in 0..count {
            fs::write(tree.join(format!("{directory}/acme,a{number}.toml")), body(number)).unwrap();
        }
    }
    let time = |directory: &str| {
        let measure = |_| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_protheapctl"));
            let start = Instant::now();
            let said = command.arg("check").arg(tree.join(directory)).output().unwrap();
            assert!(said.status.success(), "{said:?}");
            start.elapsed()
        };
        (0..5).map(measure).min().unwrap()
    };
    let (few, many) = (time("few"), time("many"));
    fs::remove_dir_all(&tree).unwrap();
    assert!(many < 120 * few, "{few:?} for 10, {many:?} for 1000");
}

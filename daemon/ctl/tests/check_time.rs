// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the time of `protheapctl check`, in a file of its own so that no other test runs in
//! parallel.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::process::Command;
use std::time::Instant;

#[test]
fn time_to_check_is_linear_in_the_number_of_files() {
    let tree = std::env::temp_dir().join(format!("protheapctl-time-{}", std::process::id()));
    // Each file has unknown names that resemble those of the others.
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

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Measures the work of `protheapctl check`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};

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
    // Time on a CPU in nanoseconds, which does not depend on what else the host runs.
    let time = |directory: &str| {
        let measure = |_| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_protheapctl"));
            command.arg("check").arg(tree.join(directory));
            let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
            let mut output = String::new();
            child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
            // Linux keeps this file until the process is waited for.
            let path = format!("/proc/{}/schedstat", child.id());
            let statistics = fs::read_to_string(path).unwrap();
            assert!(child.wait().unwrap().success(), "{output}");
            let on_cpu = statistics.split_ascii_whitespace().next().unwrap();
            on_cpu.parse::<u64>().unwrap()
        };
        (0..5).map(measure).min().unwrap()
    };
    let (few, many) = (time("few"), time("many"));
    fs::remove_dir_all(&tree).unwrap();
    assert!(many < 120 * few, "{few} ns for 10, {many} ns for 1000");
}

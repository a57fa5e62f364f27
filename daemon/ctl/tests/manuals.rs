// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests the man pages and completions that `cargo xtask manuals` writes.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../examples/manuals.rs"]
mod generator;

use std::fs;
use std::process::Command;

/// Escapes text as in a man page.
fn roff(text: &str) -> String {
    text.replace('-', "\\-").replace('\'', "\\*(Aq")
}

#[test]
fn every_command_has_a_description_and_a_page() {
    let directory =
        std::env::temp_dir().join(format!("protheapctl-manuals-{}", std::process::id()));
    let written = generator::write(&directory).unwrap();
    let read = |path: &str| fs::read_to_string(directory.join(path)).unwrap();
    let command = protheapctl::command();
    let names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(written.len(), names.len() + 4);
    let page = read("man/man1/protheapctl.1");
    for name in &names {
        let subcommand = command.find_subcommand(name).unwrap();
        let about = subcommand.get_about().unwrap_or_else(|| panic!("{name}")).to_string();
        assert!(about.len() > 10 && !about.ends_with('.'), "{name}: {about}");
        for argument in subcommand.get_arguments() {
            assert!(argument.get_help().is_some(), "{name} {argument}");
        }
        assert!(page.contains(&roff(name)), "{name}");
        let page = read(&format!("man/man1/protheapctl-{name}.1"));
        assert!(page.contains(".SH NAME") && page.contains(&roff(&about)), "{page}");
    }
    for path in [
        "bash-completion/completions/protheapctl",
        "zsh/site-functions/_protheapctl",
        "fish/vendor_completions.d/protheapctl.fish",
    ] {
        let completion = read(path);
        assert!(names.iter().all(|name| completion.contains(name)), "{path}");
    }
    // Checks the files with the programs that interpret them.
    let bash = directory.join("bash-completion/completions/protheapctl");
    let checks = written
        .iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "1"))
        .map(|page| {
            ("groff", vec!["-man".as_ref(), "-ww".as_ref(), "-z".as_ref(), page.as_os_str()])
        })
        .chain([("bash", vec!["-n".as_ref(), bash.as_os_str()])]);
    for (program, arguments) in checks {
        match Command::new(program).args(&arguments).output() {
            Ok(output) => {
                assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
            }
            Err(_) => eprintln!("not checked: there is no {program}"),
        }
    }
    fs::remove_dir_all(directory).unwrap();
}

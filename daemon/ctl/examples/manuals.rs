// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes the man pages and completions of `protheapctl`: `cargo xtask manuals DIR`.
//!
//! The directory has the layout of `/usr/share`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap_complete::Shell;

/// Name of the program.
const NAME: &str = "protheapctl";
/// Directory in which each shell looks for completions.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, "bash-completion/completions/protheapctl"),
    (Shell::Zsh, "zsh/site-functions/_protheapctl"),
    (Shell::Fish, "fish/vendor_completions.d/protheapctl.fish"),
];

#[allow(dead_code, reason = "the tests have their own")]
fn main() -> Result<()> {
    let directory = env::args_os().nth(1).context("usage: manuals DIR")?;
    for path in write(Path::new(&directory))? {
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Writes the files, and returns their paths.
pub(crate) fn write(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    let mut put = |path: &str, text: Vec<u8>| -> Result<()> {
        let path = directory.join(path);
        let shown = || format!("writing {}", path.display());
        let parent = path.parent().unwrap_or(directory);
        fs::create_dir_all(parent).and_then(|()| fs::write(&path, text)).with_context(shown)?;
        written.push(path);
        Ok(())
    };
    for (shell, path) in COMPLETIONS {
        let mut text = Vec::new();
        clap_complete::generate(shell, &mut protheapctl::command(), NAME, &mut text);
        put(path, text)?;
    }
    // Each command has a page, except for the help.
    let mut command = protheapctl::command().disable_help_subcommand(true);
    command.build();
    put(&format!("man/man1/{NAME}.1"), page(command.clone(), NAME)?)?;
    for subcommand in command.get_subcommands() {
        let name = format!("{NAME}-{}", subcommand.get_name());
        put(&format!("man/man1/{name}.1"), page(subcommand.clone(), &name)?)?;
    }
    Ok(written)
}

fn page(command: clap::Command, name: &str) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let man = clap_mangen::Man::new(command).title(name.to_uppercase()).section("1");
    man.render(&mut text).with_context(|| format!("making the page of {name}"))?;
    Ok(text)
}

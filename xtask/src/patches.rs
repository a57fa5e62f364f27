// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask patches`: applies the patches of `driver/patches` one by one, and after each of them builds the
//! directories that it changes and checks its style and its documentation.
//!
//! Source tree and build directory are its own, and are kept: a later run compiles only the files that the patches
//! change. The first run compiles what they depend on as well.

mod series;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args as ClapArgs;

use self::series::{Series, all};
use crate::cache::{self, Workspace};
use crate::kernel::{self, Flavor, Linux};
use crate::progress::output;
use crate::toolchain::{self, Toolchain};
use crate::{host, scenario};

/// Debian packages that it needs beside those of every build.
const PACKAGES: &[&str] = &["python3"];
/// Arguments of the `patches` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Series to check, by a part of their names [default: all]; those before them are only applied
    series: Vec<String>,
    /// Boot the scenarios that the letters of the series list, on the test kernel
    #[arg(long)]
    boot: bool,
}

/// Runs the `patches` command. Returns `false` if a patch failed a check, or a scenario failed.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let chosen = |name: &str| {
        args.series.is_empty() || args.series.iter().any(|part| name.contains(part.as_str()))
    };
    let all = all(workspace)?;
    if let Some(part) =
        args.series.iter().find(|part| !all.iter().any(|s| s.name.contains(&***part)))
    {
        bail!("no series `{part}` in driver/patches");
    }
    let mut failed = 0;
    {
        let _lock = workspace.lock()?;
        host::prepare(workspace, PACKAGES)?;
        let tools = toolchain::prepare(workspace)?;
        let tree = Tree::prepare(workspace, &tools)?;
        tree.base(&all)?;
        for series in &all {
            for patch in &series.patches {
                let before = tree.documentation(&changed(patch)?)?;
                kernel::apply(&tree.source, patch)?;
                if chosen(&series.name) {
                    failed += usize::from(!tree.row(series, patch, &before)?);
                }
            }
            // The series after it are for a kernel without this interface.
            if series.name.ends_with(kernel::UAPI) {
                kernel::remove_last(&tree.source, series.patches.len())?;
            }
        }
    }
    println!("{failed} patches failed");
    let scenarios = all.iter().filter(|series| chosen(&series.name)).flat_map(Series::scenarios);
    let scenarios: BTreeSet<String> = scenarios.map(str::to_owned).collect();
    let booted = !args.boot || scenarios.is_empty() || {
        scenario::run(workspace, &scenario::Args::named(scenarios.into_iter().collect()))?
    };
    Ok(failed == 0 && booted)
}

/// A source tree to which the patches are applied, with its build directory.
struct Tree<'a> {
    source: PathBuf,
    build: PathBuf,
    log: PathBuf,
    tools: &'a Toolchain,
}

impl<'a> Tree<'a> {
    /// Makes the tree and removes its patches, and configures its build directory.
    fn prepare(workspace: &Workspace, tools: &'a Toolchain) -> Result<Self> {
        let dir = workspace.cache.join("kernel/patches");
        cache::create_dir(&dir)?;
        let (source, build) = (dir.join("source"), dir.join("build"));
        // An interrupted run may have left half a patch.
        if source.is_dir() && kernel::remove_patches(&source).is_err() {
            cache::remove_dir(&source)?;
        }
        kernel::unpack(workspace, Linux::default(), &source)?;
        cache::create_dir(&build)?;
        if !build.join(".config").is_file() {
            kernel::configure(&source, &build, Flavor::Plain, workspace, tools)?;
        }
        Ok(Self { source, build, log: workspace.log("patches"), tools })
    }

    /// Builds the directories of all series without patches once, so that only patches cause warnings later.
    fn base(&self, all: &[Series]) -> Result<()> {
        let stamp = self.build.join("base");
        if !stamp.is_file() {
            let files = all.iter().flat_map(|series| &series.patches).map(|patch| changed(patch));
            self.compile(&files.collect::<Result<Vec<_>>>()?.concat())?;
            cache::write(&stamp, "")?;
        }
        Ok(())
    }

    /// Checks the patch that was applied last, and prints its row. Returns `false` if a check failed.
    fn row(&self, series: &Series, patch: &Path, before: &BTreeSet<String>) -> Result<bool> {
        let files = changed(patch)?;
        let text = cache::read(patch)?;
        let checks = [
            (if has_sparse() { "build and sparse" } else { "build" }, self.compile(&files)?),
            (
                "checkpatch",
                checkpatch(&self.source, patch, &[]).err().map(|error| format!("{error:#}")),
            ),
            ("kernel-doc", {
                let new = &self.documentation(&files)? - before;
                (!new.is_empty()).then(|| Vec::from_iter(new).join("\n"))
            }),
        ];
        let words = checks.iter().map(|(name, fault)| {
            format!("{name} {}", if fault.is_none() { "ok" } else { "FAILED" })
        });
        let number = patch.file_name().unwrap_or_default().to_string_lossy();
        let number = number.split('-').next().unwrap_or_default();
        let words: Vec<_> = words.collect();
        println!("{}  {number}  {}  {}", series.name, subject(&text), words.join("  "));
        for (name, fault) in &checks {
            for line in fault.iter().flat_map(|fault| fault.lines()) {
                println!("    {name}: {line}");
            }
        }
        Ok(checks.iter().all(|(_, fault)| fault.is_none()))
    }

    /// Builds the directories of changed files with the warnings of W=1, and with sparse if it is installed. Returns
    /// the errors and warnings.
    fn compile(&self, files: &[PathBuf]) -> Result<Option<String>> {
        let targets = targets(files);
        if targets.is_empty() {
            return Ok(None);
        }
        let mut make = kernel::make(&self.source, &self.build, Flavor::Plain, self.tools);
        make.arg("W=1").args(has_sparse().then_some("C=1")).args(targets);
        let done = make.stdin(Stdio::null()).output().context("failed to start make")?;
        let text = [done.stdout, done.stderr].concat();
        cache::write(&self.log, &text)?;
        let text = String::from_utf8_lossy(&text);
        let complaint =
            |line: &&str| ["warning:", "error:", "error["].iter().any(|word| line.contains(word));
        let mut faults: Vec<_> = text.lines().filter(complaint).collect();
        let end = format!("make failed, see {}", self.log.display());
        if !done.status.success() {
            faults.push(&end);
        }
        Ok((!faults.is_empty()).then(|| faults.join("\n")))
    }

    /// Returns the complaints of kernel-doc about those of the files that exist, without line numbers.
    fn documentation(&self, files: &[PathBuf]) -> Result<BTreeSet<String>> {
        let c = |path: &&PathBuf| path.extension().is_some_and(|e| e == "c" || e == "h");
        let files: Vec<_> =
            files.iter().filter(c).filter(|path| self.source.join(path).is_file()).collect();
        if files.is_empty() {
            return Ok(BTreeSet::new());
        }
        let mut command = Command::new("python3");
        command.arg("scripts/kernel-doc").arg("-none").args(files).current_dir(&self.source);
        let done = command.stdin(Stdio::null()).output().context("failed to start `python3`")?;
        let text = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "kernel-doc failed: {text}");
        Ok(text.lines().map(without_places).collect())
    }
}

/// Returns a warning of kernel-doc without the line number and the similar names, which change with other lines.
fn without_places(warning: &str) -> String {
    let warning = warning.split_once(" (did you mean").map_or(warning, |(warning, _)| warning);
    let numbers = |part: &str| part.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned();
    warning.split(':').map(numbers).collect::<Vec<_>>().join(":")
}

/// Returns whether sparse is installed.
fn has_sparse() -> bool {
    output(Command::new("sparse").arg("--version")).is_ok()
}

/// Returns the subject of a patch, which can continue on the next lines.
fn subject(text: &str) -> String {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("Subject: "));
    let first = lines.next().unwrap_or_default();
    let more = lines.take_while(|line| line.starts_with(' '));
    let subject = std::iter::once(first).chain(more).collect::<String>();
    subject.split_once("] ").map_or(subject.clone(), |(_, subject)| subject.to_owned())
}

/// Returns the files that a patch adds or changes.
fn changed(patch: &Path) -> Result<Vec<PathBuf>> {
    let text = cache::read(patch)?;
    Ok(text.lines().filter_map(|line| line.strip_prefix("+++ b/")).map(PathBuf::from).collect())
}

/// Returns the targets of make that compile changed files: the directory of a C file, the crate of a Rust file.
fn targets(files: &[PathBuf]) -> BTreeSet<String> {
    let sources =
        files.iter().filter(|path| path.extension().is_some_and(|e| e == "c" || e == "rs"));
    let kernel = |path: &&PathBuf| !path.starts_with("tools") && !path.starts_with("samples");
    sources
        .filter(kernel)
        .filter_map(|path| {
            let dir = path.parent()?.to_str()?;
            Some(match dir.strip_prefix("drivers/gpu/drm/") {
                _ if path.starts_with("rust") => "prepare".to_owned(),
                // Modules of a crate are in directories below that of the crate.
                Some(below) => format!("drivers/gpu/drm/{}/", below.split('/').next()?),
                None => format!("{dir}/"),
            })
        })
        .collect()
}

/// Runs the kernel's checkpatch.pl on a file, with options.
fn checkpatch(source: &Path, file: &Path, how: &[&str]) -> Result<()> {
    let mut command = Command::new("perl");
    command.arg(source.join("scripts/checkpatch.pl")).args(["--strict", "--no-summary"]);
    // A source package has no history, in which `Fixes:` could be found.
    command.args(["--ignore", "UNKNOWN_COMMIT_ID"]).args(how);
    output(command.arg("--root").arg(source).arg(file))
        .with_context(|| format!("failed to check {}", file.display()))?;
    Ok(())
}

/// Runs checkpatch.pl on all patches, and on the model that they are tested with.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let source = kernel::source(workspace)?;
    for patch in all(workspace)?.iter().flat_map(|series| &series.patches) {
        checkpatch(&source, patch, &[])?;
    }
    for patch in cache::files(&workspace.root.join("driver/patches").join(kernel::FOR_7_2))? {
        checkpatch(&source, &patch, &[])?;
    }
    for file in cache::files(&workspace.root.join("driver/testing/csfmodel"))? {
        if file.extension().is_some_and(|extension| extension == "c" || extension == "h") {
            checkpatch(&source, &file, &["--file"])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_directories_and_crates() {
        let of = |path: &str| targets(&[PathBuf::from(path)]).into_iter().next();
        assert_eq!(of("drivers/tee/optee/call.c").as_deref(), Some("drivers/tee/optee/"));
        assert_eq!(of("drivers/gpu/drm/tyr/fw/parser.rs").as_deref(), Some("drivers/gpu/drm/tyr/"));
        assert_eq!(of("rust/kernel/configfs.rs").as_deref(), Some("prepare"));
        assert_eq!(of("include/linux/dma-heap.h"), None);
        assert_eq!(of("tools/testing/selftests/dmabuf-heaps/dmabuf-heap.c"), None);
    }

    #[test]
    fn subjects_continue_on_the_next_line() {
        let text = "Date: today\nSubject: [PATCH 1/2] drm/panthor: Take the section\n from protheap\n\nbody\n";
        assert_eq!(subject(text), "drm/panthor: Take the section from protheap");
    }

    #[test]
    fn a_warning_is_the_same_after_lines_were_added_before_it() {
        let before = "drivers/a.c:144 Excess struct member 'end' in 'x' (did you mean: 'va.end')";
        let after =
            "drivers/a.c:149 Excess struct member 'end' in 'x' (did you mean: 'va.end', 'b.end')";
        assert_eq!(without_places(before), without_places(after));
        assert_ne!(without_places(before), without_places(&after.replace("'x'", "'y'")));
        assert_ne!(without_places(before), without_places(&after.replace("a.c", "b.c")));
    }

    #[test]
    #[ignore = "needs the kernel's source: a step of `cargo xtask test`"]
    fn patches_are_as_the_kernel_wants_them() {
        check(&Workspace::open().unwrap()).unwrap();
    }
}

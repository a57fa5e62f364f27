// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual boards: the device tree of QEMU's `virt` machine under the overlays of `driver/testing/boards`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};

use crate::cache::{self, Digest, Workspace};
use crate::progress::output;
use crate::vm::{self, Machine};

/// Names of the boards: every overlay that says what board it is.
pub(crate) fn names(workspace: &Workspace) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for path in cache::files(&workspace.root.join("driver/testing/boards"))? {
        let overlay = path.extension().is_some_and(|extension| extension == "dtso");
        if overlay && cache::read(&path)?.contains("model =") {
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Adds all that the device tree of a board depends on to a digest, but for QEMU. The tree itself has random seeds.
pub(crate) fn digest(
    workspace: &Workspace,
    board: &str,
    overlays: &[String],
    machine: Machine,
    digest: &mut Digest,
) -> Result<()> {
    let sources = workspace.root.join("driver/testing/boards");
    for name in std::iter::once(board).chain(overlays.iter().map(String::as_str)) {
        digest.add(cache::read(&sources.join(name).with_extension("dtso"))?.as_bytes());
    }
    machine.arguments().iter().for_each(|argument| digest.add(argument.as_bytes()));
    Ok(())
}

/// Makes the device tree of a board with further overlays on it.
pub(crate) fn device_tree(
    workspace: &Workspace,
    board: &str,
    overlays: &[String],
    machine: Machine,
) -> Result<PathBuf> {
    let all: Vec<_> = std::iter::once(board).chain(overlays.iter().map(String::as_str)).collect();
    device_tree_of_machine(workspace, &all, machine)
}

/// Writes a copy of a device tree with a node for memory that holds a file system: `bytes` at `address`, which the kernel
/// shows as `/dev/pmem0`.
pub(crate) fn with_memory_disk(tree: &Path, address: u64, bytes: u64, copy: &Path) -> Result<()> {
    fs::copy(tree, copy).with_context(|| format!("copying {}", tree.display()))?;
    let node = format!("/pmem@{address:x}");
    output(Command::new("fdtput").args(["-c"]).arg(copy).arg(&node))?;
    let mut compatible = Command::new("fdtput");
    output(compatible.args(["-t", "s"]).arg(copy).args([&node, "compatible", "pmem-region"]))?;
    let cells = [address >> 32, address & 0xffff_ffff, bytes >> 32, bytes & 0xffff_ffff];
    let mut reg = Command::new("fdtput");
    reg.args(["-t", "x"]).arg(copy).args([&node, "reg"]);
    output(reg.args(cells.map(|cell| format!("{cell:x}"))))?;
    Ok(())
}

/// Held while a tree is made.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes the device tree of the machine with overlays on it.
pub(crate) fn device_tree_of_machine(
    workspace: &Workspace,
    overlays: &[&str],
    machine: Machine,
) -> Result<PathBuf> {
    let sources = workspace.root.join("driver/testing/boards");
    let name = format!("{}-{}", overlays.join("+"), machine.name());
    let tree = workspace.checkout.join("boards").join(&name).with_extension("dtb");
    // Machines that run keep their tree, and other jobs make others meanwhile.
    let dir = workspace.checkout.join("boards").join(format!("{name}.{}", process::id()));
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    cache::remove_dir(&dir)?;
    cache::create_dir(&dir)?;
    let (base, made) = (dir.join("virt.dtb"), dir.join("made.dtb"));
    let mut dump = Command::new(vm::QEMU);
    let mut arguments = machine.arguments();
    arguments[1].push_str(&format!(",dumpdtb={}", base.display()));
    output(dump.args(arguments).args(["-serial", "null", "-serial", "null"]).stdout(Stdio::null()))
        .context("asking QEMU for its device tree")?;

    let mut merge = Command::new("fdtoverlay");
    merge.arg("-i").arg(&base).arg("-o").arg(&made);
    for name in overlays {
        let source = sources.join(format!("{name}.dtso"));
        if !source.is_file() {
            bail!(
                "no {}: boards are {}; other files there go on top by `# overlay:`",
                source.display(),
                names(workspace)?.join(", ")
            );
        }
        let overlay = dir.join(format!("{name}.dtbo"));
        output(
            Command::new("dtc")
                .args(["-q", "-@", "-I", "dts", "-O", "dtb", "-o"])
                .args([&overlay, &source]),
        )
        .with_context(|| format!("compiling {}", source.display()))?;
        merge.arg(overlay);
    }
    output(&mut merge).with_context(|| format!("applying the overlays {}", overlays.join(", ")))?;
    fs::rename(&made, &tree).with_context(|| format!("renaming {}", made.display()))?;
    cache::remove_dir(&dir)?;
    Ok(tree)
}

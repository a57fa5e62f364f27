// SPDX-License-Identifier: MIT OR Apache-2.0
//! Virtual boards: the device tree of QEMU's `virt` machine under the overlays of `driver/testing/boards`.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::cache::{self, Digest, Workspace};
use crate::machine::{self, Machine};
use crate::progress::output;

/// Returns the names of the boards: all overlays with a model.
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

/// Adds everything that the device tree of a board depends on to a digest, except QEMU. The tree itself has random
/// seeds.
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

/// Makes the device tree of a board with further overlays.
pub(crate) fn device_tree(
    workspace: &Workspace,
    board: &str,
    overlays: &[String],
    machine: Machine,
) -> Result<PathBuf> {
    let all: Vec<_> = std::iter::once(board).chain(overlays.iter().map(String::as_str)).collect();
    device_tree_of_machine(workspace, &all, machine)
}

/// Adds a node for memory that holds a file system: `bytes` at `address`, which the kernel shows as `/dev/pmem0`.
pub(crate) fn add_memory_disk(tree: &Path, address: u64, bytes: u64) -> Result<()> {
    let node = format!("/pmem@{address:x}");
    output(Command::new("fdtput").args(["-c"]).arg(tree).arg(&node))?;
    let mut compatible = Command::new("fdtput");
    output(compatible.args(["-t", "s"]).arg(tree).args([&node, "compatible", "pmem-region"]))?;
    put_numbers(tree, &node, "reg", &[address, bytes])
}

/// Adds the properties that a boot loader sets: the kernel's command line, and the addresses of the initrd.
pub(crate) fn add_boot(tree: &Path, cmdline: &str, initrd: Range<u64>) -> Result<()> {
    let mut bootargs = Command::new("fdtput");
    output(bootargs.args(["-t", "s"]).arg(tree).args(["/chosen", "bootargs", cmdline]))?;
    put_numbers(tree, "/chosen", "linux,initrd-start", &[initrd.start])?;
    put_numbers(tree, "/chosen", "linux,initrd-end", &[initrd.end])
}

/// Sets a property to numbers of 64 bits.
fn put_numbers(tree: &Path, node: &str, property: &str, numbers: &[u64]) -> Result<()> {
    let cells = numbers.iter().flat_map(|number| [number >> 32, number & 0xffff_ffff]);
    let mut put = Command::new("fdtput");
    put.args(["-t", "x"]).arg(tree).args([node, property]);
    output(put.args(cells.map(|cell| format!("{cell:x}"))))?;
    Ok(())
}

/// Removes the padding of a device tree, for which TF-A and OP-TEE have no room.
pub(crate) fn pack(tree: &Path) -> Result<()> {
    let packed = tree.with_extension("packed");
    let mut dtc = Command::new("dtc");
    output(dtc.args(["-q", "-I", "dtb", "-O", "dtb", "-o"]).args([&packed, tree]))?;
    Ok(fs::rename(&packed, tree)?)
}

/// Lock of the making of a tree.
static MAKING: Mutex<()> = Mutex::new(());

/// Makes the device tree of the machine with overlays.
pub(crate) fn device_tree_of_machine(
    workspace: &Workspace,
    overlays: &[&str],
    machine: Machine,
) -> Result<PathBuf> {
    let sources = workspace.root.join("driver/testing/boards");
    let name = format!("{}-{}", overlays.join("+"), machine.name());
    let tree = workspace.checkout.join("boards").join(&name).with_extension("dtb");
    // Running machines keep their tree while other jobs make others.
    let dir = workspace.checkout.join("boards").join(format!("{name}.{}", process::id()));
    let _one = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    cache::remove_dir(&dir)?;
    cache::create_dir(&dir)?;
    let (base, made) = (dir.join("virt.dtb"), dir.join("made.dtb"));
    let mut dump = Command::new(machine::QEMU);
    let mut arguments = machine.arguments();
    arguments[1].push_str(&format!(",dumpdtb={}", base.display()));
    output(dump.args(arguments).args(["-serial", "null", "-serial", "null"]).stdout(Stdio::null()))
        .context("failed to ask QEMU for its device tree")?;

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
        .with_context(|| format!("failed to compile {}", source.display()))?;
        merge.arg(overlay);
    }
    output(&mut merge)
        .with_context(|| format!("failed to apply the overlays {}", overlays.join(", ")))?;
    if machine.is_secure() {
        // OP-TEE adds this node itself, unless it exists.
        output(Command::new("fdtput").arg("-r").args([&made]).arg("/firmware/optee"))?;
    }
    fs::rename(&made, &tree)?;
    cache::remove_dir(&dir)?;
    Ok(tree)
}

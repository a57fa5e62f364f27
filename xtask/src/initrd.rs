// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest's root: busybox, modules, programs, policies and scenarios in one uncompressed newc archive.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{self, Workspace};
use crate::kernel::Kernel;
use crate::progress::output;
use crate::toolchain::Toolchain;
use crate::{csffw, firmware};

/// Packs the initrd; the same inputs give the same bytes.
pub(crate) fn build(
    workspace: &Workspace,
    tools: &Toolchain,
    kernel: &Kernel,
    modules: &[PathBuf],
    panthors: &[(&str, PathBuf)],
    programs: &[PathBuf],
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for dir in ["dev", "etc", "proc", "run", "sys", "tmp"] {
        archive.directory(dir);
    }
    // The kernel opens the console for init before anything is mounted.
    archive.node("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, &bytes(&tools.busybox)?);
    archive.link("bin/sh", "busybox");
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        archive.file(&format!("usr/bin/{name}"), 0o755, &bytes(program)?);
    }

    for (name, module) in panthors {
        archive.file(&format!("lib/panthor/{name}/panthor.ko"), 0o644, &bytes(module)?);
    }

    // depmod wants the directory as it will be.
    let stage = workspace.checkout.join("stage");
    cache::remove_dir(&stage)?;
    let lib = stage.join("lib/modules").join(&kernel.release);
    cache::create_dir(&lib)?;
    for module in modules {
        fs::copy(module, lib.join(module.file_name().unwrap_or_default()))
            .with_context(|| format!("copying {}", module.display()))?;
    }
    // The kernel's own.
    for object in cache::read(&kernel.build.join("modules.order"))?.lines() {
        let module = kernel.build.join(object).with_extension("ko");
        fs::copy(&module, lib.join(module.file_name().unwrap_or_default()))
            .with_context(|| format!("copying {}", module.display()))?;
    }
    for name in ["modules.builtin", "modules.order"] {
        fs::copy(kernel.build.join(name), lib.join(name))
            .with_context(|| format!("copying {name}"))?;
    }
    output(Command::new("/sbin/depmod").arg("-b").arg(&stage).arg(&kernel.release))?;
    archive.tree(&stage, "")?;

    // The modelled GPU's firmware where the kernel looks for it, and Debian's, if it is here, where it does not.
    for arch in csffw::directories(workspace)? {
        let path = format!("arm/mali/{arch}/mali_csffw.bin");
        archive.file(&format!("lib/firmware/{path}"), 0o644, &csffw::image());
        if let Some(image) = firmware::cached(workspace, &arch) {
            archive.file(&format!("lib/firmware-debian/{path}"), 0o644, &bytes(&image)?);
        }
    }

    archive.tree(&workspace.root.join("policies"), "usr/lib/protheap/policies")?;
    let xtask = workspace.root.join("xtask");
    archive.file("init", 0o755, &bytes(&xtask.join("guest/init.sh"))?);
    archive.tree(&xtask.join("scenarios"), "scenarios")?;
    for name in ["demo.sh", "demo-stand-in.sh"] {
        archive.file(&format!("scenarios/{name}"), 0o644, &bytes(&xtask.join("guest").join(name))?);
    }
    Ok(archive.finish())
}

fn bytes(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// A cpio archive in the newc format, as `Documentation/driver-api/early-userspace/buffer-format.rst` of the
/// kernel describes it. All is owned by root, with no time of change.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    count: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    fn directory(&mut self, path: &str) {
        if path.is_empty() || self.directories.contains(path) {
            return;
        }
        self.parent(path);
        self.directories.insert(path.to_owned());
        self.entry(path, 0o040_755, (0, 0), &[]);
    }

    /// A file and the directories that it is in.
    pub(crate) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.parent(path);
        self.entry(path, 0o100_000 | mode, (0, 0), content);
    }

    fn link(&mut self, path: &str, target: &str) {
        self.parent(path);
        self.entry(path, 0o120_777, (0, 0), target.as_bytes());
    }

    /// A character device.
    fn node(&mut self, path: &str, major: u32, minor: u32) {
        self.parent(path);
        self.entry(path, 0o020_600, (major, minor), &[]);
    }

    /// All files below a directory of the host.
    fn tree(&mut self, from: &Path, to: &str) -> Result<()> {
        for path in cache::files(from)? {
            let name = Path::new(to).join(path.strip_prefix(from)?);
            self.file(&name.to_string_lossy(), 0o644, &bytes(&path)?);
        }
        Ok(())
    }

    fn parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.count += 1;
        let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
        let (size, name) = (content.len(), path.len() + 1);
        // Magic, inode, mode, uid, gid, links, mtime, size, device (2), rdev (2), name size, check.
        let header = format!(
            "070701{:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}{:08x}{:08x}{major:08x}{minor:08x}{name:08x}{:08x}",
            self.count, 0, 0, 0, 0, 0, 0
        );
        self.bytes.extend_from_slice(header.as_bytes());
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The archive's bytes. The kernel unpacks one behind another.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_where_the_kernel_reads_them() {
        let mut archive = Archive::default();
        archive.node("dev/console", 5, 1);
        archive.file("a/b/c", 0o644, b"hello");
        archive.file("a/b/d", 0o755, b"");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);

        let field = |at: usize, n: usize| {
            let hex = std::str::from_utf8(&bytes[at + 6 + 8 * n..at + 14 + 8 * n]).unwrap();
            usize::from_str_radix(hex, 16).unwrap()
        };
        let mut found = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (size, name) = (field(at, 6), field(at, 11));
            let path = String::from_utf8(bytes[at + 110..at + 110 + name - 1].to_vec()).unwrap();
            let data = (at + 110 + name).next_multiple_of(4);
            found.push((path, field(at, 1), field(at, 9), bytes[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(4);
        }
        let names: Vec<_> = found.iter().map(|entry| entry.0.as_str()).collect();
        assert_eq!(names, ["dev", "dev/console", "a", "a/b", "a/b/c", "a/b/d", "TRAILER!!!"]);
        assert_eq!((found[1].1, found[1].2), (0o020_600, 5));
        assert_eq!((found[4].1, found[4].3.as_slice()), (0o100_644, b"hello".as_slice()));
        assert_eq!(found[0].1, 0o040_755);
    }
}

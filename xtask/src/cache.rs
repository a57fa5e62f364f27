// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories: this checkout, and the cache outside of it.
//!
//! ```text
//! $PROTHEAP_CACHE, or $XDG_CACHE_HOME/protheap, or ~/.cache/protheap
//!   apt/SUITE-COMPONENT-ARCH/  a private apt client for another Debian suite
//!   debs/                      packages being downloaded
//!   dtbs/                      device trees of Debian's newest arm64 kernel
//!   firmware/SUITE/            firmware images of a Debian suite
//!   systemd/SUITE-DIGEST/      systemd and what it depends on, unpacked: packages of that digest
//!   tools/                     rustc, bindgen, busybox
//!   kernel/                    sources and builds, named by a digest of what they are made of
//!   stock/sysroot-DIGEST/      compilers of Debian's kernel
//!   stock/RELEASE/             Debian's own kernel: its packages, source, and Rust metadata
//!   results/                   how long each test took, and with which inputs it passed
//!   checkouts/DIGEST/          what is built from one checkout: modules, user space, initrds, disks, boards, logs
//! ```

use std::env;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use fs_err::File;

use crate::progress;

/// Version of every part of the project.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// This checkout and its part of the cache.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Root of the checkout.
    pub(crate) root: PathBuf,
    /// Root of the cache, shared by all checkouts.
    pub(crate) cache: PathBuf,
    /// Directory for files that are built from this checkout.
    pub(crate) checkout: PathBuf,
    /// Missing packages and tools may be installed.
    pub(crate) installs: bool,
}

impl Workspace {
    /// Finds the checkout that this binary was built from and makes its cache directory.
    pub(crate) fn open() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask has no parent directory")?;
        if !root.join("driver").is_dir() {
            bail!("{} is no Protheap checkout: run `cargo xtask` in one", root.display());
        }
        let cache = match (env::var_os("PROTHEAP_CACHE"), env::var_os("XDG_CACHE_HOME")) {
            (Some(dir), _) if !dir.is_empty() => PathBuf::from(dir),
            (_, Some(dir)) if !dir.is_empty() => Path::new(&dir).join("protheap"),
            _ => env::home_dir()
                .context("no home directory: set PROTHEAP_CACHE to a directory with 8 GB of room")?
                .join(".cache/protheap"),
        };
        let cache = std::path::absolute(&cache)?;
        if cache.starts_with(root) {
            bail!(
                "the cache {} is inside the checkout: set PROTHEAP_CACHE elsewhere",
                cache.display()
            );
        }
        let mut name = Digest::new();
        name.add(root.as_os_str().as_encoded_bytes());
        let checkout = cache.join("checkouts").join(name.hex());
        create_dir(&checkout.join("logs"))?;
        Ok(Self { root: root.to_owned(), cache, checkout, installs: true })
    }

    /// Returns the workspace for commands that install nothing.
    pub(crate) fn without_installing(self) -> Self {
        Self { installs: false, ..self }
    }

    /// Returns cargo, to be run in this checkout.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.current_dir(&self.root);
        self.add_bindings(&mut command);
        command
    }

    /// Returns the path of the bindings of panthor's interface, which [`crate::userspace`] makes.
    pub(crate) fn bindings(&self) -> PathBuf {
        self.checkout.join("uapi/panthor.rs")
    }

    /// Passes these bindings to cargo, which builds the client of panthor only if they exist.
    pub(crate) fn add_bindings(&self, cargo: &mut Command) {
        let path = self.bindings();
        if path.is_file() {
            cargo.env("PROTHEAP_UAPI", path);
        }
    }

    /// Returns the output of git, run in this checkout.
    pub(crate) fn git(&self, args: &[&str]) -> Result<String> {
        progress::output(Command::new("git").arg("-C").arg(&self.root).args(args))
    }

    /// Returns the path of the log of one step.
    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.checkout.join("logs").join(format!("{name}.log"))
    }

    /// Locks the cache against builds of other processes and jobs; released when dropped.
    pub(crate) fn lock(&self) -> Result<File> {
        self.locked("lock")
    }

    /// Locks one item of the cache; released when dropped.
    pub(crate) fn lock_for(&self, what: &str) -> Result<File> {
        self.locked(&format!("lock-{what}"))
    }

    fn locked(&self, name: &str) -> Result<File> {
        let path = self.cache.join(name);
        let file = File::create(&path)?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                let path = path.display();
                progress::remark(format_args!("waiting for another xtask, or job, on {path}"));
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("failed to lock {}", path.display()));
            }
        }
        file.lock().with_context(|| format!("failed to lock {}", path.display()))?;
        Ok(file)
    }
}

/// Creates a directory and its parents.
pub(crate) fn create_dir(path: &Path) -> Result<()> {
    Ok(fs::create_dir_all(path)?)
}

/// Removes a directory, if it exists.
pub(crate) fn remove_dir(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path)?;
    }
    Ok(())
}

/// Copies a file.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to)?;
    Ok(())
}

/// Copies a file into a directory; returns the path of the copy.
pub(crate) fn copy_into(file: &Path, dir: &Path) -> Result<PathBuf> {
    let to = dir.join(file.file_name().unwrap_or_default());
    copy(file, &to)?;
    Ok(to)
}

/// Returns the contents of a file.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    Ok(fs::read(path)?)
}

/// Returns all files below a directory, by their path in it, sorted.
pub(crate) fn relative(dir: &Path) -> Result<Vec<PathBuf>> {
    files(dir)?.iter().map(|path| Ok(path.strip_prefix(dir)?.to_owned())).collect::<Result<_>>()
}

/// Makes `path` once: `fill` works in a temporary directory beside it, which is renamed when complete. An interrupted
/// step starts again.
pub(crate) fn once(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    let part = beside(path, ".part");
    remove_dir(&part)?;
    create_dir(&part)?;
    fill(&part)?;
    Ok(fs::rename(&part, path)?)
}

/// Returns the path with a suffix on its last component.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads a text file; the error names it.
pub(crate) fn read(path: &Path) -> Result<String> {
    Ok(fs::read_to_string(path)?)
}

/// Replaces a file by renaming a temporary one beside it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(parent) = path.parent() {
        create_dir(parent)?;
    }
    let part = beside(path, &format!(".{}.part", process::id()));
    fs::write(&part, content)?;
    Ok(fs::rename(&part, path)?)
}

/// Returns all files below `dir`, sorted; a missing directory has none.
pub(crate) fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        if !dir.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Digest of a set of inputs (FNV-1a, 64 bits: it finds changes, and does not resist attacks).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digest(u64);

impl Digest {
    /// Returns the digest of nothing.
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Adds one input and its length, so that inputs cannot run into one another.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in (bytes.len() as u64).to_le_bytes().iter().chain(bytes) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// Adds the names and contents of files.
    pub(crate) fn add_files(&mut self, files: &[PathBuf]) -> Result<()> {
        for file in files {
            self.add(file.as_os_str().as_encoded_bytes());
            self.add(&fs::read(file)?);
        }
        Ok(())
    }

    /// Returns sixteen hexadecimal digits.
    pub(crate) fn hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_depends_on_content_and_boundaries() {
        let digest = |parts: &[&str]| {
            let mut digest = Digest::new();
            parts.iter().for_each(|part| digest.add(part.as_bytes()));
            digest.hex()
        };
        assert_eq!(digest(&["a", "b"]), digest(&["a", "b"]));
        assert_ne!(digest(&["a", "b"]), digest(&["ab"]));
        assert_ne!(digest(&["a", ""]), digest(&["a"]));
        assert_eq!(digest(&["a"]).len(), 16);
    }

    #[test]
    fn interrupted_step_starts_again() {
        let dir = env::temp_dir().join(format!("xtask-once-{}", process::id()));
        remove_dir(&dir).unwrap();
        create_dir(&dir).unwrap();
        let target = dir.join("tool-1.0");
        let failed = once(&target, |part| {
            fs::write(part.join("half"), "")?;
            bail!("interrupted")
        });
        assert!(failed.is_err());
        assert!(!target.exists());
        once(&target, |part| Ok(fs::write(part.join("whole"), "")?)).unwrap();
        assert_eq!(files(&target).unwrap(), [target.join("whole")]);
        once(&target, |_| bail!("must not run again")).unwrap();
        remove_dir(&dir).unwrap();
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! One unified kernel image for all the boards: kernel, initrd, policies and device trees in one signed file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use fs_err as fs;

use crate::archive::Archive;
use crate::cache::{self, Digest, Workspace};
use crate::image::{self, Pieces};
use crate::machine::Machine;
use crate::parts::Parts;
use crate::progress::output;
use crate::uefi::{self, Boot, Key, Tools};
use crate::vm::{self, Outcome};
use crate::{board, extension, systemd};

/// Configuration of ukify, with the words of every signed command line.
const CONFIGURATION: &str = "packaging/uki/uki.conf";
/// Words of the demonstration's command line: its console and its root.
const WORDS: &str = "console=ttyAMA0 panic=-1 oops=panic root=/dev/vda";
/// The same words on real OP-TEE, where the root is in memory.
const WORDS_OPTEE: &str = "console=ttyAMA0 panic=-1 oops=panic root=/dev/pmem0";
/// Heaps of the stand-in, and their delay.
const STAND_IN: &str =
    "simtee.delay_ms=200 simtee.heaps=protected,secure-video;protected,trusted-ui";
/// Host time after which a boot is stopped. It takes half a minute.
pub(crate) const LIMIT: Duration = Duration::from_secs(180);
/// Board for which a vendor's extension has a policy.
const VENDORS_BOARD: &str = "radxa,rock-5b";
/// Overlay with the machine's TPM.
const TPM: &str = "tpm";

/// Arguments of `dist uki`.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Output file
    #[arg(default_value = "target/dist/protheap.efi")]
    output: PathBuf,
    /// Private key in PEM to sign with [default: a throw-away key]
    #[arg(long, requires = "certificate")]
    key: Option<PathBuf>,
    /// Certificate of the key in PEM, which the boards' firmware must have
    #[arg(long, requires = "key")]
    certificate: Option<PathBuf>,
}

/// Makes the image that the demonstration boots.
pub(crate) fn write(workspace: &Workspace, args: &Args) -> Result<PathBuf> {
    let builder = Builder::prepare(workspace)?;
    let key = match (&args.key, &args.certificate) {
        (Some(private), Some(certificate)) => {
            Key { private: private.clone(), certificate: certificate.clone() }
        }
        _ => builder.key.clone(),
    };
    let path = std::path::absolute(&args.output).context("failed to find the output")?;
    if let Some(dir) = path.parent() {
        cache::create_dir(dir)?;
    }
    builder.build(Some(&key), &path)?;
    println!("signed by {}", key.certificate.display());
    Ok(path)
}

/// Contents of an image, and the tools that make it.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    workspace: &'a Workspace,
    /// Key of the demonstration.
    pub(crate) key: Key,
    tools: Tools,
    pub(crate) pieces: Pieces,
    /// Directory of the images.
    dir: PathBuf,
    /// Compressed initrd without policies.
    initrd: PathBuf,
    /// Uncompressed policies, so that a test can find and change them in the image.
    policies: PathBuf,
    /// Disk with the root that follows the initrd.
    pub(crate) root: PathBuf,
    /// Name and device tree of each board.
    pub(crate) boards: Vec<(String, PathBuf)>,
    cmdline: String,
}

impl<'a> Builder<'a> {
    /// Builds what changed in this checkout.
    pub(crate) fn prepare(workspace: &'a Workspace) -> Result<Self> {
        let key = Key::throw_away(workspace, "key")?;
        let pieces = image::pieces(workspace, systemd::OPTEE, |parts, root| {
            untrusted(workspace, &key, parts, root)
        })?;
        Self::assemble(workspace, key, pieces, "uki", &format!("{WORDS} {STAND_IN}"))
    }

    /// Prepares the image for real OP-TEE.
    pub(crate) fn prepare_optee(workspace: &'a Workspace) -> Result<Self> {
        let key = Key::throw_away(workspace, "key")?;
        let pieces = image::pieces(workspace, systemd::STAND_IN, |_, _| Ok(()))?;
        Self::assemble(workspace, key, pieces, "uki-optee", WORDS_OPTEE)
    }

    /// Prepares the image without any file of Protheap, for a comparison.
    pub(crate) fn without_protheap(&self) -> Result<Self> {
        let pieces = self.pieces.clone().without_protheap();
        let words = format!("{WORDS} {STAND_IN}");
        Self::assemble(self.workspace, self.key.clone(), pieces, "uki-without", &words)
    }

    /// Prepares images in a directory of that name, with those words on the command line.
    fn assemble(
        workspace: &'a Workspace,
        key: Key,
        pieces: Pieces,
        name: &str,
        words: &str,
    ) -> Result<Self> {
        let dir = workspace.checkout.join(name);
        cache::create_dir(&dir)?;
        let _lock = workspace.lock()?;
        let tools = Tools::prepare(workspace)?;
        let initrd = compress(&dir, &pieces.initrd)?;
        let policies = dir.join("policies.cpio");
        cache::write(&policies, pieces.policies.clone().finish())?;
        let mut digest = Digest::new();
        pieces.root.digest(&mut digest);
        let root =
            image::keep(workspace, &format!("{name}-root"), &digest.hex(), "erofs", |path| {
                systemd::disk(workspace, &pieces.root, path)
            })?;
        let mut boards = Vec::new();
        for name in board::names(workspace)? {
            let tree = board::device_tree(workspace, &name, &[TPM.to_owned()], Machine::Uefi)?;
            boards.push((name, tree));
        }
        let configuration = cache::read(&workspace.root.join(CONFIGURATION))?;
        let Some(cmdline) = configuration.lines().find_map(|line| line.strip_prefix("Cmdline="))
        else {
            bail!("{CONFIGURATION} has no line `Cmdline=`");
        };
        let cmdline = format!("{cmdline} {words} {}", systemd::CMDLINE);
        Ok(Self { workspace, key, tools, pieces, dir, initrd, policies, root, boards, cmdline })
    }

    /// Makes the image, signed by the key if one is given.
    pub(crate) fn build(&self, key: Option<&Key>, path: &Path) -> Result<()> {
        let mut ukify = self.ukify(key);
        ukify.arg("--linux").arg(&self.pieces.kernel).args(["--uname", &self.pieces.release]);
        ukify.arg("--initrd").arg(&self.initrd).arg("--initrd").arg(&self.policies);
        ukify.args(["--cmdline", &self.cmdline]);
        ukify.arg("--os-release");
        ukify.arg("NAME=\"Protheap's demonstration\"\nID=protheap-demo\nVERSION_ID=1\n");
        ukify.args(["--stub"]).arg(self.stub("linuxaa64.efi.stub"));
        for (_, tree) in &self.boards {
            ukify.arg("--devicetree-auto").arg(tree);
        }
        ukify.arg("--output").arg(path);
        output(&mut ukify).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(())
    }

    /// Checks the signature of an image, and extracts its kernel, initrd and command line.
    pub(crate) fn extract(&self, image: &Path) -> Result<Extracted> {
        let mut verify = Command::new("sbverify");
        verify.arg("--cert").arg(&self.key.certificate).arg(image);
        output(&mut verify).with_context(|| format!("failed to verify {}", image.display()))?;
        let (kernel, initrd, cmdline) =
            (self.path("kernel"), self.path("initrd"), self.path("cmdline"));
        let mut ukify = self.tools.python();
        ukify.arg(self.tools.file("usr/lib/systemd/ukify")).arg("inspect").arg(image);
        for (section, path) in [(".linux", &kernel), (".initrd", &initrd), (".cmdline", &cmdline)] {
            ukify.arg("--section").arg(format!("{section}:binary@{}", path.display()));
        }
        output(&mut ukify).with_context(|| format!("failed to extract {}", image.display()))?;
        let text = cache::read(&cmdline)?;
        let cmdline = text.trim_end_matches(['\0', '\n']).to_owned();
        Ok(Extracted { kernel, initrd, cmdline })
    }

    /// Makes an addon that adds words to the command line.
    pub(crate) fn addon(&self, key: Option<&Key>, words: &str, path: &Path) -> Result<()> {
        let mut ukify = self.ukify(key);
        ukify.args(["--cmdline", words, "--stub"]).arg(self.stub("addonaa64.efi.stub"));
        ukify.arg("--output").arg(path);
        output(&mut ukify).with_context(|| format!("failed to make {}", path.display()))?;
        Ok(())
    }

    /// Makes the disk that firmware starts an image from: `(path there, file here)` each.
    pub(crate) fn disk(&self, files: &[(&str, &Path)]) -> Result<PathBuf> {
        let path = self.path("system.img");
        uefi::system_partition(&path, files)?;
        Ok(path)
    }

    /// Boots from a disk; see [`Boot::run`].
    pub(crate) fn boot(
        &self,
        name: &str,
        board: &Path,
        disk: &Path,
        words: &str,
        said: &mut dyn FnMut(&str),
        last: Option<&str>,
    ) -> Result<Outcome> {
        let (root, icount) = (&self.root, Some(vm::ICOUNT));
        let boot = Boot { name, board, system_partition: disk, root, words, limit: LIMIT, icount };
        boot.run(self.workspace, &self.tools, &self.key, said, last)
    }

    fn stub(&self, name: &str) -> PathBuf {
        self.tools.file("usr/lib/systemd/boot/efi").join(name)
    }

    fn ukify(&self, key: Option<&Key>) -> Command {
        let mut ukify = self.tools.python();
        ukify.arg(self.tools.file("usr/lib/systemd/ukify")).args(["build", "--efi-arch", "aa64"]);
        if let Some(Key { private, certificate }) = key {
            ukify.args(["--signtool", "sbsign", "--secureboot-private-key"]).arg(private);
            ukify.arg("--secureboot-certificate").arg(certificate);
        }
        ukify
    }

    /// Makes the device tree of a board's firmware: the machine's, with the compatible strings and the model of the
    /// board. The image has everything else.
    pub(crate) fn firmware_tree(&self, name: &str, tree: &Path) -> Result<PathBuf> {
        let bare = board::device_tree_of_machine(self.workspace, &[TPM], Machine::Uefi)?;
        let path = self.dir.join(format!("firmware-{name}.dtb"));
        cache::copy(&bare, &path)?;
        for property in ["compatible", "model"] {
            let strings =
                output(Command::new("fdtget").args(["-t", "s"]).arg(tree).args(["/", property]))?;
            let mut put = Command::new("fdtput");
            put.args(["-t", "s"]).arg(&path).args(["/", property]);
            // fdtget separates the strings of a list by spaces; a model is one string.
            match property {
                "compatible" => put.args(strings.split_whitespace()),
                _ => put.arg(strings.trim()),
            };
            output(&mut put)?;
        }
        Ok(path)
    }

    /// Returns the size of the initrd and the policies, as they are in the image.
    pub(crate) fn initrd_bytes(&self) -> Result<u64> {
        let size = |path: &Path| {
            let file = fs::metadata(path)?;
            Ok::<_, anyhow::Error>(file.len())
        };
        Ok(size(&self.initrd)? + size(&self.policies)?)
    }

    /// Returns the first bytes of its compressed initrd.
    pub(crate) fn initrd_begins(&self) -> Result<Vec<u8>> {
        let bytes = cache::bytes(&self.initrd)?;
        Ok(bytes.get(..64).unwrap_or(&bytes).to_vec())
    }

    /// Returns a path in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// Parts of an image that firmware starts.
#[derive(Debug)]
pub(crate) struct Extracted {
    pub(crate) kernel: PathBuf,
    pub(crate) initrd: PathBuf,
    pub(crate) cmdline: String,
}

/// Adds files to the root that may be refused: a module without a signature, and a vendor's policy as an extension that
/// is signed by the demonstration's key, or by another one.
fn untrusted(workspace: &Workspace, key: &Key, parts: &Parts, root: &mut Archive) -> Result<()> {
    let dir = &workspace.checkout.join("extensions");
    cache::create_dir(dir)?;
    let is_unsigned = |path: &&PathBuf| path.ends_with("csfgpu.ko");
    let module = parts.modules.iter().find(is_unsigned).context("there is no csfgpu.ko")?;
    root.file("usr/lib/unsigned/csfgpu.ko", 0o644, &cache::bytes(module)?);

    root.file("usr/lib/verity.d/vendor.crt", 0o644, &cache::bytes(&key.certificate)?);
    let foreign = Key::throw_away(workspace, "foreign-key")?;
    let policy = "schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nheaps = [{ name = \"protected,trusted-ui\" }]\n";
    for (name, below, release, key) in [
        ("signed", "usr/lib", "usr/lib/extension-release.d", key),
        ("foreign", "usr/lib", "usr/lib/extension-release.d", &foreign),
        ("confext", "etc", "etc/extension-release.d", key),
    ] {
        let mut files = Archive::default();
        let file = format!("{below}/protheap/policies/{VENDORS_BOARD}.toml");
        files.file(&file, 0o644, policy.as_bytes());
        files.file(&format!("{release}/extension-release.vendor"), 0o644, b"ID=_any\n");
        let path = dir.join("vendor.raw");
        extension::build(dir, &files, key, &path)?;
        let there = format!("usr/lib/extensions-of-vendor/{name}.raw");
        root.file(&there, 0o644, &cache::bytes(&path)?);
    }
    Ok(())
}

/// Compresses an initrd, unless that was done.
fn compress(dir: &Path, archive: &Archive) -> Result<PathBuf> {
    let bytes = archive.clone().finish();
    let mut digest = Digest::new();
    digest.add(&bytes);
    let path = dir.join(format!("initrd-{}.cpio.zst", digest.hex()));
    if !path.is_file() {
        for old in cache::files(dir)?.iter().filter(|old| {
            old.file_name().is_some_and(|name| name.to_string_lossy().starts_with("initrd-"))
        }) {
            fs::remove_file(old)?;
        }
        let plain = dir.join("initrd.cpio");
        cache::write(&plain, bytes)?;
        let part = dir.join("initrd.part");
        let mut zstd = Command::new("zstd");
        zstd.args(["--quiet", "--force", "-T0", "-15", "-o"]).args([&part, &plain]);
        output(&mut zstd)?;
        fs::remove_file(&plain)?;
        fs::rename(&part, &path)?;
    }
    Ok(path)
}

/// Returns the image with one byte changed: the first one of `what`, which must be there. The signature is unchanged.
pub(crate) fn tampered(image: &[u8], what: &[u8]) -> Result<Vec<u8>> {
    let Some(at) = image.windows(what.len()).position(|window| window == what) else {
        bail!("the image has no {:?}", String::from_utf8_lossy(&what[..what.len().min(40)]));
    };
    let mut changed = image.to_vec();
    // The other case of a letter, and another value of any other byte.
    changed[at] ^= 0x20;
    Ok(changed)
}

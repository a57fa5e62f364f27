// SPDX-License-Identifier: MIT OR Apache-2.0
//! A virtual machine that starts like a board: UEFI with Secure Boot finds an image on a disk and measures it into a
//! TPM.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::apt::{self, Client};
use crate::cache::{self, Workspace};
use crate::machine::{Machine, QEMU};
use crate::progress::{Running, output};
use crate::vm::{self, Outcome, Ports};

/// Host packages that are needed, beside those that [`Tools`] unpacks.
pub(crate) const PACKAGES: &[&str] = &[
    "mtools",
    "openssl",
    "python3-cryptography",
    "python3-importlib-resources",
    "python3-pefile",
    "sbsigntool",
    "swtpm",
];

/// Suite of the firmware and the stub.
const SUITE: &str = "trixie";
/// Packages of the firmware, of the program that sets its variables, and of the tools that make a unified kernel image.
const UNPACKED: [&str; 4] =
    ["python3-virt-firmware", "qemu-efi-aarch64", "systemd-boot-efi", "systemd-ukify"];

/// Default path of the file that firmware starts (UEFI specification, 3.5.1.1).
pub(crate) const IMAGE: &str = "EFI/BOOT/BOOTAA64.EFI";

/// Message of the firmware when it refuses an image.
pub(crate) const REFUSED: &str = "Access Denied";

/// Debian's packages, unpacked.
#[derive(Debug)]
pub(crate) struct Tools(PathBuf);

impl Tools {
    /// Fetches the packages, unless they are there.
    pub(crate) fn prepare(workspace: &Workspace) -> Result<Self> {
        let dir = workspace.cache.join("tools/uefi");
        cache::once(&dir, |part| {
            let client = Client::open(workspace, SUITE, "main", "arm64")?;
            for package in UNPACKED {
                apt::unpack(&client.download(workspace, package)?, part)?;
            }
            Ok(())
        })?;
        Ok(Self(dir))
    }

    /// Returns the path of a file of the packages.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Returns the host's Python, with their libraries in its path.
    pub(crate) fn python(&self) -> Command {
        let mut python = Command::new("/usr/bin/python3");
        python.env("PYTHONPATH", self.file("usr/lib/python3/dist-packages"));
        python
    }
}

/// Key that signs images, with its certificate.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    /// Private key, in PEM.
    pub(crate) private: PathBuf,
    /// X.509 certificate, in PEM.
    pub(crate) certificate: PathBuf,
}

impl Key {
    /// Makes a throw-away key, unless this checkout has one of that name.
    pub(crate) fn throw_away(workspace: &Workspace, name: &str) -> Result<Self> {
        let dir = workspace.checkout.join(name);
        cache::once(&dir, |part| {
            let mut openssl = Command::new("openssl");
            openssl.args(["req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256"]);
            openssl.args([
                "-days",
                "3650",
                "-subj",
                &format!("/CN=Protheap demonstration: {name}/"),
            ]);
            openssl.arg("-keyout").arg(part.join("db.key")).arg("-out").arg(part.join("db.pem"));
            output(&mut openssl).context("failed to make a key")?;
            Ok(())
        })?;
        Ok(Self { private: dir.join("db.key"), certificate: dir.join("db.pem") })
    }

    /// Makes the firmware's variables with Secure Boot on and this key as the only one.
    pub(crate) fn variables(&self, tools: &Tools, path: &Path) -> Result<()> {
        // Any owner will do: the firmware only compares it.
        const OWNER: &str = "7f5bd1a5-2d25-4b4c-9f0e-6d1a40c8a6a1";
        let mut fill = tools.python();
        fill.args(["-m", "virt.firmware.vars", "--input"]);
        fill.arg(tools.file("usr/share/AAVMF/AAVMF_VARS.fd")).arg("--output").arg(path);
        for list in ["--set-pk", "--add-kek", "--add-db"] {
            fill.args([list, OWNER]).arg(&self.certificate);
        }
        output(fill.arg("--secure-boot")).context("failed to fill the firmware's variables")?;
        Ok(())
    }
}

/// Makes a disk with one FAT file system, as firmware expects it: `(path there, file here)` each.
pub(crate) fn system_partition(path: &Path, files: &[(&str, &Path)]) -> Result<()> {
    let sizes = files.iter().map(|(_, file)| fs::metadata(file));
    let bytes: u64 = sizes.map(|m| m.map(|m| m.len())).sum::<std::io::Result<u64>>()?;
    let disk = fs::File::create(path)?;
    // Room for its tables, and at least the minimum of FAT32.
    disk.set_len((bytes + (8 << 20)).max(48 << 20).next_multiple_of(1 << 20))?;
    let mtool = |name: &str| {
        let mut tool = Command::new(name);
        tool.arg("-i").arg(path).env("MTOOLS_SKIP_CHECK", "1");
        tool
    };
    output(mtool("mformat").args(["-F", "-v", "ESP", "::"]))?;
    let mut made = Vec::new();
    for (there, file) in files {
        for (at, _) in there.match_indices('/') {
            let dir = &there[..at];
            if !made.contains(&dir) {
                output(mtool("mmd").arg(format!("::{dir}")))?;
                made.push(dir);
            }
        }
        output(mtool("mcopy").arg(file).arg(format!("::{there}")))?;
    }
    Ok(())
}

/// Parameters of a boot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Boot<'a> {
    /// Name of the logs.
    pub(crate) name: &'a str,
    /// Device tree of the firmware.
    pub(crate) board: &'a Path,
    /// Disk with the image, see [`system_partition`].
    pub(crate) system_partition: &'a Path,
    /// Disk with the root that the image switches to.
    pub(crate) root: &'a Path,
    /// Words for the guest's scenario, as on a kernel's command line.
    pub(crate) words: &'a str,
    /// Host time after which the machine is killed.
    pub(crate) limit: Duration,
    /// QEMU's `-icount`.
    pub(crate) icount: Option<&'a str>,
}

impl Boot<'_> {
    /// Boots, passes each line that the scenario prints to `said`, and waits for power-off, or for `last` on the
    /// console.
    pub(crate) fn run(
        &self,
        workspace: &Workspace,
        tools: &Tools,
        key: &Key,
        said: &mut dyn FnMut(&str),
        last: Option<&str>,
    ) -> Result<Outcome> {
        let dir = workspace.checkout.join(format!("uefi-{}", self.name));
        cache::remove_dir(&dir)?;
        cache::create_dir(&dir)?;
        let variables = dir.join("variables.fd");
        key.variables(tools, &variables)?;
        let words = dir.join("words");
        // A disk has whole sectors.
        cache::write(&words, format!("{:<511}\n", self.words))?;
        let tpm = Tpm::start(&dir.join("tpm"))?;

        let mut command = Command::new(QEMU);
        command.args(Machine::Uefi.arguments()).arg("-dtb").arg(self.board);
        let mut drive = |options: &str, file: &Path, device: Option<&str>| {
            let mut argument = OsString::from(format!("format=raw,{options},file="));
            argument.push(file);
            command.arg("-drive").arg(argument);
            if let Some(device) = device {
                command.arg("-device").arg(format!("virtio-blk-device,{device}"));
            }
        };
        drive(
            "if=pflash,unit=0,readonly=on",
            &tools.file("usr/share/AAVMF/AAVMF_CODE.secboot.fd"),
            None,
        );
        drive("if=pflash,unit=1", &variables, None);
        // The kernel finds the last one first.
        for (name, file) in
            [("words", words.as_path()), ("system", self.system_partition), ("root", self.root)]
        {
            let options = format!("if=none,id={name},readonly=on");
            drive(&options, file, Some(&format!("drive={name},serial={name}")));
        }
        let mut socket = OsString::from("socket,id=tpm,path=");
        socket.push(&tpm.socket);
        command.arg("-chardev").arg(socket);
        command.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm"]);
        command.args(["-device", "tpm-tis-device,tpmdev=tpm0"]);
        if let Some(icount) = self.icount {
            command.args(["-icount", icount]);
        }
        let outcome =
            vm::attend(workspace, self.name, command, Ports::Serial, self.limit, said, last);
        drop(tpm);
        cache::remove_dir(&dir)?;
        outcome
    }
}

/// An emulated TPM, for one boot. It exits when QEMU does.
#[derive(Debug)]
struct Tpm {
    _process: Running,
    socket: PathBuf,
}

impl Tpm {
    fn start(dir: &Path) -> Result<Self> {
        cache::create_dir(dir)?;
        let socket = dir.join("socket");
        let argument = |name: &str, path: &Path| {
            let mut argument = OsString::from(name);
            argument.push(path);
            argument
        };
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--terminate", "--tpmstate"]).arg(argument("dir=", dir));
        swtpm.arg("--ctrl").arg(argument("type=unixio,path=", &socket));
        swtpm.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let tpm = Self { _process: Running::start(&mut swtpm)?, socket };
        let started = Instant::now();
        while !tpm.socket.exists() {
            if started.elapsed() > Duration::from_secs(10) {
                bail!("swtpm made no {} in 10 s", tpm.socket.display());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(tpm)
    }
}

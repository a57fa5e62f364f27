// SPDX-License-Identifier: MIT OR Apache-2.0
//! One boot of a virtual machine.
//!
//! The guest has two serial ports: the kernel's console, which is saved to a file, and a port for the scenario's output
//! alone, so that they do not mix. Where the secure world has the second port, the scenario writes to a virtio port.

use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use fs_err::File;

use crate::archive::Archive;
use crate::cache::{self, Digest, Workspace};
use crate::machine::{Machine, QEMU};
use crate::progress::{self, Running};
use crate::{board, systemd};

/// Value of [`Boot::icount`]: instructions of two nanoseconds, as on a real processor. Sleeping takes no host time.
pub(crate) const ICOUNT: &str = "shift=1,sleep=off";
/// The same, but sleeping takes as long as on a real machine, as people expect.
pub(crate) const ICOUNT_BY_CLOCK: &str = "shift=1,sleep=on";

/// Memory that the kernel uses. The rest, up to 4 GiB, is where boards have their GPUs: unused memory stands in for
/// registers and costs nothing until it is accessed.
const MEMORY: &str = "mem=512M";
/// Address of the kernel, for firmware: TF-A is built with it.
pub(crate) const KERNEL: u64 = 0x4400_0000;
/// Address range of the initrd, for firmware: between the ranges that boards reserve in the kernel's memory.
const INITRD: Range<u64> = 0x5000_0000..0x5c00_0000;
/// Address range of the root, in memory that the kernel does not use. Boards have registers there as well.
const ROOT: Range<u64> = 0xc000_0000..0xf800_0000;

/// A kernel, its initrd and its disks.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    /// Kernel that QEMU boots.
    pub(crate) kernel: PathBuf,
    /// Initrd of the kernel.
    pub(crate) initrd: PathBuf,
    /// Root that follows the initrd, if there is one. It is in the guest's memory, as `/dev/pmem0`.
    pub(crate) disk: Option<PathBuf>,
    /// Disk that the guest writes to, `/dev/vda`.
    pub(crate) output: Option<PathBuf>,
    /// Digest of the contents of all of them.
    pub(crate) digest: String,
    /// Digest without the scenarios' scripts, of which each boot runs one.
    pub(crate) inputs: String,
}

impl Image {
    /// Returns the image with further files, saved beside it as `name`.
    pub(crate) fn with(&self, workspace: &Workspace, name: &str, files: Archive) -> Result<Self> {
        let mut archive = cache::bytes(&self.initrd)?;
        let mut more = Digest::new();
        files.digest(&mut more);
        let more = more.hex();
        archive.extend(files.finish());
        let initrd = workspace.checkout.join(format!("{name}.cpio"));
        cache::write(&initrd, &archive)?;
        Ok(Self { initrd, ..self.and(&more) })
    }

    /// Returns the image with another initrd, whose contents have that digest.
    pub(crate) fn with_initrd(&self, initrd: PathBuf, digest: &str) -> Self {
        Self { initrd, ..self.and(digest) }
    }

    /// Returns the image with something else added to its digests.
    pub(crate) fn and(&self, what: &str) -> Self {
        let both = |digest: &str| {
            let mut both = Digest::new();
            both.add(digest.as_bytes());
            both.add(what.as_bytes());
            both.hex()
        };
        Self { digest: both(&self.digest), inputs: both(&self.inputs), ..self.clone() }
    }
}

/// Parameters of a boot, beside the image.
#[derive(Debug, Clone)]
pub(crate) struct Boot<'a> {
    /// Name of the logs.
    pub(crate) name: &'a str,
    /// Device tree from [`crate::board::device_tree`], made for the same number of processors.
    pub(crate) board: &'a Path,
    /// Kernel command line, beside the words of every boot.
    pub(crate) cmdline: &'a str,
    /// Number of processors.
    pub(crate) smp: u32,
    /// Flash with firmware that starts the kernel. Without it, QEMU starts the kernel.
    pub(crate) flash: Option<&'a Path>,
    /// QEMU's `-icount`: guest time by instructions executed, which is the same in each run on any host.
    pub(crate) icount: Option<&'a str>,
    /// Host time without a line of output after which the machine is killed.
    pub(crate) limit: Duration,
}

/// Outcome of a boot.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The limit was reached first.
    pub(crate) timed_out: bool,
    /// Host time from start to end.
    pub(crate) elapsed: Duration,
    /// Output of the kernel's console.
    pub(crate) console: String,
    /// Output of the secure world.
    pub(crate) secure: String,
    /// File with the output of the console.
    pub(crate) log: PathBuf,
}

impl<'a> Boot<'a> {
    /// Returns a boot by QEMU on one processor, in the host's time.
    pub(crate) fn new(name: &'a str, board: &'a Path, cmdline: &'a str, limit: Duration) -> Self {
        Self { name, board, cmdline, smp: 1, flash: None, icount: None, limit }
    }
}

impl Boot<'_> {
    fn machine(&self) -> Machine {
        if self.flash.is_some() { Machine::Secure(self.smp) } else { Machine::Direct(self.smp) }
    }

    fn command(&self, workspace: &Workspace, image: &Image) -> Result<Command> {
        let mut command = Command::new(QEMU);
        command.args(self.machine().arguments());
        if let Some(output) = &image.output {
            let mut drive = OsString::from("if=none,id=output,format=raw,file=");
            drive.push(output);
            command.arg("-drive").arg(drive).args(["-device", "virtio-blk-device,drive=output"]);
        }
        let tree = workspace.checkout.join(format!("vm-{}.dtb", self.name));
        cache::copy(self.board, &tree)?;
        let mut root = String::new();
        if let Some(disk) = &image.disk {
            let bytes = load(&mut command, disk, &ROOT)?;
            // The kernel uses whole pages.
            board::add_memory_disk(&tree, ROOT.start, bytes.next_multiple_of(2 << 20))?;
            root = format!("root=/dev/pmem0 {}", systemd::CMDLINE);
        }
        let cmdline = format!(
            "console=ttyAMA0 panic=-1 oops=panic {MEMORY} rdinit=/init {root} {}",
            self.cmdline
        );
        if let Some(flash) = self.flash {
            command.arg("-bios").arg(flash);
            load(&mut command, &image.kernel, &(KERNEL..INITRD.start))?;
            let bytes = load(&mut command, &image.initrd, &INITRD)?;
            board::add_boot(&tree, &cmdline, INITRD.start..INITRD.start + bytes)?;
            board::pack(&tree)?;
        } else {
            command.arg("-kernel").arg(&image.kernel).arg("-initrd").arg(&image.initrd);
            command.arg("-append").arg(cmdline);
        }
        command.arg("-dtb").arg(tree);
        if let Some(icount) = self.icount {
            command.args(["-icount", icount]);
        }
        Ok(command)
    }

    /// Boots, passes each line that the scenario prints to `said`, and waits for power-off.
    pub(crate) fn run(
        &self,
        workspace: &Workspace,
        image: &Image,
        mut said: impl FnMut(&str),
    ) -> Result<Outcome> {
        let command = self.command(workspace, image)?;
        let ports = if self.flash.is_some() { Ports::Virtio } else { Ports::Serial };
        attend(workspace, self.name, command, ports, self.limit, &mut said, None)
    }

    /// Boots with the terminal as the guest's console, without a time limit.
    pub(crate) fn interactive(&self, workspace: &Workspace, image: &Image) -> Result<()> {
        let mut command = self.command(workspace, image)?;
        command.args(["-serial", "mon:stdio", "-serial", "null"]);
        let status = command.status().with_context(|| format!("failed to start {QEMU}"))?;
        if !status.success() {
            bail!("QEMU failed ({status})");
        }
        Ok(())
    }
}

/// Adds a device that loads a file into a range of the guest's memory. Returns the size of the file.
fn load(command: &mut Command, file: &Path, range: &Range<u64>) -> Result<u64> {
    let bytes = fs::metadata(file)?.len();
    let room = range.end - range.start;
    if bytes > room {
        bail!("{} has {bytes} bytes, and the guest's memory room for {room}", file.display());
    }
    let start = format!("loader,force-raw=on,addr={:#x},file=", range.start);
    let mut loader = OsString::from(start);
    loader.push(file);
    command.arg("-device").arg(loader);
    Ok(bytes)
}

/// Port that the scenario writes to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ports {
    /// The second serial port.
    Serial,
    /// The virtio port: the second serial port is the secure world's, and is saved to a file.
    Virtio,
}

/// Interval at which the console is searched for words that end the machine.
const LOOK: Duration = Duration::from_millis(500);

/// Longest run of a machine that prints lines, in limits.
const LONGEST: u32 = 8;

/// Runs a machine until it powers off, has printed no line for the time of `limit`, or its console has `last`. Adds its
/// ports to the command.
///
/// The limit starts again at each line, because a slow host needs a multiple of the usual time for a long scenario.
pub(crate) fn attend(
    workspace: &Workspace,
    name: &str,
    mut command: Command,
    ports: Ports,
    limit: Duration,
    said: &mut dyn FnMut(&str),
    last: Option<&str>,
) -> Result<Outcome> {
    let log = workspace.log(&format!("vm-{name}"));
    let errors = workspace.log(&format!("vm-{name}-qemu"));
    let secure = workspace.log(&format!("vm-{name}-secure"));
    let to_file = |path: &Path| {
        let mut serial = OsString::from("file:");
        serial.push(path);
        serial
    };
    command.arg("-serial").arg(to_file(&log)).arg("-serial");
    match ports {
        Ports::Serial => command.arg("stdio"),
        Ports::Virtio => command.arg(to_file(&secure)).args([
            "-device",
            "virtio-serial-device",
            "-chardev",
            "stdio,id=said,signal=off",
            "-device",
            "virtconsole,chardev=said",
        ]),
    };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&errors)?.into_file());

    let started = Instant::now();
    let mut guest = Running::start(&mut command)?;
    let output = guest.0.stdout.take().context("QEMU has no output")?;
    let lines = progress::lines(output);
    let text = |path: &Path| -> Result<String> {
        let bytes = cache::bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let console = || text(&log);
    let (mut timed_out, mut killed) = (false, false);
    let end = started + limit * LONGEST;
    let mut deadline = started + limit;
    while !killed {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(if last.is_some() { left.min(LOOK) } else { left }) {
            Ok(line) => {
                said(line.trim_end());
                deadline = end.min(Instant::now() + limit);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                timed_out = Instant::now() >= deadline;
                killed =
                    timed_out || last.is_some_and(|last| console().is_ok_and(|c| c.contains(last)));
            }
        }
    }
    if killed {
        guest.0.kill().context("failed to kill QEMU")?;
    }
    let status = guest.0.wait().context("failed to wait for QEMU")?;
    if !killed && !status.success() {
        bail!("QEMU failed ({status}): {}", cache::read(&errors)?.trim());
    }
    let secure = match ports {
        Ports::Serial => String::new(),
        Ports::Virtio => text(&secure)?,
    };
    Ok(Outcome { timed_out, elapsed: started.elapsed(), console: console()?, secure, log })
}

/// Strings that no kernel may print during a scenario. The first one is in each denial by an AppArmor profile of ours.
const FAULTS: [&str; 30] = [
    " profile=\"protheap",
    "------------[ cut here ]------------",
    "BUG:",
    "Call trace:",
    "INFO: lockdep is turned off",
    "INFO: task ",
    "INFO: trying to register non-static key",
    "Internal error:",
    "Kernel panic",
    "ODEBUG:",
    "Oops",
    "UBSAN:",
    "Unable to handle kernel",
    "WARNING:",
    "deferred probe pending",
    "detected stall",
    "kmemleak: Kernel memory leak detector disabled",
    "list_add corruption",
    "list_del corruption",
    "not ok ",
    "possible circular locking",
    "possible irq lock inversion",
    "possible recursive locking",
    "refcount_t:",
    "rust_kernel: panicked",
    "scheduling while atomic",
    "soft lockup",
    "suspected memory leaks",
    "suspicious RCU usage",
    "unreferenced object",
];

/// Returns the first lines of a console that report a fault of the kernel.
pub(crate) fn faults(console: &str) -> Vec<&str> {
    let bad = |line: &&str| FAULTS.iter().any(|fault| line.contains(fault));
    console.lines().filter(bad).take(5).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_the_kernel_are_found() {
        let good = "[    0.1] audit: type=1400 audit(1.0:2): apparmor=\"STATUS\" operation=\"profile_load\" profile=\"unconfined\" name=\"protheapd\"\n[    0.1] Booting Linux\n[    0.5] csfgpu fb000000.gpu: probed\n[    0.6] reboot: Power down\n";
        assert!(faults(good).is_empty());
        for bad in [
            "[    1.0] ------------[ cut here ]------------",
            "[    1.0] WARNING: CPU: 0 PID: 1 at lib/refcount.c:25",
            "[    1.0] Internal error: Oops: 0000000096000004 [#1] SMP",
            "[    1.0] WARNING: possible circular locking dependency detected",
            "[   10.0] platform fb000000.gpu: deferred probe pending: csfgpu",
            "[    1.0] WARNING: possible recursive locking detected",
            "[    1.0] BUG: KASAN: slab-use-after-free in protheap_suspend_put+0x1c/0x40",
            "[    1.0] BUG: sleeping function called from invalid context at kernel/locking/mutex.c:591",
            "[    1.0] kmemleak: 1 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "[    1.0] ODEBUG: free active (active state 0) object type: work_struct",
            "[    1.0]     not ok 2 a_value_is_one_line",
            "[    1.0] audit: type=1400 audit(1.0:9): apparmor=\"DENIED\" operation=\"open\" profile=\"protheapd\"",
        ] {
            assert_eq!(faults(&format!("{good}{bad}\n")), [bad]);
        }
    }
}

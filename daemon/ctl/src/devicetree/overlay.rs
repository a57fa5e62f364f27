// SPDX-License-Identifier: MIT OR Apache-2.0

//! Applies overlays to a device tree blob, by the program `fdtoverlay`.

use std::io::{ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf, absolute};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use protheap_board::root;

use super::MOST_BYTES;
use crate::output::Sanitized;

/// The program, of dtc (the device tree compiler).
pub(crate) const PROGRAM: &str = "fdtoverlay";
/// Maximum number of overlays.
const MOST: usize = 64;
/// Maximum time that the program may take. It takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);
/// Maximum length of its messages, in bytes.
const MESSAGE: u64 = 4096;

/// Applies `overlays` to the blob `base`, in their order, and returns the resulting blob.
///
/// # Errors
///
/// Returns an error if an overlay cannot be read, or if `program` does not exist, fails, does not
/// end in time, or writes a blob of more than 16 MiB.
pub(crate) fn apply(program: &str, base: Vec<u8>, overlays: &[PathBuf]) -> Result<Vec<u8>> {
    if overlays.len() > MOST {
        bail!("more than {MOST} overlays are given");
    }
    let mut paths = Vec::new();
    for overlay in overlays {
        // The program's own messages lack the path, and it would wait for a FIFO.
        root::read_file(overlay, MOST_BYTES)?;
        paths.push(absolute(overlay).with_context(|| shown(overlay))?);
    }
    let child = Command::new(program)
        .args(["-i", "-", "-o", "-", "--"])
        .args(&paths)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == ErrorKind::NotFound => bail!(
            "failed to run {program}, which applies overlays: it is not installed; install the \
             package device-tree-compiler (Fedora, Arch: dtc)"
        ),
        spawned => spawned.with_context(|| format!("failed to run {program}"))?,
    };
    let input = child.stdin.take();
    // If the program exits early, its exit status and messages contain the reason.
    let writer = thread::spawn(move || input.map(|mut input| input.write_all(&base)));
    let output = collect(child.stdout.take(), MOST_BYTES as u64 + 1);
    let message = collect(child.stderr.take(), MESSAGE);
    let succeeded = wait(program, &mut child)?;
    let _ = writer.join();
    let blob = output.join().unwrap_or_default();
    let message = message.join().unwrap_or_default();
    if !succeeded || blob.is_empty() {
        let message = String::from_utf8_lossy(&message);
        let message = message.lines().map(str::trim).filter(|line| !line.is_empty());
        let message = message.collect::<Vec<_>>().join("; ");
        let hint = match message.contains("FDT_ERR_NOTFOUND") {
            true => {
                "; the base tree needs labels that the overlay refers to: compile it with dtc -@"
            }
            false => "",
        };
        bail!("{program} failed to apply the overlays: {}{hint}", Sanitized(&message));
    }
    Ok(blob)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// Reads at most `limit` bytes of the program's output.
fn collect(from: Option<impl Read + Send + 'static>, limit: u64) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What was read before an error is sufficient.
            let _ = from.take(limit).read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Waits until the program ends. Returns whether it succeeded.
fn wait(program: &str, child: &mut Child) -> Result<bool> {
    let start = Instant::now();
    loop {
        if let Some(status) =
            child.try_wait().with_context(|| format!("failed to wait for {program}"))?
        {
            return Ok(status.success());
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{program} did not end within {} s", PATIENCE.as_secs());
        }
        thread::sleep(Duration::from_millis(5));
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Reports readiness to the parent: systemd, or this program before it detached.

use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use crate::Result;
use crate::log::{Log, Message};

/// Name (`argv[0]`) of a detached child. It reports readiness to its parent by a byte on standard
/// output, and not to systemd.
const DETACHED: &str = "protheap-bind (detached)";

/// Reports that all holds have started, or that the daemon is ready. Logs an error if systemd
/// cannot be notified.
pub fn notify(log: Log) {
    if std::env::args_os().next().is_some_and(|name| name == DETACHED) {
        // A failure is ignored, because the parent may have exited.
        let _ = std::io::stdout().write_all(b"1").and_then(|()| std::io::stdout().flush());
    } else if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send_ready(socket.as_encoded_bytes())
    {
        let socket = socket.display();
        log.write(&Message::Other(format_args!("failed to notify systemd at {socket}: {error}")));
    }
}

/// Implements sd_notify(3): sends one datagram to a path, or to an abstract name that begins with
/// `@`.
fn send_ready(socket: &[u8]) -> std::io::Result<()> {
    let address = match socket.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(
            std::str::from_utf8(socket)
                .map_err(|_| std::io::Error::from(ErrorKind::InvalidInput))?,
        )?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address)?;
    Ok(())
}

/// Runs this program again as a child, and returns when the child has started its holds or has
/// exited.
///
/// # Errors
///
/// Returns an error if the child cannot be started or waited for.
pub fn detach() -> Result<ExitCode> {
    let program = std::env::current_exe()
        .map_err(|error| format!("failed to find this program in /proc: {error}"))?;
    let mut child = Command::new(&program)
        .arg0(DETACHED)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // Terminating the initrd script's process group must not terminate the child.
        .process_group(0)
        .spawn()
        .map_err(|error| {
            format!("failed to start {} in the background: {error}", program.display())
        })?;
    let mut received = [0];
    let received = match &mut child.stdout {
        Some(pipe) => pipe.read(&mut received)?,
        None => 0,
    };
    if received > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Telling who started us that the boot may go on.

use std::io::{ErrorKind, Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use crate::Result;
use crate::log::{Log, Message};

/// What the program's own child is called: it waits for a byte on its standard output, not systemd.
const DETACHED: &str = "protheap-bind (detached)";

/// Says that every window that is to be opened is open, or that a daemon is at work. `log`
/// complains if that cannot be said.
pub fn notify(log: Log) {
    if std::env::args_os().next().is_some_and(|name| name == DETACHED) {
        // The parent may have gone: that harms nobody.
        let _ = std::io::stdout().write_all(b"1").and_then(|()| std::io::stdout().flush());
    } else if let Some(socket) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send_ready(socket.as_encoded_bytes())
    {
        let socket = socket.display();
        log.write(&Message::Other(format_args!("telling systemd at {socket}: {error}")));
    }
}

/// sd_notify(3): one datagram, to a path or, after `@`, to an abstract name.
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

/// Runs this program again as a child, and returns when its windows are open or it has ended.
///
/// # Errors
///
/// The child could not be started, or its end not be waited for.
pub fn detach() -> Result<ExitCode> {
    let program = std::env::current_exe()
        .map_err(|error| format!("finding this program through /proc: {error}"))?;
    let mut child = Command::new(&program)
        .arg0(DETACHED)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What ends the initrd's script must not end the child with it.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("starting {} in the background: {error}", program.display()))?;
    let mut told = [0];
    let told = match &mut child.stdout {
        Some(pipe) => pipe.read(&mut told)?,
        None => 0,
    };
    if told > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let status = child.wait()?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

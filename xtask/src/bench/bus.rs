// SPDX-License-Identifier: MIT OR Apache-2.0
//! A private message bus, and a client that does little but wait, so that measurements are of the service: its messages
//! are made in advance, and of those that it receives it reads only the length and the type.
//!
//! D-Bus specification: chapters "Authentication Protocol" and "Message Protocol".

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use zbus::message::{self, Message};

use crate::cache;
use crate::progress::Running;

/// The bus itself, as an object.
const BUS: Object<'_> = Object {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
/// Maximum wait: every answer comes within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Types of messages.
const METHOD_RETURN: u8 = message::Type::MethodReturn as u8;
const ERROR: u8 = message::Type::Error as u8;
const SIGNAL: u8 = message::Type::Signal as u8;

/// A dbus-daemon that permits everything. It is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Bus {
    _daemon: Running,
    socket: PathBuf,
}

impl Bus {
    /// Starts it, with its files in `dir`.
    pub(super) fn start(dir: &Path) -> Result<Self> {
        let (config, socket) = (dir.join("bus.conf"), dir.join("bus"));
        let text = format!(
            "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN\"\n \
             \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n\
             <busconfig>\n  <listen>unix:path={}</listen>\n  <policy context=\"default\">\n    \
             <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\n  \
             </policy>\n</busconfig>\n",
            socket.display()
        );
        cache::write(&config, text)?;
        let mut command = Command::new("dbus-daemon");
        command.arg(format!("--config-file={}", config.display()));
        command.args(["--nofork", "--nopidfile", "--print-address"]);
        let log = dir.join("bus.log");
        command.stdout(Stdio::piped()).stderr(fs::File::create(&log)?);
        let mut daemon = Running::start(&mut command)?;
        let output = daemon.0.stdout.take();
        let mut address = String::new();
        BufReader::new(output.context("dbus-daemon has no output")?).read_line(&mut address)?;
        if address.is_empty() {
            bail!("dbus-daemon ended at once: see {}", log.display());
        }
        Ok(Self { _daemon: daemon, socket })
    }

    /// Returns its address, as in `DBUS_SYSTEM_BUS_ADDRESS`.
    pub(super) fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }

    /// Connects a new client.
    pub(super) fn connect(&self) -> Result<Client> {
        Client::connect(&self.socket)
            .with_context(|| format!("failed to connect to {}", self.socket.display()))
    }
}

/// An interface of an object of a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) service: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
}

impl Object<'_> {
    /// Makes a call of a method with these arguments.
    pub(super) fn call<B: Serialize + zbus::Type>(
        &self,
        member: &str,
        arguments: &B,
    ) -> Result<Message> {
        let call = Message::method_call(self.path, member)
            .destination(self.service)
            .interface(self.interface);
        Ok(call.build(arguments)?)
    }
}

/// A connection that makes calls and waits for their answers.
#[derive(Debug)]
pub(super) struct Client(UnixStream);

impl Client {
    fn connect(socket: &Path) -> Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // The user's number in decimal, encoded in hexadecimal.
        let uid = fs::metadata("/proc/self")?.uid().to_string();
        let uid: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {uid}\r\n").as_bytes())?;
        let mut answer = String::new();
        // The bus sends nothing more before the client does.
        BufReader::new(&stream).read_line(&mut answer)?;
        if !answer.starts_with("OK ") {
            bail!("the bus refused the client: {}", answer.trim());
        }
        stream.write_all(b"BEGIN\r\n")?;
        let mut client = Self(stream);
        client.send(&BUS.call("Hello", &())?)?;
        Ok(client)
    }

    /// Subscribes to changes of the owner of a name.
    pub(super) fn follow(&mut self, name: &str) -> Result<()> {
        let rule = format!("type='signal',member='NameOwnerChanged',arg0='{name}'");
        self.send(&BUS.call("AddMatch", &rule)?)?;
        Ok(())
    }

    /// Waits until the owner of a subscribed name changes.
    pub(super) fn owner_changed(&mut self) -> Result<()> {
        const MEMBER: &[u8] = b"NameOwnerChanged";
        loop {
            let (kind, message) = self.receive()?;
            if kind == SIGNAL && message.windows(MEMBER.len()).any(|bytes| bytes == MEMBER) {
                return Ok(());
            }
        }
    }

    /// Sends a call and waits for its answer; returns the duration in nanoseconds.
    pub(super) fn send(&mut self, call: &Message) -> Result<f64> {
        let begin = Instant::now();
        self.0.write_all(call.data()).with_context(|| format!("failed to send {call}"))?;
        loop {
            match self.receive().with_context(|| format!("failed to wait for {call}"))? {
                (METHOD_RETURN, _) => return Ok(begin.elapsed().as_nanos() as f64),
                (ERROR, message) => {
                    bail!("{call} failed: {}", String::from_utf8_lossy(&message));
                }
                _ => {}
            }
        }
    }

    /// Reads the type of the next message, and everything after its fixed part.
    fn receive(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut fixed = [0; 16];
        self.0.read_exact(&mut fixed).context("failed to wait for a message")?;
        let [b'l', kind, _, 1, a, b, c, d, _, _, _, _, e, f, g, h] = fixed else {
            bail!("a message begins with {fixed:?}");
        };
        let (body, fields) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let mut rest = vec![0; (fields.next_multiple_of(8) + body) as usize];
        self.0.read_exact(&mut rest).context("failed to read a message")?;
        Ok((kind, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[ignore = "needs dbus-daemon: `cargo xtask bench service` uses it"]
    fn client_calls_the_bus_and_sees_owners() {
        let dir = std::env::temp_dir().join(format!("xtask-bus-{}", std::process::id()));
        cache::create_dir(&dir).unwrap();
        let bus = Bus::start(&dir).unwrap();
        let (mut client, mut other) = (bus.connect().unwrap(), bus.connect().unwrap());
        client.follow("a.example").unwrap();
        let request = BUS.call("RequestName", &("a.example", 0_u32)).unwrap();
        assert!(other.send(&request).unwrap() > 0.0);
        client.owner_changed().unwrap();
        let unknown = BUS.call("NoSuchMethod", &()).unwrap();
        let error = format!("{:#}", other.send(&unknown).unwrap_err());
        assert!(error.contains("NoSuchMethod"), "{error}");
        drop(other);
        client.owner_changed().unwrap();
        cache::remove_dir(&dir).unwrap();
    }
}

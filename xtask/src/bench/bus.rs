// SPDX-License-Identifier: MIT OR Apache-2.0
//! A private message bus, and a client that does little but wait, so that measurements are of the service.
//!
//! Messages are those of the D-Bus specification, chapters "Authentication Protocol" and "Message Protocol".

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::cache;

/// The bus itself, as an object.
const BUS: Object<'_> = Object {
    service: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
/// Maximum wait: every answer comes within milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Types of messages.
const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// A dbus-daemon that permits everything. It is stopped when this is dropped.
#[derive(Debug)]
pub(super) struct Bus {
    daemon: Child,
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
        let mut daemon = command.spawn().context("failed to start dbus-daemon")?;
        let output = daemon.stdout.take();
        let bus = Self { daemon, socket };
        let mut address = String::new();
        BufReader::new(output.context("dbus-daemon has no output")?).read_line(&mut address)?;
        if address.is_empty() {
            bail!("dbus-daemon ended at once: see {}", log.display());
        }
        Ok(bus)
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

impl Drop for Bus {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// An interface of an object of a service.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object<'a> {
    pub(super) service: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
}

/// Arguments of a call, as they are sent.
#[derive(Debug, Default)]
pub(super) struct Arguments {
    signature: &'static str,
    bytes: Vec<u8>,
}

impl Arguments {
    /// `s`
    pub(super) fn string(text: &str) -> Self {
        let mut bytes = Vec::new();
        put_string(&mut bytes, text);
        Self { signature: "s", bytes }
    }

    /// `sa(uu)a{sv}`: the arguments of `FindHeap`, without options.
    pub(super) fn find_heap(usage: &str, devices: &[(u32, u32)]) -> Self {
        let mut bytes = Vec::new();
        put_string(&mut bytes, usage);
        pad(&mut bytes, 4);
        bytes.extend((8 * devices.len() as u32).to_le_bytes());
        pad(&mut bytes, 8);
        for (major, minor) in devices {
            bytes.extend(major.to_le_bytes());
            bytes.extend(minor.to_le_bytes());
        }
        bytes.extend(0_u32.to_le_bytes());
        // An empty array has the padding before its first element, too.
        pad(&mut bytes, 8);
        Self { signature: "sa(uu)a{sv}", bytes }
    }
}

/// A connection that makes calls and waits for their answers.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    serial: u32,
}

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
        let mut client = Self { stream, serial: 0 };
        client.call(BUS, "Hello", &Arguments::default())?;
        Ok(client)
    }

    /// Subscribes to changes of the owner of a name.
    pub(super) fn follow(&mut self, name: &str) -> Result<()> {
        let rule = format!("type='signal',member='NameOwnerChanged',arg0='{name}'");
        self.call(BUS, "AddMatch", &Arguments::string(&rule))?;
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

    /// Calls a method; returns its duration in nanoseconds.
    pub(super) fn call(
        &mut self,
        object: Object<'_>,
        member: &str,
        arguments: &Arguments,
    ) -> Result<f64> {
        self.serial += 1;
        let message = method_call(self.serial, object, member, arguments);
        let what = || format!("calling {member} of {}", object.path);
        let begin = Instant::now();
        self.stream.write_all(&message).with_context(what)?;
        loop {
            match self.receive().with_context(what)? {
                (METHOD_RETURN, _) => return Ok(begin.elapsed().as_nanos() as f64),
                (ERROR, message) => {
                    bail!("{} failed: {}", what(), String::from_utf8_lossy(&message));
                }
                _ => {}
            }
        }
    }

    /// Reads the type of the next message, and everything after its fixed part.
    fn receive(&mut self) -> Result<(u8, Vec<u8>)> {
        let mut fixed = [0; 16];
        self.stream.read_exact(&mut fixed).context("failed to wait for a message")?;
        let [b'l', kind, _, 1, a, b, c, d, _, _, _, _, e, f, g, h] = fixed else {
            bail!("a message begins with {fixed:?}");
        };
        let (body, fields) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let mut rest = vec![0; (fields.next_multiple_of(8) + body) as usize];
        self.stream.read_exact(&mut rest).context("failed to read a message")?;
        Ok((kind, rest))
    }
}

/// Returns a whole message.
fn method_call(serial: u32, object: Object<'_>, member: &str, arguments: &Arguments) -> Vec<u8> {
    let mut message = vec![b'l', METHOD_CALL, 0, 1];
    message.extend((arguments.bytes.len() as u32).to_le_bytes());
    message.extend(serial.to_le_bytes());
    let mut fields = Vec::new();
    for (code, kind, value) in [
        (1, b'o', object.path),
        (2, b's', object.interface),
        (3, b's', member),
        (6, b's', object.service),
    ] {
        pad(&mut fields, 8);
        fields.extend([code, 1, kind, 0]);
        put_string(&mut fields, value);
    }
    pad(&mut fields, 8);
    fields.extend([8, 1, b'g', 0, arguments.signature.len() as u8]);
    fields.extend(arguments.signature.bytes());
    fields.push(0);
    message.extend((fields.len() as u32).to_le_bytes());
    message.extend(fields);
    pad(&mut message, 8);
    message.extend(&arguments.bytes);
    message
}

fn put_string(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.bytes());
    bytes.push(0);
}

fn pad(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_has_the_layout_of_the_specification() {
        let message = method_call(7, BUS, "AddMatch", &Arguments::string("x"));
        assert_eq!(message[..4], [b'l', 1, 0, 1]);
        // The body is a length, a letter and a NUL; the fields are padded up to it.
        assert_eq!(message[4..12], [6, 0, 0, 0, 7, 0, 0, 0]);
        let fields = u32::from_le_bytes(message[12..16].try_into().unwrap()) as usize;
        assert_eq!(message.len(), (16 + fields).next_multiple_of(8) + 6);
        assert_eq!(message[16..24], [1, 1, b'o', 0, 21, 0, 0, 0]);
        assert!(message.ends_with(&[1, 0, 0, 0, b'x', 0]));
    }

    #[test]
    fn device_structures_are_aligned() {
        let Arguments { bytes, .. } = Arguments::find_heap("video", &[(226, 128)]);
        assert_eq!(bytes[..10], *b"\x05\0\0\0video\0");
        assert_eq!(bytes[12..24], [8, 0, 0, 0, 226, 0, 0, 0, 128, 0, 0, 0]);
        assert_eq!(bytes[24..], [0; 8]);
    }
}

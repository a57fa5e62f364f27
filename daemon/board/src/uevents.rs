// SPDX-License-Identifier: MIT OR Apache-2.0

//! Receives kernel uevents from netlink, without udev.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use crate::Problem;

/// Multicast group of the kernel's own messages; udev's messages have another.
const KERNEL: u32 = 1;
/// Receive buffer size in bytes, enough for a coldplug during the test allocation of a heap. This
/// is kernel memory.
const QUEUE: usize = 4 << 20;
/// Maximum message size in bytes. The kernel's messages have at most 2 KiB of variables after the
/// path.
const LONGEST: usize = 8192;
/// Name of the socket in messages.
const NAME: &str = "netlink:kobject-uevent";

/// A socket that receives kernel uevents.
#[derive(Debug)]
pub struct Uevents {
    socket: OwnedFd,
    buffer: Box<[u8; LONGEST]>,
}

/// Result of reading the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received<E> {
    /// An event.
    Event(E),
    /// Events were lost, and facts must be read again.
    Lost,
}

/// An event of a device, whichever library received it.
pub trait Event {
    /// Returns the value of a property, such as `PROTHEAP_DEVICE`.
    fn property(&self, name: &str) -> Option<&str>;

    /// Returns the action: `add`, `remove`, `change`, `bind`, `unbind`, ...
    fn action(&self) -> &str {
        self.property("ACTION").unwrap_or_default()
    }

    /// Returns the device's bus or class.
    fn subsystem(&self) -> &str {
        self.property("SUBSYSTEM").unwrap_or_default()
    }

    /// Returns the device's name: the last component of its path.
    fn device(&self) -> &str {
        self.property("DEVPATH").and_then(|path| path.rsplit('/').next()).unwrap_or_default()
    }
}

/// An event in the kernel's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uevent<'a> {
    /// `add`, `remove`, `change`, `bind`, `unbind`, ...
    pub action: &'a str,
    /// Path of the device beneath `/sys`, with a leading `/`.
    pub devpath: &'a str,
    /// The device's bus or class.
    pub subsystem: &'a str,
    variables: &'a [u8],
}

impl Event for Uevent<'_> {
    fn property(&self, name: &str) -> Option<&str> {
        variable(self.variables, name)
    }

    fn action(&self) -> &str {
        self.action
    }

    fn subsystem(&self) -> &str {
        self.subsystem
    }

    fn device(&self) -> &str {
        self.devpath.rsplit('/').next().unwrap_or_default()
    }
}

fn variable<'a>(variables: &'a [u8], name: &str) -> Option<&'a str> {
    let mut pieces = variables.split(|byte| *byte == 0);
    let value = pieces.find_map(|piece| piece.strip_prefix(name.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(value).ok()
}

/// Parses one message: `ACTION@DEVPATH`, followed by variables, each terminated by a NUL. Returns
/// `None` if the message is not an event of a device.
fn parse(message: &[u8]) -> Option<Uevent<'_>> {
    let end = message.iter().position(|byte| *byte == 0)?;
    let (head, variables) = message.split_at_checked(end)?;
    let (action, devpath) = std::str::from_utf8(head).ok()?.split_once('@')?;
    if action.is_empty() || !devpath.starts_with('/') {
        return None;
    }
    let variables = variables.get(1..)?;
    Some(Uevent { action, devpath, subsystem: variable(variables, "SUBSYSTEM")?, variables })
}

impl Uevents {
    /// Opens the socket. Events are queued from now on, so read facts after this.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket cannot be created: the kernel has no networking, or a sandbox
    /// forbids it.
    pub fn open() -> Result<Self, Problem> {
        let failed = |e: Errno| {
            Problem::new(NAME, format!("failed to open: {e}; allow AF_NETLINK in the sandbox"))
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = AddressFamily::NETLINK;
        let socket =
            socket_with(family, SocketType::RAW, flags, Some(KOBJECT_UEVENT)).map_err(failed)?;
        // Exceed the system's limit if permitted, otherwise use as much as it allows.
        if set_socket_recv_buffer_size_force(&socket, QUEUE).is_err() {
            set_socket_recv_buffer_size(&socket, QUEUE).map_err(failed)?;
        }
        bind(&socket, &SocketAddrNetlink::new(0, KERNEL)).map_err(failed)?;
        Ok(Self { socket, buffer: Box::new([0; LONGEST]) })
    }

    /// Waits for an event. Returns false if `timeout` expired or a signal arrived.
    ///
    /// # Errors
    ///
    /// Returns an error if poll() fails.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, Problem> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(e) => Err(Problem::new(NAME, format!("failed to poll: {e}"))),
        }
    }

    /// Returns the next event if there is one. Drops messages that are not from the kernel or are
    /// not about a device.
    ///
    /// # Errors
    ///
    /// Returns an error if reading the socket fails.
    pub fn receive(&mut self) -> Result<Option<Received<Uevent<'_>>>, Problem> {
        let length = loop {
            let buffer = self.buffer.as_mut_slice();
            match recvfrom(&self.socket, buffer, RecvFlags::TRUNC) {
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => return Ok(Some(Received::Lost)),
                Err(e) => return Err(Problem::new(NAME, format!("failed to read: {e}"))),
                Ok((_, length, sender)) => {
                    let sender = sender.and_then(|s| SocketAddrNetlink::try_from(s).ok());
                    if sender.is_none_or(|sender| sender.pid() != 0) {
                        continue;
                    }
                    match self.buffer.get(..length) {
                        None => return Ok(Some(Received::Lost)),
                        Some(message) if parse(message).is_some() => break length,
                        Some(_) => {}
                    }
                }
            }
        };
        Ok(self.buffer.get(..length).and_then(parse).map(Received::Event))
    }
}

impl AsFd for Uevents {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parse_reads_properties() {
        let message = b"change@/devices/virtual/misc/protheap\0ACTION=change\0\
            DEVPATH=/devices/virtual/misc/protheap\0SUBSYSTEM=misc\0PROTHEAP_DEVICE=fb000000.gpu\0\
            PROTHEAP_STATE=bound\0MAJOR=10\0DEVNAME=protheap\0SEQNUM=12\0";
        let event = parse(message).unwrap();
        assert_eq!((event.action, event.subsystem), ("change", "misc"));
        assert_eq!(event.property("DEVNAME"), Some("protheap"));
        assert_eq!(event.device(), "protheap");
        assert_eq!(event.property("PROTHEAP_DEVICE"), Some("fb000000.gpu"));
        assert_eq!(event.property("PROTHEAP"), None);
        let bind = b"bind@/devices/platform/firmware:optee\0SUBSYSTEM=platform\0DRIVER=optee";
        let bind = parse(bind).unwrap();
        assert_eq!((bind.property("DRIVER"), bind.device()), (Some("optee"), "firmware:optee"));
    }

    #[test]
    fn parse_rejects_other_messages() {
        for message in [
            &b""[..],
            b"add@/devices/x",
            b"libudev\0\xfe\xed\xca\xfe",
            b"add@devices/x\0SUBSYSTEM=y\0",
            b"@/devices/x\0SUBSYSTEM=y\0",
            b"add@/devices/x\0ACTION=add\0",
            b"add@/devices/\xff\0SUBSYSTEM=y\0",
        ] {
            assert_eq!(parse(message), None, "{message:?}");
        }
    }

    #[test]
    fn wait_returns_after_its_timeout() {
        let mut events = Uevents::open().unwrap();
        let start = crate::clock::now_us();
        // Hardware may cause events: drop them until no event arrives.
        while events.wait(Some(Duration::from_millis(20))).unwrap() {
            while events.receive().unwrap().is_some() {}
        }
        assert!(crate::clock::now_us() - start >= 20_000);
    }

    proptest! {
        #[test]
        fn parse_accepts_any_bytes(message in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Some(event) = parse(&message) {
                prop_assert!(event.devpath.starts_with('/'));
            }
        }

        #[test]
        fn parse_returns_what_was_formatted(action in "[a-z]{1,8}", path in "(/[a-z0-9:.]{1,9}){1,5}",
            value in "[^\0]{0,30}")
        {
            let message = format!("{action}@{path}\0SUBSYSTEM={value}\0X=1\0");
            let event = parse(message.as_bytes()).unwrap();
            prop_assert_eq!((event.action, event.devpath), (action.as_str(), path.as_str()));
            prop_assert_eq!(event.subsystem, value.as_str());
            prop_assert_eq!(event.property("X"), Some("1"));
        }
    }
}

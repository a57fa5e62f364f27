// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's events, through libudev: of the kernel itself, not of udevd, which may be busy with
//! loading the GPU's driver.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use protheap_bind::binder::{Binder, Noticed};
use protheap_board::uevents::{Received, parse};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use udev::{Event, MonitorBuilder, MonitorSocket};

/// What may tell of heaps, TEEs, GPUs, providers and bindings.
const SUBSYSTEMS: [&str; 5] = ["dma_heap", "tee", "misc", "platform", "arm_ffa"];
/// Room for a coldplug, as the early binder has it. The kernel's memory, not ours.
const QUEUE: usize = 4 << 20;

/// The socket that events come from.
pub(crate) struct Monitor {
    socket: MonitorSocket,
}

impl Monitor {
    /// Starts to listen. What happens from now on is queued, so read facts after this.
    pub(crate) fn open() -> io::Result<Self> {
        let mut builder = MonitorBuilder::new_kernel()?;
        for subsystem in SUBSYSTEMS {
            builder = builder.match_subsystem(subsystem)?;
        }
        let socket = builder.listen()?;
        // Beyond the system's limit if we may, else up to it: what is lost is read anew.
        if set_socket_recv_buffer_size_force(&socket, QUEUE).is_err() {
            set_socket_recv_buffer_size(&socket, QUEUE)?;
        }
        Ok(Self { socket })
    }

    /// Takes all events that are there, and returns what they tell.
    pub(crate) fn receive(&self, binder: &Binder<true>) -> Noticed {
        let mut noticed = Noticed::default();
        loop {
            // libudev says in errno why it has no event, and its binding for Rust does not ask.
            match self.socket.iter().next() {
                Some(event) => {
                    if let Some(event) = parse(&message(&event)) {
                        binder.notice(Received::Event(event), &mut noticed);
                    }
                }
                None if io::Error::last_os_error().raw_os_error()
                    == Some(Errno::NOBUFS.raw_os_error()) =>
                {
                    binder.notice(Received::Lost, &mut noticed);
                }
                None => return noticed,
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The event as the kernel has sent it.
fn message(event: &Event) -> Vec<u8> {
    let property = |name: &str| event.property_value(name).unwrap_or_default().as_encoded_bytes();
    let mut message = [property("ACTION"), b"@", property("DEVPATH"), b"\0"].concat();
    for property in event.properties() {
        let (name, value) = (property.name(), property.value().as_encoded_bytes());
        // libudev makes a path of it.
        let value = match value.strip_prefix(b"/dev/") {
            Some(node) if name == "DEVNAME" => node,
            _ => value,
        };
        message.extend([name.as_encoded_bytes(), b"=", value, b"\0"].concat());
    }
    message
}

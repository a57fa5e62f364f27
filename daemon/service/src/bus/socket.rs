// SPDX-License-Identifier: MIT OR Apache-2.0

//! Connection to the bus that limits the size of each message before zbus allocates or parses it.
//!
//! zbus reads a whole message into memory, up to 128 MiB, and deserializes its body before the
//! method is called. This socket reads the fixed part of the header first, and answers a call that
//! is too long without storing its body.

mod header;
mod turns;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tracing::{debug, info};
use zbus::Message;
use zbus::address::Transport;
use zbus::address::transport::UnixSocket;
use zbus::connection::socket::{ReadHalf, Socket, Split, WriteHalf};
use zbus::export::async_trait::async_trait;

use header::{FIXED, Fixed, Kind};
use turns::{Turns, Verdict};

/// Maximum length of a message body in bytes. The longest body that a method of `org.protheap1`
/// uses has less than 1 KiB.
pub(super) const LONGEST_BODY: usize = 64 << 10;
/// Maximum length of a header's fields in bytes. Names have at most 255; only paths can be longer,
/// and no path of this service is.
const LONGEST_FIELDS: usize = 4 << 10;
/// Number of bytes read from the socket at once.
const CHUNK: usize = 32 << 10;
/// Maximum number of messages that are received before a call is passed on. Calls wait in [`Turns`]
/// rather than in the bus, whose queue is not fair.
const DRAIN: usize = 256;
/// Minimum time between two log lines about refused messages.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

const LIMITS_EXCEEDED: &str = "org.freedesktop.DBus.Error.LimitsExceeded";

/// A stream to the bus before it is split into the halves that zbus uses.
#[derive(Debug)]
pub(super) struct Bounded(UnixStream);

impl Bounded {
    /// Connects to the system bus.
    ///
    /// # Errors
    ///
    /// Returns an error if the bus address is not a Unix socket, or connecting to it fails.
    pub(super) async fn system() -> zbus::Result<Self> {
        let address = zbus::Address::system()?;
        let Transport::Unix(unix) = address.transport() else {
            return Err(zbus::Error::Address(format!("{address} is not a Unix socket")));
        };
        let stream = match unix.path() {
            UnixSocket::File(path) => UnixStream::connect(path).await?,
            UnixSocket::Abstract(name) => {
                let mut path = std::ffi::OsString::from("\0");
                path.push(name);
                UnixStream::connect(path).await?
            }
            _ => {
                return Err(zbus::Error::Address(format!(
                    "{address} is not a supported type of Unix socket"
                )));
            }
        };
        Ok(Self(stream))
    }

    #[cfg(test)]
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(stream)
    }
}

impl Socket for Bounded {
    type ReadHalf = Reader;
    type WriteHalf = Writer;

    fn split(self) -> Split<Reader, Writer> {
        let writer = Writer(Arc::new(Output { stream: self.0, sending: Mutex::new(()) }));
        let reader = Reader {
            replies: Writer(Arc::clone(&writer.0)),
            buffer: Vec::new(),
            start: 0,
            turns: Turns::default(),
            others: VecDeque::new(),
            refused: 0,
            logged: None,
        };
        Split::new(reader, writer)
    }
}

/// The stream, and the lock that prevents two messages from being interleaved.
#[derive(Debug)]
struct Output {
    stream: UnixStream,
    sending: Mutex<()>,
}

impl Output {
    async fn write(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
        let write = || {
            // At most one descriptor is sent: the reply of Heap.Open() has it.
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty()
                && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors))
            {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "too many file descriptors",
                ));
            }
            let parts = [IoSlice::new(bytes)];
            Ok(sendmsg(&self.stream, &parts, &mut ancillary, SendFlags::NOSIGNAL)?)
        };
        self.stream.async_io(Interest::WRITABLE, write).await
    }

    /// Sends a whole message.
    async fn send(&self, message: &Message) -> io::Result<()> {
        let data = message.data();
        let mut descriptors: Vec<_> = data.fds().iter().map(std::os::fd::AsFd::as_fd).collect();
        let mut rest: &[u8] = data;
        let _sending = self.sending.lock().await;
        while !rest.is_empty() {
            let written = self.write(rest, &descriptors).await?;
            descriptors.clear();
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }
}

/// The sending half.
#[derive(Debug)]
pub(super) struct Writer(Arc<Output>);

#[async_trait]
impl WriteHalf for Writer {
    async fn send_message(&mut self, message: &Message) -> zbus::Result<()> {
        Ok(self.0.send(message).await?)
    }

    /// Used by the handshake.
    async fn sendmsg(&mut self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
        self.0.write(bytes, fds).await
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Both)?)
    }

    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// The receiving half.
#[derive(Debug)]
pub(super) struct Reader {
    /// Sends the replies to calls that are refused here.
    replies: Writer,
    /// Received bytes; those from `start` on are unread.
    buffer: Vec<u8>,
    start: usize,
    /// Calls that were received but not passed on.
    turns: Turns,
    /// Other messages that were received but not passed on: replies and signals.
    others: VecDeque<Vec<u8>>,
    /// Number of calls refused since the last log line about them, and the time of that line.
    refused: u64,
    logged: Option<Instant>,
}

impl Reader {
    fn unread(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Receives until there are `length` unread bytes, and returns these.
    async fn peek(&mut self, length: usize) -> io::Result<&[u8]> {
        if self.unread().len() < length {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        while self.buffer.len() - self.start < length {
            let end = self.buffer.len();
            self.buffer.resize(end + CHUNK, 0);
            let room = self.buffer.get_mut(end..).unwrap_or_default();
            let received = receive(&self.replies.0.stream, room).await;
            self.buffer.truncate(end + received.as_ref().map_or(0, |length| *length));
            received?;
        }
        Ok(self.unread().get(..length).unwrap_or_default())
    }

    /// Receives available data without blocking. Returns whether there are unread bytes.
    fn has_more(&mut self) -> io::Result<bool> {
        if self.unread().len() >= FIXED {
            return Ok(true);
        }
        self.buffer.drain(..self.start);
        self.start = 0;
        let end = self.buffer.len();
        self.buffer.resize(end + CHUNK, 0);
        let received =
            self.replies.0.stream.try_read(self.buffer.get_mut(end..).unwrap_or_default());
        self.buffer.truncate(end + received.as_ref().map_or(0, |length| *length));
        match received {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(!self.unread().is_empty())
            }
            received => received.map(|_| true),
        }
    }

    /// Discards the next `length` bytes while storing at most one chunk of them.
    async fn skip(&mut self, length: usize) -> io::Result<()> {
        let buffered = length.min(self.unread().len());
        self.start += buffered;
        let mut rest = length - buffered;
        let mut scratch = vec![0; rest.min(CHUNK)];
        while rest > 0 {
            let room = scratch.len().min(rest);
            let room = scratch.get_mut(..room).unwrap_or_default();
            rest -= receive(&self.replies.0.stream, room).await?;
        }
        Ok(())
    }

    /// Parses one complete message. Ignores messages that a bus passes on but zbus does not accept:
    /// those with unknown header fields or with descriptors, as descriptors are never received.
    async fn parse(&self, sequence: u64, mut bytes: Vec<u8>) -> Option<Message> {
        // The message is complete, so nothing is read from the socket.
        let message = Whole.receive_message(sequence, &mut bytes, &mut Vec::new()).await;
        let ignored = |error| debug!("ignored a D-Bus message that cannot be parsed: {error}");
        message.map_err(ignored).ok()
    }

    /// Answers a call that exceeds a limit.
    async fn refuse(&mut self, call: &Message, limit: &str) -> zbus::Result<()> {
        let header = call.header();
        self.refused += 1;
        if self.logged.is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL) {
            let sender = header.sender().map_or("a peer", |name| name.as_str());
            info!("refused {} D-Bus calls, the last from {sender}: {limit}", self.refused);
            (self.refused, self.logged) = (0, Some(Instant::now()));
        }
        if header.primary().flags().contains(zbus::message::Flags::NO_REPLY_EXPECTED) {
            return Ok(());
        }
        let reply = Message::error(&header, LIMITS_EXCEEDED).build(&(limit,))?;
        Ok(self.replies.0.send(&reply).await?)
    }

    /// Receives one message and queues it, answers it, or drops it.
    async fn receive(&mut self, sequence: u64) -> zbus::Result<()> {
        let fixed = Fixed::parse(self.peek(FIXED).await?)?;
        if fixed.fields > LONGEST_FIELDS {
            // The sender of such a message is unknown, so it gets no answer.
            debug!("ignored a D-Bus message with {} bytes of header fields", fixed.fields);
            return Ok(self.skip(fixed.length()).await?);
        }
        let header = self.peek(fixed.header_length()).await?.to_vec();
        let header = fixed.without_body(header);
        if fixed.body > LONGEST_BODY {
            self.skip(fixed.length()).await?;
            return match fixed.kind {
                Kind::Call => {
                    let Some(call) = self.parse(sequence, header).await else { return Ok(()) };
                    let limit = format!(
                        "the call has {} bytes of arguments, more than {LONGEST_BODY}",
                        fixed.body
                    );
                    self.refuse(&call, &limit).await
                }
                // Pass on the header, so that the waiting caller fails because of the missing body
                // and does not hang.
                Kind::Reply => {
                    self.others.push_back(header);
                    Ok(())
                }
                Kind::Other => Ok(()),
            };
        }
        let bytes = self.peek(fixed.length()).await?.to_vec();
        self.start += bytes.len();
        if fixed.kind != Kind::Call {
            self.others.push_back(bytes);
            return Ok(());
        }
        let Some(call) = self.parse(sequence, header).await else { return Ok(()) };
        let sender = call.header().sender().map(ToString::to_string).unwrap_or_default();
        match self.turns.push(&sender, bytes) {
            Verdict::Waits | Verdict::Dropped => Ok(()),
            Verdict::Refused => self.refuse(&call, "too many calls are waiting for a reply").await,
        }
    }
}

#[async_trait]
impl ReadHalf for Reader {
    async fn receive_message(
        &mut self,
        sequence: u64,
        already_received: &mut Vec<u8>,
        descriptors: &mut Vec<OwnedFd>,
    ) -> zbus::Result<Message> {
        descriptors.clear();
        // The handshake's last read may include the beginning of the first message.
        self.buffer.append(already_received);
        loop {
            let mut received = 0;
            while self.turns.is_empty() && self.others.is_empty()
                || received < DRAIN && self.others.len() < DRAIN && self.has_more()?
            {
                self.receive(sequence).await?;
                received += 1;
            }
            // Pass on replies and signals before calls.
            if let Some(bytes) = self.others.pop_front().or_else(|| self.turns.pop())
                && let Some(message) = self.parse(sequence, bytes).await
            {
                return Ok(message);
            }
        }
    }

    /// Used by the handshake.
    async fn recvmsg(&mut self, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Ok((receive(&self.replies.0.stream, buffer).await?, Vec::new()))
    }

    /// The handshake enables both directions together. No method takes a descriptor: the kernel
    /// closes the descriptors of received messages, because reads here have no ancillary buffer.
    fn can_pass_unix_fd(&self) -> bool {
        true
    }
}

/// Parses a message that was received completely.
#[derive(Debug)]
struct Whole;

#[async_trait]
impl ReadHalf for Whole {
    async fn recvmsg(&mut self, _: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Receives at least one byte.
async fn receive(stream: &UnixStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        stream.readable().await?;
        match stream.try_read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
    }
}

#[cfg(test)]
mod tests;

// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fixed part of a message header, which contains the lengths of the rest.

use std::io;

/// Length of the fixed part in bytes, including the length of the fields.
pub(super) const FIXED: usize = 16;
/// Maximum length of a message in bytes according to the D-Bus specification.
const LONGEST: usize = 128 << 20;

/// Types of messages, as far as they are handled differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    /// A method return or an error.
    Reply,
    Other,
}

/// Type and lengths of a message, parsed from the fixed part of its header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) kind: Kind,
    /// Length of the body in bytes.
    pub(super) body: usize,
    /// Length of the header's fields in bytes, without the padding after them.
    pub(super) fields: usize,
}

impl Fixed {
    /// Parses the first [`FIXED`] bytes of a message.
    ///
    /// # Errors
    ///
    /// Returns an error if no valid message starts like this. The start of the next message is then
    /// unknown.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let &[order, kind, _, _, a, b, c, d, _, _, _, _, w, x, y, z] = bytes else {
            return Err(invalid("the header of a D-Bus message is truncated"));
        };
        let word: fn([u8; 4]) -> u32 = match order {
            b'l' => u32::from_le_bytes,
            b'B' => u32::from_be_bytes,
            _ => return Err(invalid("a D-Bus message has an invalid byte order")),
        };
        let length = |bytes| usize::try_from(word(bytes)).unwrap_or(usize::MAX);
        let (body, fields) = (length([a, b, c, d]), length([w, x, y, z]));
        if body > LONGEST || fields > LONGEST || body + fields > LONGEST {
            return Err(invalid("a D-Bus message exceeds the maximum length"));
        }
        let kind = match kind {
            1 => Kind::Call,
            2 | 3 => Kind::Reply,
            _ => Kind::Other,
        };
        Ok(Self { kind, body, fields })
    }

    /// Returns the length of the whole header in bytes, including the padding at its end.
    pub(super) fn header_length(&self) -> usize {
        (FIXED + self.fields).next_multiple_of(8)
    }

    /// Returns the length of the whole message in bytes.
    pub(super) fn length(&self) -> usize {
        self.header_length() + self.body
    }

    /// Changes `header` to that of a message without a body.
    pub(super) fn without_body(&self, mut header: Vec<u8>) -> Vec<u8> {
        if let Some(body) = header.get_mut(4..8) {
            body.fill(0);
        }
        header
    }
}

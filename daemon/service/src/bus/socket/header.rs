// SPDX-License-Identifier: MIT OR Apache-2.0

//! The fixed part of a message's header, which says how long the rest is.

use std::io;

/// Bytes of the fixed part, with the length of the fields.
pub(super) const FIXED: usize = 16;
/// The longest message that the D-Bus specification allows, in bytes.
const LONGEST: usize = 128 << 20;

/// Kinds of messages, as far as they are treated differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    /// A method's return, or its error.
    Reply,
    Other,
}

/// Kind and lengths, parsed from the fixed part of a message's header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    pub(super) kind: Kind,
    /// Bytes of the body.
    pub(super) body: usize,
    /// Bytes of the header's fields, without the padding after them.
    pub(super) fields: usize,
}

impl Fixed {
    /// Parses the first [`FIXED`] bytes of a message.
    ///
    /// # Errors
    ///
    /// No message begins like that, so that it is unknown where the next one does.
    pub(super) fn parse(bytes: &[u8]) -> io::Result<Self> {
        let invalid = |text| io::Error::new(io::ErrorKind::InvalidData, text);
        let &[order, kind, _, _, a, b, c, d, _, _, _, _, w, x, y, z] = bytes else {
            return Err(invalid("the header of a D-Bus message is cut off"));
        };
        let word: fn([u8; 4]) -> u32 = match order {
            b'l' => u32::from_le_bytes,
            b'B' => u32::from_be_bytes,
            _ => return Err(invalid("a D-Bus message has no byte order")),
        };
        let length = |bytes| usize::try_from(word(bytes)).unwrap_or(usize::MAX);
        let (body, fields) = (length([a, b, c, d]), length([w, x, y, z]));
        if body > LONGEST || fields > LONGEST || body + fields > LONGEST {
            return Err(invalid("a D-Bus message is longer than any may be"));
        }
        let kind = match kind {
            1 => Kind::Call,
            2 | 3 => Kind::Reply,
            _ => Kind::Other,
        };
        Ok(Self { kind, body, fields })
    }

    /// Bytes of the whole header, with the padding at its end.
    pub(super) fn header_length(&self) -> usize {
        (FIXED + self.fields).next_multiple_of(8)
    }

    /// Bytes of the whole message.
    pub(super) fn length(&self) -> usize {
        self.header_length() + self.body
    }

    /// Makes `header` that of a message without a body.
    pub(super) fn without_body(&self, mut header: Vec<u8>) -> Vec<u8> {
        if let Some(body) = header.get_mut(4..8) {
            body.fill(0);
        }
        header
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors returned to D-Bus callers.

use protheap_client::Error;
use zbus::message::Header;
use zbus::names::ErrorName;
use zbus::{DBusError, Message};

/// Reasons why a call fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error defined by the service.
    Ours(Error),
    /// The caller lacks the permission, for this reason.
    Denied(String),
    /// The call has arguments that its method does not accept.
    Arguments(&'static str),
    /// Too many calls of this caller, or of all callers, are pending.
    Busy(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // The service's own bus operation failed; the caller's message was correct.
            Error::Bus(error) => Self::Ours(Error::Failed(error.to_string())),
            error => Self::Ours(error),
        }
    }
}

impl DBusError for Failure {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        let text = self.description().unwrap_or_default();
        Message::error(call, self.name()).build(&(text,))
    }

    fn name(&self) -> ErrorName<'_> {
        let name = match self {
            Self::Ours(error) => return error.name(),
            Self::Denied(_) => "org.freedesktop.DBus.Error.AccessDenied",
            Self::Arguments(_) => "org.freedesktop.DBus.Error.InvalidArgs",
            Self::Busy(_) => "org.freedesktop.DBus.Error.LimitsExceeded",
        };
        ErrorName::from_static_str_unchecked(name)
    }

    fn description(&self) -> Option<&str> {
        match self {
            Self::Ours(error) => error.description(),
            Self::Denied(why) => Some(why),
            Self::Arguments(why) | Self::Busy(why) => Some(why),
        }
    }
}

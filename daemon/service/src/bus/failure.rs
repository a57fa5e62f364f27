// SPDX-License-Identifier: MIT OR Apache-2.0

//! What a caller is told that something failed with.

use protheap_client::Error;
use zbus::message::Header;
use zbus::names::ErrorName;
use zbus::{DBusError, Message};

/// Why a call fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error of the service's own.
    Ours(Error),
    /// The caller may not do that, for this reason.
    Denied(String),
    /// The call has arguments that its method does not take.
    Arguments(&'static str),
    /// Too many calls of this caller, or of all, wait already.
    Busy(&'static str),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // It was ours that failed, not the caller's message.
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

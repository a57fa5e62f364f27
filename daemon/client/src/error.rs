// SPDX-License-Identifier: MIT OR Apache-2.0

//! What can go wrong: the service's own errors, and those of D-Bus.

use std::fmt;

use zbus::fdo;

/// What a call of a proxy returns.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a call failed. The text is the service's: what it tried, and what to do next.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.protheap1.Error", impl_display = false)]
#[non_exhaustive]
pub enum Error {
    /// D-Bus itself, or an error that has no name of the service's.
    #[zbus(error)]
    Bus(zbus::Error),
    /// No heap is there that all these devices can use for this usage.
    NoCommonHeap(String),
    /// A number is of no device, or of one that no policy knows.
    UnknownDevice(String),
    /// An argument has no meaning.
    InvalidArgument(String),
    /// There is no such GPU.
    NoSuchGpu(String),
    /// A driver has the GPU and its binding.
    InUse(String),
    /// This kernel, or this boot, does not allow it.
    NotSupported(String),
    /// Too early: the GPUs have their buffers first.
    NotReady(String),
    /// The heap is not there any more.
    HeapGone(String),
    /// A step failed; the text says which.
    Failed(String),
}

impl Error {
    /// The caller may not do that: root may, and whom a polkit rule lets.
    pub fn is_access_denied(&self) -> bool {
        matches!(self.standard(), Some(fdo::Error::AccessDenied(_)))
    }

    /// Nobody answers to the service's name: `protheapd` does not run and could not be started.
    pub fn is_service_absent(&self) -> bool {
        matches!(
            self.standard(),
            Some(fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_))
        )
    }

    fn standard(&self) -> Option<&fdo::Error> {
        match self {
            Self::Bus(zbus::Error::FDO(error)) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => error.fmt(f),
            Self::NoCommonHeap(text)
            | Self::UnknownDevice(text)
            | Self::InvalidArgument(text)
            | Self::NoSuchGpu(text)
            | Self::InUse(text)
            | Self::NotSupported(text)
            | Self::NotReady(text)
            | Self::HeapGone(text)
            | Self::Failed(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zbus::{DBusError as _, Message};

    /// The error that a client makes of a reply with this name.
    fn received(name: &str) -> Error {
        let call = Message::method_call(crate::MANAGER_PATH, "FindHeap").build(&()).unwrap();
        let reply = Message::error(&call.header(), name).build(&("why",)).unwrap();
        zbus::Error::from(reply).into()
    }

    #[test]
    fn errors_are_known_by_their_names() {
        for name in [
            "NoCommonHeap",
            "UnknownDevice",
            "InvalidArgument",
            "NoSuchGpu",
            "InUse",
            "NotSupported",
            "NotReady",
            "HeapGone",
            "Failed",
        ] {
            let name = format!("org.protheap1.Error.{name}");
            let error = received(&name);
            assert_eq!(error.name().as_str(), name);
            assert_eq!(error.to_string(), "why");
            assert!(!error.is_access_denied() && !error.is_service_absent());
        }
    }

    #[test]
    fn other_errors_stay_what_they_are() {
        let error = received("org.freedesktop.DBus.Error.AccessDenied");
        assert!(error.is_access_denied() && !error.is_service_absent());
        assert!(error.to_string().contains("why"));
        assert!(received("org.freedesktop.DBus.Error.ServiceUnknown").is_service_absent());
        assert!(matches!(
            received("org.acme.Error.NoCommonHeap"),
            Error::Bus(zbus::Error::MethodError(..))
        ));
    }
}

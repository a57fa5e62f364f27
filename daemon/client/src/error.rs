// SPDX-License-Identifier: MIT OR Apache-2.0

//! Errors of the service and of D-Bus.

use std::fmt;

use zbus::fdo;

/// Result of a proxy's methods.
pub type Result<T> = std::result::Result<T, Error>;

/// Reasons why a call failed. The text comes from the service and includes the remedy.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.protheap1.Error", impl_display = false)]
#[non_exhaustive]
pub enum Error {
    /// An error of D-Bus itself, or one that the service does not define.
    #[zbus(error)]
    Bus(zbus::Error),
    /// No heap is usable by all of these devices for this usage.
    NoCommonHeap(String),
    /// A number belongs to no device, or to one that no policy describes.
    UnknownDevice(String),
    /// An argument is not valid.
    InvalidArgument(String),
    /// There is no such GPU.
    NoSuchGpu(String),
    /// A driver uses the GPU and its binding.
    InUse(String),
    /// The kernel or the current boot does not support the operation.
    NotSupported(String),
    /// The GPUs have not received their buffers yet.
    NotReady(String),
    /// The heap no longer exists.
    HeapGone(String),
    /// A step failed; the text names it.
    Failed(String),
}

impl Error {
    /// Returns whether the caller lacks the permission: the call requires root or a polkit rule.
    pub fn is_access_denied(&self) -> bool {
        matches!(self.standard(), Some(fdo::Error::AccessDenied(_)))
    }

    /// Returns whether the service is absent: `protheapd` is not running and could not be started.
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

    /// Returns the error that a client receives for a reply with this name.
    fn received(name: &str) -> Error {
        let call = Message::method_call(crate::MANAGER_PATH, "FindHeap").build(&()).unwrap();
        let reply = Message::error(&call.header(), name).build(&("why",)).unwrap();
        zbus::Error::from(reply).into()
    }

    #[test]
    fn errors_are_decoded_by_name() {
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
    fn other_errors_are_decoded_as_bus_errors() {
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

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Authorization of callers: root and those whom polkit authorizes. Without polkit, only root.

use std::collections::HashMap;

use protheap_policy::name::HeapName;
use zbus::fdo::DBusProxy;
use zbus::message::{Flags, Header};
use zbus::proxy::CacheProperties;
use zbus::{Connection, names::BusName};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use crate::bus::failure::Failure;
use crate::limit::Limit;

/// Limits on calls that wait to be authorized: of all callers, of one connection, of one user.
/// polkit may ask a person, so calls can wait for long.
static ALL: Limit<()> = Limit::new(2048);
static OF_CONNECTION: Limit<String> = Limit::new(8);
static OF_USER: Limit<u32> = Limit::new(64);

/// Actions of `systemd/polkit-1/actions/org.protheap1.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Reload policies and re-run heap selection for a GPU.
    Manage,
    /// Get a descriptor of a heap.
    OpenHeap,
}

impl Action {
    /// Returns the ID of the polkit action.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Manage => "org.protheap1.manage",
            Self::OpenHeap => "org.protheap1.open-heap",
        }
    }
}

/// The sender of an authorized call.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Unique name on the bus, which is not reused while the bus runs.
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// PID, for people to read: it may belong to another process by now.
    pub(crate) pid: Option<u32>,
}

/// Checks whether the sender of a message may perform an action, with this heap as a detail for
/// polkit rules.
///
/// # Errors
///
/// Returns an error if the sender is not authorized, or if this cannot be determined.
pub(crate) async fn allow(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
    heap: Option<&HeapName>,
) -> Result<Caller, Failure> {
    // The call is stored until it is answered, so limit its size: none of these methods takes
    // arguments.
    if header.primary().body_len() > 0 {
        return Err(Failure::Arguments("this method takes no arguments"));
    }
    let sender =
        header.sender().ok_or_else(|| Failure::Denied("the message has no sender".to_owned()))?;
    let busy =
        || Failure::Busy("too many calls are waiting for authorization; wait for their replies");
    let _of_connection = OF_CONNECTION.take(sender.to_string()).ok_or_else(busy)?;
    let _of_all = ALL.take(()).ok_or_else(busy)?;
    let bus = DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await;
    let bus = bus.map_err(|error| Failure::Denied(format!("failed to query the bus: {error}")))?;
    // GetConnectionCredentials() is not usable: dbus-broker's reply contains a descriptor, which
    // the socket does not receive.
    let name = || BusName::from(sender.to_owned());
    let uid = bus.get_connection_unix_user(name()).await;
    let uid = uid
        .map_err(|error| Failure::Denied(format!("failed to get the user of {sender}: {error}")))?;
    let pid = bus.get_connection_unix_process_id(name()).await.ok();
    let caller = Caller { name: sender.to_string(), uid, pid };
    if uid == 0 {
        return Ok(caller);
    }
    let _of_user = OF_USER.take(uid).ok_or_else(busy)?;
    if ask_polkit(connection, header, action, heap).await? {
        return Ok(caller);
    }
    let id = action.id();
    Err(Failure::Denied(format!("user {uid} is not authorized for {id}")))
}

async fn ask_polkit(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
    heap: Option<&HeapName>,
) -> Result<bool, Failure> {
    let failed = |error: zbus::Error| {
        Failure::Denied(format!("failed to query polkit, so that only root is authorized: {error}"))
    };
    let authority = AuthorityProxy::builder(connection)
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .map_err(failed)?;
    // Use the bus name instead of the PID, which may belong to another process when polkit checks
    // it.
    let subject = Subject::new_for_message_header(header)
        .map_err(|error| Failure::Denied(format!("failed to query polkit: {error}")))?;
    let flags = if header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH) {
        CheckAuthorizationFlags::ALLOW_USER_INTERACTION
    } else {
        CheckAuthorizationFlags::empty()
    };
    let details: HashMap<_, _> = heap.map(|heap| ("heap", heap.as_str())).into_iter().collect();
    let answer = authority
        .check_authorization(&subject, action.id(), &details, flags, "")
        .await
        .map_err(failed)?;
    Ok(answer.is_authorized)
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Who may do what: root, and whom polkit lets. Where polkit is not there, root alone.

use std::collections::HashMap;

use protheap_policy::name::HeapName;
use zbus::fdo::DBusProxy;
use zbus::message::{Flags, Header};
use zbus::proxy::CacheProperties;
use zbus::{Connection, names::BusName};
use zbus_polkit::policykit1::{AuthorityProxy, CheckAuthorizationFlags, Subject};

use crate::bus::failure::Failure;
use crate::limit::Limit;

/// Calls that wait to be authorized: of all callers, of one connection, of one user. polkit may ask
/// a person, so that they can wait for long.
static ALL: Limit<()> = Limit::new(2048);
static OF_CONNECTION: Limit<String> = Limit::new(8);
static OF_USER: Limit<u32> = Limit::new(64);

/// An action of `systemd/polkit-1/actions/org.protheap1.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// To reload policies, and to decide anew for a GPU.
    Manage,
    /// To get a descriptor of a heap.
    OpenHeap,
}

impl Action {
    /// Its name for polkit.
    pub(crate) fn id(self) -> &'static str {
        match self {
            Self::Manage => "org.protheap1.manage",
            Self::OpenHeap => "org.protheap1.open-heap",
        }
    }
}

/// Who has asked.
#[derive(Debug)]
pub(crate) struct Caller {
    /// The name on the bus, which no other has while the bus runs.
    pub(crate) name: String,
    pub(crate) uid: u32,
    /// The process, for people: another may have its number by now.
    pub(crate) pid: Option<u32>,
}

/// Whether who sent a message may do what it asks for, with this heap: polkit's rules can ask which.
///
/// # Errors
///
/// No, or it cannot be known.
pub(crate) async fn allow(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
    heap: Option<&HeapName>,
) -> Result<Caller, Failure> {
    // The call is kept until it is answered: none of these methods takes an argument.
    if header.primary().body_len() > 0 {
        return Err(Failure::Arguments("this method takes no arguments"));
    }
    let sender =
        header.sender().ok_or_else(|| Failure::Denied("the message has no sender".to_owned()))?;
    let busy = || Failure::Busy("too many calls wait to be authorized; wait for their answers");
    let _of_connection = OF_CONNECTION.take(sender.to_string()).ok_or_else(busy)?;
    let _of_all = ALL.take(()).ok_or_else(busy)?;
    let bus = DBusProxy::builder(connection).cache_properties(CacheProperties::No).build().await;
    let bus = bus.map_err(|error| Failure::Denied(format!("the bus cannot be asked: {error}")))?;
    // Not GetConnectionCredentials(): dbus-broker's answer to it has a descriptor, and the socket takes none.
    let name = || BusName::from(sender.to_owned());
    let uid = bus.get_connection_unix_user(name()).await;
    let uid =
        uid.map_err(|error| Failure::Denied(format!("who {sender} is cannot be known: {error}")))?;
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
    Err(Failure::Denied(format!(
        "root may do this, and whom a polkit rule for {id} lets; not user {uid}"
    )))
}

async fn ask_polkit(
    connection: &Connection,
    header: &Header<'_>,
    action: Action,
    heap: Option<&HeapName>,
) -> Result<bool, Failure> {
    let failed = |error: zbus::Error| {
        Failure::Denied(format!("root may do this; for others polkit has to be asked: {error}"))
    };
    let authority = AuthorityProxy::builder(connection)
        .cache_properties(CacheProperties::No)
        .build()
        .await
        .map_err(failed)?;
    // The bus name, never the process: its number can be another's by the time polkit looks.
    let subject = Subject::new_for_message_header(header)
        .map_err(|error| Failure::Denied(format!("polkit cannot be asked: {error}")))?;
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

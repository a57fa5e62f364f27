// SPDX-License-Identifier: MIT OR Apache-2.0

//! `org.protheap1` on the system bus. The objects show the current snapshot and forward all other
//! requests to the bindings' thread.

pub(crate) mod failure;
mod gpu;
mod heap;
mod manager;
mod socket;

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use protheap_client::{MANAGER_PATH, SERVICE, gpu_path, heap_path};
use protheap_policy::name::{DeviceName, HeapName};
use tokio::sync::Notify;
use tracing::{info, warn};
use zbus::connection::Builder;
use zbus::fdo::{ObjectManager, Properties};
use zbus::names::InterfaceName;
use zbus::object_server::{Interface, SignalEmitter};
use zbus::zvariant::Variant;
use zbus::{Connection, ObjectPath};

use crate::bindings::Bindings;
use crate::journal::id;
use crate::snapshot::Snapshot;
use gpu::Gpu;
use heap::Heap;
use manager::Manager;
use socket::Bounded;

/// Delay after the first failed connection attempt, doubled after each further one.
const RETRY: Duration = Duration::from_millis(250);
/// Maximum delay between connection attempts.
const RETRY_AT_MOST: Duration = Duration::from_secs(120);

/// Serves the objects while the bus is available, and reconnects when it returns. Notifies `asked`
/// when there is activity on the connection, which may be a client's call.
///
/// # Errors
///
/// Returns an error if another program owns the name.
pub(crate) async fn serve(bindings: &Bindings, asked: &Notify) -> zbus::Result<Infallible> {
    let mut retry = RETRY;
    loop {
        match connect(bindings).await {
            Ok((connection, served)) => {
                retry = RETRY;
                info!(MESSAGE_ID = id::BUS, "serving {SERVICE} on the system bus");
                tokio::select! {
                    () = follow(&connection, bindings, served) => {}
                    () = listen(&connection, asked) => {}
                }
                warn!(
                    MESSAGE_ID = id::BUS,
                    "lost the connection to the system bus; the state files are still updated"
                );
            }
            Err(zbus::Error::NameTaken) => return Err(zbus::Error::NameTaken),
            Err(error) => {
                if retry == RETRY {
                    info!(
                        MESSAGE_ID = id::BUS,
                        "failed to connect to the system bus, trying again later: {error}"
                    );
                }
                tokio::time::sleep(retry).await;
                retry = RETRY_AT_MOST.min(retry * 2);
            }
        }
    }
}

async fn listen(connection: &Connection, asked: &Notify) {
    loop {
        connection.monitor_activity().await;
        asked.notify_one();
    }
}

/// Connects to the bus, creates the objects of the current snapshot, and then requests the name.
async fn connect(bindings: &Bindings) -> zbus::Result<(Connection, Served)> {
    let snapshot = bindings.now();
    let mut builder = Builder::socket(Bounded::system().await?)
        .serve_at(MANAGER_PATH, ObjectManager)
        .serve_at(MANAGER_PATH, Manager::new(bindings.clone()));
    let served = Served::of(&snapshot);
    for device in &served.gpus {
        builder =
            builder.serve_at(gpu_path(device.as_str()), Gpu::new(bindings.clone(), device.clone()));
    }
    for heap in &served.heaps {
        builder =
            builder.serve_at(heap_path(heap.as_str()), Heap::new(bindings.clone(), heap.clone()));
    }
    let connection = builder.name(SERVICE).build().await?;
    Ok((connection, Served { snapshot, ..served }))
}

/// The snapshot and the GPUs and heaps that are served as objects.
struct Served {
    snapshot: Arc<Snapshot>,
    gpus: BTreeSet<DeviceName>,
    heaps: BTreeSet<HeapName>,
}

impl Served {
    fn of(snapshot: &Arc<Snapshot>) -> Self {
        Self {
            snapshot: Arc::clone(snapshot),
            gpus: snapshot.gpus().iter().map(|gpu| gpu.device.clone()).collect(),
            heaps: snapshot.heaps(),
        }
    }
}

/// Publishes changes until the connection is closed.
async fn follow(connection: &Connection, bindings: &Bindings, mut served: Served) {
    let mut changes = bindings.changes();
    loop {
        let now = Arc::clone(&changes.borrow_and_update());
        let next = Served::of(&now);
        if let Err(error) = show(connection, bindings, &served, &next).await
            && !connection.is_closed()
        {
            warn!("failed to signal changes on the system bus: {error}");
        }
        served = next;
        tokio::select! {
            () = connection.closed() => return,
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}

/// Adds and removes objects and signals changed properties.
async fn show(
    connection: &Connection,
    bindings: &Bindings,
    before: &Served,
    now: &Served,
) -> zbus::Result<()> {
    let server = connection.object_server();
    for device in now.gpus.difference(&before.gpus) {
        let gpu = Gpu::new(bindings.clone(), device.clone());
        server.at(gpu_path(device.as_str()), gpu).await?;
    }
    for heap in now.heaps.difference(&before.heaps) {
        let object = Heap::new(bindings.clone(), heap.clone());
        server.at(heap_path(heap.as_str()), object).await?;
    }
    for heap in before.heaps.difference(&now.heaps) {
        server.remove::<Heap, _>(heap_path(heap.as_str())).await?;
    }
    let (old, new) = (&before.snapshot, &now.snapshot);
    for device in now.gpus.intersection(&before.gpus) {
        let changed = changed(&gpu::signalled(old, device), gpu::signalled(new, device));
        signal::<Gpu>(connection, gpu_path(device.as_str()).into(), changed).await?;
    }
    for heap in now.heaps.intersection(&before.heaps) {
        let changed = changed(&heap::signalled(old, heap), heap::signalled(new, heap));
        signal::<Heap>(connection, heap_path(heap.as_str()).into(), changed).await?;
    }
    let changed = changed(&manager::signalled(old), manager::signalled(new));
    signal::<Manager>(connection, ObjectPath::try_from(MANAGER_PATH)?, changed).await
}

/// A property and its value.
type Property = (&'static str, Variant<'static>);

fn changed(before: &[Property], now: Vec<Property>) -> HashMap<&'static str, Variant<'static>> {
    now.into_iter().filter(|property| !before.contains(property)).collect()
}

/// Signals all changed properties of an object at once.
async fn signal<I: Interface>(
    connection: &Connection,
    path: ObjectPath<'_>,
    changed: HashMap<&str, Variant<'_>>,
) -> zbus::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(connection, path)?;
    let interface: InterfaceName<'_> = I::name();
    Properties::properties_changed(&emitter, interface, changed, [].as_slice().into()).await
}

#[cfg(test)]
pub(crate) mod tests;

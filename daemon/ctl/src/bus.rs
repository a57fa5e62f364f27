// SPDX-License-Identifier: MIT OR Apache-2.0

//! Communicates with protheapd over D-Bus.

use std::fmt;

use anyhow::{Context as _, Result, anyhow, bail};
use protheap_client::{Error, GpuProxy, MANAGER_PATH, SERVICE, gpu_path};
use tokio::runtime::Builder;
use zbus::fdo::ManagedObjects;
use zbus::message::Sequence;
use zbus::proxy::CacheProperties;
use zbus::{Connection, DBusError as _};

/// The program that owns the bindings while the system runs.
pub(crate) const DAEMON: &str = "protheapd";

/// Interface of a GPU.
pub(crate) const GPU: &str = "org.protheap1.Gpu";

/// The service or the system bus is not available.
#[derive(Debug)]
pub(crate) struct Absent(String);

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Absent {}

/// Connects to the system bus, and runs `ask` in a single thread.
///
/// # Errors
///
/// Returns [`Absent`], or the error of the service with a remedy.
pub(crate) fn ask<T>(ask: impl AsyncFnOnce(Connection) -> Result<T>) -> Result<T> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.context("failed to start the async runtime")?.block_on(async {
        let connection = Connection::system().await.map_err(|error| {
            Absent(format!(
                "failed to connect to the system bus: {error}; check that D-Bus is running"
            ))
        })?;
        ask(connection).await.map_err(explained)
    })
}

/// Adds a remedy to an error of the service.
fn explained(error: anyhow::Error) -> anyhow::Error {
    let Some(cause) = error.downcast_ref::<Error>() else { return error };
    if is_absent(cause) {
        let how = format!("run `systemctl start {DAEMON}`");
        return Absent(format!("{DAEMON} is not running ({cause}); {how}")).into();
    }
    let next = match cause {
        _ if cause.is_access_denied() => "run the command as root, or add a polkit rule",
        Error::InUse(_) => "unload the GPU driver first, or reboot to re-run heap selection",
        Error::NotSupported(_) => "reboot to re-run heap selection",
        Error::NotReady(_) => "try again when `protheapctl status` shows the result",
        Error::NoSuchGpu(_) => "list the GPUs with `protheapctl list`",
        Error::Failed(_) => "see `journalctl -u protheapd`",
        _ => return error,
    };
    anyhow!("{error:#}; {next}")
}

/// Returns whether the error means that protheapd is not running.
pub(crate) fn is_absence(error: &anyhow::Error) -> bool {
    error.downcast_ref().is_some_and(is_absent)
}

/// Returns whether no program owns the service's name, and none could be started.
fn is_absent(error: &Error) -> bool {
    if error.is_service_absent() {
        return true;
    }
    let name = match error {
        Error::Bus(zbus::Error::FDO(error)) => error.name().to_string(),
        Error::Bus(zbus::Error::MethodError(name, ..)) => name.to_string(),
        _ => return false,
    };
    // The bus or systemd failed to start the service.
    ["org.freedesktop.DBus.Error.Spawn.", "org.freedesktop.systemd1."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Returns the objects of the service, and the position of the reply in the message stream. Starts
/// the service if D-Bus can.
pub(crate) async fn objects(connection: &Connection) -> Result<(ManagedObjects, Sequence)> {
    let interface = Some("org.freedesktop.DBus.ObjectManager");
    let called =
        connection.call_method(Some(SERVICE), MANAGER_PATH, interface, "GetManagedObjects", &());
    let reply = called.await.map_err(Error::from)?;
    let objects = reply.body().deserialize().map_err(Error::from)?;
    Ok((objects, reply.recv_position()))
}

/// Returns the GPU of this device name, or the only GPU if there is no name.
pub(crate) async fn gpu(connection: &Connection, name: Option<&str>) -> Result<GpuProxy<'static>> {
    let path = match name {
        Some(name) => gpu_path(name),
        None => {
            let (objects, _) = objects(connection).await?;
            let of_gpu = objects.into_iter().filter(|(_, interfaces)| {
                interfaces.keys().any(|interface| interface.as_str() == GPU)
            });
            let mut gpus = of_gpu.map(|(path, _)| path);
            match (gpus.next(), gpus.next()) {
                (Some(path), None) => path,
                (None, _) => bail!("this board has no Mali CSF GPU"),
                (Some(_), Some(_)) => {
                    bail!(
                        "this board has several GPUs; give one of those that `protheapctl list` \
                        shows"
                    )
                }
            }
        }
    };
    let proxy = GpuProxy::builder(connection).path(path).cache_properties(CacheProperties::No);
    Ok(proxy.build().await.map_err(Error::from)?)
}

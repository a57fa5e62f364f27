// SPDX-License-Identifier: MIT OR Apache-2.0
//! A private bus for a test, and a mock of protheapd on it.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

use protheap_client::{Error, MANAGER_PATH, SERVICE, gpu_path, heap_path};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use zbus::fdo::ObjectManager;
use zbus::message::Header;
use zbus::names::ErrorName;
use zbus::{
    Connection, DBusError, Message, OwnedObjectPath, OwnedVariant, Variant, connection, fdo,
    interface,
};

use crate::machine::Directory;

/// The only GPU.
pub(crate) const GPU: &str = "fb000000.gpu";
/// The GPU's heap.
pub(crate) const HEAP: &str = "protected,secure-video";

/// Configuration of a bus without restrictions.
const CONFIG: &str = "\
<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"
 \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">
<busconfig>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context=\"default\">
    <allow send_destination=\"*\"/>
    <allow receive_sender=\"*\"/>
    <allow own=\"*\"/>
  </policy>
</busconfig>
";

/// A running bus.
pub(crate) struct Bus {
    daemon: Child,
    pub(crate) address: String,
    /// Removed on drop.
    _directory: Directory,
}

impl Bus {
    /// Starts a bus; returns `None` if there is no dbus-daemon.
    pub(crate) fn start() -> Option<Self> {
        let directory = Directory::new("bus");
        let socket = directory.0.join("socket").to_str().unwrap().to_owned();
        let config = directory.0.join("bus.conf");
        fs::write(&config, CONFIG.replace("SOCKET", &socket)).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        // The daemon prints its address when it accepts connections.
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.contains(&socket), "{address}");
        Some(Self { daemon, address: format!("unix:path={socket}"), _directory: directory })
    }

    /// Returns a command that runs `protheapctl` on this bus.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_protheapctl"));
        command.args(arguments).env("DBUS_SYSTEM_BUS_ADDRESS", &self.address);
        command
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// State of a GPU.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gpu {
    pub(crate) state: String,
    pub(crate) reason: String,
    pub(crate) heap: String,
    pub(crate) driver: String,
}

#[interface(name = "org.protheap1.Gpu")]
impl Gpu {
    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> String {
        GPU.to_owned()
    }

    #[zbus(property)]
    fn state(&self) -> String {
        self.state.clone()
    }

    #[zbus(property)]
    fn reason(&self) -> String {
        self.reason.clone()
    }

    #[zbus(property)]
    fn heap(&self) -> String {
        self.heap.clone()
    }

    #[zbus(property)]
    fn driver(&self) -> String {
        self.driver.clone()
    }

    /// The result depends on the driver.
    fn rebind(&mut self) -> Result<(), Refusal> {
        match self.driver.as_str() {
            "" => {
                self.state = "preparing".to_owned();
                Ok(())
            }
            "root's" => {
                Err(Refusal::Bus(fdo::Error::AccessDenied("org.protheap1.manage".to_owned())))
            }
            driver => Err(Refusal::Own(Error::InUse(format!("{driver} has the GPU")))),
        }
    }
}

/// An error of the service, or one that D-Bus defines. Each is sent under its own name.
#[derive(Debug)]
enum Refusal {
    Own(Error),
    Bus(fdo::Error),
}

impl Refusal {
    fn error(&self) -> &dyn DBusError {
        match self {
            Self::Own(error) => error,
            Self::Bus(error) => error,
        }
    }
}

impl DBusError for Refusal {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        self.error().create_reply(call)
    }

    fn name(&self) -> ErrorName<'_> {
        self.error().name()
    }

    fn description(&self) -> Option<&str> {
        self.error().description()
    }
}

struct Manager;

#[interface(name = "org.protheap1.Manager")]
impl Manager {
    #[zbus(property)]
    fn policies(&self) -> Vec<String> {
        vec!["acme,a9".to_owned(), "default".to_owned()]
    }

    fn reload(&self) {}

    fn find_heap(
        &self,
        usage: &str,
        devices: Vec<(u32, u32)>,
        mut options: HashMap<String, OwnedVariant>,
    ) -> Result<(OwnedObjectPath, String, HashMap<String, Variant<'static>>), Error> {
        let allowed = bool::try_from(options.remove("allow-unknown").unwrap()).unwrap();
        if usage != "secure-video" || !allowed {
            return Err(Error::NoCommonHeap(format!("nothing for {usage}")));
        }
        let details = HashMap::from([
            ("node".to_owned(), Variant::from(format!("/dev/dma_heap/{HEAP}"))),
            ("protection".to_owned(), Variant::from("tee".to_owned())),
            ("exporter".to_owned(), Variant::from(String::new())),
            ("worst-rank".to_owned(), Variant::from(1_u32)),
            ("unknown".to_owned(), Variant::from(devices)),
            ("evidence".to_owned(), Variant::from("tested".to_owned())),
            ("firewall".to_owned(), Variant::from(String::new())),
        ]);
        Ok((heap_path(HEAP), HEAP.to_owned(), details))
    }
}

/// A command of the test to the service.
#[derive(Debug)]
pub(crate) enum Order {
    /// Set the state of the GPU, and signal the change.
    Stand(Gpu),
    /// Remove the GPU.
    Remove,
}

/// The service. It runs until it is dropped.
pub(crate) struct Service {
    orders: Option<UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Serves a GPU with this state.
    pub(crate) fn start(bus: &Bus, gpu: Gpu) -> Self {
        Self::start_as(bus, gpu, SERVICE)
    }

    /// Serves a GPU under an unrelated bus name.
    pub(crate) fn start_beside(bus: &Bus, gpu: Gpu) -> Self {
        Self::start_as(bus, gpu, "org.acme.Stranger")
    }

    fn start_as(bus: &Bus, gpu: Gpu, name: &'static str) -> Self {
        let (orders, taken) = unbounded_channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let address = bus.address.clone();
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connection = serve(&address, gpu, name).await.unwrap();
                ready.send(()).unwrap();
                obey(&connection, taken).await.unwrap();
                connection.close().await.unwrap();
            });
        });
        is_ready.recv().unwrap();
        Self { orders: Some(orders), thread: Some(thread) }
    }

    pub(crate) fn order(&self, order: Order) {
        self.orders.as_ref().unwrap().send(order).unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.orders.take();
        let _ = self.thread.take().unwrap().join();
    }
}

async fn serve(address: &str, gpu: Gpu, name: &'static str) -> zbus::Result<Connection> {
    connection::Builder::address(address)
        .serve_at(MANAGER_PATH, ObjectManager)
        .serve_at(MANAGER_PATH, Manager)
        .serve_at(gpu_path(GPU), gpu)
        .name(name)
        .build()
        .await
}

async fn obey(connection: &Connection, mut orders: UnboundedReceiver<Order>) -> zbus::Result<()> {
    let server = connection.object_server();
    while let Some(order) = orders.recv().await {
        match order {
            Order::Stand(stands) => {
                let gpu = server.interface::<_, Gpu>(gpu_path(GPU)).await?;
                *gpu.get_mut().await = stands;
                let (served, emitter) = (gpu.get().await, gpu.signal_emitter());
                served.state_changed(emitter).await?;
                served.heap_changed(emitter).await?;
            }
            Order::Remove => {
                server.remove::<Gpu, _>(gpu_path(GPU)).await?;
            }
        }
    }
    Ok(())
}

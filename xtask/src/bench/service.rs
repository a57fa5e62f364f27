// SPDX-License-Identifier: MIT OR Apache-2.0
//! `protheapd` compared with switcheroo-control, a similar service in C with GDBus, on one bus.
//!
//! Both are measured in turns. Both see the `/sys` of a board, so that the result is the same on every host; this needs
//! root.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use fs_err::os::unix::fs::symlink;

use super::bus::{Bus, Client, Object};
use super::figure::{Figure, Limit, Measure, Unit};
use crate::cache::{self, Workspace};
use crate::progress::{Running, Step, output};
use crate::{host, userspace};

/// Packages that are needed beside those of every command.
const PACKAGES: [&str; 2] = ["dbus-daemon", "switcheroo-control"];
const SWITCHEROO: &str = "/usr/libexec/switcheroo-control";

/// Number of starts of each service.
const STARTS: usize = 20;
/// Rounds of calls, and number of calls of each method in a round.
const ROUNDS: usize = 40;
const CALLS: usize = 50;
/// Time in which a service that has just started completes its work.
const SETTLE: Duration = Duration::from_secs(3);
/// Duration of the measurement at rest.
const IDLE: Duration = Duration::from_secs(60);
/// `WatchdogSec=` of the unit, in microseconds. The daemon notifies at half of it, so not during the measurement at
/// rest.
const WATCHDOG: &str = "180000000";

/// The service manager's socket.
const NOTIFY: &str = "notify";

/// Board of tests/boards, which gets a decoder beside its GPU.
const BOARD: &str = "rk3588-rock-5b-optee";
/// Device nodes of the pipeline.
const NODES: [Node; 2] = [
    Node {
        number: (226, 128),
        name: "drm/renderD128",
        device: "fb000000.gpu",
        of_node: "gpu@fb000000",
        compatible: "rockchip,rk3588-mali\0arm,mali-valhall-csf\0",
    },
    Node {
        number: (81, 0),
        name: "video4linux/video0",
        device: "fdc38000.video-codec",
        of_node: "video-codec@fdc38000",
        compatible: "rockchip,rk3588-vdec\0",
    },
];

/// Makes a board of the machine, in memory like its /sys; prints a line, and becomes the program on request.
const PLACE: &str = "\
umask 022
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/protheap/policies
cp -a \"$1/sys\" /run
mount --bind /run/sys /sys
cp \"$2\"/* /run/protheap/policies
shift 2
echo ready
read -r _
exec \"$@\" < /dev/null >&2
";

const MANAGER: Object<'_> =
    Object { service: "org.protheap1", path: "/org/protheap1", interface: "org.protheap1.Manager" };
const GPU: Object<'_> =
    Object { path: "/org/protheap1/gpu/fb000000_2egpu", interface: "org.protheap1.Gpu", ..MANAGER };
const OTHER: Object<'_> = Object {
    service: "net.hadess.SwitcherooControl",
    path: "/net/hadess/SwitcherooControl",
    interface: "net.hadess.SwitcherooControl",
};
const PEER: &str = "org.freedesktop.DBus.Peer";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A character device, and the hardware behind it.
struct Node {
    /// Major and minor number.
    number: (u32, u32),
    /// Path below its class.
    name: &'static str,
    device: &'static str,
    /// Its node in the device tree.
    of_node: &'static str,
    compatible: &'static str,
}

/// Runs all measurements; none, where they are not possible.
pub(super) fn measure(workspace: &Workspace, report: &mut dyn FnMut(Measure)) -> Result<()> {
    if let Err(error) = output(Command::new("unshare").args(["--mount", "true"])) {
        println!("service: not measured: it needs root, and mount name spaces: {error}");
        return Ok(());
    }
    let program = build(workspace)?;
    let size = fs::metadata(&program)?.len() as f64;
    let figure = Figure::one("protheapd, dynamic, of this host", size, Unit::Bytes);
    report(Measure::value("size of protheapd", figure, Limit::None));

    let place = Place::make(workspace, &program)?;
    start(&place, report)?;
    let step = Step::new("measuring idle services", (SETTLE + IDLE).as_secs());
    let [own, other] = rest(&place, report)?;
    step.done();
    calls(&place, report)?;
    memory("PSS after all calls", &own, &other, Limit::None, report)
}

/// Builds `protheapd` for this machine, as it is shipped.
fn build(workspace: &Workspace) -> Result<PathBuf> {
    let _lock = workspace.lock()?;
    host::prepare(workspace, &PACKAGES)?;
    userspace::for_host(workspace, "protheapd", 150)
}

/// Environment of the services: a bus, and a board.
#[derive(Debug)]
struct Place<'a> {
    bus: Bus,
    /// Socket of the service manager, which is notified that a service is ready and works.
    manager: UnixDatagram,
    dir: PathBuf,
    policies: PathBuf,
    program: &'a Path,
    log: PathBuf,
}

impl<'a> Place<'a> {
    fn make(workspace: &Workspace, program: &'a Path) -> Result<Self> {
        let dir = workspace.checkout.join("bench/service");
        cache::remove_dir(&dir)?;
        cache::create_dir(&dir)?;
        let tree = workspace.root.join("tests/boards").join(BOARD).join("tree/sys");
        output(Command::new("cp").arg("-a").args([&tree, &dir]))?;
        complete(&dir.join("sys"))?;
        let (policies, log) = (workspace.root.join("policies"), workspace.log("bench-service"));
        cache::write(&log, "")?;
        let (bus, manager) = (Bus::start(&dir)?, UnixDatagram::bind(dir.join(NOTIFY))?);
        manager.set_read_timeout(Some(SETTLE))?;
        Ok(Self { bus, manager, dir, policies, program, log })
    }

    /// Prepares a service up to its execution.
    fn prepare(&self, program: &Path, environment: &[(&str, &str)]) -> Result<Service> {
        let log = std::fs::File::options().append(true).open(&self.log)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-euc", PLACE, "sh"]);
        command.args([&self.dir, &self.policies]).arg(program);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", self.bus.address()).env_remove("JOURNAL_STREAM");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut process = Running::start(&mut command)?;
        let (go, said) = (process.0.stdin.take(), process.0.stdout.take());
        let service = Service { process, go };
        let mut line = String::new();
        BufReader::new(said.context("`unshare` has no output")?).read_line(&mut line)?;
        if line != "ready\n" {
            bail!("no board for {}: see {}", program.display(), self.log.display());
        }
        Ok(service)
    }

    /// Starts a service; returns it, and the nanoseconds until it owned its name, to which `client` has subscribed.
    fn start(
        &self,
        client: &mut Client,
        program: &Path,
        environment: &[(&str, &str)],
    ) -> Result<(Service, f64)> {
        let mut service = self.prepare(program, environment)?;
        let begin = Instant::now();
        service.go.take().context("it was started before")?.write_all(b"\n")?;
        client.owner_changed().with_context(|| {
            format!("{} owns no name on the bus: see {}", program.display(), self.log.display())
        })?;
        Ok((service, begin.elapsed().as_nanos() as f64))
    }

    /// Connects a client that is subscribed to both names.
    fn follower(&self) -> Result<Client> {
        let mut client = self.bus.connect()?;
        client.follow(MANAGER.service)?;
        client.follow(OTHER.service)?;
        Ok(client)
    }
}

/// Adds the devices of D-Bus clients to the board, and removes what cannot be simulated: a module whose files are not
/// in configfs.
fn complete(sys: &Path) -> Result<()> {
    let config = sys.join("kernel/config/protheap");
    for file in ["abi", "can_allocate"] {
        fs::remove_file(config.join(file))?;
    }
    for counter in ["suspend_free", "suspend_in_use"] {
        cache::write(&config.join("fb000000.gpu").join(counter), "8\n")?;
    }
    let link = |target: &str, link: PathBuf| -> Result<()> {
        // The tree may have it.
        if link.symlink_metadata().is_ok() {
            return Ok(());
        }
        cache::create_dir(link.parent().context("a link at the root")?)?;
        Ok(symlink(target, &link)?)
    };
    for Node { number: (major, minor), name, device, of_node, compatible } in NODES {
        let of_node = format!("firmware/devicetree/base/{of_node}");
        cache::write(&sys.join(&of_node).join("compatible"), compatible)?;
        let (path, class) = (sys.join("devices/platform").join(device), Path::new(name).parent());
        let class = class.context("a node without a class")?.display();
        link("../../../bus/platform", path.join("subsystem"))?;
        link(&format!("../../../{of_node}"), path.join("of_node"))?;
        link(&format!("../../../../../class/{class}"), path.join(name).join("subsystem"))?;
        let target = format!("../../devices/platform/{device}/{name}");
        link(&target, sys.join(format!("dev/char/{major}:{minor}")))?;
    }
    Ok(())
}

/// A service, which is stopped when this is dropped.
#[derive(Debug)]
struct Service {
    process: Running,
    /// Starts it once.
    go: Option<ChildStdin>,
}

impl Service {
    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.process.0.id().to_string())
    }

    /// Returns its proportional share of memory, and the part that is not of files, in KiB.
    fn memory(&self) -> Result<[f64; 2]> {
        let text = cache::read(&self.proc().join("smaps_rollup"))?;
        let all = field(&text, "Pss:").context("the kernel has no Pss")?;
        Ok([all, field(&text, "Pss_Anon:").context("the kernel has no Pss_Anon")?])
    }

    /// Returns how often each of its threads has slept.
    fn sleeps(&self) -> Result<BTreeMap<OsString, f64>> {
        let tasks = self.proc().join("task");
        let mut sleeps = BTreeMap::new();
        for task in fs::read_dir(&tasks)? {
            let task = task?;
            let text = cache::read(&task.path().join("status"))?;
            let often = field(&text, "voluntary_ctxt_switches:");
            sleeps.insert(
                task.file_name(),
                often.context("the kernel has no count of context switches")?,
            );
        }
        Ok(sleeps)
    }

    /// Returns how often its threads have woken up since `before`.
    fn woken(&self, before: &BTreeMap<OsString, f64>) -> Result<f64> {
        let now = self.sleeps()?;
        Ok(now.iter().map(|(task, often)| often - before.get(task).unwrap_or(&0.0)).sum())
    }
}

/// Returns the number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// Measures the time from the start to the name on the bus.
fn start(place: &Place<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let mut client = place.follower()?;
    let (mut own, mut other) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        for (program, samples) in [(place.program, &mut own), (Path::new(SWITCHEROO), &mut other)] {
            let (service, time) = place.start(&mut client, program, &[])?;
            samples.push(time);
            drop(service);
            client.owner_changed().context("failed to wait for a service's end")?;
        }
    }
    let own = Figure::new("protheapd", own, Unit::Nanoseconds)?;
    let other = Figure::new("switcheroo-control", other, Unit::Nanoseconds)?;
    report(Measure::ratio("start to name owned", [own, other], Limit::AtMost(0.8)));
    Ok(())
}

/// Measures the wake-ups of idle services, and their memory; returns both services.
fn rest(place: &Place<'_>, report: &mut dyn FnMut(Measure)) -> Result<[Service; 2]> {
    let socket = place.dir.join(NOTIFY);
    let environment = [("NOTIFY_SOCKET", &*socket.to_string_lossy()), ("WATCHDOG_USEC", WATCHDOG)];
    let mut client = place.follower()?;
    let (own, _) = place.start(&mut client, place.program, &environment)?;
    let (other, _) = place.start(&mut client, Path::new(SWITCHEROO), &[])?;
    drop(client);
    place.manager.recv(&mut [0; 64]).context("protheapd has not notified that it is ready")?;
    sleep(SETTLE);
    let before = (own.sleeps()?, other.sleeps()?);
    let begin = Instant::now();
    while begin.elapsed() < IDLE {
        // On a busy system, programs start all the time.
        output(&mut Command::new("true"))?;
        sleep(Duration::from_secs(1));
    }
    let (own_woke, other_woke) = (own.woken(&before.0)?, other.woken(&before.1)?);
    let figures = vec![
        Figure::one("protheapd", own_woke, Unit::Count),
        Figure::one("switcheroo-control", other_woke, Unit::Count),
    ];
    let limit = Limit::AtMost(1.0);
    report(Measure::new("wake-ups in a minute's rest", figures, own_woke, Unit::Count, limit));
    memory("PSS at rest", &own, &other, Limit::AtMost(0.4), report)?;
    Ok([own, other])
}

/// Measures the proportional shares of memory. The more programs with GLib run on this host, the smaller is
/// switcheroo-control's.
fn memory(
    what: &'static str,
    own: &Service,
    other: &Service,
    limit: Limit,
    report: &mut dyn FnMut(Measure),
) -> Result<()> {
    let [own, own_data] = own.memory()?;
    let [other, other_data] = other.memory()?;
    let figure = |name, value| Figure::one(name, value, Unit::Kibibytes);
    let figures = vec![
        figure("protheapd", own),
        figure("  of that: not of files", own_data),
        figure("switcheroo-control", other),
        figure("  of that: not of files", other_data),
    ];
    report(Measure::new(what, figures, own / other, Unit::Times, limit));
    Ok(())
}

/// Measures calls to both, in turns.
fn calls(place: &Place<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let mut client = place.bus.connect()?;
    let properties = |object| Object { interface: PROPERTIES, ..object };
    let peer = Object { interface: PEER, ..MANAGER };
    let get_all = |object: Object<'static>| properties(object).call("GetAll", &object.interface);
    let devices = NODES.map(|node| node.number);
    let find_heap = |devices: &[(u32, u32)]| {
        let options = BTreeMap::<&str, zbus::Variant<'_>>::new();
        MANAGER.call("FindHeap", &("secure-video", devices, options))
    };
    let asked = [
        get_all(GPU)?,
        get_all(MANAGER)?,
        get_all(OTHER)?,
        find_heap(&devices[..1])?,
        find_heap(&devices)?,
        peer.call("Ping", &())?,
    ];
    let mut times = [const { Vec::new() }; 6];
    for _ in 0..ROUNDS {
        for (call, times) in asked.iter().zip(&mut times) {
            for _ in 0..CALLS {
                times.push(client.send(call)?);
            }
        }
    }
    let [gpu, manager, other, of_one, of_two, ping] = times;
    let figure = |name, times| Figure::new(name, times, Unit::Nanoseconds);
    let gpu = figure("GetAll of a GPU: 13 properties", gpu)?;
    let manager = figure("GetAll of the manager: 5", manager)?;
    let other = figure("GetAll of switcheroo-control: 3", other)?;
    let of_one = figure("FindHeap of one device", of_one)?;
    let of_two = figure("FindHeap of two devices", of_two)?;
    let ping = figure("Ping", ping)?;
    report(Measure::ratio("GetAll of a GPU", [gpu, other.clone()], Limit::AtMost(1.0)));
    report(Measure::ratio("GetAll of the manager", [manager, other], Limit::AtMost(1.0)));
    let figures = [of_two, ping, of_one];
    report(Measure::ratio("FindHeap, against Ping", figures, Limit::AtMost(1.5)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_by_its_whole_name() {
        let text =
            "nonvoluntary_ctxt_switches:\t3\nvoluntary_ctxt_switches:\t41\nPss:    1673 kB\n";
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(41.0));
        assert_eq!(field(text, "Pss:"), Some(1673.0));
        assert_eq!(field(text, "Rss:"), None);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Tests a daemon with an unusable `/run/protheap` or unusable policies. The machine is a directory
//! tree, so that no heap is bound.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use protheap_board::root::Root;
use protheap_runtime::executor::DaemonExecutor;
use protheap_runtime::log::{Log, Message};

/// Messages logged so far.
static LOGGED: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn say(_: &str, logged: &Message<'_>) {
    let text = match logged {
        Message::Skipped(problem) => problem.to_string(),
        Message::Refused(path, _) => (*path).to_owned(),
        Message::Gpu(_, text) | Message::Other(text) => text.to_string(),
    };
    LOGGED.lock().unwrap().push(text);
}

fn logged() -> Vec<String> {
    std::mem::take(&mut LOGGED.lock().unwrap())
}

/// A machine with a GPU. Its tree is removed on drop.
struct Machine(PathBuf);

impl Machine {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("protheap-daemon-{}-{number}", std::process::id());
        let machine = Self(std::env::temp_dir().join(name));
        let node = machine.path("sys/bus/platform/devices/fb000000.gpu/of_node");
        fs::create_dir_all(&node).unwrap();
        fs::write(node.join("compatible"), "arm,mali-valhall-csf\0").unwrap();
        fs::create_dir_all(machine.path("etc/protheap/policies")).unwrap();
        fs::create_dir_all(machine.path("run")).unwrap();
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.join(path)
    }

    /// Writes a policy whose only fault is this key.
    fn refuse(&self, key: &str) {
        let path = "etc/protheap/policies/default.toml";
        fs::write(self.path(path), format!("schema = 1\n{key} = 1\n")).unwrap();
        self.chmod(path, 0o644);
    }

    fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn state(&self) -> Option<String> {
        fs::read_to_string(self.path("run/protheap/state.json")).ok()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn write_error_is_logged_once_and_write_is_retried() {
    let machine = Machine::new();
    // No directory can be created below a file.
    fs::remove_dir(machine.path("run")).unwrap();
    fs::write(machine.path("run"), "").unwrap();
    let root = Root::open(&machine.0).unwrap();
    let mut daemon = DaemonExecutor::new(root, Log { program: "test", sink: say }).unwrap();
    daemon.start();
    daemon.reload();
    assert!(
        matches!(&logged()[..], [logged] if logged.contains("/run/protheap: failed to create"))
    );

    fs::remove_file(machine.path("run")).unwrap();
    fs::create_dir(machine.path("run")).unwrap();
    daemon.reload();
    assert!(machine.state().unwrap().contains("fb000000.gpu"));

    // Another program removes the directory.
    fs::remove_dir_all(machine.path("run/protheap")).unwrap();
    daemon.reload();
    assert!(machine.state().unwrap().contains("fb000000.gpu"));
    assert!(logged().is_empty());

    // A directory cannot be replaced by a file.
    let state = machine.path("run/protheap/state.json");
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    for key in ["x", "y"] {
        machine.refuse(key);
        daemon.reload();
    }
    let unwritten = || logged().iter().filter(|logged| logged.contains("failed to write")).count();
    assert_eq!(unwritten(), 1);
    fs::remove_dir(&state).unwrap();
    daemon.reload();
    assert!(machine.state().unwrap().contains("`y`"));
    assert_eq!(unwritten(), 0);
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    daemon.reload();
    assert_eq!(unwritten(), 1, "it was well in the meantime");
}

#[test]
fn repaired_policy_is_no_longer_rejected() {
    fn silent(_: &str, _: &Message<'_>) {}
    let machine = Machine::new();
    let policies = "etc/protheap/policies";
    machine.chmod(policies, 0o777);
    let root = Root::open(&machine.0).unwrap();
    let mut daemon = DaemonExecutor::new(root, Log { program: "test", sink: silent }).unwrap();
    daemon.start();
    for _ in 0..2 {
        let [refused] = daemon.refused() else { panic!("{:?}", daemon.refused()) };
        assert!(refused.path.ends_with(policies) && !refused.kept);
        daemon.reload();
    }
    machine.chmod(policies, 0o755);
    assert!(daemon.reload());
    assert_eq!(daemon.refused(), []);
    machine.chmod(policies, 0o777);
    assert!(daemon.reload());
    assert_eq!(daemon.refused().len(), 1);
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl` with and without the D-Bus service.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../machine/mod.rs"]
#[allow(dead_code, reason = "other tests have more use for it")]
mod machine;
mod service;

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use machine::text;
use service::{Bus, GPU, Gpu, HEAP, Order, Service};

const DOCUMENT: &str = include_str!("../../../../docs/protheapctl.md");

fn gpu(state: &str, driver: &str) -> Gpu {
    let (reason, heap) = (String::new(), HEAP.to_owned());
    Gpu { state: state.to_owned(), reason, heap, driver: driver.to_owned() }
}

/// Returns the exit status, standard output and standard error.
fn run(bus: &Bus, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = bus.ctl(arguments).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn bus() -> Option<Bus> {
    let bus = Bus::start();
    if bus.is_none() {
        eprintln!("skipped: there is no dbus-daemon");
    }
    bus
}

#[test]
fn missing_service_error_has_the_start_command() {
    let Some(bus) = bus() else { return };
    for arguments in [&["rebind"][..], &["rebind", GPU], &["reload", "--json"], &["monitor"]] {
        let (code, shown, said) = run(&bus, arguments);
        assert_eq!((code, shown.as_str()), (Some(3), ""), "{arguments:?}: {said}");
        assert!(said.contains("; run `systemctl start protheapd`"), "{said}");
    }
    // Without the service, the policies answer. This machine has none.
    let (code, _, said) = run(&bus, &["find-heap", "secure-video", "/dev/null"]);
    assert_eq!(code, Some(1));
    assert!(said.starts_with("protheapctl: no policy describes 1:3: "), "{said}");
    let nowhere =
        bus.ctl(&["reload"]).env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere").output();
    let nowhere = nowhere.unwrap();
    assert_eq!(nowhere.status.code(), Some(3));
    assert!(
        text(&nowhere.stderr).contains("check that D-Bus is running"),
        "{}",
        text(&nowhere.stderr)
    );
}

#[test]
fn service_error_is_printed_with_a_next_step() {
    let Some(bus) = bus() else { return };
    for (driver, next) in [
        ("panthor", "panthor has the GPU; unload the GPU driver first"),
        ("root's", "; run the command as root"),
    ] {
        let _service = Service::start(&bus, gpu("in-use", driver));
        let (code, _, said) = run(&bus, &["rebind"]);
        assert_eq!(code, Some(1));
        assert!(said.contains(next), "{said}");
    }
    let _service = Service::start(&bus, gpu("bound", ""));
    let (code, _, said) = run(&bus, &["rebind", "other.gpu"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, _, said) = run(&bus, &["find-heap", "paint", "/dev/null"]);
    assert_eq!((code, said.as_str()), (Some(1), "protheapctl: nothing for paint\n"));
    let (code, _, said) = run(&bus, &["find-heap", "secure-video", "/"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("is not the node of a character device"), "{said}");
}

#[test]
fn answer_of_the_service_is_printed() {
    let Some(bus) = bus() else { return };
    let _service = Service::start(&bus, gpu("bound", ""));
    let answer = |arguments: &[&str]| {
        let (code, shown, said) = run(&bus, arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        shown
    };
    assert_eq!(answer(&["reload"]), "policies acme,a9 default\n");
    let reloaded: Value = serde_json::from_str(&answer(&["reload", "--json"])).unwrap();
    assert_eq!(reloaded, examples("reload")[0]);

    assert_eq!(answer(&["rebind"]), format!("{GPU}: preparing: {HEAP}\n"));
    let rebound: Value = serde_json::from_str(&answer(&["rebind", GPU, "--json"])).unwrap();
    assert_eq!(rebound, examples("rebind")[0]);

    let asked = ["find-heap", "secure-video", "--allow-unknown", "/dev/null", "226:128"];
    let found: Value = serde_json::from_str(&answer(&[&asked[..], &["--json"]].concat())).unwrap();
    let expected = json!({
        "schema": 1, "heap": HEAP, "node": format!("/dev/dma_heap/{HEAP}"), "protection": "tee",
        "exporter": null, "worst_rank": 1, "evidence": "tested", "firewall": null, "unknown": [[1, 3], [226, 128]], "from": "protheapd",
    });
    assert_eq!(found, expected);
    assert!(answer(&asked).contains("ignored     1:3 226:128: not described by any policy"));
}

/// Parses a line, and sets its time to 0.
fn timeless(line: &str) -> Value {
    let mut line: Value = serde_json::from_str(line).unwrap();
    assert!(line["at_us"].as_u64().unwrap() > 0);
    line["at_us"] = json!(0);
    line
}

/// Returns the example output of a command in docs/protheapctl.md: one object per line.
fn examples(command: &str) -> Vec<Value> {
    let section = DOCUMENT.split(&format!("\n## `{command} --json`\n")).nth(1).unwrap();
    let example = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    example.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A running `protheapctl monitor --json`.
struct Monitor {
    program: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Monitor {
    fn start(bus: &Bus) -> Self {
        let mut program = bus.ctl(&["monitor", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        Self { program, lines }
    }

    /// Returns the next line.
    fn next(&mut self) -> Value {
        timeless(&self.lines.next().unwrap().unwrap())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

#[test]
fn monitor_prints_a_line_per_change() {
    let Some(bus) = bus() else { return };
    let stands = |state: &str, heap: Value, driver: Value| {
        json!({
            "schema": 1, "at_us": 0, "device": GPU, "state": state, "reason": "", "heap": heap,
            "driver": driver,
        })
    };
    let mut documented = examples("monitor");
    documented.iter_mut().for_each(|line| line["at_us"] = json!(0));
    let service = Service::start(&bus, gpu("bound", ""));
    let mut monitor = Monitor::start(&bus);
    assert_eq!(monitor.next(), documented[0]);
    service.order(Order::Stand(Gpu { heap: String::new(), ..gpu("failed", "") }));
    assert_eq!(monitor.next(), stands("failed", json!(HEAP), Value::Null));
    assert_eq!(monitor.next(), stands("failed", Value::Null, Value::Null));
    // Signals of another program are ignored.
    let stranger = Service::start_beside(&bus, gpu("bound", "evil"));
    stranger.order(Order::Stand(gpu("in-use", "evil")));
    drop(stranger);
    service.order(Order::Remove);
    assert_eq!(monitor.next(), stands("absent", Value::Null, Value::Null));
    drop(service);
    assert_eq!(monitor.next(), documented[1]);
    let _service = Service::start(&bus, gpu("in-use", "panthor"));
    assert_eq!(monitor.next(), json!({"schema": 1, "at_us": 0, "service": "back"}));
    assert_eq!(monitor.next(), stands("in-use", json!(HEAP), json!("panthor")));
}

#[test]
fn monitor_succeeds_when_the_reader_closes_the_pipe() {
    let Some(bus) = bus() else { return };
    let service = Service::start(&bus, gpu("bound", ""));
    let mut program = bus.ctl(&["monitor"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(line.ends_with(&format!(" ms  {GPU}: bound: {HEAP}, no driver")), "{line}");
    drop(lines);
    service.order(Order::Stand(gpu("in-use", "")));
    assert_eq!(program.wait().unwrap().code(), Some(0));
}

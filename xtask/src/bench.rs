// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask bench`: speed and size, compared with their limits.
//!
//! Guest time is counted in instructions of two nanoseconds (QEMU's `-icount`), so a busy host does not change it; the
//! alternatives of a comparison run in turns in one boot. Measurements without a guest run in turns as well: policies in
//! processor time, the service by the clock.
//! A figure is a median, printed with its minimum and maximum.

mod bus;
mod figure;
mod guest;
mod image;
mod optee;
mod policies;
mod replay;
mod service;

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use fs_err as fs;
use serde::Serialize;

use crate::cache::Workspace;
use crate::dist::deb;
use crate::userspace::Linking;
use figure::{Figure, Limit, Measure, Unit};
use guest::{Guest, Script};
use replay::{Phase, Trace};

/// Limit of the size of `protheap-bind`: beyond an empty program, and in all if linked dynamically: 640 KiB.
const SIZE: f64 = 655_360.0;

/// Command lines: user space allocates the GPU's buffers, or the kernel does.
const HANDED: &str = "protheap.allocate=0";
const KERNEL: &str = "protheap.allocate=1";

/// Command line: the kernel traces work items, of which panthor's reset is one.
const WORK: &str = "trace_event=workqueue:workqueue_execute_start,workqueue:workqueue_execute_end trace_buf_size=16M";

/// Names of the measurements. The last ones need no guest.
const NAMES: [&str; 13] = [
    "speed", "lookup", "size", "memory", "boot", "suspend", "driver", "ioctl", "optee", POLICIES,
    SERVICE, INSTALLED, IMAGE,
];
const IMAGE: &str = "image";
const INSTALLED: &str = "installed";
const POLICIES: &str = "policies";
const SERVICE: &str = "service";

/// Arguments of the `bench` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Measurements to run: speed, lookup, size, memory, boot, suspend, driver, ioctl, optee,
    /// policies, service, installed, image [default: all]
    names: Vec<String>,
    /// Print the result as one JSON object, on the last line
    #[arg(long)]
    json: bool,
    /// Measure by the clock instead of by instructions, on an idle host
    #[arg(long)]
    clock: bool,
}

/// All measurements.
#[derive(Debug, Serialize)]
struct Report {
    measures: Vec<Measure>,
    phases: Vec<Phase>,
    missed: usize,
}

/// Measures everything. Returns `false` if a limit was exceeded.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    let mut measures = Vec::new();
    let mut report = |measure: Measure| {
        print!("{measure}");
        measures.push(measure);
    };

    if let Some(name) = args.names.iter().find(|name| !NAMES.contains(&name.as_str())) {
        bail!("unknown measurement `{name}`: choose from {}", NAMES.join(", "));
    }
    let asked = |name: &str| args.names.is_empty() || args.names.iter().any(|asked| asked == name);
    if asked(POLICIES) {
        policies::measure(workspace, &mut report)?;
    }
    if asked(SERVICE) {
        service::measure(workspace, &mut report)?;
    }
    if asked(INSTALLED) {
        let kib = deb::installed_kib(&deb::build(workspace)?)?;
        let figure = Figure::one("protheap and protheap-bind", kib as f64, Unit::Kibibytes);
        report(Measure::value("installed", figure, Limit::AtMost(deb::INSTALLED_KIB as f64)));
    }
    if asked(IMAGE) {
        image::measure(workspace, &mut report)?;
    }
    let mut phases = Vec::new();
    if NAMES.iter().any(|name| ![POLICIES, SERVICE, INSTALLED, IMAGE].contains(name) && asked(name))
    {
        phases = in_guest(workspace, args.clock, &asked, &mut report)?;
    }
    if !phases.is_empty() {
        println!("time of protheap-bind by phase, in us");
        println!("    {:<28} {:>7} {:>9} {:>9}", "", "calls", "kernel", "program");
    }
    for Phase { place, calls, kernel_us, program_us } in &phases {
        println!("    {place:<28} {calls:>7} {kernel_us:>9.0} {program_us:>9.0}");
    }
    let missed: Vec<_> = measures.iter().filter(|measure| measure.is_missed()).collect();
    println!("{} measured, {} missed", measures.len(), missed.len());
    for measure in &missed {
        println!("MISSED: {}: {}", measure.what, measure.verdict());
    }
    let missed = missed.len();
    if args.json {
        println!("{}", serde_json::to_string(&Report { measures, phases, missed })?);
    }
    Ok(missed == 0)
}

/// Runs the measurements that need a guest; returns the time of `protheap-bind` by phase.
fn in_guest(
    workspace: &Workspace,
    clock: bool,
    asked: &dyn Fn(&str) -> bool,
    report: &mut dyn FnMut(Measure),
) -> Result<Vec<Phase>> {
    let guest = Guest::prepare(workspace, clock)?;
    let mut phases = Vec::new();
    if asked("speed") || asked("memory") {
        let (handed, kernel) = (trace(&guest, HANDED)?, trace(&guest, KERNEL)?);
        if asked("speed") {
            phases = speed(&guest, &handed, HANDED, report)?;
            speed(&guest, &kernel, KERNEL, report)?;
        }
        if asked("memory") {
            memory(&guest, &handed, report)?;
        }
    }
    if asked("lookup") {
        lookup(&guest, report)?;
    }
    if asked("size") {
        size(&guest, report)?;
    }
    if asked("boot") {
        boot(&guest, if clock { 15 } else { 5 }, report)?;
    }
    if asked("suspend") {
        suspend(&guest, report)?;
    }
    if asked("driver") {
        driver(&guest, report)?;
    }
    if asked("ioctl") {
        ioctl(&guest, report)?;
    }
    if asked("optee") {
        optee::measure(&guest, report)?;
    }
    Ok(phases)
}

/// Traces the binder's system calls, with that command line.
fn trace(guest: &Guest<'_>, cmdline: &str) -> Result<Trace> {
    let said = guest.boot(&Script { cmdline, ..Script::new("trace", &guest.programs) })?;
    Trace::parse(&said.lines)
}

/// Measures the time from exec to a committed binding, with that command line.
fn speed(
    guest: &Guest<'_>,
    trace: &Trace,
    cmdline: &str,
    report: &mut dyn FnMut(Measure),
) -> Result<Vec<Phase>> {
    let image = guest.with_replay(&trace.to_c())?;
    let said = guest.boot(&Script { cmdline, ..Script::new("exec", &image) })?;
    let how = if cmdline == HANDED { "" } else { "the kernel allocates, " };
    let bind = said.figure("bind", "protheap-bind", Unit::Nanoseconds)?;
    let script = said.figure("by-hand", "busybox sh, for one board", Unit::Nanoseconds)?;
    let replay = said.figure("replay", "C, its system calls alone", Unit::Nanoseconds)?;
    let nothing_c = said.figure("nothing-c", "C, nothing", Unit::Nanoseconds)?;
    let nothing_rust = said.figure("nothing-rust", "Rust, nothing", Unit::Nanoseconds)?;

    let start = Phase {
        place: "start and end of a program",
        calls: 0,
        kernel_us: nothing_c.median / 1e3,
        program_us: (nothing_rust.median - nothing_c.median) / 1e3,
    };
    let what = format!("exec to binding, {how}against a script");
    report(Measure::ratio(what, [bind.clone(), script], Limit::AtMost(0.5)));
    let what = format!("exec to binding, {how}against its system calls");
    report(Measure::ratio(what, [bind, replay, nothing_c, nothing_rust], Limit::AtMost(1.5)));
    let mut phases = vec![start];
    phases.extend(trace.phases(&said.lines)?);
    let sum = |of: fn(&Phase) -> f64| phases.iter().map(of).sum::<f64>();
    let all = Phase {
        place: "sum",
        calls: trace.calls(),
        kernel_us: sum(|phase| phase.kernel_us),
        program_us: sum(|phase| phase.program_us),
    };
    phases.push(all);
    Ok(phases)
}

/// Measures planning with few and with many policies.
fn lookup(guest: &Guest<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let said = guest.boot(&Script::new("lookup", &guest.programs))?;
    let few = said.figure("plan-10", "--plan with 10 policies", Unit::Nanoseconds)?;
    let many = said.figure("plan-10000", "--plan with 10,000 policies", Unit::Nanoseconds)?;
    report(Measure::ratio("lookup", [many, few], Limit::AtMost(1.2)));
    Ok(())
}

/// Measures the size of the program's file.
fn size(guest: &Guest<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let size = |path: &Path| -> Result<f64> {
        let file = fs::metadata(path)?;
        Ok(file.len() as f64)
    };
    let binder = |linking| guest.build(&guest.workspace.root, linking, "protheap-bind");
    let dynamic = size(&binder(Linking::Dynamic)?)?;
    report(Measure::value(
        "size, dynamic",
        Figure::one("protheap-bind", dynamic, Unit::Bytes),
        Limit::AtMost(SIZE),
    ));
    let (whole, empty) = (size(&binder(Linking::Static)?)?, size(&guest.nothing_rust)?);
    let figures = vec![
        Figure::one("protheap-bind", whole, Unit::Bytes),
        Figure::one("an empty program", empty, Unit::Bytes),
    ];
    report(Measure::new(
        "size, static, above an empty program",
        figures,
        whole - empty,
        Unit::Bytes,
        Limit::AtMost(SIZE),
    ));
    Ok(())
}

/// Measures memory while the binder waits and while it binds.
fn memory(guest: &Guest<'_>, trace: &Trace, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let said = guest.boot(&Script::new("memory", &guest.plain))?;
    let figures = vec![
        said.figure("RssAnon", "RssAnon, waiting for a TEE", Unit::Kibibytes)?,
        Figure::one("RssAnon, most at a call, binding", trace.peak_kib, Unit::Kibibytes),
        said.figure("RssFile", "RssFile", Unit::Kibibytes)?,
        said.figure("VmHWM", "VmHWM", Unit::Kibibytes)?,
    ];
    let most = figures.iter().take(2).map(|figure| figure.median).fold(0.0, f64::max);
    let limit = Limit::AtMost(1024.0);
    report(Measure::new("anonymous memory", figures, most, Unit::Kibibytes, limit));
    let threads = said.figure("Threads", "protheap-bind", Unit::Count)?;
    report(Measure::value("threads", threads, Limit::AtMost(1.0)));
    Ok(())
}

/// Measures how much the binder adds to a boot.
fn boot(guest: &Guest<'_>, boots: usize, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..boots {
        for (cmdline, samples) in [("xtask.bench=bind", &mut with), ("", &mut without)] {
            let said = guest.boot(&Script { cmdline, ..Script::new("boot", &guest.plain) })?;
            samples.extend(said.samples("probed-us")?.iter().map(|us| us * 1e3));
        }
    }
    let with = Figure::new("GPU probed, with the binder", with, Unit::Nanoseconds)?;
    let without = Figure::new("GPU probed, without", without, Unit::Nanoseconds)?;
    report(Measure::ratio("boot with its binder", [with, without], Limit::AtMost(1.02)));

    let script = Script { overlays: &["no-tee"], ..Script::new("no-provider", &guest.programs) };
    let said = guest.boot(&script)?;
    let own = said.figure("no-provider", "protheap-bind", Unit::Nanoseconds)?;
    report(Measure::value("binder's own time without a provider", own, Limit::None));
    Ok(())
}

/// Measures taking a suspend buffer from the pool, and from the heap.
fn suspend(guest: &Guest<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let said = guest.boot(&Script::new("suspend", &guest.programs))?;
    let pool = said.figure("pool", "get and put, in the kernel", Unit::Nanoseconds)?;
    let heap = said.figure("heap", "allocate and close, by system calls", Unit::Nanoseconds)?;
    let calls = said.figure("calls", "  of that: two calls that do nothing", Unit::Nanoseconds)?;
    let group = said.figure("group", "group made and destroyed, by debugfs", Unit::Nanoseconds)?;
    let ratio = (heap.median - calls.median) / pool.median;
    let figures = vec![heap, calls, pool, group];
    let limit = Limit::AtLeast(20.0);
    report(Measure::new("pool against heap", figures, ratio, Unit::Times, limit));
    Ok(())
}

/// Measures a manual binding and the probe that waits for it, with both sources of buffers.
fn driver(guest: &Guest<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let said = guest.boot(&Script::new("driver", &guest.programs))?;
    let time = |name, shown| said.figure(name, shown, Unit::Nanoseconds);
    let handed = time("commit-handed", "commit of what was handed over")?;
    let set_up = time("set-up-handed", "allocate and hand over before")?;
    let kernel = time("commit-kernel", "commit, the kernel allocates")?;
    let ratio = kernel.median / (set_up.median + handed.median);
    let figures = vec![set_up, handed, kernel];
    let what = "the kernel allocates, against user space";
    report(Measure::new(what, figures, ratio, Unit::Times, Limit::None));
    let handed = time("probed-handed", "commit to probe, handed over")?;
    let kernel = time("probed-kernel", "commit to probe, the kernel allocates")?;
    report(Measure::ratio("commit to probe", [kernel, handed], Limit::None));
    Ok(())
}

/// Measures the hand-over of the firmware buffer to a running panthor.
fn ioctl(guest: &Guest<'_>, report: &mut dyn FnMut(Measure)) -> Result<()> {
    let script = Script { cmdline: WORK, ..Script::new("ioctl", &guest.modelled) };
    let said = guest.boot(&script)?;
    let time = |name, shown| said.figure(name, shown, Unit::Nanoseconds);
    let set = time("set", "ioctl, until the firmware runs again")?;
    let reset = time("reset", "  of that: the reset")?;
    report(Measure::ratio("reset, of the hand-over by ioctl", [reset, set], Limit::None));
    let back = time("take-back", "ioctl that takes the buffer back")?;
    report(Measure::value("buffer taken back by ioctl", back, Limit::None));
    Ok(())
}

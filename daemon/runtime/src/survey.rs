// SPDX-License-Identifier: MIT OR Apache-2.0

//! Collects the policy and the facts before the first selection.

use protheap_board::policies::{self, Directories};
use protheap_board::render_node::{self, Hidden};
use protheap_board::root::Root;
use protheap_board::{
    Problem, devices, firmware, heap_modules, heaps, kernel, panthor, platform, soc, tee,
};
use protheap_core::decision::{Plan, decide};
use protheap_core::facts::{Facts, Firmware, Kernel, Platform};
use protheap_core::state_file::Refused;
use protheap_policy::cascade::{Judged, LastGood, Outcome, PolicyFile, judge, keys};
use protheap_policy::image::LocalPolicy;
use protheap_policy::policy::Policy;

use crate::log::{Log, Message};

/// A machine and the policy that applies to it.
#[derive(Debug)]
pub struct Survey {
    /// The policy.
    pub policy: Policy,
    /// Facts about the machine.
    pub facts: Facts,
    /// Rejected files and attributes, already logged. Those about policies come first.
    pub refused: Vec<Refused>,
    /// Number of rejected items that concern policies.
    pub files: usize,
}

impl Survey {
    /// Reads the facts and the policy of a machine. A daemon passes the last valid content of its
    /// policy files. For a daemon, the firmware images are read even if there is nothing to bind
    /// now.
    pub fn of(root: &Root, log: Log, daemon: Option<&mut LastGood>) -> Self {
        let mut problems = Vec::new();
        let platform = platform::read(root, &mut problems);
        let kernel = kernel::read(root, &mut problems);
        let is_daemon = daemon.is_some();
        let (policy, mut refused) = read_policy(root, log, &platform, kernel.lockdown, daemon);
        let mut facts = read_facts(root, kernel, &policy, is_daemon, &mut problems);
        facts.platform = platform;
        read_firmware(root, &policy, is_daemon, &mut facts, &mut problems);
        let files = refused.len();
        refused.extend(problems.into_iter().map(|problem| log_problem(log, problem)));
        Self { policy, facts, refused, files }
    }
}

/// Reads the policy of a board. Logs and returns the files that were rejected.
pub(crate) fn read_policy(
    root: &Root,
    log: Log,
    platform: &Platform,
    lockdown: bool,
    daemon: Option<&mut LastGood>,
) -> (Policy, Vec<Refused>) {
    let mut problems = Vec::new();
    let extent = if daemon.is_some() { Extent::AndTrust } else { Extent::Applying };
    let (mut files, closed) =
        read_files(root, &platform.compatible, lockdown, extent, &mut problems);
    let kept = daemon.map_or_else(Vec::new, |last_good| last_good.keep(&mut files));
    let (merged, judged) = judge(files);
    let mut refused = Vec::new();
    for file in kept {
        log_file(log, file, &mut refused);
    }
    refused.iter_mut().for_each(|refused| refused.kept = true);
    for file in judged {
        log_file(log, file, &mut refused);
    }
    refused.extend(problems.into_iter().map(|problem| log_problem(log, problem)));
    (Policy::new(merged).closed(closed), refused)
}

/// Logs a problem, and returns its entry for the state file.
pub(crate) fn log_problem(log: Log, problem: Problem) -> Refused {
    log.write(&Message::Skipped(&problem));
    Refused::whole(problem.path, problem.message)
}

/// Logs a file that is not used, and adds its entry for the state file.
fn log_file(log: Log, file: Judged, refused: &mut Vec<Refused>) {
    match file.outcome {
        Outcome::Applied | Outcome::Masked | Outcome::Shadowed => {}
        Outcome::Refused if !file.faults.is_empty() => {
            log.write(&Message::Refused(&file.path, &file.faults));
            refused.extend(file.faults.iter().map(Refused::from));
        }
        Outcome::Refused | Outcome::Untrusted => {
            refused.push(log_problem(log, Problem { path: file.path, message: file.why }));
        }
    }
}

/// Extent of reading the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Read the files that apply.
    Applying,
    /// Also determine whether the image trusts local policies if there are none.
    AndTrust,
    /// Also read the files that others hide.
    All,
}

/// Reads the policies of a board with this root `compatible`. Returns the policy and the outcome of
/// each file, the most general first.
pub fn read_policies(
    root: &Root,
    compatible: &[String],
    lockdown: bool,
    extent: Extent,
    problems: &mut Vec<Problem>,
) -> (Policy, Vec<Judged>) {
    let (files, closed) = read_files(root, compatible, lockdown, extent, problems);
    let (merged, judged) = judge(files);
    (Policy::new(merged).closed(closed), judged)
}

/// Returns the files for a board, and whether the image trusts only its own policies.
fn read_files(
    root: &Root,
    compatible: &[String],
    lockdown: bool,
    extent: Extent,
    problems: &mut Vec<Problem>,
) -> (Vec<PolicyFile>, bool) {
    let mut directories = Directories::open(root);
    // Checked even if there is no other directory: something may be mounted over the image's own.
    let why = closed_by(root, lockdown, problems);
    if let Some(why) = why {
        directories.distrust_local(why);
    }
    // Most images have no such directory, so that the image's setting does not matter.
    let asked = directories.has_local() || extent != Extent::Applying;
    let closed = asked && why.is_some();
    (directories.read(root, &keys(compatible), extent == Extent::All, problems), closed)
}

/// Returns why the image trusts only its own policies; `None` if it trusts others.
pub(crate) fn closed_by(
    root: &Root,
    lockdown: bool,
    problems: &mut Vec<Problem>,
) -> Option<&'static str> {
    match local_policy(root, problems) {
        local if local.counts(lockdown) => None,
        LocalPolicy::Never => Some("image.toml sets local-policy = \"never\", or is refused"),
        _ => {
            Some("the kernel is locked down, and image.toml does not set local-policy = \"always\"")
        }
    }
}

/// Returns the image's setting for local policies; `never` if it cannot be read.
fn local_policy(root: &Root, problems: &mut Vec<Problem>) -> LocalPolicy {
    let (path, text) = match policies::image(root) {
        Ok(None) => return LocalPolicy::default(),
        Ok(Some(image)) => image,
        Err(problem) => {
            problems.push(problem);
            return LocalPolicy::Never;
        }
    };
    LocalPolicy::parse(&path, &text).unwrap_or_else(|faults| {
        for fault in faults {
            let (place, message) = (fault.place, fault.message);
            let message = format!("{}:{}: {message}", place.line, place.column);
            problems.push(Problem { path: path.clone(), message });
        }
        LocalPolicy::Never
    })
}

/// Reads all facts that can change while the program runs.
pub fn read_facts(
    root: &Root,
    mut kernel: Kernel,
    policy: &Policy,
    daemon: bool,
    problems: &mut Vec<Problem>,
) -> Facts {
    let providers = policy.provider_compatibles();
    let tees = tee::read(root, problems);
    let mut devices = devices::scan(root, &kernel.release, &tees, &providers, problems);
    for (device, gpu) in devices.gpus.iter_mut().filter(|(_, gpu)| gpu.driver.is_some()) {
        match render_node::section(root, device, problems) {
            Ok(section) => gpu.section = section,
            Err(Hidden) => gpu.hides_section = true,
        }
    }
    if kernel.module.is_none() && !devices.gpus.is_empty() {
        kernel.parameter = panthor::read(root, &kernel.release, daemon, problems);
    }
    let heap_modules = heap_modules::read(root, &kernel.release, &policy.module_names(), problems);
    Facts {
        kernel,
        heap_modules,
        gpus: devices.gpus,
        providers: devices.providers,
        heaps: heaps::read(root, problems),
        tees,
        socs: if policy.asks_for_soc() { soc::read(root, problems) } else { Vec::new() },
        ..Facts::default()
    }
}

/// Reads the firmware of the GPUs that may be bound. It skips the others because the images are
/// large, and most boards have no protected memory. A daemon may bind any GPU later.
pub(crate) fn read_firmware(
    root: &Root,
    policy: &Policy,
    daemon: bool,
    facts: &mut Facts,
    problems: &mut Vec<Problem>,
) {
    let decision = decide(policy, facts);
    let (mut read, mut images) = (Vec::new(), Vec::new());
    let wanted = facts
        .gpus
        .iter()
        .filter(|(device, _)| {
            daemon
                || !matches!(decision.gpus.get(device).map(|gpu| &gpu.plan), Some(Plan::Without(_)))
        })
        .filter_map(|(device, gpu)| policy.gpu(device, &gpu.compatible))
        .map(|gpu| gpu.firmware().map(str::to_owned));
    for name in wanted {
        if read.contains(&name) {
            continue;
        }
        for image in firmware::read(root, &facts.kernel.release, name.as_deref(), problems) {
            if images.iter().all(|known: &Firmware| known.name != image.name) {
                images.push(image);
            }
        }
        read.push(name);
    }
    facts.firmware = images;
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Everything that is to be known before the first decision.

use protheap_board::policies::{self, Directories};
use protheap_board::root::Root;
use protheap_board::{Problem, devices, firmware, heaps, kernel, panthor, platform, soc, tee};
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
    /// The machine.
    pub facts: Facts,
    /// What was there and could not be used: told already.
    pub refused: Vec<Refused>,
    /// So many of these, the first, are about policies.
    pub files: usize,
}

impl Survey {
    /// Looks at the machine, and reads the policies for it. A daemon needs the firmware's images
    /// also where nothing is to be bound by now, and knows what files said before they became bad.
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

/// Reads what applies to a board, tells which files were not used, and returns why.
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

/// Tells of a problem, and keeps it for the report.
pub(crate) fn log_problem(log: Log, problem: Problem) -> Refused {
    log.write(&Message::Skipped(&problem));
    Refused::whole(problem.path, problem.message)
}

/// Tells of a file that was not used, and keeps why for the report.
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

/// How much is wanted of the policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// The files that apply.
    Applying,
    /// Also whether the image lets others count, where there are none.
    AndTrust,
    /// Also the files that are hidden by others.
    All,
}

/// Reads the policies of a board with this root `compatible`: what applies, and what became of each
/// file. The most general comes first.
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

/// The files for a board, and whether the image lets no others count than its own.
fn read_files(
    root: &Root,
    compatible: &[String],
    lockdown: bool,
    extent: Extent,
    problems: &mut Vec<Problem>,
) -> (Vec<PolicyFile>, bool) {
    let mut directories = Directories::open(root);
    // Also where no other directory is there: something may be mounted over the image's own.
    let why = closed_by(root, lockdown, problems);
    if let Some(why) = why {
        directories.distrust_local(why);
    }
    // Most images have no directory of this kind, and need not say whether it would count.
    let asked = directories.has_local() || extent != Extent::Applying;
    let closed = asked && why.is_some();
    (directories.read(root, &keys(compatible), extent == Extent::All, problems), closed)
}

/// Why the image lets no other policies count than its own; `None` if it does.
pub(crate) fn closed_by(
    root: &Root,
    lockdown: bool,
    problems: &mut Vec<Problem>,
) -> Option<&'static str> {
    match local_policy(root, problems) {
        local if local.counts(lockdown) => None,
        LocalPolicy::Never => Some("image.toml has local-policy = \"never\", or is refused"),
        _ => Some("the kernel is locked down, and image.toml does not say \"always\""),
    }
}

/// What the image says of policies that are not its own; `never` if that cannot be read.
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

/// All that can change while the program runs.
pub fn read_facts(
    root: &Root,
    mut kernel: Kernel,
    policy: &Policy,
    daemon: bool,
    problems: &mut Vec<Problem>,
) -> Facts {
    let providers = policy.provider_compatibles();
    let tees = tee::read(root, problems);
    let devices = devices::scan(root, &kernel.release, &tees, &providers, problems);
    if kernel.module.is_none() && !devices.gpus.is_empty() {
        kernel.parameter = panthor::read(root, &kernel.release, daemon, problems);
    }
    Facts {
        kernel,
        gpus: devices.gpus,
        providers: devices.providers,
        heaps: heaps::read(root, problems),
        tees,
        socs: if policy.asks_for_soc() { soc::read(root, problems) } else { Vec::new() },
        ..Facts::default()
    }
}

/// Reads the firmware of the GPUs that may get buffers: the images are large, and most boards have
/// no protected memory. For a daemon, every GPU may get some, one day.
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

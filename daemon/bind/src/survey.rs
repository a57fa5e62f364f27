// SPDX-License-Identifier: MIT OR Apache-2.0

//! Everything that is to be known before the first decision.

use protheap_board::root::Root;
use protheap_board::{Problem, devices, firmware, heaps, kernel, panthor, platform, policies, tee};
use protheap_core::decision::{Plan, decide};
use protheap_core::facts::{Facts, Firmware};
use protheap_core::fragment::Fragment;
use protheap_core::merged::{Merged, cascade};
use protheap_core::policy::Policy;
use protheap_core::report::Refused;

/// A machine and the policy that applies to it.
#[derive(Debug)]
pub struct Survey {
    /// The policy.
    pub policy: Policy,
    /// The machine.
    pub facts: Facts,
    /// What was there and could not be used: told on standard error already.
    pub refused: Vec<Refused>,
}

impl Survey {
    /// Looks at the machine, and reads the policies for it. `program` is who tells what was
    /// skipped. A daemon needs the firmware's images also where nothing is to be bound by now.
    pub fn of(root: &Root, program: &str, daemon: bool) -> Self {
        let mut problems = Vec::new();
        let platform = platform::read(root, &mut problems);
        let (policy, mut refused) = read_policy(root, program, &platform.compatible, &mut problems);
        let mut facts = read_facts(root, &policy, daemon, &mut problems);
        facts.platform = platform;
        read_firmware(root, &policy, daemon, &mut facts, &mut problems);
        refused.extend(problems.into_iter().map(|problem| tell(program, problem)));
        Self { policy, facts, refused }
    }
}

/// Tells of a problem on standard error, and keeps it for the report.
pub(crate) fn tell(program: &str, problem: Problem) -> Refused {
    eprintln!("{program}: skipped: {problem}");
    Refused { path: problem.path, line: 0, column: 0, message: problem.message }
}

fn read_policy(
    root: &Root,
    program: &str,
    compatible: &[String],
    problems: &mut Vec<Problem>,
) -> (Policy, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut fragments = Vec::new();
    for file in policies::read(root, &cascade(compatible), true, problems) {
        match Fragment::parse(&file.key, &file.path, &file.text) {
            Ok(fragment) => fragments.push(fragment),
            Err(faults) => {
                for fault in &faults {
                    eprint!("{fault}");
                }
                eprintln!("{program}: skipped: {}: the rest of the cascade applies", file.path);
                refused.extend(faults.iter().map(Refused::from));
            }
        }
    }
    (Policy::new(Merged::new(fragments)), refused)
}

/// All that can change while the program runs.
pub(crate) fn read_facts(
    root: &Root,
    policy: &Policy,
    daemon: bool,
    problems: &mut Vec<Problem>,
) -> Facts {
    let mut kernel = kernel::read(root, problems);
    let providers = policy.provider_compatibles();
    let devices = devices::scan(root, &kernel.release, &providers, problems);
    if kernel.module.is_none() && !devices.gpus.is_empty() {
        kernel.parameter = panthor::read(root, &kernel.release, daemon, problems);
    }
    Facts {
        kernel,
        gpus: devices.gpus,
        providers: devices.providers,
        heaps: heaps::read(root, problems),
        tees: tee::read(root, problems),
        ..Facts::default()
    }
}

/// Reads the firmware of the GPUs that may get buffers: the images are large, and most boards have
/// no protected memory. For a daemon, every GPU may get some, one day.
fn read_firmware(
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

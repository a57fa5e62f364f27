// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that use a GPU through the interface of panthor.

mod context;
mod device;
mod group;
mod stream;
mod stress;
mod supply;
mod uapi;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::worker::HEAP;
use crate::{Outcome, errno_text, now_us};

use self::context::{Access, Context, Purpose, limit, map_protected};
use self::device::{Device, Vm};
use self::group::Group;
use self::supply::{Descriptor, Supply, Suspend};
use self::uapi::{
    PANTHOR_PROTHEAP_HAS_BUFFER, PANTHOR_PROTHEAP_READY, PANTHOR_PROTHEAP_TAKES_BUFFER, Priority,
};

/// Runs `panthor COMMAND ...`; see the usage.
pub(crate) fn run(words: &[&str]) -> Outcome {
    match words {
        ["query", options @ ..] => query(&Options::parse(options)?),
        ["set-firmware", options @ ..] => set_firmware(&Options::parse(options)?),
        ["take-firmware", options @ ..] => take_firmware(&Options::parse(options)?),
        ["job", options @ ..] => job(&Options::parse(options)?),
        ["protected-job", options @ ..] => protected_job(&Options::parse(options)?),
        ["tiler-job", options @ ..] => tiler_job(&Options::parse(options)?),
        ["unprotected-write", options @ ..] => unprotected_write(&Options::parse(options)?),
        ["unmapped-write", options @ ..] => unmapped_write(&Options::parse(options)?),
        ["group", options @ ..] => group(&Options::parse(options)?),
        ["group-bits", options @ ..] => group_bits(&Options::parse(options)?),
        ["churn", options @ ..] => churn(&Options::parse(options)?),
        ["lose-groups", options @ ..] => lose_groups(&Options::parse(options)?),
        ["oversubscribe", options @ ..] => oversubscribe(&Options::parse(options)?),
        ["clients", count, options @ ..] => clients(count.parse()?, options),
        ["stress", seed, seconds, processes, gpus @ ..] => {
            stress::lead(seed, seconds, processes, gpus)
        }
        ["stress-worker", rest @ ..] => stress::worker(rest),
        _ => Err("panthor: unknown command, or a missing argument".into()),
    }
}

/// Address below all buffers.
const UNMAPPED: u64 = 0x1000;

/// Options of a command.
#[derive(Debug)]
struct Options<'a> {
    gpu: Option<&'a str>,
    heap: &'a str,
    count: u32,
    groups: usize,
    protected_groups: usize,
    gap: Duration,
    pass: u16,
    priority: Priority,
    hold: Option<&'a str>,
    own_suspend: bool,
    supply: Supply<'a>,
    protected: bool,
    ordinary: bool,
    job: bool,
}

impl<'a> Options<'a> {
    fn parse(mut words: &[&'a str]) -> Outcome<Self> {
        let mut options = Self {
            gpu: None,
            heap: HEAP,
            count: 1,
            groups: 12,
            protected_groups: 0,
            gap: Duration::ZERO,
            pass: 0,
            priority: Priority::Medium,
            hold: None,
            own_suspend: false,
            supply: Supply::default(),
            protected: false,
            ordinary: false,
            job: false,
        };
        while let [option, rest @ ..] = words {
            words = match (*option, rest) {
                ("--protected", rest) => {
                    options.protected = true;
                    rest
                }
                ("--own-suspend", rest) => {
                    options.own_suspend = true;
                    rest
                }
                ("--ordinary", rest) => {
                    options.ordinary = true;
                    rest
                }
                ("--job", rest) => {
                    options.job = true;
                    rest
                }
                (option, [value, rest @ ..]) => {
                    match option {
                        "--gpu" => options.gpu = Some(value),
                        "--heap" => options.heap = value,
                        "--count" => options.count = value.parse()?,
                        "--groups" => options.groups = value.parse()?,
                        "--protected-groups" => options.protected_groups = value.parse()?,
                        "--gap" => options.gap = Duration::from_millis(value.parse()?),
                        "--pass" => options.pass = value.parse()?,
                        "--priority" => {
                            options.priority = Priority::parse(value)
                                .ok_or_else(|| format!("panthor: unknown priority {value}"))?;
                        }
                        "--hold" => options.hold = Some(value),
                        "--from" => options.supply.heap = value,
                        "--bytes" => options.supply.bytes = Some(value.parse()?),
                        "--file" => options.supply.file = Some(value),
                        "--fd" => options.supply.fd = Some(value.parse()?),
                        "--flags" => options.supply.flags = value.parse()?,
                        _ => return Err(format!("panthor: unknown option {option}").into()),
                    }
                    rest
                }
                (option, []) => return Err(format!("panthor: {option} needs a value").into()),
            };
        }
        if options.supply.heap.is_empty() {
            options.supply.heap = options.heap;
        }
        Ok(options)
    }

    /// Opens the GPU as a new client, and creates an address space.
    fn vm(&self) -> io::Result<Vm> {
        Vm::create(&Device::open(self.gpu, limit())?)
    }

    fn purpose(&self, protected: bool, access: Access) -> Purpose<'a> {
        let suspend = match protected {
            false => Suspend::None,
            true if self.own_suspend => Suspend::Own(self.supply),
            true => Suspend::Binding,
        };
        Purpose { suspend, priority: self.priority, access, pass: self.pass }
    }
}

fn query(options: &Options<'_>) -> Outcome {
    let device = Device::open(options.gpu, limit())?;
    let (major, minor) = device.version()?;
    let csif = device.csif()?;
    println!("version {major}.{minor}");
    println!("gpu-id {:#010x}", device.gpu()?.gpu_id);
    println!("csg-slots {}", csif.csg_slot_count);
    println!("cs-slots {}", csif.cs_slot_count);
    match device.protected_memory() {
        Ok(memory) => {
            let has = |flag| if memory.flags & flag != 0 { "yes" } else { "no" };
            println!("protected-memory {}", has(PANTHOR_PROTHEAP_READY));
            println!("protected-takes-buffer {}", has(PANTHOR_PROTHEAP_TAKES_BUFFER));
            println!("protected-has-buffer {}", has(PANTHOR_PROTHEAP_HAS_BUFFER));
            println!("protected-firmware-size {}", memory.firmware_size);
            println!("protected-suspend-size {}", memory.suspend_size);
        }
        Err(error) => println!("protected-memory {}", errno_text(&error)),
    }
    Ok(())
}

/// Sets the buffer of the firmware's protected section, and prints how long the ioctl took.
fn set_firmware(options: &Options<'_>) -> Outcome {
    let device = Device::open(options.gpu, limit())?;
    let size = device.protected_memory()?.firmware_size;
    set(&device, &options.supply.descriptor(size)?, options.supply.flags)
}

/// Takes the buffer of the firmware's protected section back.
fn take_firmware(options: &Options<'_>) -> Outcome {
    let device = Device::open(options.gpu, limit())?;
    if let Some(file) = options.hold {
        wait_for(file);
    }
    set(&device, &Descriptor::of(-1), options.supply.flags)
}

/// Waits until a file exists.
fn wait_for(file: &str) {
    while !Path::new(file).exists() {
        sleep(Duration::from_millis(20));
    }
}

fn set(device: &Device, buffer: &Descriptor, flags: u32) -> Outcome {
    let begun = now_us();
    device.set_firmware(buffer.number, flags)?;
    println!("took-us {}", now_us() - begun);
    Ok(())
}

fn job(options: &Options<'_>) -> Outcome {
    let vm = options.vm()?;
    let purpose = options.purpose(options.protected, Access::None);
    jobs("jobs", Context::create(&vm, purpose)?, &vm, options)
}

fn protected_job(options: &Options<'_>) -> Outcome {
    let vm = options.vm()?;
    let protected = map_protected(&vm, options.heap)?;
    let purpose = options.purpose(!options.ordinary, Access::Protected(protected));
    jobs("protected-jobs", Context::create(&vm, purpose)?, &vm, options)
}

/// Runs jobs of the tiler, each of which takes memory from a heap.
fn tiler_job(options: &Options<'_>) -> Outcome {
    let vm = options.vm()?;
    let heap = vm.create_heap(options.count.saturating_add(1))?;
    let purpose = options.purpose(options.protected, Access::Heap(heap));
    jobs("tiler-jobs", Context::create(&vm, purpose)?, &vm, options)
}

/// Runs jobs one after the other, and prints their number.
fn jobs(name: &str, mut context: Context, vm: &Vm, options: &Options<'_>) -> Outcome {
    let said = tally(name, 0..options.count, |number| {
        if number > 0 {
            sleep(options.gap);
        }
        context.run()
    });
    // A killed group and a failed job often have the same errno.
    let said = said.map_err(|said| match context.group().state() {
        Ok(state) => format!("{said}, group {state}"),
        Err(_) => said,
    })?;
    right(&context)?;
    context.destroy(vm)?;
    println!("{said}");
    Ok(())
}

/// Runs `step` for each element until it fails; returns the number of successes, and the error.
fn tally<T>(
    name: &str,
    each: impl ExactSizeIterator<Item = T>,
    mut step: impl FnMut(T) -> io::Result<()>,
) -> Result<String, String> {
    let count = each.len();
    for (done, one) in each.enumerate() {
        step(one).map_err(|error| format!("{name} {done}/{count} {}", errno_text(&error)))?;
    }
    Ok(format!("{name} {count}/{count}"))
}

/// Fails if jobs have a wrong result.
fn right(context: &Context) -> Result<(), String> {
    let (begun, ended) = context.counted();
    if context.is_right() { Ok(()) } else { Err(format!("wrong: {begun} began, {ended} ended")) }
}

/// Writes to protected memory outside of protected mode, and prints the result.
fn unprotected_write(options: &Options<'_>) -> Outcome {
    let vm = options.vm()?;
    let address = map_protected(&vm, options.heap)?;
    bad_write(&vm, address, options)
}

/// Writes to an address where nothing is mapped, and prints the result.
fn unmapped_write(options: &Options<'_>) -> Outcome {
    bad_write(&options.vm()?, UNMAPPED, options)
}

/// Writes to an address in ordinary mode, and prints the result.
fn bad_write(vm: &Vm, address: u64, options: &Options<'_>) -> Outcome {
    let access = Access::Unprotected(address);
    let mut context = Context::create(vm, options.purpose(options.protected, access))?;
    let fence = context.run().map_or_else(|error| errno_text(&error), |()| "fine".to_owned());
    let (begun, ended) = context.counted();
    println!("fence {fence}");
    println!("group {}", context.group().state()?);
    println!("begun {begun}");
    println!("ended {ended}");
    Ok(context.destroy(vm)?)
}

/// Makes groups in one address space. With `--hold`, the groups are kept until the file exists, whatever fails.
fn group(options: &Options<'_>) -> Outcome {
    let say = |line: Result<String, String>| match line {
        Err(line) if options.hold.is_none() => Err(line),
        Ok(line) | Err(line) => {
            println!("{line}");
            Ok(())
        }
    };
    let vm = options.vm()?;
    let purpose = options.purpose(options.protected, Access::None);
    let mut contexts = Vec::new();
    let mut made = Ok(());
    while made.is_ok() && contexts.len() < options.count as usize {
        made = Context::create(&vm, purpose).map(|context| contexts.push(context));
    }
    let count = contexts.len();
    say(match made {
        Ok(()) => Ok(format!("groups {count}")),
        Err(error) => Err(format!("groups {count} {}", errno_text(&error))),
    })?;
    if options.job {
        say(tally("jobs", contexts.iter_mut(), Context::run))?;
    }
    if let Some(file) = options.hold {
        wait_for(file);
        if options.job {
            say(tally("jobs", contexts.iter_mut(), Context::run))?;
        }
    }
    Ok(say(tally("destroyed", contexts.into_iter(), |context| context.destroy(&vm)))?)
}

/// Tries to create ordinary groups with a bit set that must be zero, and prints the number of bits for each errno.
fn group_bits(options: &Options<'_>) -> Outcome {
    let vm = options.vm()?;
    let mut answers = BTreeMap::new();
    for bit in 0..u32::BITS {
        let answer = match Group::create_ordinary(&vm, Priority::Medium, 1 << bit) {
            Ok(_) => "created".to_owned(),
            Err(error) => errno_text(&error),
        };
        *answers.entry(answer).or_insert(0) += 1;
    }
    for (answer, count) in answers {
        println!("{answer} {count}");
    }
    Ok(())
}

/// Creates protected groups as fast as possible, and destroys each while its job is running. If destroyed groups did
/// not count, the client would have more groups than permitted. Prints how many groups were created and refused.
fn churn(options: &Options<'_>) -> Outcome {
    let vm = options.vm()?;
    let purpose = options.purpose(true, Access::None);
    let (mut contexts, mut created, mut refused) = (VecDeque::new(), 0, 0);
    for _ in 0..options.count {
        match Context::create(&vm, purpose) {
            Ok(mut context) => {
                context.submit()?;
                contexts.push_back(context);
                created += 1;
            }
            Err(error) if errno_text(&error) == "ENOBUFS" => refused += 1,
            Err(error) => return Err(error.into()),
        }
        if contexts.len() > options.groups
            && let Some(context) = contexts.pop_front()
        {
            context.destroy(&vm)?;
        }
    }
    println!("created {created}");
    println!("refused {refused}");
    Ok(())
}

/// Runs a protected region in one ordinary group after the other, each of which is lost, and prints their number.
fn lose_groups(options: &Options<'_>) -> Outcome {
    let vm = options.vm()?;
    let access = Access::Protected(map_protected(&vm, options.heap)?);
    let mut lost = 0;
    for _ in 0..options.count {
        let mut context = Context::create(&vm, options.purpose(false, access))?;
        lost += u32::from(context.run().is_err());
        context.destroy(&vm)?;
    }
    println!("lost {lost}");
    Ok(())
}

/// Makes more groups than the firmware has slots, each as a separate client, and runs jobs in all of them at once.
fn oversubscribe(options: &Options<'_>) -> Outcome {
    let mut clients = Vec::new();
    for number in 0..options.groups + options.protected_groups {
        let vm = options.vm()?;
        let protected = number >= options.groups;
        let access = if protected {
            Access::Protected(map_protected(&vm, options.heap)?)
        } else {
            Access::None
        };
        let context = Context::create(&vm, options.purpose(protected, access))?;
        clients.push((vm, context));
    }
    let mut fences = Vec::new();
    for _ in 0..options.count {
        for (_, context) in &mut clients {
            fences.push(context.submit()?);
        }
    }
    let said = tally("jobs", fences.iter(), |fence| fence.wait(limit()))?;
    for (vm, context) in clients {
        right(&context)?;
        context.destroy(&vm)?;
    }
    println!("{said}");
    Ok(())
}

/// Runs `job` and `protected-job` with these options, each in `count` processes at once.
fn clients(count: u32, options: &[&str]) -> Outcome {
    let mut processes = Vec::new();
    for command in ["job", "protected-job"].iter().cycle().take(2 * count as usize) {
        let mut process = Command::new("/proc/self/exe");
        processes.push(process.args(["panthor", command]).args(options).spawn()?);
    }
    let mut failed = 0;
    for mut process in processes {
        failed += u32::from(!process.wait()?.success());
    }
    if failed == 0 { Ok(()) } else { Err(format!("{failed} processes failed").into()) }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! The system calls of `protheap-bind`, traced by bench-tool.c: as a table for replay.c, and summed up by their
//! purpose.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// Calls of arm64 that this file interprets, by their numbers.
mod number {
    pub(super) const DUP3: u64 = 24;
    pub(super) const SYMLINKAT: u64 = 36;
    pub(super) const OPENAT: u64 = 56;
    pub(super) const CLOSE: u64 = 57;
    pub(super) const SOCKET: u64 = 198;
    pub(super) const MMAP: u64 = 222;
    pub(super) const OPENAT2: u64 = 437;
}

/// File descriptor of the working directory.
const AT_FDCWD: i64 = -100;
/// Files that a language's runtime reads when a program starts.
const RUNTIME: [&str; 2] = ["/proc/self/exe", "/proc/self/maps"];

/// An argument of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Argument {
    Number(i64),
    /// Pointer to these bytes.
    Bytes(Vec<u8>),
    /// Pointer to room for an answer.
    Answer,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Call {
    number: u64,
    arguments: Vec<Argument>,
    result: i64,
    /// Nanoseconds until the next call, including the stop, and the number of stops.
    after: Vec<u64>,
    /// Purpose of the call.
    place: &'static str,
}

/// All calls, in order.
#[derive(Debug)]
pub(super) struct Trace {
    calls: Vec<Call>,
    /// Maximum of anonymous memory at a call.
    pub(super) peak_kib: f64,
}

/// Calls for one purpose.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Phase {
    pub(super) place: &'static str,
    pub(super) calls: usize,
    /// Time in the kernel, as replayed.
    pub(super) kernel_us: f64,
    /// Time in the program, after these calls.
    pub(super) program_us: f64,
}

impl Trace {
    /// Parses the output of `bench-tool trace`.
    pub(super) fn parse(lines: &[String]) -> Result<Self> {
        let (mut calls, mut peak) = (Vec::new(), None);
        for line in lines {
            let bad =
                || format!("the guest's trace has the line `{}`", line.get(..80).unwrap_or(line));
            match line.split_once(' ') {
                Some(("call", call)) => calls.push(Call::parse(call).with_context(bad)?),
                Some(("gap", ns)) => {
                    let call = calls.last_mut().with_context(bad)?;
                    call.after.push(ns.parse().with_context(bad)?);
                }
                Some(("peak", kib)) => peak = Some(kib.parse().with_context(bad)?),
                _ => {}
            }
        }
        drop_runtime(&mut calls);
        if calls.is_empty() {
            bail!("the guest's trace has no call");
        }
        name_places(&mut calls);
        Ok(Self { calls, peak_kib: peak.context("the guest's trace has no end")? })
    }

    /// Returns the number of calls.
    pub(super) fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Returns `calls.h` for replay.c.
    pub(super) fn to_c(&self) -> String {
        let (mut data, mut table) = (String::new(), String::new());
        for (index, call) in self.calls.iter().enumerate() {
            let mut arguments = Vec::new();
            for (position, argument) in call.arguments.iter().enumerate() {
                arguments.push(match argument {
                    Argument::Number(number) => format!("{number}"),
                    Argument::Answer => "(long)scratch".to_owned(),
                    Argument::Bytes(bytes) => {
                        let name = format!("data_{index}_{position}");
                        let bytes: Vec<_> = bytes.iter().map(u8::to_string).collect();
                        // An ioctl's answer overwrites its argument; structures must be aligned.
                        let _ = writeln!(
                            data,
                            "static unsigned char {name}[] __attribute__((aligned(8))) = {{ {} }};",
                            bytes.join(", ")
                        );
                        format!("(long){name}")
                    }
                });
            }
            let _ = writeln!(
                table,
                "\t{{ {}, {{ {} }}, {} }}, /* {} */",
                call.number,
                arguments.join(", "),
                call.expected(),
                call.place
            );
        }
        format!("{data}\nstatic const struct call calls[] = {{\n{table}}};\n")
    }

    /// Sums up the calls by purpose, in order of the first of each; `lines` is the output of `replay --times`.
    pub(super) fn phases(&self, lines: &[String]) -> Result<Vec<Phase>> {
        let mut times = vec![None; self.calls.len()];
        for line in lines {
            let Some((index, ns)) = line.strip_prefix("time ").and_then(|l| l.split_once(' '))
            else {
                continue;
            };
            let time =
                times.get_mut(index.parse::<usize>()?).context("more calls than were traced")?;
            *time = Some(ns.parse::<f64>()?);
        }
        // Time of a stop itself: the shortest time from call to call.
        let stop = self.calls.iter().flat_map(|call| &call.after).min().copied().unwrap_or(0);
        let mut phases = Vec::<Phase>::new();
        for (call, time) in self.calls.iter().zip(times) {
            let time = time.context("a call was not timed")?;
            let program: u64 = call.after.iter().map(|gap| gap.saturating_sub(stop)).sum();
            let index = phases.iter().position(|phase| phase.place == call.place);
            let index = index.unwrap_or_else(|| {
                phases.push(Phase { place: call.place, calls: 0, kernel_us: 0.0, program_us: 0.0 });
                phases.len() - 1
            });
            let phase = &mut phases[index];
            phase.calls += 1;
            phase.kernel_us += time / 1e3;
            phase.program_us += program as f64 / 1e3;
        }
        Ok(phases)
    }
}

impl Call {
    /// Parses `NUMBER ARGUMENT... = RESULT`.
    fn parse(text: &str) -> Result<Self> {
        let (call, result) = text.split_once(" = ").context("it has no result")?;
        let mut words = call.split(' ');
        let number = words.next().unwrap_or_default().parse()?;
        let mut arguments = Vec::new();
        for word in words {
            arguments.push(match word.split_once(':') {
                Some(("i", number)) => Argument::Number(number.parse()?),
                Some(("b", bytes)) => Argument::Bytes(hex(bytes)?),
                Some(("o", "")) => Argument::Answer,
                _ => bail!("`{word}` is no argument"),
            });
        }
        Ok(Self { number, arguments, result: result.parse()?, after: Vec::new(), place: "other" })
    }

    /// Returns the result that a replay must have: an error or a descriptor exactly, while a number of bytes may
    /// differ.
    fn expected(&self) -> i64 {
        use number::{DUP3, OPENAT, OPENAT2, SOCKET};
        match self.number {
            OPENAT | OPENAT2 | SOCKET | DUP3 => self.result,
            _ => self.result.min(0),
        }
    }

    fn number_at(&self, index: usize) -> Option<i64> {
        match self.arguments.get(index)? {
            Argument::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// Returns the file of the call, or the directory of its path.
    fn descriptor(&self) -> Option<i64> {
        let index = match self.number {
            number::SYMLINKAT => 1,
            number::MMAP => 4,
            number::SOCKET => return None,
            _ => 0,
        };
        self.number_at(index).filter(|file| *file != AT_FDCWD)
    }

    /// Returns a path among its arguments.
    fn path(&self) -> Option<&str> {
        // The target of a link comes first.
        let index = if self.number == number::SYMLINKAT { 2 } else { 1 };
        match self.arguments.get(index)? {
            Argument::Bytes(bytes) => std::str::from_utf8(bytes.strip_suffix(b"\0")?).ok(),
            _ => None,
        }
    }
}

/// Removes the calls of the language's runtime: the replaying program has its own.
fn drop_runtime(calls: &mut Vec<Call>) {
    let mut file = None;
    calls.retain(|call| {
        if call.path().is_some_and(|path| RUNTIME.contains(&path)) {
            file = (call.number == number::OPENAT).then_some(call.result);
            return false;
        }
        let its = file.is_some() && call.descriptor() == file;
        if its && call.number == number::CLOSE {
            file = None;
        }
        !its
    });
}

/// Sets the purpose of each call: by its path, or by the path of its file.
fn name_places(calls: &mut [Call]) {
    // Files below the root are distinguished by their own path.
    const ROOT: &str = "/";
    let mut open = BTreeMap::new();
    for call in calls {
        let file = call.descriptor();
        let known = file.and_then(|file| open.get(&file).copied());
        let named = match (call.path(), known) {
            (Some(ROOT), _) => ROOT,
            (Some(path), None | Some(ROOT)) => place(path),
            (_, Some(ROOT)) => "other",
            (_, Some(known)) => known,
            (None, None) if call.number == number::SOCKET => "uevents",
            // Descriptors that no call here returned are buffers.
            (None, None) => file.map_or("other", |_| "buffers"),
        };
        match call.number {
            number::OPENAT | number::OPENAT2 | number::SOCKET if call.result >= 0 => {
                open.insert(call.result, named);
            }
            number::CLOSE => {
                file.and_then(|file| open.remove(&file));
            }
            _ => {}
        }
        call.place = if named == ROOT { "other" } else { named };
    }
}

fn place(path: &str) -> &'static str {
    const PLACES: [(&str, &str); 14] = [
        ("sys/firmware", "board"),
        ("etc/protheap", "policies"),
        ("run/protheap/policies", "policies"),
        ("usr/lib/protheap", "policies"),
        ("sys/module/firmware_class", "GPU firmware"),
        ("lib/firmware", "GPU firmware"),
        ("usr/lib/firmware", "GPU firmware"),
        ("sys/bus", "devices"),
        ("dev/dma_heap", "buffers"),
        ("proc/self/fdinfo", "buffers"),
        ("sys/kernel/config", "binding"),
        ("dev/protheap", "binding"),
        ("run", "state.json"),
        ("sys", "other facts"),
    ];
    let path = path.trim_start_matches('/');
    PLACES.iter().find(|(prefix, _)| path.starts_with(prefix)).map_or("other", |(_, place)| place)
}

fn hex(text: &str) -> Result<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        bail!("`{text}` is not in hexadecimal");
    }
    let bytes = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    Ok(bytes.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After the calls of the runtime, `/` is opened as 3, then `etc/protheap` below it, which fails, and `run` as 4.
    fn trace() -> Trace {
        let lines = [
            "gap",
            "call 78 i:-100 b:2f70726f632f73656c662f65786500 o: i:100 = 20",
            "call 56 i:-100 b:2f70726f632f73656c662f6d61707300 i:0 i:0 = 3",
            "call 63 i:3 o: i:1024 = 900",
            "call 57 i:3 = 0",
            "call 56 i:-100 b:2f00 i:0 i:0 = 3",
            "gap 100",
            "call 56 i:3 b:6574632f70726f746865617000 i:0 i:0 = -2",
            "gap 100",
            "gap 2100",
            "call 56 i:3 b:72756e00 i:0 i:0 = 4",
            "gap 300",
            "call 63 i:4 o: i:10 = 7",
            "gap 100",
            "call 57 i:4 = 0",
            "gap 100",
            "call 36 b:7800 i:3 b:72756e2f7900 = 0",
            "call 57 i:9 = 0",
            "call 160 o: = 0",
            "call 57 i:3 = 0",
            "peak 88",
        ];
        Trace::parse(&lines.map(str::to_owned)).unwrap()
    }

    #[test]
    fn calls_are_grouped_by_purpose() {
        let trace = trace();
        assert_eq!(trace.calls(), 9);
        assert_eq!(trace.peak_kib, 88.0);
        let places: Vec<_> = trace.calls.iter().map(|call| call.place).collect();
        let run = "state.json";
        let rest = [run, "buffers", "other", "other"];
        assert_eq!(places, [&["other", "policies", run, run, run], rest.as_slice()].concat());
        let times: Vec<_> = (0..9).map(|index| format!("time {index} 1000")).collect();
        let phases = trace.phases(&times).unwrap();
        let phase =
            |place, calls, kernel_us, program_us| Phase { place, calls, kernel_us, program_us };
        assert_eq!(
            phases,
            [
                phase("other", 3, 3.0, 0.0),
                phase("policies", 1, 1.0, 2.0),
                phase(run, 4, 4.0, 0.2),
                phase("buffers", 1, 1.0, 0.0),
            ]
        );
        assert!(trace.phases(&times[1..]).is_err());
    }

    #[test]
    fn table_has_all_calls() {
        let c = trace().to_c();
        assert!(c.contains("data_0_1[] __attribute__((aligned(8))) = { 47, 0 };"), "{c}");
        assert!(c.contains("{ 56, { -100, (long)data_0_1, 0, 0 }, 3 },"), "{c}");
        assert!(c.contains("{ 56, { 3, (long)data_1_1, 0, 0 }, -2 },"), "{c}");
        assert!(c.contains("{ 63, { 4, (long)scratch, 10 }, 0 },"), "{c}");
    }

    #[test]
    fn invalid_traces_are_refused() {
        for line in ["call x = 0", "call 63 i:4", "call 63 z:4 = 0", "call 63 b:123 = 0", "gap 5"] {
            let lines = [line.to_owned(), "peak 1".to_owned()];
            assert!(Trace::parse(&lines).is_err(), "{line}");
        }
        assert!(Trace::parse(&["call 57 i:3 = 0".to_owned()]).is_err());
    }
}

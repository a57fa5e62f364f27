// SPDX-License-Identifier: MIT OR Apache-2.0
//! Progress of a command: the step that runs, its duration, and the expected rest.
//!
//! Progress is printed to standard error, and standard output has only results. On a terminal, one line is updated;
//! elsewhere, a long step prints a line every half minute. A job whose output is kept prints only failures, beside its
//! results.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err::File;

thread_local! {
    /// Output of the job that this thread runs.
    static KEPT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Prints a line to standard output, or keeps it for [`kept_output`].
macro_rules! say {
    ($($what:tt)*) => { $crate::progress::line(format_args!($($what)*)) };
}

/// Keeps the output of [`say!`] in this thread, instead of printing it.
pub(crate) fn keep_output() {
    KEPT.set(Some(String::new()));
}

/// Returns the kept output, and stops keeping it.
pub(crate) fn kept_output() -> String {
    KEPT.take().unwrap_or_default()
}

/// Prints or keeps a line.
pub(crate) fn line(line: fmt::Arguments<'_>) {
    KEPT.with_borrow_mut(|kept| match kept {
        Some(kept) => {
            kept.push_str(&line.to_string());
            kept.push('\n');
        }
        None => println!("{line}"),
    });
}

/// Prints a line to standard error, or keeps it with the output.
pub(crate) fn remark(what: fmt::Arguments<'_>) {
    if is_kept() {
        line(format_args!("  {what}"));
    } else {
        eprintln!("  {what}");
    }
}

/// Returns whether this thread's output is kept.
fn is_kept() -> bool {
    KEPT.with_borrow(Option::is_some)
}

/// A command that takes longer is announced.
const LONG: Duration = Duration::from_secs(3);

/// One step, with its progress.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    what: &'a str,
    estimate: Duration,
    /// Number of lines starting with two spaces that its command prints: make's "  CC  file.o".
    lines: Option<u32>,
    started: Instant,
    spoke: Option<Instant>,
}

impl<'a> Step<'a> {
    /// Starts a step; `what` in the -ing form, and the expected seconds as measured on two slow cores.
    pub(crate) fn new(what: &'a str, seconds: u64) -> Self {
        let (now, estimate) = (Instant::now(), Duration::from_secs(seconds));
        let mut step = Self { what, estimate, lines: None, started: now, spoke: None };
        if estimate > LONG {
            step.speak(None);
        }
        step
    }

    /// Measures progress by the lines that the command prints, which are about `lines`.
    pub(crate) fn lines(mut self, lines: u32) -> Self {
        self.lines = Some(lines.max(1));
        self
    }

    /// Runs a command with its output in `log`. Prints the end of the output if it fails.
    pub(crate) fn run(mut self, mut command: Command, log: &Path) -> Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let (reader, writer) = io::pipe().context("failed to make a pipe")?;
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        let mut out = File::create(log)?;
        writeln!(out, "$ {command:?}")?;
        let mut child = command
            .spawn()
            .with_context(|| format!("{}: starting `{program}`: is it installed?", self.what))?;
        // The command holds the other end of the pipe, which would never be closed otherwise.
        drop(command);

        let lines = lines(reader);
        let (mut tail, mut done) = (Vec::new(), 0_u32);
        loop {
            match lines.recv_timeout(Duration::from_millis(250)) {
                Ok(line) => {
                    writeln!(out, "{line}")?;
                    done += u32::from(line.starts_with("  "));
                    tail.push(line);
                    if tail.len() > 60 {
                        tail.drain(..30);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let quiet = if io::stderr().is_terminal() { 1 } else { 30 };
            let since = self.spoke.unwrap_or(self.started);
            if since.elapsed() >= Duration::from_secs(quiet) {
                let total = self.lines;
                self.speak(total.map(|total| f64::from(done) / f64::from(total)));
            }
        }
        let status = child.wait().with_context(|| format!("failed to wait for `{program}`"))?;
        if !status.success() {
            self.end("failed");
            for line in tail.iter().rev().take(30).rev() {
                remark(format_args!("  {line}"));
            }
            bail!("{} failed ({status}); the whole output is in {}", self.what, log.display());
        }
        self.done();
        Ok(())
    }

    /// Ends a successful step.
    pub(crate) fn done(self) {
        if self.spoke.is_some() {
            self.end("done");
        }
    }

    fn speak(&mut self, fraction: Option<f64>) {
        if is_kept() {
            return;
        }
        let elapsed = self.started.elapsed();
        let estimate = match fraction {
            // An estimate from the first lines would be a guess.
            Some(fraction) if fraction > 0.03 => elapsed.div_f64(fraction.min(1.0)),
            _ => self.estimate,
        };
        let percent = elapsed.as_secs_f64() / estimate.as_secs_f64().max(1.0) * 100.0;
        let line = if elapsed < Duration::from_secs(1) {
            format!("{} (about {})", self.what, clock(estimate))
        } else if percent < 100.0 {
            format!(
                "{}: {} of about {} ({percent:.0} %)",
                self.what,
                clock(elapsed),
                clock(estimate)
            )
        } else {
            format!("{}: {}", self.what, clock(elapsed))
        };
        self.spoke = Some(Instant::now());
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K  {line}");
        } else {
            eprintln!("  {line}");
        }
    }

    fn end(&self, how: &str) {
        if is_kept() {
            return;
        }
        let start = if io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
        eprintln!("{start}  {}: {how} after {}", self.what, clock(self.started.elapsed()));
    }
}

/// Reads lines in a thread, so that they can be waited for with a time limit.
pub(crate) fn lines(reader: impl Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n').map_while(io::Result::ok) {
            if send.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

/// A running program, which is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// Starts a program.
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn();
        Ok(Self(child.with_context(|| format!("failed to start `{program}`: is it installed?"))?))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a short command and returns its output; an error has its standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start `{program}`: is it installed?"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}): {}", output.status, complaint.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a short command with `input` as its standard input.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start `{program}`: is it installed?"))?;
    // Dropped at once, so that the program reads the end.
    let written = child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(input));
    let output =
        child.wait_with_output().with_context(|| format!("failed to wait for `{program}`"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} failed ({}): {}", output.status, complaint.trim());
    }
    written.with_context(|| format!("failed to write to `{program}`"))
}

/// Formats minutes and seconds.
pub(crate) fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("xtask-{name}-{}.log", std::process::id()))
    }

    #[test]
    fn failed_step_returns_an_error_and_keeps_its_output() {
        let log = log("step");
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let error = Step::new("trying", 3).run(command, &log).unwrap_err().to_string();
        assert!(error.contains("trying failed") && error.contains('3'), "{error}");
        let kept = std::fs::read_to_string(&log).unwrap();
        assert!(kept.ends_with("one\ntwo\n"), "{kept}");
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn missing_program_is_named() {
        let log = log("missing");
        let command = Command::new("no-such-program-anywhere");
        let error = Step::new("trying", 3).run(command, &log).unwrap_err().to_string();
        assert!(error.contains("no-such-program-anywhere"), "{error}");
        std::fs::remove_file(log).unwrap();
    }

    #[test]
    fn durations_show_minutes_and_seconds() {
        assert_eq!(clock(Duration::from_secs(5)), "0:05");
        assert_eq!(clock(Duration::from_secs(266)), "4:26");
    }
}

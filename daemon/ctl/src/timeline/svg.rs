// SPDX-License-Identifier: MIT OR Apache-2.0

//! The timeline as a picture, with a lane for each kind of step and time from left to right.

use std::fmt::{self, Write as _};

use super::{By, Gpu, Lane, Step, Timelines, milliseconds};
use crate::output::{Sanitized, joined};

/// Width of the picture, left and right end of its lanes, and height of a line, in pixels.
const WIDTH: u64 = 1000;
const LEFT: u64 = 90;
const RIGHT: u64 = 960;
const LINE: u64 = 18;
/// Assumed width of a character, in pixels.
const CHARACTER: u64 = 7;
/// Maximum length of a label, in characters.
const LABEL: usize = 64;
/// Time after the first step at which a boot is considered complete, in microseconds. The daemon's
/// steps can continue for weeks.
const BOOT: u64 = 60_000_000;
/// Maximum number of marks on the axis.
const MARKS: u64 = 9;

/// Text escaped for use between tags.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in Sanitized(self.0).to_string().chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                // These are not valid characters in XML 1.0.
                '\u{fffe}' | '\u{ffff}' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Draws the timelines.
pub(super) fn draw(timelines: &Timelines) -> String {
    let mut body = String::new();
    let mut y = LINE;
    for gpu in &timelines.gpus {
        y = draw_gpu(&mut body, gpu, y) + LINE;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" width=\"{WIDTH}\" \
         height=\"{y}\" font-family=\"monospace\" font-size=\"11\">\n\
         <rect width=\"{WIDTH}\" height=\"{y}\" fill=\"white\"/>\n{body}</svg>\n"
    )
}

/// Scale of the time axis.
struct Axis {
    from: u64,
    to: u64,
    /// Distance between marks.
    mark: u64,
}

impl Axis {
    /// Spans the time from the first step to the last one of the boot or the end of the hold,
    /// rounded to marks at both ends.
    fn of(gpu: &Gpu) -> Self {
        let first = gpu.steps.first().map_or(0, |step| step.at_us);
        let in_boot = |at: &u64| *at <= first.saturating_add(BOOT);
        let ends = gpu.hold.and_then(|hold| hold.to_us);
        let last = gpu.steps.iter().map(|step| step.at_us).chain(ends).filter(in_boot).max();
        let last = last.unwrap_or(first).max(first.saturating_add(1_000));
        let mark = mark(last - first);
        let from = first / mark * mark;
        let to = from.saturating_add((last - from).div_ceil(mark) * mark);
        Self { from, to, mark }
    }

    fn x(&self, at: u64) -> u64 {
        let at = at.clamp(self.from, self.to) - self.from;
        LEFT + at * (RIGHT - LEFT) / (self.to - self.from).max(1)
    }
}

/// Returns the distance of marks for an axis of this length: 1, 2 or 5 times a power of ten.
fn mark(length: u64) -> u64 {
    let powers = std::iter::successors(Some(100_u64), |power| power.checked_mul(10));
    let mut marks = powers.flat_map(|power| [power, 2 * power, 5 * power]);
    marks.find(|mark| length / mark < MARKS).unwrap_or(length)
}

/// Draws a GPU below `y`, and returns its lower end.
fn draw_gpu(out: &mut String, gpu: &Gpu, y: u64) -> u64 {
    let axis = Axis::of(gpu);
    let Gpu { device, state, reason, .. } = gpu;
    let why = if reason.is_empty() { String::new() } else { format!(", {reason}") };
    let title = format!("GPU {device}: {state}{why}");
    text(out, 10, y, "font-size=\"13\" font-weight=\"bold\"", &title);
    let top = y + LINE;
    let mut lanes = String::new();
    let mut below = top + LINE;
    for lane in Lane::ALL.into_iter().filter(|lane| !gpu.unknown.contains(lane)) {
        below = draw_lane(&mut lanes, gpu, lane, &axis, below);
    }
    let mut at = axis.from;
    while at <= axis.to && at < u64::MAX {
        let x = axis.x(at);
        let _ = writeln!(
            out,
            "<path d=\"M{x} {top}V{below}\" stroke=\"#ddd\"/>\
             <text x=\"{x}\" y=\"{top}\" fill=\"#666\" text-anchor=\"middle\">{} ms</text>",
            milliseconds(at).trim_end_matches('0').trim_end_matches('.')
        );
        at = at.saturating_add(axis.mark);
    }
    out.push_str(&lanes);
    let mut note = |words: String| {
        below += LINE;
        text(out, 10, below, "fill=\"#666\"", &words);
    };
    if !gpu.unknown.is_empty() {
        let lanes = joined(gpu.unknown.iter().copied().map(Lane::as_str), "");
        note(format!("not recorded: {lanes}"));
    }
    let later = gpu.steps.iter().filter(|step| step.at_us > axis.to).count();
    if later > 0 {
        note(format!("{later} later steps: see `protheapctl timeline`"));
    }
    if gpu.steps.iter().any(|step| step.by == By::Udev) {
        note("hollow: seen by udev at this time, present earlier".to_owned());
    }
    below
}

/// Draws a lane below `y`, and returns its lower end. A label that would overlap another one moves
/// to another line.
fn draw_lane(out: &mut String, gpu: &Gpu, lane: Lane, axis: &Axis, y: u64) -> u64 {
    let _ = writeln!(out, "<path d=\"M10 {y}H{RIGHT}\" stroke=\"#bbb\"/>");
    text(out, 10, y + 13, "font-weight=\"bold\"", lane.as_str());
    if let Some(hold) = gpu.hold.filter(|_| lane == Lane::Hold) {
        let (from, to) = (axis.x(hold.from_us), axis.x(hold.to_us.unwrap_or(axis.to)));
        let width = (to - from).max(1);
        let _ = writeln!(
            out,
            "<rect x=\"{from}\" y=\"{}\" width=\"{width}\" height=\"12\" fill=\"#fd8\"/>",
            y + 3
        );
    }
    // Begin and end of the labels in each line.
    let mut lines: Vec<Vec<(u64, u64)>> = vec![Vec::new()];
    for step in gpu.steps.iter().filter(|step| step.lane == lane && step.at_us <= axis.to) {
        let x = axis.x(step.at_us);
        let label = label(step);
        let width = label.chars().count() as u64 * CHARACTER;
        let is_left = x + 8 + width > WIDTH;
        let place =
            if is_left { (x.saturating_sub(8 + width), x + 4) } else { (x - 4, x + 8 + width) };
        let is_free = |line: &Vec<(u64, u64)>| {
            line.iter().all(|taken| taken.1 < place.0 || place.1 < taken.0)
        };
        let line = lines.iter().position(is_free).unwrap_or_else(|| {
            lines.push(Vec::new());
            lines.len() - 1
        });
        if let Some(line) = lines.get_mut(line) {
            line.push(place);
        }
        draw_step(out, step, &label, (x, y + line as u64 * LINE), is_left);
    }
    y + lines.len() as u64 * LINE
}

fn draw_step(out: &mut String, step: &Step, label: &str, (x, y): (u64, u64), is_left: bool) {
    let (fill, stroke) = match (step.by, step.step.as_str()) {
        (By::Udev, _) => ("white", "#36c"),
        (By::StateFile, "bound" | "in-use" | "supplied") => ("#2a2", "#2a2"),
        (By::StateFile, _) => ("#36c", "#36c"),
    };
    let _ = writeln!(
        out,
        "<circle cx=\"{x}\" cy=\"{}\" r=\"4\" fill=\"{fill}\" stroke=\"{stroke}\"><title>{} ms: {}\
         </title></circle>",
        y + 9,
        milliseconds(step.at_us),
        Escaped(&described(step))
    );
    let (x, anchor) = if is_left { (x - 8, "text-anchor=\"end\"") } else { (x + 8, "") };
    text(out, x, y + 13, anchor, label);
}

/// Returns a step as text.
fn described(Step { step, detail, .. }: &Step) -> String {
    if detail.is_empty() { step.clone() } else { format!("{step}: {detail}") }
}

/// Returns the part of the text that is shown beside a step.
fn label(step: &Step) -> String {
    let words = described(step);
    match words.char_indices().nth(LABEL) {
        Some((end, _)) => words.get(..end).unwrap_or_default().to_owned() + "…",
        None => words,
    }
}

fn text(out: &mut String, x: u64, y: u64, style: &str, words: &str) {
    let space = if style.is_empty() { "" } else { " " };
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\"{space}{style}>{}</text>", Escaped(words));
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Figures and their limits.

use std::fmt;

use anyhow::{Result, bail};
use serde::{Serialize, Serializer};

/// Unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Nanoseconds,
    Bytes,
    Kibibytes,
    Count,
    Times,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Bytes => "bytes",
            Self::Kibibytes => "KiB",
            Self::Count => "",
            Self::Times => "times",
        }
    }

    /// Formats a value.
    fn show(self, value: f64) -> String {
        match self {
            Self::Nanoseconds if value >= 1e8 => format!("{:.1} ms", value / 1e6),
            Self::Nanoseconds if value >= 1e5 => format!("{:.3} ms", value / 1e6),
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::Times => format!("{value:.3} times"),
            _ => format!("{value:.0} {}", self.name()).trim_end().to_owned(),
        }
    }
}

impl Serialize for Unit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Samples of one figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Figure {
    name: String,
    pub(super) median: f64,
    min: f64,
    max: f64,
    samples: usize,
    unit: Unit,
}

impl Figure {
    /// Returns the figure of these samples, of which there must be at least one.
    pub(super) fn new(name: &str, mut samples: Vec<f64>, unit: Unit) -> Result<Self> {
        samples.sort_by(f64::total_cmp);
        let (Some(min), Some(max)) = (samples.first(), samples.last()) else {
            bail!("no sample of `{name}` was taken");
        };
        let upper = samples[samples.len() / 2];
        let lower = samples[(samples.len() - 1) / 2];
        let median = f64::midpoint(lower, upper);
        Ok(Self {
            name: name.to_owned(),
            median,
            min: *min,
            max: *max,
            samples: samples.len(),
            unit,
        })
    }

    /// Returns a figure that was measured once, because it is always the same.
    pub(super) fn one(name: &str, value: f64, unit: Unit) -> Self {
        let name = name.to_owned();
        Self { name, median: value, min: value, max: value, samples: 1, unit }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<38} {:>14}", self.name, self.unit.show(self.median))?;
        if self.samples > 1 {
            let (min, max) = (self.unit.show(self.min), self.unit.show(self.max));
            write!(f, "  ({min} .. {max}, {} samples)", self.samples)?;
        }
        Ok(())
    }
}

/// Limit of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    /// There is no limit.
    None,
}

/// One comparison.
#[derive(Debug, Serialize)]
pub(super) struct Measure {
    pub(super) what: String,
    figures: Vec<Figure>,
    value: f64,
    unit: Unit,
    #[serde(serialize_with = "limit")]
    limit: Limit,
    /// Absent without a limit.
    ok: Option<bool>,
}

impl Measure {
    /// Returns a value of any unit, computed from the figures.
    pub(super) fn new(
        what: impl Into<String>,
        figures: Vec<Figure>,
        value: f64,
        unit: Unit,
        limit: Limit,
    ) -> Self {
        let ok = match limit {
            Limit::AtMost(most) => Some(value <= most),
            Limit::AtLeast(least) => Some(value >= least),
            Limit::None => None,
        };
        Self { what: what.into(), figures, value, unit, limit, ok }
    }

    /// Returns the ratio of the first figure to the second; the others explain them.
    pub(super) fn ratio<const N: usize>(
        what: impl Into<String>,
        figures: [Figure; N],
        limit: Limit,
    ) -> Self {
        const { assert!(N >= 2) };
        let ratio = figures[0].median / figures[1].median;
        Self::new(what, figures.into(), ratio, Unit::Times, limit)
    }

    /// Returns a figure that has a limit itself.
    pub(super) fn value(what: impl Into<String>, figure: Figure, limit: Limit) -> Self {
        let (value, unit) = (figure.median, figure.unit);
        Self::new(what, vec![figure], value, unit, limit)
    }

    /// Returns the value with its limit.
    pub(super) fn verdict(&self) -> String {
        let value = self.unit.show(self.value);
        let (bound, limit) = match self.limit {
            Limit::AtMost(limit) => ("at most", limit),
            Limit::AtLeast(limit) => ("at least", limit),
            Limit::None => return value,
        };
        let limit = self.unit.show(limit);
        let ok = if self.is_missed() { "MISSED" } else { "ok" };
        format!("{value}, {bound} {limit}: {ok}")
    }

    /// Returns whether it exceeds its limit.
    pub(super) fn is_missed(&self) -> bool {
        self.ok == Some(false)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.what, self.verdict())?;
        self.figures.iter().try_for_each(|figure| writeln!(f, "    {figure}"))
    }
}

/// Serializes as `{"at_most": 1.5}`, `{"at_least": 20}`, or null.
fn limit<S: Serializer>(limit: &Limit, serializer: S) -> Result<S::Ok, S::Error> {
    match limit {
        Limit::AtMost(value) => serializer.collect_map([("at_most", value)]),
        Limit::AtLeast(value) => serializer.collect_map([("at_least", value)]),
        Limit::None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_is_the_median() {
        let figure = |samples: &[f64]| Figure::new("x", samples.to_vec(), Unit::Count).unwrap();
        assert_eq!(figure(&[9.0, 1.0, 2.0]).median, 2.0);
        let even = figure(&[4.0, 1.0, 2.0, 9.0]);
        assert_eq!((even.median, even.min, even.max), (3.0, 1.0, 9.0));
        assert!(Figure::new("x", Vec::new(), Unit::Count).is_err());
    }

    #[test]
    fn limits_are_met_or_missed() {
        let measure = |value, limit| Measure::new("x", Vec::new(), value, Unit::Times, limit);
        assert!(!measure(0.5, Limit::AtMost(0.5)).is_missed());
        assert!(measure(0.51, Limit::AtMost(0.5)).is_missed());
        assert!(!measure(20.0, Limit::AtLeast(20.0)).is_missed());
        assert!(measure(19.9, Limit::AtLeast(20.0)).is_missed());
        assert_eq!(measure(1e9, Limit::None).ok, None);
        let missed = measure(2.0, Limit::AtMost(1.5));
        assert_eq!(missed.verdict(), "2.000 times, at most 1.500 times: MISSED");
        let json = serde_json::to_value(&missed).unwrap();
        assert_eq!(json["limit"]["at_most"], 1.5);
        assert_eq!(json["ok"], false);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares the conditions of a candidate with the facts of a machine.

use protheap_policy::conditions::Conditions;
use protheap_policy::revision::Range;

use crate::facts::{Facts, Soc, Tee};

/// Returns why the kernel or the SoC does not meet `conditions`. Neither changes while the machine
/// runs.
pub(crate) fn unmet_by_machine(conditions: &Conditions, facts: &Facts) -> Option<String> {
    if let Some(range) = &conditions.kernel {
        let release = facts.kernel.release.as_str();
        if !range.contains(number(release)) {
            return Some(format!("requires kernel {range}, found {}", or_unknown(Some(release))));
        }
    }
    let fits = |soc: &Soc| {
        conditions.soc_id.as_ref().is_none_or(|id| soc.id.as_ref() == Some(id))
            && within(conditions.soc_revision.as_ref(), soc.revision.as_deref())
    };
    if conditions.ask_for_soc() && !facts.socs.iter().any(fits) {
        let wanted = wanted("SoC", conditions.soc_id.as_deref(), conditions.soc_revision.as_ref());
        let found = facts.socs.iter().map(|soc| (soc.id.as_deref(), soc.revision.as_deref()));
        return Some(format!("{wanted}, {}", found_of(found)));
    }
    None
}

/// Returns why no registered TEE meets `conditions`.
pub(crate) fn unmet_by_tees(conditions: &Conditions, tees: &[Tee]) -> Option<String> {
    let fits = |tee: &Tee| {
        conditions.tee.as_ref().is_none_or(|name| *name == tee.implementation)
            && within(conditions.tee_revision.as_ref(), tee.revision.as_deref())
    };
    if !conditions.ask_for_tee() || tees.iter().any(fits) {
        return None;
    }
    let wanted = wanted("TEE", conditions.tee.as_deref(), conditions.tee_revision.as_ref());
    let found = tees.iter().map(|tee| (Some(&*tee.implementation), tee.revision.as_deref()));
    Some(format!("{wanted}, {}", found_of(found)))
}

/// Returns the leading dotted number of a kernel release, such as `7.3.4` for `7.3.4-arm64`.
fn number(release: &str) -> &str {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    release.get(..end).unwrap_or_default().trim_end_matches('.')
}

fn within(range: Option<&Range>, revision: Option<&str>) -> bool {
    range.is_none_or(|range| revision.is_some_and(|revision| range.contains(revision)))
}

fn or_unknown(text: Option<&str>) -> &str {
    text.filter(|text| !text.is_empty()).unwrap_or("unknown")
}

fn wanted(what: &str, name: Option<&str>, range: Option<&Range>) -> String {
    let range = range.map(|range| format!(" {range}")).unwrap_or_default();
    format!("requires {what} {}{range}", name.unwrap_or("of any kind"))
}

fn found_of<'a>(found: impl Iterator<Item = (Option<&'a str>, Option<&'a str>)>) -> String {
    let shown =
        |(name, revision)| format!("{} revision {}", or_unknown(name), or_unknown(revision));
    let found: Vec<_> = found.map(shown).collect();
    format!("found {}", if found.is_empty() { "none".to_owned() } else { found.join(" and ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Option<Range> {
        Some(Range::new(text).unwrap())
    }

    #[test]
    fn kernel_condition_compares_the_leading_number() {
        let wants = Conditions { kernel: range(">=7.3, <7.4"), ..Conditions::default() };
        let mut facts = Facts::default();
        for fits in ["7.3", "7.3.4-arm64", "7.3-rc2", "7.3.12+deb14-arm64", "7.3.4."] {
            facts.kernel.release = fits.to_owned();
            assert_eq!(unmet_by_machine(&wants, &facts), None, "{fits}");
        }
        for other in ["7.2.9-7.3", "7.4.0", "", "next-7.3"] {
            facts.kernel.release = other.to_owned();
            assert!(unmet_by_machine(&wants, &facts).is_some(), "{other}");
        }
    }

    #[test]
    fn one_soc_must_meet_all_conditions() {
        let soc = |id: &str, revision: Option<&str>| Soc {
            id: Some(id.into()),
            revision: revision.map(str::to_owned),
        };
        let wants = Conditions {
            soc_id: Some("i.MX95".into()),
            soc_revision: range(">=2.0"),
            ..Conditions::default()
        };
        let mut facts = Facts { socs: vec![soc("i.MX95", Some("2.0"))], ..Facts::default() };
        assert_eq!(unmet_by_machine(&wants, &facts), None);
        facts.socs = vec![soc("i.MX95", Some("1.1")), soc("i.MX93", Some("2.0"))];
        assert_eq!(
            unmet_by_machine(&wants, &facts).unwrap(),
            "requires SoC i.MX95 >=2.0, found i.MX95 revision 1.1 and i.MX93 revision 2.0"
        );
        facts.socs = vec![soc("i.MX95", None)];
        assert!(unmet_by_machine(&wants, &facts).unwrap().ends_with("revision unknown"));
        facts.socs.clear();
        assert!(unmet_by_machine(&wants, &facts).unwrap().ends_with("found none"));
    }
}

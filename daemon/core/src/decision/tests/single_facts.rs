// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checks conditions of the selection that differ in one fact only.

use super::*;
use crate::facts::Parameter;

fn policy(heaps: &str) -> Policy {
    super::policy(&format!("heaps = [{heaps}]"))
}

/// Returns facts without protheap.ko, for a panthor with this parameter.
fn with_parameter(heaps: &[&str], parameter: Parameter, driver: Option<&str>) -> Facts {
    let mut facts = facts(heaps);
    (facts.kernel.module, facts.kernel.parameter) = (None, Some(parameter));
    facts.gpus.values_mut().next().unwrap().driver = driver.map(str::to_owned);
    facts
}

/// Adds a provider whose probe is pending.
fn with_pending(mut facts: Facts, compatible: &str) -> Facts {
    let compatibles = vec![compatible.to_owned()];
    let provider = Provider { compatible: compatibles, loadable: true, ..Provider::default() };
    facts.providers.insert(DeviceName::new(compatible).unwrap(), provider);
    facts
}

fn plan(heaps: &str, facts: &Facts) -> Plan {
    decide(&policy(heaps), facts).gpus.into_values().next().unwrap().plan
}

fn outcomes(heaps: &str, facts: &Facts) -> Vec<Outcome> {
    let decision = decide(&policy(heaps), facts).gpus.into_values().next().unwrap();
    decision.trace.iter().map(|considered| considered.outcome).collect()
}

#[test]
fn parameter_of_panthor_serves_no_other_driver() {
    let open = |driver| with_parameter(&["a"], Parameter::Open, driver);
    assert!(matches!(plan("{ name = 'a' }", &open(None)), Plan::Try(_)));
    assert!(matches!(plan("{ name = 'a' }", &open(Some("panthor"))), Plan::Try(_)));
    let other = plan("{ name = 'a' }", &open(Some("tyr")));
    assert_eq!(other, Plan::Without(Reason::NoConsumer));
}

#[test]
fn parameter_is_kept_only_if_it_names_a_candidate() {
    let set = |name: &str| with_parameter(&["a", "b"], Parameter::Set(name.into()), None);
    assert_eq!(plan("{ name = 'a' }", &set("a")), Plan::Keep(heap("a")));
    assert_eq!(plan("{ name = 'a' }", &set("b")), Plan::Without(Reason::AlreadyProbed));
}

#[test]
fn board_has_a_provider_if_a_present_heap_has_unmet_conditions() {
    let unmet = |heaps: &str, there: &[&str]| {
        let mut facts = facts(there);
        facts.kernel.release = "7.3.4".into();
        plan(heaps, &facts)
    };
    let (no_heap, no_provider) = (Plan::Without(Reason::NoHeap), Plan::Without(Reason::NoProvider));
    let one = "{ name = 'a', kernel = '>=8' }";
    assert_eq!(unmet(one, &["a"]), no_heap);
    assert_eq!(unmet(one, &["b"]), no_provider);
    // A candidate that is absent does not change what an earlier one showed.
    let two = "{ name = 'a', kernel = '>=8' }, { name = 'c', kernel = '>=8' }";
    assert_eq!(unmet(two, &["a"]), no_heap);
    let of_tee = "{ name = 'a', tee = 'optee' }";
    assert_eq!(plan(of_tee, &facts(&["a"])), no_heap);
    assert_eq!(plan(of_tee, &facts(&["b"])), no_provider);
}

#[test]
fn dead_heap_is_awaited_although_no_other_candidate_is() {
    let mut dead = facts(&["a"]);
    dead.gpus.values_mut().next().unwrap().verdicts.insert(heap("a"), Verdict::Dead);
    let candidate = "{ name = 'a', provider = 'acme,svp' }";
    assert_eq!(plan(candidate, &dead), Plan::Fail(Reason::HeapDead));
    let other = with_pending(dead.clone(), "linaro,optee-tz");
    assert_eq!(plan(candidate, &other), Plan::Fail(Reason::HeapDead));
    let own = with_pending(dead, "acme,svp");
    assert_eq!(plan(candidate, &own), Plan::Wait);
    assert_eq!(outcomes(candidate, &own), [Outcome::Awaited]);
}

#[test]
fn registered_tee_of_another_revision_is_not_awaited() {
    let candidate = "{ name = 'a', tee = 'optee', tee-revision = '>=4.6' }";
    let mut facts = with_pending(facts(&["a"]), "linaro,optee-tz");
    assert_eq!(plan(candidate, &facts), Plan::Wait);
    facts.tees = vec![Tee { implementation: "optee".into(), revision: Some("4.5".into()) }];
    assert_eq!(outcomes(candidate, &facts), [Outcome::ConditionUnmet]);
    assert_eq!(plan(candidate, &facts), Plan::Without(Reason::NoHeap));
}

#[test]
fn empty_list_of_heaps_is_no_policy() {
    let mut facts = facts(&["a"]);
    assert_eq!(plan("", &facts), Plan::Without(Reason::NoPolicy));
    facts = with_pending(facts, "linaro,optee-tz");
    assert_eq!(plan("", &facts), Plan::Without(Reason::NoPolicy));
}

#[test]
fn trace_of_an_absent_prefix_has_the_failures_of_its_provider() {
    let mut facts = with_pending(facts(&["system"]), "acme,svp");
    let failure = Failure { message: "probe failed".into(), certain: true };
    facts.providers.values_mut().next().unwrap().failure = Some(failure);
    let policy = policy("{ name = 'protected,*' }");
    let decision = decide(&policy, &facts).gpus.into_values().next().unwrap();
    assert_eq!(decision.trace[0].outcome, Outcome::Absent);
    assert_eq!(decision.trace[0].detail, "acme,svp: probe failed");
}

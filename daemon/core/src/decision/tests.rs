// SPDX-License-Identifier: MIT OR Apache-2.0

mod single_facts;

use super::*;
use crate::facts::{Failure, Module, Shortage, Source, Tee};
use crate::trace::bound_trace;
use protheap_policy::fragment::Fragment;
use protheap_policy::merged::Merged;
use protheap_policy::name::Key;

fn policy(heaps: &str) -> Policy {
    let text = format!("schema = 1\n[gpu.'arm,mali-valhall-csf']\n{heaps}\n");
    let key = Key::new("acme,a9").unwrap();
    Policy::new(Merged::new(vec![Fragment::parse(&key, "acme,a9.toml", &text).unwrap()]))
}

fn heap(name: &str) -> HeapName {
    HeapName::new(name).unwrap()
}

fn facts(heaps: &[&str]) -> Facts {
    let gpu = Gpu { compatible: vec!["arm,mali-valhall-csf".into()], ..Gpu::default() };
    let mut facts = Facts::default();
    facts.gpus.insert(DeviceName::new("a.gpu").unwrap(), gpu);
    facts.kernel.module = Some(Module { abi: 1, can_allocate: false });
    facts.heaps = heaps.iter().map(|name| heap(name)).collect();
    facts
}

fn with_provider(mut facts: Facts, compatible: &str, driver: Option<&str>) -> Facts {
    let provider = Provider {
        compatible: vec![compatible.into()],
        driver: driver.map(str::to_owned),
        loadable: true,
        ..Provider::default()
    };
    facts.providers.insert(DeviceName::new(compatible).unwrap(), provider);
    facts
}

fn judged(mut facts: Facts, name: &str, verdict: Verdict) -> Facts {
    let gpu = facts.gpus.values_mut().next().unwrap();
    gpu.verdicts.insert(heap(name), verdict);
    facts
}

fn allocated(protection: Protection) -> Verdict {
    Verdict::Allocated { protection, exporter: "tee".into(), shortage: None }
}

fn one(policy: &Policy, facts: &Facts) -> GpuDecision {
    decide(policy, facts).gpus.into_values().next().unwrap()
}

fn outcomes(decision: &GpuDecision) -> Vec<Outcome> {
    decision.trace.iter().map(|considered| considered.outcome).collect()
}

fn tried(decision: &GpuDecision) -> &str {
    match &decision.plan {
        Plan::Try(request) => request.heap.as_str(),
        other => panic!("{other:?}"),
    }
}

const TWO: &str = "heaps = [{ name = 'high' }, { name = 'low' }]";

#[test]
fn first_present_heap_is_tried_then_bound() {
    let decision = one(&policy(TWO), &facts(&["low"]));
    assert_eq!(tried(&decision), "low");
    assert_eq!(outcomes(&decision), [Outcome::Absent, Outcome::Untried]);
    let decision =
        one(&policy(TWO), &judged(facts(&["low", "high"]), "high", allocated(Protection::Tee)));
    assert!(matches!(&decision.plan, Plan::Bind(request) if request.heap.as_str() == "high"));
    assert_eq!(outcomes(&decision), [Outcome::Chosen, Outcome::NotReached]);
}

#[test]
fn selection_waits_for_a_preferred_heap_until_the_last_call() {
    let facts = with_provider(facts(&["low"]), "linaro,optee-tz", None);
    let policy = policy(TWO);
    assert_eq!(one(&policy, &facts).plan, Plan::Wait);
    let (device, gpu) = facts.gpus.iter().next().unwrap();
    let gpu_policy = policy.gpu(device, &gpu.compatible);
    assert_eq!(tried(&decide_gpu(gpu_policy.as_ref(), &facts, gpu, Patience::LastCall)), "low");
}

#[test]
fn candidate_waits_only_for_the_provider_it_names() {
    let policy = policy("heaps = [{ name = 'high', provider = 'acme,svp' }, { name = 'low' }]");
    let probed = with_provider(facts(&["low"]), "acme,svp", Some("svp"));
    let other = with_provider(probed.clone(), "linaro,optee-tz", None);
    assert_eq!(tried(&one(&policy, &other)), "low");
    let own = with_provider(other, "acme,svp", None);
    assert_eq!(one(&policy, &own).plan, Plan::Wait);
}

#[test]
fn provider_without_a_loadable_driver_is_not_pending() {
    let mut facts = with_provider(facts(&[]), "linaro,optee-tz", None);
    facts.providers.values_mut().next().unwrap().loadable = false;
    assert_eq!(one(&policy(TWO), &facts).plan, Plan::Without(Reason::NoHeap));
}

#[test]
fn selection_does_not_wait_for_a_failed_provider() {
    let mut facts = with_provider(facts(&[]), "linaro,optee-tz", None);
    assert_eq!(one(&policy(TWO), &facts).plan, Plan::Wait);
    let message = "probe with driver optee failed with error -22".to_owned();
    let provider = facts.providers.values_mut().next().unwrap();
    provider.failure = Some(Failure { message, certain: true });
    let decision = one(&policy(TWO), &facts);
    assert_eq!(decision.plan, Plan::Without(Reason::NoHeap));
    let detail = "linaro,optee-tz: probe with driver optee failed with error -22";
    assert_eq!(decision.trace[0].detail, detail);
    // The failed provider does not serve this candidate.
    let other = policy("heaps = [{ name = 'high', provider = 'acme,svp' }]");
    assert_eq!(one(&other, &facts).trace[0].detail, "");
}

#[test]
fn candidate_waits_only_for_the_module_it_names() {
    let policy = policy("heaps = [{ name = 'high', module = 'acme-svp' }, { name = 'low' }]");
    for &state in HeapModule::ALL {
        let mut with = facts(&["low"]);
        with.heap_modules.insert("acme_svp".into(), state);
        let decision = one(&policy, &with);
        if matches!(state, HeapModule::Installed | HeapModule::Coming) {
            assert_eq!(decision.plan, Plan::Wait, "{state}");
            let gpu = with.gpus.values().next().unwrap();
            let gpu_policy = policy.gpu(with.gpus.keys().next().unwrap(), &gpu.compatible);
            let last = decide_gpu(gpu_policy.as_ref(), &with, gpu, Patience::LastCall);
            assert_eq!(tried(&last), "low");
        } else {
            assert_eq!(tried(&decision), "low", "{state}");
        }
        with.heaps.insert(heap("high"));
        assert_eq!(tried(&one(&policy, &with)), "high", "{state}");
    }
    // A provider that is pending does not register the heap of a module, nor a module that of
    // another candidate.
    let other = with_provider(facts(&[]), "linaro,optee-tz", None);
    let named = super::tests::policy("heaps = [{ name = 'high', module = 'acme_svp' }]");
    assert_eq!(one(&named, &other).plan, Plan::Without(Reason::NoHeap));
    let mut installed = facts(&[]);
    installed.heap_modules.insert("acme_svp".into(), HeapModule::Installed);
    let free = super::tests::policy("heaps = [{ name = 'low' }]");
    assert_eq!(one(&free, &installed).plan, Plan::Without(Reason::NoProvider));
}

#[test]
fn trace_has_the_state_of_a_module_that_registers_no_heap() {
    let policy = policy("heaps = [{ name = 'high', module = 'acme_svp' }]");
    let of = |state| {
        let mut facts = facts(&[]);
        facts.heap_modules.insert("acme_svp".into(), state);
        let decision = one(&policy, &facts);
        (decision.plan, decision.trace[0].detail.clone())
    };
    let (no_heap, no_provider) = (Plan::Without(Reason::NoHeap), Plan::Without(Reason::NoProvider));
    let missing = "module acme_svp is not installed".to_owned();
    assert_eq!(of(HeapModule::Missing), (no_provider, missing));
    let gone = "module acme_svp failed to initialize, or was unloaded".to_owned();
    assert_eq!(of(HeapModule::Gone), (no_heap.clone(), gone));
    assert_eq!(of(HeapModule::Live), (no_heap.clone(), String::new()));
    assert_eq!(of(HeapModule::BuiltIn), (no_heap, String::new()));
}

#[test]
fn unprotected_gpu_has_a_reason() {
    assert_eq!(one(&policy(TWO), &facts(&[])).plan, Plan::Without(Reason::NoProvider));
    let probed = with_provider(facts(&[]), "linaro,optee-tz", Some("optee"));
    assert_eq!(one(&policy(TWO), &probed).plan, Plan::Without(Reason::NoHeap));
    assert_eq!(one(&policy("hold = '1s'"), &probed).plan, Plan::Without(Reason::NoPolicy));
    let mut no_module = facts(&["high"]);
    no_module.kernel.module = None;
    assert_eq!(one(&policy(TWO), &no_module).plan, Plan::Without(Reason::NoConsumer));
}

#[test]
fn gpu_can_be_bound_only_with_a_present_or_pending_heap() {
    let pending = with_provider(facts(&[]), "linaro,optee-tz", None);
    let high = facts(&["high"]);
    let good = judged(high.clone(), "high", allocated(Protection::Tee));
    for facts in [&pending, &high, &good] {
        assert!(one(&policy(TWO), facts).plan.can_bind(), "{facts:?}");
    }
    for facts in [facts(&[]), judged(high, "high", Verdict::Dead)] {
        assert!(!one(&policy(TWO), &facts).plan.can_bind(), "{facts:?}");
    }
}

#[test]
fn prefix_selects_only_an_unambiguous_heap() {
    let policy = policy("heaps = [{ name = 'protected,*' }]");
    assert_eq!(tried(&one(&policy, &facts(&["protected,a", "system"]))), "protected,a");
    let decision = one(&policy, &facts(&["protected,a", "protected,b"]));
    assert_eq!(decision.plan, Plan::Without(Reason::NoPolicy));
    assert_eq!(decision.trace[0].detail, "protected,a protected,b");
    let coming = with_provider(facts(&["protected,a"]), "linaro,optee-tz", None);
    assert_eq!(one(&policy, &coming).plan, Plan::Wait);
}

#[test]
fn rejected_heap_yields_to_the_next_and_keeps_its_reason() {
    let first = judged(facts(&["high", "low"]), "high", Verdict::Dead);
    assert_eq!(tried(&one(&policy(TWO), &first)), "low");
    let both = judged(first, "low", Verdict::TooSmall("no memory".into()));
    let decision = one(&policy(TWO), &both);
    assert_eq!(decision.plan, Plan::Fail(Reason::HeapDead));
    assert_eq!(outcomes(&decision), [Outcome::Dead, Outcome::TooSmall]);
}

#[test]
fn heap_with_fewer_buffers_precedes_the_next_candidate() {
    let short = Shortage { allocated: 12, wanted: 16, why: "no memory".into() };
    let exporter = "tee".to_owned();
    let verdict =
        Verdict::Allocated { protection: Protection::Tee, exporter, shortage: Some(short) };
    let facts = judged(facts(&["high", "low"]), "high", verdict);
    let decision = one(&policy(TWO), &facts);
    assert!(matches!(&decision.plan, Plan::Bind(request) if request.heap.as_str() == "high"));
    assert_eq!(decision.trace[0].detail, "exporter tee; 12 of 16 suspend buffers: no memory");
    let small = judged(facts, "high", Verdict::TooSmall("no memory".into()));
    let decision = one(&policy(TWO), &small);
    assert_eq!(tried(&decision), "low");
    assert_eq!(decision.trace[0].detail, "no memory");
}

#[test]
fn trace_of_a_binding_has_one_bound_candidate() {
    let policy = policy(
        "heaps = [{ name = 'a', kernel = '>=8' }, { name = 'b' }, { name = 'a' }, { name = 'p,*' }]",
    );
    let trace = |there: &[&str], bound: &str| {
        let decision = one(&policy, &facts(there));
        let trace = bound_trace(decision.trace, &heap(bound), None);
        trace.iter().map(|one| one.outcome).collect::<Vec<_>>()
    };
    use Outcome::{Absent, Bound, ConditionUnmet, NotReached, Untried};
    assert_eq!(trace(&["a"], "a"), [ConditionUnmet, Absent, Bound, NotReached]);
    // An earlier run bound it before the preferred heap appeared.
    assert_eq!(trace(&["a", "b"], "a"), [ConditionUnmet, Untried, Bound, NotReached]);
    assert_eq!(trace(&["p,x"], "p,x"), [ConditionUnmet, Absent, Absent, Bound]);
    assert_eq!(trace(&["b"], "other"), [ConditionUnmet, Untried, NotReached, NotReached]);
}

#[test]
fn selection_waits_for_a_dead_heap_while_its_tee_is_pending() {
    let dead = judged(facts(&["high"]), "high", Verdict::Dead);
    assert_eq!(one(&policy(TWO), &dead).plan, Plan::Fail(Reason::HeapDead));
    let coming = with_provider(dead, "linaro,optee-tz", None);
    assert_eq!(one(&policy(TWO), &coming).plan, Plan::Wait);
}

#[test]
fn mappable_memory_requires_permission_and_no_lockdown() {
    let mut facts = judged(facts(&["high"]), "high", allocated(Protection::None));
    assert_eq!(one(&policy(TWO), &facts).plan, Plan::Fail(Reason::HeapNotProtected));
    let allowed = policy(&format!("{TWO}\nallow-unprotected = true"));
    assert!(matches!(one(&allowed, &facts).plan, Plan::Bind(request) if request.allow_unprotected));
    facts.kernel.lockdown = true;
    assert_eq!(one(&allowed, &facts).plan, Plan::Fail(Reason::HeapNotProtected));
}

#[test]
fn kernel_allocates_if_the_module_supports_it() {
    let source = |can_allocate| {
        let mut facts = facts(&["high"]);
        facts.kernel.module = Some(Module { abi: 1, can_allocate });
        match one(&policy(TWO), &facts).plan {
            Plan::Try(request) => request.source,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(source(false), Source::Handed);
    assert_eq!(source(true), Source::Kernel);
}

#[test]
fn selection_does_not_wait_for_unmet_machine_conditions() {
    let policy = policy("heaps = [{ name = 'high', kernel = '>=8' }, { name = 'low' }]");
    let mut facts = with_provider(facts(&["high", "low"]), "linaro,optee-tz", None);
    facts.kernel.release = "7.3.4".into();
    let decision = one(&policy, &facts);
    assert_eq!(tried(&decision), "low");
    assert_eq!(outcomes(&decision), [Outcome::ConditionUnmet, Outcome::Untried]);
    assert_eq!(decision.trace[0].detail, "requires kernel >=8, found 7.3.4");
    facts.heaps.retain(|heap| heap.as_str() == "high");
    facts.providers.clear();
    assert_eq!(one(&policy, &facts).plan, Plan::Without(Reason::NoHeap));
}

#[test]
fn unknown_tee_revision_meets_no_condition() {
    let policy = policy("heaps = [{ name = 'high', tee = 'optee', tee-revision = '<4.6' }]");
    let tee = |revision: Option<&str>| {
        let mut facts = facts(&["high"]);
        let revision = revision.map(str::to_owned);
        facts.tees = vec![Tee { implementation: "optee".into(), revision }];
        facts
    };
    assert_eq!(tried(&one(&policy, &tee(Some("4.5")))), "high");
    for unmet in [tee(Some("4.6")), tee(None), facts(&["high"])] {
        assert_eq!(outcomes(&one(&policy, &unmet)), [Outcome::ConditionUnmet]);
    }
    let coming = with_provider(facts(&["high"]), "linaro,optee-tz", None);
    assert_eq!(one(&policy, &coming).plan, Plan::Wait);
}

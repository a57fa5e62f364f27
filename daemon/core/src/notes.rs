// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finds statements of a policy that have no effect on this machine, or that contradict each other.

use std::collections::BTreeSet;

use protheap_policy::name::DeviceName;
use protheap_policy::policy::Policy;
use protheap_policy::schema::{Candidate, Pattern, Share};
use protheap_policy::words;
use serde::Serialize;

use crate::facts::{Facts, HeapModule};
use crate::share::table_of;
use crate::unmet::unmet_by_machine;

/// Directory of the image's policies, below the root. These list alternatives for many firmwares.
const IMAGE: &str = "usr/lib/protheap/policies/";

/// A statement of a policy that deserves attention.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Kind of the note.
    pub what: What,
    /// GPU that the statement is about.
    pub gpu: DeviceName,
    /// Position of the statement.
    pub origin: String,
    /// Whether the file is a local one, and not part of the image.
    pub local: bool,
    /// Description of the problem.
    pub message: String,
    /// Remedy; empty if the policy of the image names a provider that this machine lacks.
    pub next: String,
}

words! {
    /// Kind of a note.
    What {
        /// No device of this machine has the compatible string of a `provider`.
        NoProvider = "no-such-provider",
        /// The module of a candidate is not installed.
        NoModule = "no-such-module",
        /// A GPU can be bound to a heap that its `share` table lacks.
        NotShared = "not-shared",
    }
}

/// Returns the notes about the tables that apply to the machine's GPUs. Candidates whose conditions
/// the kernel or the SoC does not meet are not examined. A position is reported once for each kind.
pub fn notes(policy: &Policy, facts: &Facts) -> Vec<Note> {
    let mut notes: Vec<Note> = Vec::new();
    for (device, gpu) in &facts.gpus {
        let Some(gpu_policy) = policy.gpu(device, &gpu.compatible) else { continue };
        let share = table_of(device, &gpu.compatible, &policy.content().share);
        let candidates = gpu_policy.heaps().iter();
        for candidate in candidates.filter(|one| unmet_by_machine(&one.conditions, facts).is_none())
        {
            let local = !candidate.origin.file.path.contains(IMAGE);
            let is_present = facts.heaps.iter().any(|heap| candidate.name.fits(heap));
            let found = [
                // The image's policies name the providers of other boards and kernels, too.
                source(candidate, facts).filter(|_| local || !is_present),
                share.and_then(|(table, share)| not_shared(candidate, device, table, share)),
            ];
            for (what, message, next) in found.into_iter().flatten() {
                let origin = candidate.origin.to_string();
                if notes.iter().any(|known| known.what == what && known.origin == origin) {
                    continue;
                }
                let next = if local || what == What::NotShared { next } else { String::new() };
                notes.push(Note { what, gpu: device.clone(), origin, local, message, next });
            }
        }
    }
    notes
}

type Found = (What, String, String);

/// Returns a note if the provider or the module of a candidate does not exist on this machine.
fn source(candidate: &Candidate, facts: &Facts) -> Option<Found> {
    let name = &candidate.name;
    if let Some(module) = &candidate.module
        && facts.heap_modules.get(module) == Some(&HeapModule::Missing)
    {
        let message = format!("module {module} of {name} is not installed in this root");
        let next = format!("install {module}.ko for this kernel, and run depmod");
        return Some((What::NoModule, message, next));
    }
    let provider = candidate.provider.as_ref()?;
    let has = |compatible: &[String]| compatible.contains(provider);
    if facts.providers.values().any(|device| has(&device.compatible)) {
        return None;
    }
    let message = match facts.inert_nodes.get(provider) {
        Some(node) => format!(
            "provider {provider} of {name} is no device: the kernel creates none for the node {node}"
        ),
        None => format!("no device on this machine has the compatible string {provider} of {name}"),
    };
    let next = "set `provider` to a compatible string of the device whose driver registers the \
                heap; if a module without a device registers it, set `module` instead";
    Some((What::NoProvider, message, next.to_owned()))
}

/// Returns a note if no list of the GPU's `share` table contains the candidate. A table without any
/// heap says that the GPU shares none.
fn not_shared(
    candidate: &Candidate,
    device: &DeviceName,
    table: &str,
    share: &Share,
) -> Option<Found> {
    let lists: BTreeSet<_> = share.values().flat_map(|list| &list.value).collect();
    if lists.is_empty() || lists.iter().any(|heap| candidate.name.fits(heap)) {
        return None;
    }
    let usages = share.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let name = &candidate.name;
    let message = format!(
        "{name} is a candidate of {device}, but [share.\"{table}\"] does not list it for {usages}: \
         FindHeap does not return it"
    );
    let what = match name {
        Pattern::Exact(_) => "it",
        Pattern::Prefix(_) => "a heap with this prefix",
    };
    let next = format!("add {what} to a list of [share.\"{table}\"]");
    Some((What::NotShared, message, next))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Gpu, Provider};
    use protheap_policy::fragment::Fragment;
    use protheap_policy::merged::Merged;
    use protheap_policy::name::{HeapName, Key};

    const GPU: &str = "[gpu.'arm,mali-valhall-csf']";

    fn policy(files: &[(&str, &str)]) -> Policy {
        let key = Key::new("acme,a9").unwrap();
        let parse = |(path, text): &(&str, &str)| {
            Fragment::parse(&key, path, &format!("schema = 1\n{text}\n")).unwrap()
        };
        Policy::new(Merged::new(files.iter().map(parse).collect()))
    }

    fn local(text: &str) -> Policy {
        policy(&[("/etc/protheap/policies/acme,a9.toml", text)])
    }

    fn facts() -> Facts {
        let mut facts = Facts::default();
        for name in ["a.gpu", "b.gpu"] {
            let compatible = vec!["acme,a9-mali".to_owned(), "arm,mali-valhall-csf".to_owned()];
            let gpu = Gpu { compatible, ..Gpu::default() };
            facts.gpus.insert(DeviceName::new(name).unwrap(), gpu);
        }
        facts
    }

    fn seen(policy: &Policy, facts: &Facts) -> Vec<String> {
        let show = |note: Note| format!("{} {} {}", note.what, note.gpu, note.message);
        notes(policy, facts).into_iter().map(show).collect()
    }

    #[test]
    fn provider_without_a_device_is_noted() {
        let policy = local(&format!("{GPU}\nheaps = [{{ name = 'a', provider = 'acme,svp' }}]"));
        let mut facts = facts();
        let none = "no-such-provider a.gpu no device on this machine has the compatible string \
                    acme,svp of a";
        assert_eq!(seen(&policy, &facts), [none]);
        facts.inert_nodes.insert("acme,svp".into(), "/reserved-memory/svp@1".into());
        // The image's policies list the providers of other boards.
        let text = format!("{GPU}\nheaps = [{{ name = 'a', provider = 'acme,svp' }}]");
        let of_image = self::policy(&[("/usr/lib/protheap/policies/acme,a9.toml", &text)]);
        let next = |policy: &Policy| notes(policy, &facts)[0].next.clone();
        assert!(next(&of_image).is_empty() && !next(&local(&text)).is_empty());
        let mut present = facts.clone();
        present.heaps.insert(HeapName::new("a").unwrap());
        assert_eq!(notes(&of_image, &present), []);
        assert_eq!(notes(&local(&text), &present).len(), 1);
        let inert = "no-such-provider a.gpu provider acme,svp of a is no device: the kernel \
                     creates none for the node /reserved-memory/svp@1";
        assert_eq!(seen(&policy, &facts), [inert]);
        let provider = Provider { compatible: vec!["acme,svp".into()], ..Provider::default() };
        facts.providers.insert(DeviceName::new("svp").unwrap(), provider);
        assert_eq!(seen(&policy, &facts), [""; 0]);
    }

    #[test]
    fn module_that_is_not_installed_is_noted() {
        let policy = local(&format!("{GPU}\nheaps = [{{ name = 'a', module = 'acme-svp' }}]"));
        let mut facts = facts();
        for &state in HeapModule::ALL {
            facts.heap_modules.insert("acme_svp".into(), state);
            let noted = seen(&policy, &facts);
            assert_eq!(noted.len(), usize::from(state == HeapModule::Missing), "{state}");
        }
        // The modules are not known.
        facts.heap_modules.clear();
        assert_eq!(seen(&policy, &facts), [""; 0]);
    }

    #[test]
    fn only_tables_and_candidates_that_can_apply_are_examined() {
        let text = "[gpu.'acme,other-mali']\nheaps = [{ name = 'a', provider = 'x,y' }]
            [gpu.'acme,a9-mali']\nheaps = [{ name = 'a', provider = 'x,y', soc-id = 'B' }]";
        assert_eq!(seen(&local(text), &facts()), [""; 0]);
        let text = format!("{GPU}\nheaps = [{{ name = 'a', provider = 'x,y' }}]");
        let policy = local(&text);
        assert_eq!(notes(&policy, &Facts::default()), []);
        assert_eq!(seen(&policy, &facts()).len(), 1, "once for both GPUs");
    }

    #[test]
    fn file_of_the_image_is_not_local() {
        let text = format!("{GPU}\nheaps = [{{ name = 'a', provider = 'x,y' }}]");
        for (path, expected) in [
            ("/etc/protheap/policies/acme,a9.toml", true),
            ("/run/protheap/policies/acme,a9.toml.d/1.toml", true),
            ("/usr/lib/protheap/policies/acme,a9.toml", false),
            ("tree/usr/lib/protheap/policies/acme,a9.toml", false),
        ] {
            let all = notes(&policy(&[(path, text.as_str())]), &facts());
            assert_eq!(all[0].local, expected, "{path}");
        }
    }

    #[test]
    fn candidate_that_the_share_table_lacks_is_noted() {
        let of = |heaps: &str, share: &str| {
            let base = format!("{GPU}\nheaps = []\n[share.'arm,mali-valhall-csf']\n{share}");
            let refined = format!("{GPU}\nheaps = [{heaps}]");
            let policy = policy(&[("/a.toml", base.as_str()), ("/b.toml", refined.as_str())]);
            let all = notes(&policy, &facts());
            all.into_iter().map(|note| (note.message, note.next)).collect::<Vec<_>>()
        };
        let both = "{ name = 'secure' }, { name = 'protected,a' }";
        let message = "secure is a candidate of a.gpu, but [share.\"arm,mali-valhall-csf\"] does \
                       not list it for video: FindHeap does not return it";
        let next = "add it to a list of [share.\"arm,mali-valhall-csf\"]";
        let expected = [(message.to_owned(), next.to_owned())];
        assert_eq!(of(both, "video = ['protected,a']"), expected);
        assert_eq!(of(both, "video = ['protected,a']\nui = ['secure']"), []);
        assert_eq!(of(both, "video = ['protected,a', 'secure']"), []);
        assert_eq!(of(both, "video = []"), []);
        assert_eq!(of(both, ""), []);
        assert_eq!(of("{ name = 'protected,*' }", "video = ['protected,a']"), []);
        assert_eq!(of("{ name = 'protected,*' }", "video = ['secure']").len(), 1);
    }
}

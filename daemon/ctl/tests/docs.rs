// SPDX-License-Identifier: MIT OR Apache-2.0
//! Checks the documents about policies: their examples parse, merge and select as described, and
//! they name every key and limit of the reader.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use protheap_board::root::Root;
use protheap_core::decision::{Plan, decide};
use protheap_core::facts::{
    FIRMWARE_BYTES, Facts, Gpu, Module, Protection, Provider, Soc, Tee, Verdict,
};
use protheap_core::share::common_heaps;
use protheap_core::state::Reason;
use protheap_policy::cascade::{MOST_KEYS, Outcome};
use protheap_policy::fragment::{Fragment, LARGEST};
use protheap_policy::image::LocalPolicy;
use protheap_policy::name::{DeviceName, HeapName, Key};
use protheap_policy::policy::{GpuPolicy, HOLD, Policy, SUSPEND_BYTES, SUSPEND_COUNT};
use protheap_policy::schema::{LARGEST_SUSPEND_BUFFER, LONGEST_HOLD, MOST_SUSPEND_BUFFERS, TEES};
use protheap_runtime::survey::{Extent, read_policies};

const README: &str = include_str!("../../../README.md");
const POLICY: &str = include_str!("../../../docs/policy.md");
const STATE: &str = include_str!("../../../docs/state.md");
const MANUAL: &str = include_str!("../../../docs/protheap-policy.5");

/// GPU of the examples.
const GPU: &str = "40000000.gpu";

/// A file in a document.
#[derive(Debug)]
struct Example {
    /// Heading of the section that contains it.
    heading: String,
    text: String,
}

impl Example {
    /// Returns the path of the file, which its first line has in a comment.
    fn path(&self) -> &str {
        self.text.lines().next().unwrap().strip_prefix("# ").unwrap()
    }

    fn faults(&self, path: &str) -> Vec<String> {
        let faults = if path == "usr/lib/protheap/image.toml" {
            LocalPolicy::parse(path, &self.text).err()
        } else {
            Fragment::parse(&key(path), path, &self.text).err()
        };
        faults.unwrap_or_default().iter().map(ToString::to_string).collect()
    }
}

/// Returns the key of the policy file at `path`, which must be in a directory of policies.
fn key(path: &str) -> Key {
    let (directory, name) = path.split_once("/protheap/policies/").unwrap();
    assert!(["etc", "run", "usr/lib"].contains(&directory), "{path}");
    let name = name.split_once(".toml.d/").map_or_else(
        || name.strip_suffix(".toml").unwrap(),
        |(name, drop_in)| {
            assert!(drop_in.ends_with(".toml"), "{path}");
            name
        },
    );
    Key::new(name).unwrap()
}

/// Returns every block between `begin` and `end`, with the last heading before it.
fn examples(document: &str, begin: &str, end: &str, headings: &[&str]) -> Vec<Example> {
    let (mut found, mut heading) = (Vec::new(), String::new());
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if line == begin {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != end).collect();
            found.push(Example { heading: heading.clone(), text: text.join("\n") + "\n" });
        } else if line.starts_with("```") {
            // Skips a block of another language, in which no line is a heading.
            lines.by_ref().take_while(|line| *line != "```").for_each(drop);
        } else if let Some(title) = headings.iter().find_map(|mark| line.strip_prefix(mark)) {
            title.clone_into(&mut heading);
        }
    }
    found
}

fn of_markdown(document: &str) -> Vec<Example> {
    examples(document, "```toml", "```", &["## ", "### "])
}

fn of_manual() -> Vec<Example> {
    let mut found = examples(MANUAL, ".EX", ".EE", &[".SH ", ".SS "]);
    for example in &mut found {
        example.text = plain(&example.text);
    }
    found
}

/// Renders text without requests as `man` does.
fn plain(roff: &str) -> String {
    let escapes =
        [("\\-", "-"), ("\\(aq", "'"), ("\\(dq", "\""), ("\\fB", ""), ("\\fI", ""), ("\\fR", "")];
    let text = escapes.iter().fold(roff.to_owned(), |text, (from, to)| text.replace(from, to));
    assert!(!text.contains('\\'), "an escape that this test does not know: {text}");
    text
}

/// Tree of a machine with the files below one heading of docs/policy.md.
struct Tree(PathBuf);

impl Tree {
    fn new(heading: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("protheap-docs-{}-{number}", std::process::id());
        let tree = Self(std::env::temp_dir().join(name));
        fs::create_dir_all(&tree.0).unwrap();
        for example in of_markdown(POLICY).iter().filter(|example| example.heading == heading) {
            let path = tree.path(example.path());
            fs::write(&path, &example.text).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }
        tree
    }

    /// Returns a path in the tree, and creates its directories with a trusted mode.
    fn path(&self, path: &str) -> PathBuf {
        let mut directory = self.0.clone();
        for part in Path::new(path).parent().unwrap() {
            directory.push(part);
            fs::create_dir_all(&directory).unwrap();
            fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        }
        self.0.join(path)
    }

    fn mask(&self, path: &str) {
        symlink("/dev/null", self.path(path)).unwrap();
    }

    /// Returns the policy that applies to a board.
    fn policy(&self, compatible: &[&str]) -> Policy {
        let compatible: Vec<_> = compatible.iter().map(|&one| one.to_owned()).collect();
        let root = Root::open(&self.0).unwrap();
        let mut problems = Vec::new();
        let (policy, files) = read_policies(&root, &compatible, false, Extent::All, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(
            files.iter().all(|file| matches!(file.outcome, Outcome::Applied | Outcome::Masked)),
            "{files:?}"
        );
        policy
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn device() -> DeviceName {
    DeviceName::new(GPU).unwrap()
}

fn gpu() -> Gpu {
    Gpu { compatible: vec!["arm,mali-valhall-csf".to_owned()], ..Gpu::default() }
}

fn gpu_policy(policy: &Policy) -> GpuPolicy {
    policy.gpu(&device(), &gpu().compatible).unwrap()
}

/// Returns a GPU's candidates, `hold`, and the size and number of its suspend buffers.
fn summary(policy: &Policy) -> (Vec<String>, u64, u64, u32) {
    let gpu = gpu_policy(policy);
    let names = gpu.heaps().iter().map(|heap| heap.name.to_string()).collect();
    (names, gpu.hold(), gpu.suspend_bytes(), gpu.suspend_count())
}

/// Returns facts about a machine whose drivers have all probed, and whose heaps are all accepted.
fn facts(heaps: &[&str], revision: Option<&str>) -> Facts {
    let name = |heap: &&str| HeapName::new(heap).unwrap();
    let passed = || Verdict::Allocated {
        protection: Protection::Unmappable,
        exporter: String::new(),
        shortage: None,
    };
    let verdicts = heaps.iter().map(|heap| (name(heap), passed())).collect();
    let optee = Provider { driver: Some("optee".to_owned()), ..Provider::default() };
    let mut facts = Facts {
        gpus: BTreeMap::from([(device(), Gpu { verdicts, ..gpu() })]),
        heaps: heaps.iter().map(name).collect(),
        tees: vec![Tee {
            implementation: "optee".to_owned(),
            revision: revision.map(str::to_owned),
        }],
        providers: BTreeMap::from([(DeviceName::new("firmware:optee").unwrap(), optee)]),
        ..Facts::default()
    };
    facts.kernel.module = Some(Module { abi: 1, can_allocate: true });
    facts
}

/// Returns the heap that is bound to the GPU, or the reason why none is.
fn bound(policy: &Policy, facts: &Facts) -> Result<String, Reason> {
    match &decide(policy, facts).gpus.get(&device()).unwrap().plan {
        Plan::Bind(request) => Ok(request.heap.as_str().to_owned()),
        Plan::Without(reason) | Plan::Fail(reason) => Err(*reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_example_is_a_valid_file() {
    for example in of_markdown(README) {
        assert_eq!(example.faults("etc/protheap/policies/acme,a9.toml"), [""; 0]);
    }
    for (found, least) in [(of_markdown(POLICY), 9), (of_manual(), 3)] {
        assert!(found.len() >= least, "{found:#?}");
        for example in found {
            assert_eq!(example.faults(example.path()), [""; 0], "{}", example.path());
        }
    }
}

#[test]
fn example_of_merging_three_files_is_correct() {
    let tree = Tree::new("Merging");
    let policy = tree.policy(&["acme,a9-kiosk", "acme,a9"]);
    let names = ["acme_svp", "protected,secure-video"].map(str::to_owned);
    assert_eq!(summary(&policy), (names.to_vec(), 2_000_000, 64 << 10, 4));
    let gpu = gpu_policy(&policy);
    let table = gpu.table();
    assert_eq!(table.firmware, None);
    let file = |path: &str| Path::new(path).file_stem().unwrap().to_str().unwrap().to_owned();
    assert_eq!(file(&table.heaps.as_ref().unwrap().origin.file.path), "acme,a9");
    assert_eq!(file(&table.hold.as_ref().unwrap().origin.file.path), "acme,a9");
    assert_eq!(file(&table.suspend_bytes.as_ref().unwrap().origin.file.path), "default");
    assert_eq!(file(&table.suspend_count.as_ref().unwrap().origin.file.path), "acme,a9-kiosk");
}

#[test]
fn example_of_conditions_is_correct() {
    let policy = Tree::new("A candidate").policy(&["acme,b2"]);
    let heaps = ["protected,secure-video", "acme_svp", "acme_restricted"];
    let mut facts = facts(&heaps, Some("4.5"));
    assert_eq!(bound(&policy, &facts).unwrap(), "acme_svp");
    facts.kernel.release = "7.3-rc2".to_owned();
    assert_eq!(bound(&policy, &facts).unwrap(), "protected,secure-video");
    facts.kernel.release = "7.2.9".to_owned();
    facts.tees.clear();
    assert_eq!(bound(&policy, &facts), Err(Reason::NoHeap));
    facts.socs = vec![Soc { id: Some("A9X".to_owned()), revision: Some("2.1".to_owned()) }];
    assert_eq!(bound(&policy, &facts).unwrap(), "acme_restricted");
}

#[test]
fn example_of_a_common_heap_is_correct() {
    let policy = Tree::new("`[share.\"…\"]`").policy(&["acme,b2"]);
    let common = |heaps: &[&str]| {
        common_heaps(&policy, &facts(heaps, None)).get("secure-video").map(ToString::to_string)
    };
    let both = common(&["acme_svp", "protected,secure-video", "acme_vdec"]);
    assert_eq!(both.unwrap(), "protected,secure-video");
    assert_eq!(common(&["acme_svp", "acme_vdec"]).unwrap(), "acme_svp");
    assert_eq!(common(&["acme_vdec"]), None);
}

#[test]
fn example_of_thirty_boards_is_correct() {
    let tree = Tree::new("Thirty boards and three firmwares");
    let (tv, kiosk) = (["acme,a9-tv", "acme,a9"], ["acme,a9-kiosk", "acme,a9"]);
    let policy = tree.policy(&tv);
    let names = ["protected,secure-video", "acme_svp", "acme_secure"].map(str::to_owned);
    let family = (names.to_vec(), 3_000_000, 64 << 10, 32);
    assert_eq!(summary(&policy), family);
    let second = ["acme_svp"];
    for (heaps, revision, heap) in [
        (&["acme_secure", "acme_svp"][..], "4.1", "acme_secure"),
        (&second, "4.2", "acme_svp"),
        (&second, "4.5.1", "acme_svp"),
        (&["protected,secure-video"], "4.6", "protected,secure-video"),
    ] {
        assert_eq!(bound(&policy, &facts(heaps, Some(revision))).unwrap(), heap);
    }
    assert_eq!(bound(&policy, &facts(&second, None)), Err(Reason::NoHeap));

    let refined = tree.policy(&kiosk);
    assert_eq!(summary(&refined), (vec!["acme_kiosk".to_owned()], 3_000_000, 64 << 10, 32));
    let heaps = ["acme_kiosk", "protected,secure-video"];
    assert_eq!(bound(&refined, &facts(&heaps, Some("4.6"))).unwrap(), "acme_kiosk");

    tree.mask("etc/protheap/policies/acme,a9-kiosk.toml");
    assert_eq!(summary(&tree.policy(&kiosk)), family);
}

#[test]
fn example_image_ignores_local_policies() {
    let examples = of_markdown(POLICY);
    let image = examples.iter().find(|example| example.path().ends_with("/image.toml")).unwrap();
    assert_eq!(LocalPolicy::parse("image.toml", &image.text), Ok(LocalPolicy::Never));
    let manual = MANUAL.replace("\\(dq", "\"");
    for word in [LocalPolicy::Never, LocalPolicy::Unlocked, LocalPolicy::Always] {
        let word = format!("\"{}\"", word.as_str());
        assert!(POLICY.contains(&word) && manual.contains(&word), "{word}");
    }
}

/// Returns the keys that the reader lists in the error about an unknown one.
fn known_keys() -> BTreeSet<String> {
    let unknown = "qqqqqqqqqqqqqqqq = 1";
    let policies = [
        format!("schema = 1\n{unknown}"),
        format!("schema = 1\n[gpu.g]\n{unknown}"),
        format!("schema = 1\n[gpu.g.suspend]\n{unknown}"),
        format!("schema = 1\n[gpu.g]\nheaps = [{{ name = 'a', {unknown} }}]"),
        format!("schema = 1\n[evidence.a]\nstatus = 'tested'\n{unknown}"),
    ];
    let key = Key::new("k").unwrap();
    let refused = policies.map(|text| Fragment::parse(&key, "k.toml", &text).unwrap_err());
    let image = LocalPolicy::parse("image.toml", unknown).unwrap_err();
    let mut keys = BTreeSet::new();
    for faults in refused.iter().chain([&image]) {
        let help = faults.iter().find_map(|fault| fault.help.as_deref()).unwrap();
        let known = help.strip_prefix("use one of: ").unwrap();
        keys.extend(known.split(", ").map(str::to_owned));
    }
    keys
}

#[test]
fn references_name_exactly_the_known_keys() {
    // Tables of keys have that word in their header.
    let mut in_table = false;
    let mut named = BTreeSet::new();
    for line in POLICY.lines() {
        in_table = line.starts_with("| key ") || in_table && line.starts_with('|');
        if in_table && let Some(row) = line.strip_prefix("| `") {
            named.insert(row.split('`').next().unwrap().to_owned());
        }
    }
    assert_eq!(named, known_keys(), "docs/policy.md");

    let tags = MANUAL.lines().filter_map(|line| line.strip_prefix("\\fB")?.split_once("\\fR = "));
    let named = tags.map(|(key, _)| plain(key));
    assert_eq!(named.collect::<BTreeSet<_>>(), known_keys(), "docs/protheap-policy.5");
}

#[test]
fn references_name_limits_and_defaults() {
    let seconds = |duration: u64| format!("{}s", duration / 1_000_000);
    let (hold, longest) = (seconds(HOLD), seconds(LONGEST_HOLD));
    let (bytes, largest) =
        (format!("{}KiB", SUSPEND_BYTES >> 10), format!("{}MiB", LARGEST_SUSPEND_BUFFER >> 20));
    let in_policy = [
        format!("| `hold` | duration | `{hold}` | at most `{longest}` |"),
        format!("| `bytes` | size | `{bytes}` | `1KiB` to `{largest}` |"),
        format!("| `count` | integer | {SUSPEND_COUNT} | 0 to {MOST_SUSPEND_BUFFERS} |"),
    ];
    let in_manual = [
        format!("Default: {hold}. At most {longest}."),
        format!("From 1KiB to {largest}. Default: {bytes}."),
        format!("From 0 to {MOST_SUSPEND_BUFFERS}. Default: {SUSPEND_COUNT}."),
    ];
    let in_both = [
        format!("without any, {} KiB", FIRMWARE_BYTES >> 10),
        format!("at most {} KiB", LARGEST >> 10),
        format!("first {MOST_KEYS} strings"),
        format!("each of at most {} bytes", Key::LONGEST),
        format!("at most {} printable", HeapName::LONGEST),
    ];
    let on_one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (policy, manual) = (on_one_line(POLICY), on_one_line(MANUAL));
    for words in in_policy.iter().chain(&in_both) {
        assert!(policy.contains(words), "docs/policy.md lacks {words:?}");
    }
    for words in in_manual.iter().chain(&in_both) {
        assert!(manual.contains(words), "docs/protheap-policy.5 lacks {words:?}");
    }
    for tee in TEES {
        assert!(POLICY.contains(&format!("`{tee}`")), "docs/policy.md lacks {tee}");
        assert!(MANUAL.contains(&format!("\\(dq{tee}\\(dq")), "docs/protheap-policy.5 lacks {tee}");
    }
}

#[test]
fn documented_reasons_exist() {
    let table = POLICY.split("| reason | next step |").nth(1).unwrap();
    let rows = table.lines().skip(2).map_while(|line| line.strip_prefix("| `"));
    let reasons: Vec<_> = rows.map(|row| row.split('`').next().unwrap()).collect();
    assert!(reasons.len() >= 8, "{reasons:?}");
    for reason in reasons {
        assert!(STATE.contains(&format!("| `{reason}` |")), "{reason}");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask boards`: compares the output of `protheapctl explain` with every device tree of Debian's kernel, and writes
//! docs/boards.md.
//!
//! Which trees have a Mali CSF GPU, which one, and whether it can be used is read from the bytes of the tree and by
//! dtc, so that faults of Protheap's own reader are found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use serde::Deserialize;

use crate::cache::{self, Workspace};
use crate::dtbs::{self, Board, GPU, OKAY};
use crate::progress::{Step, output};
use crate::{host, userspace};

/// Generated document, in the checkout.
const DOCUMENT: &str = "docs/boards.md";
/// Text before the kernel's release in the document, and after it.
const RELEASE: (&str, &str) = ("Debian's kernel `", "`");
/// Directory of the policies, in a root.
const POLICIES: &str = "usr/lib/protheap/policies";
/// The policy of every board.
const DEFAULT: &str = "default";

/// Arguments of the `boards` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Compare docs/boards.md instead of writing it
    #[arg(long)]
    check: bool,
}

/// Checks every tree, and writes the document or compares it.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    if args.check {
        check(workspace)?;
    } else {
        let survey = Survey::make(workspace)?;
        cache::write(&workspace.root.join(DOCUMENT), survey.document(&survey.release))?;
        println!("wrote {DOCUMENT}");
    }
    Ok(true)
}

/// Checks every tree, and compares the document.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let survey = Survey::make(workspace)?;
    let document = cache::read(&workspace.root.join(DOCUMENT))?;
    let release = document
        .split_once(RELEASE.0)
        .and_then(|(_, rest)| rest.split_once(RELEASE.1))
        .map(|(release, _)| release)
        .with_context(|| format!("{DOCUMENT} names no kernel: run `cargo xtask boards`"))?;
    let difference = difference(&document, &survey.document(release));
    if difference.is_empty() {
        return Ok(());
    }
    let difference = difference.join("\n");
    // Trees of another kernel may differ: a new one in Debian is no fault of this checkout.
    if release != survey.release {
        println!("{DOCUMENT} is of {release}; that of {} differs:\n{difference}", survey.release);
        return Ok(());
    }
    bail!("{DOCUMENT} is not what `cargo xtask boards` writes:\n{difference}");
}

/// Returns the lines that only one of the texts has.
fn difference(old: &str, new: &str) -> Vec<String> {
    let only = |sign: char, these: &str, those: &str| {
        let those: BTreeSet<_> = those.lines().collect();
        let lines = these.lines().filter(|line| !those.contains(line));
        lines.map(|line| format!("{sign}{line}")).collect::<Vec<_>>()
    };
    let mut lines = only('-', old, new);
    lines.extend(only('+', new, old));
    if lines.is_empty() && old != new {
        lines.push("the order of the lines".to_owned());
    }
    lines
}

/// Selections for all boards.
#[derive(Debug)]
struct Survey {
    /// Release of the kernel that has the trees.
    release: String,
    /// Models of the boards that have a GPU, by their rows in the document.
    boards: BTreeMap<Row, BTreeSet<String>>,
    /// Platforms that have a policy and no tree.
    others: BTreeSet<Row>,
}

/// Row of the document, for a board's GPU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    soc: String,
    /// Compatible string of the board itself.
    compatible: String,
    gpu: String,
    /// Keys, the most specific first, without the default.
    policies: Vec<String>,
    /// Names of the heaps and how they are known, in order of preference.
    heaps: Vec<(String, String)>,
    status: String,
    has_optee: bool,
}

impl Survey {
    /// Checks every tree. An error names all that are wrong.
    fn make(workspace: &Workspace) -> Result<Self> {
        {
            let _lock = workspace.lock()?;
            host::prepare(workspace, &[])?;
        }
        let trees = dtbs::all(workspace)?;
        let explain = Explain::prepare(workspace)?;
        let mut survey =
            Self { release: trees.release, boards: BTreeMap::new(), others: BTreeSet::new() };
        let (mut with, mut disabled, mut wrong) = (0, 0, Vec::new());
        let mut used = BTreeSet::from([DEFAULT.to_owned()]);
        let step = Step::new("checking the device trees", 20);
        for path in &trees.files {
            let board = Board::read(path)?;
            if let Some(board) = &board {
                with += 1;
                disabled += usize::from(board.gpus.iter().all(|(_, status)| status != OKAY));
            }
            let report = explain.of(path);
            let judged = report.and_then(|report| judge(&report, board.as_ref()).map(|()| report));
            let report = match judged {
                Ok(report) => report,
                Err(error) => {
                    wrong.push(format!("{}: {error:#}", path.display()));
                    continue;
                }
            };
            used.extend(report.policies.iter().map(|policy| policy.key.clone()));
            let Some(board) = board else { continue };
            for gpu in &report.gpus {
                let row = Row::of(&report, gpu, board.has_optee)?;
                survey.boards.entry(row).or_default().insert(report.platform.model.clone());
            }
        }
        step.done();
        println!(
            "{} device trees of {}: {with} with a Mali CSF GPU, disabled in {disabled}",
            trees.files.len(),
            survey.release
        );
        if !wrong.is_empty() {
            bail!("explained incorrectly: {} trees:\n{}", wrong.len(), wrong.join("\n"));
        }
        for key in explain.keys()?.difference(&used) {
            let report = explain.of(&explain.platform(key)?)?;
            let gpu = report.gpus.first().with_context(|| format!("{key} without a GPU"))?;
            survey.others.insert(Row::of(&report, gpu, false)?);
        }
        Ok(survey)
    }

    /// Returns the text of the document, as if the trees were of `release`.
    fn document(&self, release: &str) -> String {
        let (before, after) = RELEASE;
        let mut text = format!(
            "\
<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->
# Boards

Policies for every board with a Mali CSF GPU that has a device tree in {before}{release}{after}.
Generated by `cargo xtask boards` from `policies/` and the output of `protheapctl explain --dtb`.

The name of a heap does not mean that the board has this heap: which heaps exist depends on the kernel and the firmware.

- *compatible*: the most specific compatible string of the board. A policy for this board alone is named after it.
- *policies*: files that apply in addition to `default.toml`, the most specific first.
- *heaps*: candidates in order of preference, and how each name is known: `tested`, `documented`, or `unverified`, which
  means that no report for such a board is known.
- *disabled*: status of the GPU's node, if it is not `okay`. The kernel creates no device for it, so it is never bound.
- *OP-TEE*: whether the tree has a node of OP-TEE. Without one, Protheap does not wait for OP-TEE. A boot loader can add
  one.

| board | compatible | SoC | GPU | policies | heaps | disabled | OP-TEE |
|---|---|---|---|---|---|---|---|
"
        );
        for (row, models) in &self.boards {
            let models: Vec<_> = models.iter().map(|model| model.replace('|', "\\|")).collect();
            let status = if row.status == OKAY { "" } else { &row.status };
            let optee = if row.has_optee { "yes" } else { "no" };
            let Row { soc, compatible, gpu, .. } = row;
            text += &format!(
                "| {} | `{compatible}` | {soc} | {gpu} | {} | {} | {status} | {optee} |\n",
                models.join(", "),
                row.policies(),
                row.heaps(),
            );
        }
        text += "
## Without a device tree

Platforms that have a policy, but no board in this kernel.

| SoC | GPU | policies | heaps |
|---|---|---|---|
";
        for row in &self.others {
            let Row { soc, gpu, .. } = row;
            text += &format!("| {soc} | {gpu} | {} | {} |\n", row.policies(), row.heaps());
        }
        text
    }
}

impl Row {
    fn of(report: &Report, gpu: &Gpu, has_optee: bool) -> Result<Self> {
        let own = |policy: &&Policy| policy.key != DEFAULT;
        let policies: Vec<_> = report.policies.iter().filter(own).collect();
        let mut texts = Vec::new();
        for policy in &policies {
            texts.push(cache::read(Path::new(&policy.path))?);
        }
        let soc = texts.first().and_then(|text| description(text));
        let product = texts.iter().find_map(|text| product(text));
        let path = policies.first().map_or("", |policy| &policy.path);
        Ok(Self {
            soc: soc.with_context(|| format!("{path} has no `description`"))?.to_owned(),
            compatible: report.platform.compatible.first().cloned().unwrap_or_default(),
            gpu: product
                .with_context(|| {
                    format!("{path} has no line `# <SoC>: <GPU> at <address>.` at its head")
                })?
                .to_owned(),
            policies: policies.iter().map(|policy| policy.key.clone()).collect(),
            heaps: gpu.candidates.iter().map(Candidate::known).collect(),
            status: gpu.status.clone(),
            has_optee,
        })
    }

    fn policies(&self) -> String {
        let files: Vec<_> = self.policies.iter().map(|key| format!("`{key}.toml`")).collect();
        files.join(", ")
    }

    fn heaps(&self) -> String {
        let heaps = self.heaps.iter().map(|(name, known)| format!("`{name}` ({known})"));
        heaps.collect::<Vec<_>>().join(", ")
    }
}

/// Returns the SoC: the `description` of a policy.
fn description(policy: &str) -> Option<&str> {
    policy.lines().find_map(|line| line.strip_prefix("description = \"")?.strip_suffix('"'))
}

/// Returns the GPU: `# Rockchip RK3588: Mali-G610 at fb000000.` at the head of a policy.
fn product(policy: &str) -> Option<&str> {
    let head = policy.lines().take_while(|line| line.starts_with('#'));
    let products = head.filter_map(|line| line.split_once(": ")?.1.split_once(" at "));
    products.map(|(product, _)| product).find(|product| product.starts_with("Mali-"))
}

/// `protheapctl explain` with the policies of this checkout.
#[derive(Debug)]
pub(crate) struct Explain {
    /// `protheapctl`, built for this machine as it is shipped.
    pub(crate) program: PathBuf,
    /// Root with the policies and nothing else.
    root: PathBuf,
}

impl Explain {
    /// Builds the program and makes the root.
    pub(crate) fn prepare(workspace: &Workspace) -> Result<Self> {
        let _lock = workspace.lock()?;
        let program = userspace::for_host(workspace, "protheapctl", 80)?;

        let root = workspace.checkout.join("explain");
        cache::remove_dir(&root)?;
        let policies = workspace.root.join("policies");
        for file in cache::files(&policies)? {
            let copy = root.join(POLICIES).join(file.strip_prefix(&policies)?);
            let dir = copy.parent().context("a policy has no directory")?;
            cache::create_dir(dir)?;
            cache::copy(&file, &copy)?;
            // Files that others can write to are not trusted, and a checkout has the modes of its umask.
            for (path, mode) in [(dir, 0o755), (&copy, 0o644)] {
                fs::set_permissions(path, Permissions::from_mode(mode))
                    .with_context(|| format!("failed to set the mode of {}", path.display()))?;
            }
        }
        Ok(Self { program, root })
    }

    /// Returns the command for a device tree.
    pub(crate) fn command(&self, tree: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["explain", "--json", "--root"]).arg(&self.root).arg("--dtb").arg(tree);
        command
    }

    /// Returns its output for a device tree.
    fn of(&self, tree: &Path) -> Result<Report> {
        let json = output(&mut self.command(tree))?;
        serde_json::from_str(&json).with_context(|| format!("failed to read its JSON: {json}"))
    }

    /// Returns the keys of all policies.
    fn keys(&self) -> Result<BTreeSet<String>> {
        let files = cache::files(&self.root.join(POLICIES))?;
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".toml")?.into());
        Ok(files.iter().filter_map(name).collect())
    }

    /// Makes the device tree of a board of which only the platform and the GPU are known.
    fn platform(&self, key: &str) -> Result<PathBuf> {
        let (source, tree) = (self.root.join("platform.dts"), self.root.join("platform.dtb"));
        let text = format!(
            "/dts-v1/;\n/ {{ compatible = \"{key}\"; gpu {{ compatible = \"{GPU}\"; }}; }};\n"
        );
        cache::write(&source, text)?;
        let mut dtc = Command::new("dtc");
        output(dtc.args(["-q", "-I", "dts", "-O", "dtb", "-o"]).args([&tree, &source]))?;
        Ok(tree)
    }
}

/// Members of its JSON that are checked.
#[derive(Debug, Deserialize)]
struct Report {
    platform: Platform,
    policies: Vec<Policy>,
    considered: Vec<Considered>,
    gpus: Vec<Gpu>,
}

#[derive(Debug, Deserialize)]
struct Platform {
    compatible: Vec<String>,
    model: String,
}

#[derive(Debug, Deserialize)]
struct Policy {
    key: String,
    path: String,
}

#[derive(Debug, Deserialize)]
struct Considered {
    path: String,
    outcome: String,
    why: String,
}

#[derive(Debug, Deserialize)]
struct Gpu {
    device: String,
    compatible: Vec<String>,
    status: String,
    heaps: Vec<String>,
    /// An `Option` could also be missing.
    decision: serde_json::Value,
    reason: String,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Deserialize)]
struct Candidate {
    candidate: String,
    evidence: Option<String>,
}

impl Candidate {
    fn known(&self) -> (String, String) {
        (self.candidate.clone(), self.evidence.clone().unwrap_or_else(|| "unverified".to_owned()))
    }
}

/// Compares the output for a tree with the tree itself; `board` if it has a GPU.
fn judge(report: &Report, board: Option<&Board>) -> Result<()> {
    let Report { platform, policies, considered, gpus } = report;
    for Considered { path, outcome, why } in considered {
        if outcome != "applied" {
            bail!("{path} is {outcome}: {why}");
        }
    }
    let Some(board) = board else {
        if let Some(gpu) = gpus.first() {
            bail!("{} is reported as a GPU, but {GPU} is not in the tree", gpu.device);
        }
        return Ok(());
    };
    if platform.compatible != board.compatible {
        bail!("reported as {:?}, is {:?}", platform.compatible, board.compatible);
    }
    if !policies.iter().any(|policy| board.compatible.contains(&policy.key)) {
        let soc = board.compatible.last().map_or("", String::as_str);
        bail!("no policy applies to its platform: write policies/{soc}.toml");
    }
    let mut found: Vec<_> = gpus.iter().map(|gpu| (&gpu.compatible, &gpu.status)).collect();
    let mut there: Vec<_> = board.gpus.iter().map(|(gpu, status)| (gpu, status)).collect();
    found.sort();
    there.sort();
    if found != there {
        bail!("reported GPUs {found:?}, found {there:?}");
    }
    for Gpu { device, status, heaps, decision, reason, .. } in gpus {
        let is_okay = status == OKAY;
        if heaps.is_empty() == is_okay {
            bail!("{device} is {status}, and its heaps are {heaps:?}");
        }
        let expected = match (is_okay, board.has_optee) {
            (false, _) => "disabled",
            (true, true) => "waiting",
            (true, false) => "no-provider",
        };
        if !decision.is_null() || reason != expected {
            bail!("{device}: selected {decision} for `{reason}` instead of null for `{expected}`");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
        "platform": {"compatible": ["acme,a9", "acme,a"], "model": "Acme A9"},
        "policies": [{"key": "acme,a", "path": "p"}, {"key": "default", "path": "d"}],
        "considered": [{"path": "p", "outcome": "applied", "why": ""}],
        "gpus": [{"device": "1000.gpu", "compatible": ["arm,mali-valhall-csf"], "status": "okay",
            "heaps": ["secure"], "decision": null, "reason": "no-provider",
            "candidates": [{"candidate": "secure", "evidence": null}]}]
    }"#;

    fn board(status: &str, has_optee: bool) -> Board {
        Board {
            compatible: vec!["acme,a9".to_owned(), "acme,a".to_owned()],
            gpus: vec![(vec![GPU.to_owned()], status.to_owned())],
            has_optee,
        }
    }

    fn judge_text(json: &str, board: Option<&Board>) -> Result<()> {
        judge(&serde_json::from_str(json)?, board)
    }

    #[test]
    fn correct_explanations_pass() {
        judge_text(GOOD, Some(&board(OKAY, false))).unwrap();
        judge_text(&GOOD.replace("no-provider", "waiting"), Some(&board(OKAY, true))).unwrap();
        let disabled = GOOD
            .replace("\"okay\"", "\"disabled\"")
            .replace("[\"secure\"]", "[]")
            .replace("no-provider", "disabled");
        judge_text(&disabled, Some(&board("disabled", false))).unwrap();
        let mut none: serde_json::Value = serde_json::from_str(GOOD).unwrap();
        none["gpus"] = serde_json::json!([]);
        judge_text(&none.to_string(), None).unwrap();
    }

    #[test]
    fn wrong_explanations_fail() {
        let okay = board(OKAY, false);
        for (right, wrong) in [
            ("\"applied\"", "\"refused\""),
            ("[\"acme,a9\", \"acme,a\"]", "[\"acme,a9\"]"),
            ("\"key\": \"acme,a\"", "\"key\": \"acme,b\""),
            ("[\"arm,mali-valhall-csf\"]", "[\"acme,mali\"]"),
            ("\"okay\"", "\"disabled\""),
            ("[\"secure\"]", "[]"),
            ("\"decision\": null", "\"decision\": \"secure\""),
            ("\"decision\": null, ", ""),
            ("no-provider", "waiting"),
            ("\"model\": \"Acme A9\"", "\"mode\": \"\""),
        ] {
            let json = GOOD.replace(right, wrong);
            assert_ne!(json, GOOD, "{right}");
            assert!(judge_text(&json, Some(&okay)).is_err(), "{right} -> {wrong}");
        }
        assert!(judge_text(GOOD, None).is_err(), "a GPU where none is");
        assert!(judge_text(GOOD, Some(&board(OKAY, true))).is_err(), "OP-TEE is not waited for");
        assert!(judge_text(GOOD, Some(&board("disabled", false))).is_err());
        let two = Board { gpus: [okay.gpus.clone(), okay.gpus.clone()].concat(), ..okay };
        assert!(judge_text(GOOD, Some(&two)).is_err(), "one of two GPUs");
    }

    #[test]
    fn soc_and_gpu_come_from_the_policy() {
        let policy = "\
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Acme A9 (A9000): Mali-G1000 at fb000000.
# Known: nothing at all.
schema = 1
description = \"Acme A9\"
# Other: Mali-G1 at 0.
";
        assert_eq!(description(policy), Some("Acme A9"));
        assert_eq!(product(policy), Some("Mali-G1000"));
        assert_eq!(product("# Acme A9: described as an A8 at length.\nschema = 1\n"), None);
    }

    #[test]
    fn only_different_lines_are_printed() {
        assert!(difference("a\nb\n", "a\nb\n").is_empty());
        assert_eq!(difference("a\nb\n", "a\nc\n"), ["-b", "+c"]);
        assert_eq!(difference("a\nb\n", "b\na\n").len(), 1);
    }

    #[test]
    #[ignore = "needs the network: a step of `cargo xtask test`"]
    fn boards_of_debian() {
        check(&Workspace::open().unwrap()).unwrap();
    }
}

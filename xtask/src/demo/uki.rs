// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask demo --uki`: one signed file boots every board, and modified files are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use serde_json::{Map, Value};

use super::report::Report;
use crate::cache::{self, Workspace};
use crate::uefi;
use crate::uki::{self, Builder, LIMIT};
use crate::vm;

/// Board of the tests beside those of the boards: [`uki`] has a vendor's policy for it.
const TRIED: &str = "rk3588";
/// Cases that the guest must report as refused, and as honoured.
const REFUSED: [&str; 6] = [
    "unsigned-addon",
    "unsigned-module",
    "credential",
    "etc-policy",
    "foreign-sysext",
    "signed-confext",
];
const HONOURED: [&str; 3] = ["signed-addon", "signed-module", "signed-sysext"];
/// File that systemd-tmpfiles would make for a credential, if it accepted it.
const CREDENTIAL: &str =
    "f /etc/protheap/policies/by-credential.toml 0644 root root - schema = 1\n";

/// Results of all boots.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Findings {
    /// Reports of the guests, by board.
    pub(crate) boards: BTreeMap<String, Value>,
    /// Cases that must not work, and whether they were refused.
    pub(crate) refused: BTreeMap<String, bool>,
    /// Cases that must work, and whether they did.
    pub(crate) honoured: BTreeMap<String, bool>,
    /// Faults of the kernel in the boot with untrusted files.
    pub(crate) faults: Vec<String>,
}

impl Findings {
    /// Returns whether every board was booted, and every case was refused or honoured as it must be.
    pub(crate) fn good(&self) -> bool {
        !self.boards.is_empty()
            && self.faults.is_empty()
            && self.boards.values().all(served)
            && self.refused.values().chain(self.honoured.values()).all(|held| *held)
    }
}

impl fmt::Display for Findings {
    /// Returns the result as a table.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |board: &Value, name: &str| match &board[name] {
            Value::String(text) => text.clone(),
            Value::Array(list) => {
                list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" > ")
            }
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        for (name, board) in &self.boards {
            writeln!(f, "  {name:<22}  {}", if served(board) { "served" } else { "NOT served" })?;
            for fact in ["model", "policies", "heap", "state", "lockdown", "bound_before_probe"] {
                writeln!(f, "    {fact:<20}  {}", text(board, fact))?;
            }
        }
        for (case, held) in &self.refused {
            writeln!(f, "  {case:<22}  {}", if *held { "refused" } else { "NOT refused" })?;
        }
        for (case, held) in &self.honoured {
            writeln!(f, "  {case:<22}  {}", if *held { "honoured" } else { "NOT honoured" })?;
        }
        self.faults.iter().try_for_each(|fault| writeln!(f, "kernel: {fault}"))
    }
}

impl Findings {
    /// Records which registers of the TPM changed between the boots of the boards, and with untrusted files beside the
    /// image. The registers are those of systemd-stub(7), and of firmware before it.
    fn measure(&mut self, tried: &str, untrusted: &Map<String, Value>) {
        let of = |board: &str, pcr: &str| self.boards.get(board).and_then(|facts| facts.get(pcr));
        let same = |pcr: &str| {
            let first = of(tried, pcr);
            first.is_some() && self.boards.keys().all(|board| of(board, pcr) == first)
        };
        let mut sections: Vec<_> =
            self.boards.keys().filter_map(|board| of(board, "pcr11")?.as_str()).collect();
        sections.sort_unstable();
        sections.dedup();
        let findings = [
            // The file and its signer, which are the same for every board. An addon is one more file.
            ("measured-image", same("pcr4") && same("pcr7")),
            // Its sections, of which each board has its own device tree.
            (
                "measured-sections",
                sections.len() == self.boards.len()
                    && of(tried, "pcr11").is_some()
                    && of(tried, "pcr11") == untrusted.get("pcr11"),
            ),
            // Addons and credentials.
            (
                "measured-addon",
                ["pcr4", "pcr12"]
                    .iter()
                    .all(|pcr| of(tried, pcr).is_some() && of(tried, pcr) != untrusted.get(*pcr)),
            ),
        ];
        self.honoured.extend(findings.map(|(case, held)| (case.to_owned(), held)));
    }
}

/// Returns whether a board booted as it should, and its GPU got protected buffers before its driver probed, and used
/// them.
fn served(board: &Value) -> bool {
    let report = serde_json::from_value::<Report>(board.clone());
    report.is_ok_and(|report| report.bound() && report.used())
        && board["secure_boot"] == true
        && board["lockdown"] == "integrity"
        && board["bound_in_initrd"] == true
        && board["faults"].as_array().is_some_and(Vec::is_empty)
}

/// Boots all boards, or one alone, and prints each result.
pub(crate) fn run(workspace: &Workspace, only: Option<&str>) -> Result<Findings> {
    let builder = Builder::prepare(workspace)?;
    let signed = builder.path("protheap.efi");
    builder.build(Some(&builder.key), &signed)?;
    let all = All { builder: &builder };
    let mut findings = Findings::default();
    for (name, tree) in
        builder.boards.iter().filter(|(name, _)| only.is_none_or(|only| only == name))
    {
        say!("{name}: the signed image, {} MiB", fs::metadata(&signed)?.len() >> 20);
        let board = all.board(name, tree, &signed)?;
        say!("  {}", if served(&board) { "bound before its driver probed" } else { "NOT served" });
        findings.boards.insert(name.clone(), board);
    }
    if only.is_none() {
        all.untrusted(&signed, &mut findings)?;
        all.refusals(&signed, &mut findings.refused)?;
    }
    Ok(findings)
}

/// Runs the whole demonstration, as a step of `cargo xtask test`.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let findings = run(workspace, None)?;
    if !findings.good() {
        bail!("{}", serde_json::to_string(&findings)?);
    }
    Ok(())
}

/// Parameters of every boot.
#[derive(Debug, Clone, Copy)]
struct All<'a> {
    builder: &'a Builder<'a>,
}

impl All<'_> {
    /// Boots the image on one board; returns the report of the guest.
    fn board(&self, name: &str, tree: &Path, image: &Path) -> Result<Value> {
        let firmware = self.builder.firmware_tree(name, tree)?;
        let disk = self.builder.disk(&[(uefi::IMAGE, image)])?;
        let mut facts = Map::new();
        let words = format!("xtask.scenario=demo-uki xtask.board={name}");
        let log = format!("uki-{name}");
        let mut hear = |line: &str| {
            let fact = match line.split_once(' ') {
                Some(("fact", fact)) => fact.split_once(' '),
                Some(("report", object)) => Some(("", object)),
                _ => {
                    say!("  {line}");
                    None
                }
            };
            match fact.map(|(name, value)| (name, serde_json::from_str(value))) {
                Some(("", Ok(Value::Object(report)))) => facts.extend(report),
                Some((name, Ok(value))) => {
                    facts.insert(name.to_owned(), value);
                }
                Some((_, Err(error))) => say!("  {line}: {error}"),
                None => {}
            }
        };
        let outcome = self.builder.boot(&log, &firmware, &disk, &words, &mut hear, None)?;
        if outcome.timed_out {
            say!("  it did not end in {} s: {}", LIMIT.as_secs(), outcome.log.display());
        }
        facts.insert("board".to_owned(), name.into());
        facts.insert("faults".to_owned(), vm::faults(&outcome.console).into());
        Ok(facts.into())
    }

    /// The board of all other tests.
    fn tried(&self) -> Result<&(String, PathBuf)> {
        self.builder.boards.iter().find(|(name, _)| name == TRIED).context("there is no such board")
    }

    /// Boots once with untrusted files beside the image and in its root, some of which must be refused.
    fn untrusted(&self, signed: &Path, findings: &mut Findings) -> Result<()> {
        let (name, tree) = self.tried()?;
        say!("{name}: the signed image, and what others have put beside it");
        let firmware = self.builder.firmware_tree(name, tree)?;
        let beside = |name: &str| self.builder.path(name);
        let (honoured, ignored, credential) = (
            beside("signed.addon.efi"),
            beside("unsigned.addon.efi"),
            beside("tmpfiles.extra.cred"),
        );
        let key = &self.builder.key;
        self.builder.addon(Some(key), "demonstration=signed-addon", &honoured)?;
        self.builder.addon(None, "demonstration=unsigned-addon", &ignored)?;
        cache::write(&credential, CREDENTIAL)?;
        let there = |name: &str| format!("{}.extra.d/{name}", uefi::IMAGE);
        let disk = self.builder.disk(&[
            (uefi::IMAGE, signed),
            (&there("signed.addon.efi"), &honoured),
            (&there("unsigned.addon.efi"), &ignored),
            (&there("tmpfiles.extra.cred"), &credential),
        ])?;
        let words = format!("xtask.scenario=demo-uki-extras xtask.board={name}");
        let mut facts = Map::new();
        let mut hear = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            let cases = match words.as_slice() {
                ["refused", _, _] => &mut findings.refused,
                ["honoured", _, _] => &mut findings.honoured,
                ["fact", name, value] => {
                    facts.insert((*name).to_owned(), Value::from(value.trim_matches('"')));
                    return;
                }
                _ => return say!("  {line}"),
            };
            cases.insert(words[1].to_owned(), words[2] == "true");
            say!("  {line}");
        };
        let outcome =
            self.builder.boot("uki-untrusted", &firmware, &disk, &words, &mut hear, None)?;
        for case in REFUSED {
            findings.refused.entry(case.to_owned()).or_default();
        }
        for case in HONOURED {
            findings.honoured.entry(case.to_owned()).or_default();
        }
        findings.measure(TRIED, &facts);
        findings.faults.extend(vm::faults(&outcome.console).into_iter().map(str::to_owned));
        Ok(())
    }

    /// Boots files that must be refused: each is the signed image with one change.
    fn refusals(&self, signed: &Path, refused: &mut BTreeMap<String, bool>) -> Result<()> {
        let (name, tree) = self.tried()?;
        let firmware = self.builder.firmware_tree(name, tree)?;
        let image = cache::bytes(signed)?;
        let initrd = self.builder.initrd_begins()?;
        let changed: [(&str, Option<&[u8]>); 4] = [
            ("unsigned", None),
            ("policy", Some(b"schema = 1")),
            ("initrd", Some(&initrd)),
            ("command-line", Some(b"lockdown=integrity")),
        ];
        for (case, what) in changed {
            say!(
                "{case}: the image {}",
                match what {
                    None => "without its signature".to_owned(),
                    Some(_) => format!("with one byte of the {case} changed"),
                }
            );
            let path = self.builder.path("tampered.efi");
            match what {
                None => self.builder.build(None, &path)?,
                Some(what) => cache::write(&path, uki::tampered(&image, what)?)?,
            }
            let disk = self.builder.disk(&[(uefi::IMAGE, &path)])?;
            let mut spoke = false;
            let (log, words) = (format!("uki-{case}"), "xtask.scenario=demo-uki");
            let mut hear = |_: &str| spoke = true;
            let last = Some(uefi::REFUSED);
            let outcome = self.builder.boot(&log, &firmware, &disk, words, &mut hear, last)?;
            let good = !spoke
                && outcome.console.contains(uefi::REFUSED)
                && !outcome.console.contains("Linux version");
            say!("  {}", if good { "refused by the firmware" } else { "NOT refused" });
            refused.insert(case.to_owned(), good);
        }
        Ok(())
    }
}

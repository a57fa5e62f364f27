// SPDX-License-Identifier: MIT OR Apache-2.0
//! Selection of tests: all, those of some groups, or those that a change can affect.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::cache::{self, Workspace};
use crate::tested::Group;

/// Tests that a changed file can affect.
#[derive(Debug, Clone, Copy)]
enum Affected {
    /// All of a group.
    All(Group),
    /// A step, by name.
    Step(&'static str),
    /// Scenarios whose scripts have this word.
    Saying(&'static str),
}

use Affected::{All, Saying, Step};
use Group::{Audit, Core, Images, Packages, Panthor, Stock, Systemd};

/// Tests that files below a path affect, beside the group `check`. The longest path counts, and a path that is not
/// listed affects everything. CONTRIBUTING.md lists where a change belongs.
const TABLE: &[(&str, &[Affected])] = &[
    (".ci", &[]),
    (".gitignore", &[]),
    ("CHANGELOG.md", &[]),
    ("CONTRIBUTING.md", &[]),
    ("LICENSES", &[All(Packages)]),
    ("README.md", &[]),
    ("REUSE.toml", &[]),
    ("SECURITY.md", &[]),
    ("clippy.toml", &[]),
    ("daemon/client", &[All(Packages), All(Systemd), Step("sbom")]),
    ("daemon/ctl", &[All(Packages), All(Audit), All(Images), Saying("protheapctl")]),
    ("daemon/service", &[All(Packages), All(Systemd), All(Images), Saying("daemon"), Step("sbom")]),
    ("deny.toml", &[Step("cargo deny"), Step("cargo deny advisories")]),
    ("docs", &[All(Packages)]),
    ("docs/boards.md", &[All(Packages), Step("boards")]),
    ("driver/testing/boards", &[All(Core), All(Panthor), All(Systemd), All(Images)]),
    ("driver/testing/csfmodel", &[All(Panthor), All(Systemd), All(Images), Step("checkpatch")]),
    ("driver/testing/debug.config", &[]),
    ("driver/testing/igt", &[Saying("use_panthor")]),
    ("driver/testing/optee", &[Saying("# tee: ")]),
    ("driver/testing/panthor", &[Saying("use_panthor")]),
    ("driver/testing/stock", &[All(Stock)]),
    ("fuzz", &[]),
    ("packaging/apparmor", &[All(Packages), All(Systemd), All(Images)]),
    ("packaging/arch", &[All(Packages)]),
    ("packaging/deb", &[All(Packages), Saying("/debs")]),
    ("packaging/dkms", &[All(Packages)]),
    ("packaging/dracut", &[All(Packages), All(Systemd), All(Images)]),
    ("packaging/initramfs-tools", &[All(Packages), All(Systemd), All(Images)]),
    ("packaging/mkosi", &[All(Packages), All(Systemd), All(Images)]),
    ("packaging/rpm", &[All(Packages)]),
    ("packaging/selinux", &[All(Packages)]),
    ("packaging/uki", &[All(Packages), All(Images)]),
    ("policies", &[All(Audit), All(Core), All(Panthor), All(Systemd), All(Packages), All(Images)]),
    ("rustfmt.toml", &[]),
    ("systemd", &[All(Systemd), All(Packages), All(Images)]),
    ("tests/boards", &[]),
    ("tests/initrds", &[Step("initrds")]),
    ("tests/vm/guest", &[All(Core), All(Panthor), All(Systemd), All(Images), Step("dkms")]),
    ("tests/vm/guest/bench", &[]),
    ("tests/vm/guest/systemd", &[All(Systemd), All(Images)]),
    ("tests/vm/scenarios", &[]),
    (
        "tests/vm/scenarios/lib.sh",
        &[All(Core), All(Panthor), All(Systemd), All(Images), Step("dkms")],
    ),
    ("xtask/src/bench", &[]),
    ("xtask/src/demo", &[All(Images)]),
    ("xtask/src/dist", &[All(Packages), All(Audit), Saying("/debs")]),
    ("xtask/src/dist/lists.rs", &[Step("initrds")]),
    ("xtask/src/optee", &[Saying("# tee: ")]),
    ("xtask/src/stock", &[All(Stock), Step("dkms")]),
    ("xtask/src/stock.rs", &[All(Stock)]),
    ("xtask/tests", &[]),
];

/// The selected tests.
#[derive(Debug)]
pub(super) struct Selection {
    /// Selected groups; all usual ones, if it is empty.
    only: Vec<Group>,
    /// The changes, if they restrict the selection.
    changed: Option<Changed>,
}

#[derive(Debug, Default)]
struct Changed {
    everything: bool,
    groups: BTreeSet<Group>,
    steps: BTreeSet<&'static str>,
    scenarios: BTreeSet<String>,
}

impl Selection {
    /// Reads the files that have changed since a commit, if one is given.
    pub(super) fn new(workspace: &Workspace, only: &[Group], since: Option<&str>) -> Result<Self> {
        let changed = since.map(|commit| Changed::since(workspace, commit)).transpose()?;
        Ok(Self { only: only.to_owned(), changed })
    }

    fn has(&self, group: Group, named: impl Fn(&Changed) -> bool) -> bool {
        let usual = self.only.is_empty() && group.is_usual();
        let asked = usual || self.only.contains(&group);
        asked
            && self.changed.as_ref().is_none_or(|changed| {
                changed.everything || changed.groups.contains(&group) || named(changed)
            })
    }

    pub(super) fn has_step(&self, name: &str, group: Group) -> bool {
        self.has(group, |changed| changed.steps.contains(name))
    }

    pub(super) fn has_scenario(&self, name: &str, group: Group) -> bool {
        self.has(group, |changed| changed.scenarios.contains(name))
    }
}

impl Changed {
    fn since(workspace: &Workspace, commit: &str) -> Result<Self> {
        let git = |args: &[&str]| {
            workspace
                .git(args)
                .with_context(|| format!("failed to list the changes since {commit}"))
        };
        // Including files that are not committed or not even added.
        let diff = git(&["diff", "--name-only", "--no-renames", "-z", commit, "--"])?;
        let new = git(&["ls-files", "--others", "--exclude-standard", "-z"])?;
        let mut scripts = Vec::new();
        for path in cache::files(&workspace.root.join("tests/vm/scenarios"))? {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            scripts.push((name, cache::read(&path)?));
        }
        let paths = diff.split_terminator('\0').chain(new.split_terminator('\0'));
        Ok(Self::of(paths, &scripts))
    }

    /// Returns the tests that changes of these files affect, given the names and texts of the scenarios.
    fn of<'p>(paths: impl Iterator<Item = &'p str>, scripts: &[(String, String)]) -> Self {
        let mut changed = Self { groups: [Group::Check].into(), ..Self::default() };
        for path in paths {
            let script =
                path.strip_prefix("tests/vm/scenarios/").and_then(|p| p.strip_suffix(".sh"));
            changed.scenarios.extend(script.map(str::to_owned));
            let Some(affected) = affected(path) else {
                println!("{path} can affect every test");
                changed.everything = true;
                continue;
            };
            for affected in affected {
                match affected {
                    All(group) => _ = changed.groups.insert(*group),
                    Step(name) => _ = changed.steps.insert(name),
                    Saying(word) => {
                        let saying = scripts.iter().filter(|(_, script)| script.contains(word));
                        changed.scenarios.extend(saying.map(|(name, _)| name.clone()));
                    }
                }
            }
        }
        changed
    }
}

/// Returns the line of the table with the longest path that contains `path`.
fn affected(path: &str) -> Option<&'static [Affected]> {
    let below = |dir: &str| {
        path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let line = TABLE.iter().filter(|(dir, _)| below(dir)).max_by_key(|(dir, _)| dir.len());
    line.map(|(_, affected)| *affected)
}

#[cfg(test)]
mod tests {
    use super::super::steps::STEPS;
    use super::*;

    fn changed(paths: &[&str]) -> Changed {
        let scripts = [("a", "use_panthor parameter"), ("b", "start_daemon")];
        let scripts = scripts.map(|(name, script)| (name.to_owned(), script.to_owned()));
        Changed::of(paths.iter().copied(), &scripts)
    }

    #[test]
    fn table_names_paths_and_steps_that_exist() {
        let workspace = Workspace::open().unwrap();
        for (path, affected) in TABLE {
            assert!(workspace.root.join(path).exists(), "{path}");
            for affected in *affected {
                if let Step(name) = affected {
                    assert!(STEPS.iter().any(|step| step.name == *name), "{name}");
                }
            }
        }
    }

    #[test]
    fn unusual_groups_run_only_if_asked_for() {
        let selection = |only: &[Group]| Selection { only: only.to_owned(), changed: None };
        assert!(selection(&[]).has_scenario("x", Core));
        assert!(!selection(&[]).has_scenario("x", Stock));
        assert!(selection(&[Stock]).has_scenario("x", Stock));
        assert!(!selection(&[Stock]).has_scenario("x", Core));
    }

    #[test]
    fn unknown_path_affects_everything() {
        for path in ["daemon/core/src/lib.rs", "driver/module/gpu.rs", "Cargo.lock", "new"] {
            assert!(changed(&["README.md", path]).everything, "{path}");
        }
        assert!(!changed(&["README.md"]).everything);
    }

    #[test]
    fn changed_scenario_affects_itself_alone() {
        let changed = changed(&["tests/vm/scenarios/a.sh"]);
        assert_eq!(changed.scenarios, ["a".to_owned()].into());
        assert_eq!(changed.groups, [Group::Check].into());
    }

    #[test]
    fn longest_path_counts_and_scripts_are_searched() {
        let changed = changed(&["driver/testing/panthor/0001.patch", "docs/boards.md"]);
        assert_eq!(changed.scenarios, ["a".to_owned()].into());
        assert!(changed.steps.contains("boards") && changed.groups.contains(&Packages));
        assert!(!changed.groups.contains(&Core));
    }
}

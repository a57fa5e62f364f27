// SPDX-License-Identifier: MIT OR Apache-2.0

//! `protheapctl check`: checks policies for errors before a board uses them.

mod report;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use protheap_board::policies::{
    DIRECTORIES, Directories, Found, IMAGE, MASK, distrust, image, look,
};
use protheap_board::root::Root;
use protheap_board::{Problem, heaps};
use protheap_policy::cascade::{DEFAULT, Standing};
use protheap_policy::diagnostic::Diagnostic;
use protheap_policy::image::LocalPolicy;
use protheap_policy::lint::{self, Checked};
use protheap_policy::name::Key;

use crate::output::json;
use report::Report;

/// Directory of this machine's image policies, whose heaps are known names.
const INSTALLED: &str = "usr/lib/protheap/policies";

/// Paths where an [`IMAGE`] is not read.
const UNREAD_IMAGES: [&str; 2] = ["etc/protheap/image.toml", "run/protheap/image.toml"];

/// Which policies, and how to print what is wrong with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A directory contains policies (*.toml and *.toml.d/*.toml), or is a root that contains \
etc/protheap, run/protheap or usr/lib/protheap. If several directories of policies are given, the \
first has precedence.

Each problem is printed to standard output, and begins with FILE:LINE:COLUMN: error: or warning:. \
A policy with an error is refused as a whole; one with warnings is used. Conditions of another \
machine, such as the presence of a heap, are not checked.

--json prints {\"files\", \"errors\", \"warnings\", \"more\", \"problems\"}: four numbers, and for \
each problem {\"path\", \"line\", \"column\", \"end_line\", \"end_column\", \"severity\", \"message\", \
\"help\"}. Lines and columns start at 1, and columns count characters; the end is the position \
after the last character. \"help\" can be null. At most 1000 problems are listed for each file; \
\"more\" is the number of those that are not listed.

Exit status: 0 if there is no error, 1 if there is an error, 2 on a usage error.")]
pub(crate) struct Args {
    /// Policy files, image.toml, directories of policies, or roots
    #[arg(required_unless_present = "root", value_name = "FILE|DIR")]
    paths: Vec<PathBuf>,
    /// Check all policies of the machine or the unpacked image at DIR: those in etc/protheap,
    /// run/protheap and usr/lib/protheap, as they replace and mask each other, and image.toml
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Checks the policies, and prints their problems.
pub(crate) fn run(args: &Args, print: fn(&str) -> Result<()>) -> Result<ExitCode> {
    let mut check = Check::new()?;
    if let Some(root) = &args.root {
        check.add_whole(root);
    }
    for path in &args.paths {
        check.add(path);
    }
    let files = check.files();
    let report = Report::of(&files);
    print(&if args.json { json(&report)? } else { report.text(&files) })?;
    if !args.json {
        // If standard error is closed, the exit status is sufficient.
        let _ = writeln!(io::stderr(), "{}", report.summary());
    }
    Ok(if report.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A path to check.
struct Item {
    /// Path for the output.
    shown: String,
    root: Arc<Root>,
    /// Path below the root.
    path: String,
    what: What,
}

/// Kind of a path.
enum What {
    Policy {
        key: Option<Key>,
        /// Files of the same name to compare with.
        scope: Scope,
    },
    Image,
    /// A path that cannot be checked, with its problem.
    Diagnostic(Diagnostic),
}

/// The set of files that can replace each other.
enum Scope {
    /// The file is on its own.
    Alone,
    /// The file is in a given directory. Contains its path below that directory.
    Given(String),
    /// The file is in one of the policy directories of its root.
    Cascade,
}

/// Standing of the files of a key, by path.
type Standings = HashMap<String, Standing>;

struct Check {
    machine: Arc<Root>,
    items: Vec<Item>,
    /// Arguments so far. Duplicates are ignored.
    given: HashSet<PathBuf>,
    roots: HashMap<String, Arc<Root>>,
    standings: HashMap<(String, Key), Arc<Standings>>,
}

fn error(shown: &str, message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(shown, "", 0..0, message.into())
}

fn warning(shown: &str, message: impl Into<String>, help: &str) -> Diagnostic {
    error(shown, message).as_warning().with_help(Some(help.to_owned()))
}

impl Check {
    fn new() -> Result<Self> {
        Ok(Self {
            machine: Arc::new(Root::open(Path::new("/"))?),
            items: Vec::new(),
            given: HashSet::new(),
            roots: HashMap::new(),
            standings: HashMap::new(),
        })
    }

    // Collection of paths.

    /// Adds the paths that an argument stands for.
    fn add(&mut self, path: &Path) {
        let shown = path.to_string_lossy();
        let absolute = std::path::absolute(path);
        let Some(absolute) = absolute.as_ref().ok().and_then(|path| path.to_str()) else {
            let root = Arc::clone(&self.machine);
            let found = error(&shown, "the path is not UTF-8");
            return self.push(shown.into_owned(), &root, String::new(), What::Diagnostic(found));
        };
        if !self.given.insert(PathBuf::from(absolute)) {
            return;
        }
        if !path.is_dir() {
            return self.add_file(&shown, absolute);
        }
        let is_root = |place: &&str| path.join(place).is_dir();
        if ["etc/protheap", "run/protheap", "usr/lib/protheap"].iter().any(is_root) {
            self.add_root(&shown, path);
        } else if let Some((root, path)) = self.beneath_a_root(absolute) {
            self.add_directory(shown.trim_end_matches('/'), &root, &path, true);
        } else {
            let root = Arc::clone(&self.machine);
            self.add_directory(shown.trim_end_matches('/'), &root, absolute, false);
        }
    }

    /// Adds all policies of a root, which must have at least one directory of policies.
    fn add_whole(&mut self, path: &Path) {
        let shown = path.to_string_lossy();
        if let Ok(absolute) = std::path::absolute(path) {
            self.given.insert(absolute);
        }
        if path.is_dir() && !DIRECTORIES.iter().any(|directory| path.join(directory).is_dir()) {
            let message =
                format!("contains no policies: there is none of {}", DIRECTORIES.join(", "));
            return self.report(error(&shown, message));
        }
        self.add_root(&shown, path);
    }

    fn push(&mut self, shown: String, root: &Arc<Root>, path: String, what: What) {
        self.items.push(Item { shown, root: Arc::clone(root), path, what });
    }

    fn report(&mut self, found: Diagnostic) {
        let root = Arc::clone(&self.machine);
        self.push(found.path.clone(), &root, String::new(), What::Diagnostic(found));
    }

    fn add_root(&mut self, shown: &str, path: &Path) {
        let root = match Root::open(path) {
            Ok(root) => Arc::new(root),
            Err(problem) => return self.report(error(shown, problem.message)),
        };
        for directory in DIRECTORIES {
            self.add_directory(&root.shown(directory), &root, directory, true);
        }
        for unread in UNREAD_IMAGES {
            if !matches!(look(&root, unread), Found::Nothing) {
                self.report(unread_image(&root.shown(unread)));
            }
        }
        let shown = root.shown(IMAGE);
        let found = look(&root, IMAGE);
        if let Err(Problem { message, .. }) = image(&root) {
            let help = "policies in etc and run are ignored until this is fixed";
            let message = format!("treated as local-policy = \"never\": {}", sentence(&message));
            self.report(error(&shown, message).with_help(Some(help.to_owned())));
            // The content is still checked, for the author who repairs the file.
            if !matches!(found, Found::Text(_)) {
                return;
            }
        }
        if !matches!(found, Found::Nothing) {
            self.push(shown, &root, IMAGE.to_owned(), What::Image);
        }
    }

    /// Returns the root and the path below it, if the path is in one of the three policy
    /// directories of a root.
    fn beneath_a_root(&mut self, absolute: &str) -> Option<(Arc<Root>, String)> {
        let absolute = absolute.trim_end_matches('/');
        let start = DIRECTORIES.iter().find_map(|directory| {
            let at = absolute.rfind(&format!("/{directory}"))?;
            let rest = absolute.get(at + 1 + directory.len()..)?;
            (rest.is_empty() || rest.starts_with('/')).then_some(at)
        })?;
        let (prefix, path) = absolute.split_at(start);
        let root = match self.roots.get(prefix) {
            Some(root) => Arc::clone(root),
            None => {
                let opened = Root::open(Path::new(if prefix.is_empty() { "/" } else { prefix }));
                let root = Arc::new(opened.ok()?);
                self.roots.insert(prefix.to_owned(), Arc::clone(&root));
                root
            }
        };
        Some((root, path.trim_start_matches('/').to_owned()))
    }

    fn add_file(&mut self, shown: &str, absolute: &str) {
        let mut parts = absolute.rsplit('/');
        let name = parts.next().unwrap_or_default().to_owned();
        let directory = parts.next().unwrap_or_default().to_owned();
        if name == "image.toml" {
            if UNREAD_IMAGES.iter().any(|unread| absolute.ends_with(&format!("/{unread}"))) {
                self.report(unread_image(shown));
            }
            let root = Arc::clone(&self.machine);
            return self.push(shown.to_owned(), &root, absolute.to_owned(), What::Image);
        }
        let cascade = self.beneath_a_root(absolute);
        let (root, path, scope) = match cascade {
            Some((root, path)) => (root, path, Scope::Cascade),
            None => (Arc::clone(&self.machine), absolute.to_owned(), Scope::Alone),
        };
        if !name.ends_with(".toml") {
            self.report(unread(shown));
        }
        let key = match directory.strip_suffix(".toml.d") {
            Some(key) => self.key(shown, key),
            None => self.key(shown, name.strip_suffix(".toml").unwrap_or(DEFAULT)),
        };
        self.push(shown.to_owned(), &root, path, What::Policy { key, scope });
    }

    /// Adds a warning if no file in a directory counts.
    fn note_distrust(&mut self, shown: &str, root: &Root, path: &str) {
        if let Some(why) = distrust(root, path) {
            let help = "make it writable by root only";
            self.report(warning(shown, format!("all policies in it are ignored: it {why}"), help));
        }
    }

    fn add_directory(&mut self, shown: &str, root: &Arc<Root>, path: &str, is_cascade: bool) {
        if path.ends_with(".toml.d") {
            return self.add_drop_ins(shown, root, path, is_cascade);
        }
        if is_cascade {
            self.note_distrust(shown, root, path);
        }
        for name in self.list(shown, root, path) {
            let (below, shown) = (format!("{path}/{name}"), format!("{shown}/{name}"));
            if name.ends_with(".toml.d") && matches!(look(root, &below), Found::Refused(_)) {
                self.add_drop_ins(&shown, root, &below, is_cascade);
                continue;
            }
            let Some(stem) = name.strip_suffix(".toml") else {
                self.report(unread(&shown));
                continue;
            };
            let key = self.key(&shown, stem);
            let scope = if is_cascade { Scope::Cascade } else { Scope::Given(name) };
            self.push(shown, root, below, What::Policy { key, scope });
        }
    }

    fn add_drop_ins(&mut self, shown: &str, root: &Arc<Root>, path: &str, is_cascade: bool) {
        if is_cascade {
            self.note_distrust(shown, root, path);
        }
        let directory = path.rsplit('/').next().unwrap_or_default().to_owned();
        let key = self.key(shown, directory.strip_suffix(".toml.d").unwrap_or_default());
        for name in self.list(shown, root, path) {
            let (below, shown) = (format!("{path}/{name}"), format!("{shown}/{name}"));
            if !name.ends_with(".toml") {
                self.report(unread(&shown));
                continue;
            }
            let scope = match is_cascade {
                true => Scope::Cascade,
                false => Scope::Given(format!("{directory}/{name}")),
            };
            self.push(shown, root, below, What::Policy { key: key.clone(), scope });
        }
    }

    /// Returns the names in a directory, except hidden ones.
    fn list(&mut self, shown: &str, root: &Arc<Root>, path: &str) -> Vec<String> {
        let mut problems = Vec::new();
        let mut names = root.list(path, &mut problems);
        names.retain(|name| !name.starts_with('.'));
        let directory = root.shown(path);
        for Problem { path, message } in problems {
            // The problem concerns the directory, or one of its entries.
            let entry = path.strip_prefix(&directory).unwrap_or_default();
            self.report(error(&format!("{shown}{entry}"), message));
        }
        names
    }

    /// Returns the key of a file name. Adds a warning if no board can have it.
    fn key(&mut self, shown: &str, name: &str) -> Option<Key> {
        let help =
            "name the file after a compatible string, such as `acme,a9.toml`, or `default.toml`";
        let key = Key::new(name);
        match &key {
            Err(fault) => {
                self.report(warning(shown, format!("applies to no board: its name {fault}"), help));
            }
            Ok(_) if name != DEFAULT && !name.contains(',') => {
                let message =
                    "applies to no board: a compatible string has the form `vendor,board`";
                self.report(warning(shown, message, help));
            }
            Ok(_) => {}
        }
        key.ok()
    }

    // Checks.

    /// Checks all paths in the given order. Returns for each its shown path, whether it is a file,
    /// and the result.
    fn files(mut self) -> Vec<(String, bool, Checked)> {
        let mut scopes: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, item) in self.items.iter().enumerate() {
            if let What::Policy { scope: Scope::Given(name), .. } = &item.what {
                scopes.entry(name.clone()).or_default().push(index);
            }
        }
        let (mut paths, mut files, mut masks) = (Vec::new(), Vec::new(), HashSet::new());
        let items = std::mem::take(&mut self.items);
        for (index, item) in items.iter().enumerate() {
            let is_file = !matches!(item.what, What::Diagnostic(_));
            let (mut checked, is_mask) = self.check(item);
            if is_mask {
                masks.insert(index);
            }
            if let What::Policy { key, scope } = &item.what {
                let found = match (scope, key) {
                    (Scope::Given(name), _) => {
                        let same = scopes.get(name).map_or(&[][..], Vec::as_slice);
                        among(&items, same, index, &masks)
                    }
                    (Scope::Cascade, Some(key)) => {
                        self.standing(item, key).and_then(|all| in_cascade(item, &all, is_mask))
                    }
                    _ if is_mask => Some(mask(&item.shown, &[])),
                    _ => None,
                };
                checked.problems.splice(0..0, found);
            }
            paths.push((item.shown.clone(), is_file));
            files.push(checked);
        }
        lint::between(&mut files, &mut || self.known_heaps(&items));
        paths.into_iter().zip(files).map(|((path, is_file), file)| (path, is_file, file)).collect()
    }

    /// Checks one path. Also returns whether it is a mask.
    fn check(&self, item: &Item) -> (Checked, bool) {
        let Item { shown, root, path, what } = item;
        let reported = |found| Checked::from(found);
        let found = match what {
            What::Diagnostic(found) => return (reported(found.clone()), false),
            What::Policy { .. } | What::Image => look(root, path),
        };
        let checked = match (found, what) {
            (Found::Text(text), What::Image) => lint::image(shown, &text),
            (Found::Text(text), What::Policy { key, .. }) => {
                let default = || Key::new(DEFAULT).ok();
                match key.clone().or_else(default) {
                    Some(key) => lint::policy(&key, shown, &text),
                    None => Checked::default(),
                }
            }
            // An empty `image.toml` is allowed.
            (Found::Mask, what) => return (Checked::default(), !matches!(what, What::Image)),
            (Found::Nothing, _) => reported(error(shown, "failed to read: no such file")),
            (Found::Refused(why) | Found::Untrusted(why), _) => reported(error(shown, why)),
            (_, What::Diagnostic(_)) => Checked::default(),
        };
        (checked, false)
    }

    /// Returns the standing of the files of a key in the directories of a root.
    fn standing(&mut self, item: &Item, key: &Key) -> Option<Arc<Standings>> {
        let of = (item.root.shown(""), key.clone());
        if let Some(known) = self.standings.get(&of) {
            return Some(Arc::clone(known));
        }
        let keys = [key.clone()];
        let mut directories = Directories::open(&item.root);
        if let Some(why) = closed(&item.root) {
            directories.distrust_local(&why);
        }
        // Problems were already added when the directories were listed.
        let files = directories.read(&item.root, &keys, true, &mut Vec::new());
        let all = files.into_iter().map(|file| (file.path, file.standing)).collect();
        Some(Arc::clone(self.standings.entry(of).or_insert(Arc::new(all))))
    }

    /// Returns the heaps of this machine, and those that its policies name.
    fn known_heaps(&self, items: &[Item]) -> BTreeSet<String> {
        let machine = &self.machine;
        // Problems of this machine do not concern the checked policies.
        let mut problems = Vec::new();
        let heaps = heaps::read(machine, &mut problems);
        let mut names: BTreeSet<_> = heaps.iter().map(ToString::to_string).collect();
        let installed = format!("/{INSTALLED}/");
        // A policy under test must not confirm its own names.
        if items.iter().any(|item| item.root.shown(&item.path).contains(&installed)) {
            return names;
        }
        let is_policy = |name: &String| name.ends_with(".toml") && !name.starts_with('.');
        for name in machine.list(INSTALLED, &mut problems).into_iter().filter(is_policy) {
            if let (Found::Text(text), Ok(key)) =
                (look(machine, &format!("{INSTALLED}/{name}")), Key::new(DEFAULT))
            {
                names.extend(lint::policy(&key, &name, &text).heaps());
            }
        }
        names
    }
}

/// Returns why the image of a root trusts only its own policies. The lockdown state of the kernel
/// is unknown here.
fn closed(root: &Root) -> Option<String> {
    let (shown, text) = match image(root) {
        Ok(image) => image?,
        Err(_) => return Some(format!("{} cannot be used", root.shown(IMAGE))),
    };
    match LocalPolicy::parse(&shown, &text) {
        Ok(LocalPolicy::Never) => Some(format!("{shown} sets local-policy = \"never\"")),
        Ok(LocalPolicy::Unlocked | LocalPolicy::Always) => None,
        Err(_) => Some(format!("{shown} is refused")),
    }
}

/// Makes a sentence of the reason why a file does not count. Some reasons have a subject already.
fn sentence(why: &str) -> String {
    let it =
        if ["its ", "failed "].iter().any(|start| why.starts_with(start)) { "" } else { "it " };
    format!("{it}{why}")
}

fn unread_image(shown: &str) -> Diagnostic {
    let help = "move it there, or remove it";
    warning(shown, format!("ignored: only {IMAGE} is read"), help)
}

fn unread(shown: &str) -> Diagnostic {
    let help = "name policies `<compatible string>.toml`, and drop-ins `<compatible \
        string>.toml.d/*.toml`";
    warning(shown, "ignored: the file name does not end in .toml", help)
}

fn mask(shown: &str, hidden: &[&str]) -> Diagnostic {
    if hidden.is_empty() {
        let help = "an empty file or a link to /dev/null masks files of the same name in \
            directories of lower precedence";
        return warning(shown, "masks nothing: no other file of this name was found", help);
    }
    let help = "remove it to unmask them";
    warning(shown, format!("masks {}", hidden.join(" and ")), help)
}

/// Returns the warning for a file among those of the same name in the given directories.
fn among(
    items: &[Item],
    same: &[usize],
    index: usize,
    masks: &HashSet<usize>,
) -> Option<Diagnostic> {
    let item = items.get(index)?;
    let shown = |index: &usize| items.get(*index).map(|item| item.shown.as_str());
    let (first, lower) = same.split_first()?;
    if *first != index {
        let word = if masks.contains(first) { "masked" } else { "shadowed" };
        let message = format!("ignored: {word} by {}", shown(first)?);
        return Some(warning(
            &item.shown,
            message,
            "of several files of the same name, only the one in the first directory applies",
        ));
    }
    let hidden: Vec<_> = lower.iter().filter_map(shown).collect();
    masks.contains(&index).then(|| mask(&item.shown, &hidden))
}

/// Returns the warning for a file among those of its root.
fn in_cascade(item: &Item, all: &Standings, is_mask: bool) -> Option<Diagnostic> {
    let path = item.root.shown(&item.path);
    let help = "of several files of the same name, only the one in the first directory applies";
    let (word, why) = match all.get(&path)? {
        Standing::Masked(why) if is_mask && why == MASK => {
            let by = format!("by {path}");
            let is_hidden =
                |standing: &Standing| matches!(standing, Standing::Masked(why) if *why == by);
            let hidden = all.iter().filter(|(_, standing)| is_hidden(standing));
            let mut hidden: Vec<_> = hidden.map(|(path, _)| path.as_str()).collect();
            hidden.sort_unstable();
            return Some(mask(&item.shown, &hidden));
        }
        Standing::Masked(why) => ("masked ", why),
        Standing::Shadowed(why) => ("shadowed ", why),
        // The image does not trust local policies.
        Standing::Untrusted(why) if why.starts_with(&item.root.shown(IMAGE)) => {
            let help = format!("the image accepts only policies in {INSTALLED}");
            return Some(warning(&item.shown, format!("ignored: {why}"), &help));
        }
        Standing::Untrusted(why) => {
            let message = format!("ignored: {}", sentence(why));
            return Some(warning(&item.shown, message, "make it writable by root only"));
        }
        Standing::Text(_) | Standing::Refused(_) => return None,
    };
    Some(warning(&item.shown, format!("ignored: {word}{why}"), help))
}

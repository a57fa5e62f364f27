// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tests `protheapctl check` on valid, faulty and hostile files.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../policies");
const GOOD: &str = "schema = 1\n";

/// A temporary directory of one test, removed on drop.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("protheapctl-{test}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs the program in a directory, and kills it if it does not exit.
fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_protheapctl"));
    command.arg("check").args(arguments).current_dir(directory);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let guard = std::thread::spawn(move || {
        if waits.recv_timeout(Duration::from_secs(60)).is_err() {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
    });
    drop(child.stdin.take());
    let said = child.wait_with_output().unwrap();
    let _ = done.send(());
    guard.join().unwrap();
    said
}

/// Returns the lines that begin a problem, and the exit status.
fn lines(directory: &Path, arguments: &[&str]) -> (Vec<String>, i32) {
    let said = run(directory, arguments);
    let text = String::from_utf8(said.stdout).unwrap();
    let first = |line: &&str| line.contains(": error: ") || line.contains(": warning: ");
    let prefix = format!("{}/", directory.display());
    let lines = text.lines().filter(first).map(|line| line.replace(&prefix, "")).collect();
    (lines, said.status.code().unwrap())
}

/// Compares output with a golden file, or writes that file if PROTHEAP_RENEW is set.
fn golden(name: &str, said: &str) {
    let path = format!("{TESTS}/{name}");
    if std::env::var_os("PROTHEAP_RENEW").is_some() {
        fs::write(&path, said).unwrap();
    }
    assert_eq!(said, fs::read_to_string(&path).unwrap(), "PROTHEAP_RENEW=1 renews {path}");
}

#[test]
fn text_and_json_match_the_golden_files() {
    for (options, name) in [(&["check"][..], "check.txt"), (&["check", "--json"], "check.json")] {
        let said = run(Path::new(TESTS), options);
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        golden(name, &String::from_utf8(said.stdout).unwrap());
        let summary = String::from_utf8(said.stderr).unwrap();
        assert_eq!(summary.lines().count(), usize::from(name == "check.txt"), "{summary}");
    }
}

#[test]
fn shipped_policies_have_no_problems() {
    let said = run(Path::new(POLICIES), &["."]);
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "");
    let summary = String::from_utf8(said.stderr).unwrap();
    assert!(
        said.status.success() && summary.ends_with(" files, 0 errors, 0 warnings\n"),
        "{summary}"
    );
    for file in fs::read_dir(POLICIES).unwrap() {
        let path = file.unwrap().path();
        let said = run(Path::new("/"), &[path.to_str().unwrap()]);
        assert!(said.status.success() && said.stdout.is_empty(), "{said:?}");
        assert_eq!(said.stderr, b"1 file, 0 errors, 0 warnings\n");
    }
}

#[test]
fn shadowed_and_masked_files_are_reported() {
    let tree = Directory::new("cascade");
    for path in [
        "etc/protheap/policies/acme,shadow.toml",
        "run/protheap/policies/acme,shadow.toml",
        "usr/lib/protheap/policies/acme,mask.toml",
        "usr/lib/protheap/policies/acme,shadow.toml",
        "usr/lib/protheap/policies/acme,shadow.toml.d/10-a.toml",
    ] {
        tree.file(path, GOOD);
    }
    tree.file("etc/protheap/policies/acme,mask.toml", "");
    tree.file("etc/protheap/policies/acme,nothing.toml", "");
    tree.file("etc/protheap/policies/.acme,hidden.toml.swp", "=");
    tree.file("etc/protheap/policies/old.conf", "=");
    tree.file("etc/protheap/policies/acme,others.toml", GOOD);
    let others = tree.path("etc/protheap/policies/acme,others.toml");
    fs::set_permissions(others, fs::Permissions::from_mode(0o666)).unwrap();
    symlink("/dev/null", tree.path("run/protheap/policies/acme,shadow.toml.d/10-a.toml")).unwrap();
    tree.file("usr/lib/protheap/image.toml", "local-policy = \"unlocked\"\n");

    let etc = "etc/protheap/policies/";
    let lower = "ignored: shadowed by etc/protheap/policies/acme,shadow.toml";
    let expected = [
        format!("{etc}acme,mask.toml:1:1: warning: masks usr/lib/protheap/policies/acme,mask.toml"),
        format!("{etc}acme,nothing.toml:1:1: warning: masks nothing: no other file of this name was found"),
        format!("{etc}acme,others.toml:1:1: warning: ignored: it is writable by users other than root (mode 0666); run chmod go-w"),
        format!("{etc}old.conf:1:1: warning: ignored: the file name does not end in .toml"),
        format!("run/protheap/policies/acme,shadow.toml:1:1: warning: {lower}"),
        "run/protheap/policies/acme,shadow.toml.d/10-a.toml:1:1: warning: masks usr/lib/protheap/policies/acme,shadow.toml.d/10-a.toml".to_owned(),
        format!("usr/lib/protheap/policies/acme,mask.toml:1:1: warning: ignored: masked by {etc}acme,mask.toml"),
        format!("usr/lib/protheap/policies/acme,shadow.toml:1:1: warning: {lower}"),
        "usr/lib/protheap/policies/acme,shadow.toml.d/10-a.toml:1:1: warning: ignored: masked by run/protheap/policies/acme,shadow.toml.d/10-a.toml".to_owned(),
    ];
    let root = tree.0.to_str().unwrap();
    assert_eq!(lines(&tree.0, &[root]), (expected.to_vec(), 0));

    // Checking one of these files alone yields the same warning.
    let (alone, code) = lines(&tree.0, &["run/protheap/policies/acme,shadow.toml"]);
    assert_eq!((alone, code), (vec![expected[4].clone()], 0));
    let (alone, _) = lines(&tree.0, &["usr/lib/protheap/policies"]);
    assert_eq!(alone, expected[6..9]);

    // Directories of any name have precedence in the given order.
    for name in ["a/acme,a.toml", "b/acme,a.toml", "b/acme,b.toml", "b/acme,b.toml.d/x.toml"] {
        tree.file(name, GOOD);
    }
    tree.file("a/acme,b.toml", "");
    tree.file("c/acme,b.toml.d/x.toml", GOOD);
    let (found, code) = lines(&tree.0, &["a", "b", "c/"]);
    let expected = [
        "a/acme,b.toml:1:1: warning: masks b/acme,b.toml",
        "b/acme,a.toml:1:1: warning: ignored: shadowed by a/acme,a.toml",
        "b/acme,b.toml:1:1: warning: ignored: masked by a/acme,b.toml",
        "c/acme,b.toml.d/x.toml:1:1: warning: ignored: shadowed by b/acme,b.toml.d/x.toml",
    ];
    assert_eq!(
        (found.iter().map(String::as_str).collect::<Vec<_>>(), code),
        (expected.to_vec(), 0)
    );
}

#[test]
fn closed_image_makes_local_policies_not_count() {
    let tree = Directory::new("closed");
    let root = tree.0.to_str().unwrap();
    for path in ["etc/protheap/policies/acme,a.toml", "run/protheap/policies/acme,b.toml.d/x.toml"]
    {
        tree.file(path, GOOD);
    }
    tree.file("etc/protheap/policies/acme,b.toml", "");
    for path in ["acme,a.toml", "acme,b.toml", "acme,b.toml.d/x.toml"] {
        tree.file(&format!("usr/lib/protheap/policies/{path}"), GOOD);
    }
    let image = "usr/lib/protheap/image.toml";
    let mode = |path: &str, mode| {
        fs::set_permissions(tree.0.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    let closed = |why: &str| {
        [
            "etc/protheap/policies/acme,a.toml",
            "etc/protheap/policies/acme,b.toml",
            "run/protheap/policies/acme,b.toml.d/x.toml",
        ]
        .map(|path| format!("{path}:1:1: warning: ignored: {image} {why}"))
        .to_vec()
    };

    tree.file(image, "local-policy = \"never\"\n");
    let never = closed("sets local-policy = \"never\"");
    assert_eq!(lines(&tree.0, &[root]), (never.clone(), 0));
    // Checking a single file or directory yields the same warnings.
    let (alone, code) = lines(&tree.0, &["etc/protheap/policies/acme,a.toml"]);
    assert_eq!((alone, code), (vec![never[0].clone()], 0));
    assert_eq!(lines(&tree.0, &["run/protheap/policies"]), (vec![never[2].clone()], 0));
    assert_eq!(lines(&tree.0, &["usr/lib/protheap/policies"]), (vec![], 0));

    tree.file(image, "local-policy = \"sometimes\"\n");
    let mut expected = closed("is refused");
    expected.push(format!("{image}:1:16: error: expected \"never\", \"unlocked\" or \"always\""));
    assert_eq!(lines(&tree.0, &[root]), (expected, 1));

    // A file that other users can write does not count, whatever its contents are.
    let cannot = |why: &str| {
        let mut expected = closed("cannot be used");
        expected.push(format!("{image}:1:1: error: treated as local-policy = \"never\": {why}"));
        (expected, 1)
    };
    tree.file(image, "local-policy = \"always\"\n");
    mode(image, 0o666);
    let others = "is writable by users other than root";
    let why = format!("it {others} (mode 0666); run chmod go-w");
    assert_eq!(lines(&tree.0, &[root]), cannot(&why));
    mode(image, 0o644);
    // A user who can write to this directory can also replace the directory of policies.
    mode("usr/lib/protheap", 0o777);
    let why = format!("its directory {others} (mode 0777); run chmod go-w");
    let says = |(found, status): (Vec<String>, i32)| {
        let last = found.last().cloned().unwrap_or_default();
        (last, status, found.iter().filter(|line| line.contains("ignored: ")).count())
    };
    let expected =
        (format!("{image}:1:1: error: treated as local-policy = \"never\": {why}"), 1, 6);
    assert_eq!(says(lines(&tree.0, &[root])), expected);
    fs::remove_file(tree.0.join(image)).unwrap();
    assert_eq!(says(lines(&tree.0, &[root])), expected);
    mode("usr/lib/protheap", 0o755);
    fs::create_dir(tree.0.join(image)).unwrap();
    assert_eq!(lines(&tree.0, &[root]), cannot("it is not a regular file"));
    fs::remove_dir(tree.0.join(image)).unwrap();

    for open in ["always", "unlocked"] {
        tree.file(image, format!("local-policy = \"{open}\"\n"));
        let (found, _) = lines(&tree.0, &[root]);
        assert!(
            found.iter().all(|line| line.contains("shadowed by") || line.contains("mask")),
            "{found:?}"
        );
        assert!(found.len() == 4, "{found:?}");
    }

    // A directory counts only if root alone can write to it.
    mode("etc/protheap/policies", 0o777);
    let (found, _) = lines(&tree.0, &["etc/protheap/policies/acme,a.toml"]);
    let why = format!("ignored: its directory {others} (mode 0777); run chmod go-w");
    assert_eq!(found, [format!("etc/protheap/policies/acme,a.toml:1:1: warning: {why}")]);
}

#[test]
fn misplaced_image_toml_is_reported() {
    let tree = Directory::new("elsewhere");
    let unread = |path: &str| {
        format!("{path}:1:1: warning: ignored: only usr/lib/protheap/image.toml is read")
    };
    let paths = ["etc/protheap/image.toml", "run/protheap/image.toml"];
    for path in paths {
        tree.file(path, "local-policy = \"never\"\n");
        assert_eq!(lines(&tree.0, &[path]), (vec![unread(path)], 0));
    }
    for path in ["etc/protheap/policies/acme,a.toml", "usr/lib/protheap/image.toml"] {
        tree.file(path, GOOD);
        assert_eq!(lines(&tree.0, &[path]), (vec![], 0));
    }
    assert_eq!(lines(&tree.0, &[tree.0.to_str().unwrap()]), (paths.map(unread).to_vec(), 0));
}

#[test]
fn names_that_match_no_board_are_reported() {
    let tree = Directory::new("names");
    tree.file("a/acme.toml", GOOD);
    tree.file("a/acme a,b.toml", GOOD);
    tree.file("a/default.toml", GOOD);
    tree.file("a/acme.toml.d/x.toml", GOOD);
    tree.file("a/acme,a.toml.d/x.conf", GOOD);
    tree.file("a/more/acme,a.toml", GOOD);
    let (found, code) = lines(&tree.0, &["a"]);
    let no_comma = "warning: applies to no board: a compatible string has the form `vendor,board`";
    let unread = "warning: ignored: the file name does not end in .toml";
    let expected = [
        "a/acme a,b.toml:1:1: warning: applies to no board: its name contains ' '; only printable ASCII characters other than `/` and space are allowed".to_owned(),
        format!("a/acme,a.toml.d/x.conf:1:1: {unread}"),
        format!("a/acme.toml:1:1: {no_comma}"),
        format!("a/acme.toml.d:1:1: {no_comma}"),
        format!("a/more:1:1: {unread}"),
    ];
    assert_eq!((found, code), (expected.to_vec(), 0));
    assert_eq!(lines(&tree.0, &["a/acme,a.toml.d/x.conf"]).0, [expected[1].clone()]);
}

#[test]
fn unusable_files_are_errors_and_never_block() {
    let tree = Directory::new("hostile");
    let directory = tree.0.join("d");
    fs::create_dir_all(directory.join("acme,directory.toml")).unwrap();
    assert!(
        Command::new("mkfifo").arg(directory.join("acme,fifo.toml")).status().unwrap().success()
    );
    assert!(
        Command::new("mkfifo").arg(directory.join("acme,x.toml.d")).status().unwrap().success()
    );
    symlink("acme,loop.toml", directory.join("acme,loop.toml")).unwrap();
    symlink("nowhere", directory.join("acme,nowhere.toml")).unwrap();
    symlink("/dev/zero", directory.join("acme,zero.toml")).unwrap();
    symlink("/dev/null", directory.join("acme,null.toml")).unwrap();
    File::create(directory.join("acme,large.toml")).unwrap().set_len(100 << 20).unwrap();
    tree.file("d/acme,latin.toml", b"schema = 1\n# caf\xe9\n");
    tree.file("d/acme,nul.toml", "schema = 1\0\n");
    tree.file("d/acme,terminal.toml", "\"\u{1b}]0;owned\u{7}\" = \"\u{9b}2J\u{7f}\"\n");
    tree.file("d/acme,\u{1b}[31m.toml", GOOD);
    tree.file("d/acme,unreadable.toml", GOOD);
    let unreadable = directory.join("acme,unreadable.toml");
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0o000)).unwrap();
    // Root can read every file.
    let is_root = File::open(&unreadable).is_ok();

    let start = Instant::now();
    let said = run(&tree.0, &["d", "missing.toml", "d/acme,fifo.toml"]);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert_eq!(said.status.code(), Some(1));
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    for (file, reason) in [
        ("d/acme,directory.toml", "error: is not a regular file"),
        ("d/acme,fifo.toml", "error: is not a regular file"),
        ("d/acme,loop.toml", "error: failed to read: "),
        ("d/acme,nowhere.toml", "error: is a link to \"nowhere\", which does not exist"),
        ("d/acme,zero.toml", "error: is not a regular file"),
        ("d/acme,null.toml", "warning: masks nothing"),
        ("d/acme,large.toml", "error: is longer than 65536 bytes"),
        ("d/acme,latin.toml", "error: is not UTF-8 in line 2"),
        ("missing.toml", "error: failed to read: no such file"),
    ] {
        assert!(text.contains(&format!("{file}:1:1: {reason}")), "{file}: {text}");
    }
    assert!(
        is_root || text.contains("d/acme,unreadable.toml:1:1: error: failed to read: "),
        "{text}"
    );
    assert!(text.contains("d/acme,nul.toml:1:10: error: "), "{text}");

    let json = String::from_utf8(run(&tree.0, &["--json", "d"]).stdout).unwrap();
    assert!(!json.contains(|c: char| c.is_control() && c != '\n'), "{json:?}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["problems"].as_array().unwrap().iter().filter(|p| p["severity"] == "error").count(),
        json["errors"]
    );
}

#[test]
fn file_changed_during_the_check_is_read_safely() {
    let tree = Directory::new("changing");
    let path = tree.file("acme,a.toml", GOOD);
    let until = Instant::now() + Duration::from_secs(1);
    let writer = std::thread::spawn(move || {
        let long = "# long\n".repeat(20_000);
        while Instant::now() < until {
            for text in ["", GOOD, "=", &long] {
                fs::write(&path, text).unwrap();
            }
        }
    });
    while !writer.is_finished() {
        assert!(matches!(run(&tree.0, &["acme,a.toml"]).status.code(), Some(0 | 1)));
    }
    writer.join().unwrap();
}

#[test]
fn wrong_usage_exits_with_status_2_and_warnings_with_0() {
    let tree = Directory::new("usage");
    for arguments in [&[][..], &["--json"], &[""], &["--yaml", "a"]] {
        assert_eq!(run(&tree.0, arguments).status.code(), Some(2), "{arguments:?}");
    }
    tree.file("acme,a.toml", "schema = 1\n[gpu.'g.g']\nallow-unprotected = true\n");
    let (found, code) = lines(&tree.0, &["acme,a.toml", "./acme,a.toml"]);
    assert_eq!((found.len(), code), (1, 0), "{found:?}");
    let said = run(&tree.0, &["--json", "acme,a.toml"]);
    let expected = "{\"files\":1,\"errors\":0,\"warnings\":1,\"more\":0,\"problems\":[{\"path\":\"acme,a.toml\",\"line\":3,\"column\":21,\"end_line\":3,\"end_column\":25,\"severity\":\"warning\",\"message\":\"a heap that the CPU can map may be bound\",\"help\":\"use it for driver bring-up only, and remove it before a release\"}]}\n";
    assert_eq!(String::from_utf8(said.stdout).unwrap(), expected);
}

#[test]
fn faults_beyond_the_limit_are_counted() {
    let tree = Directory::new("many");
    let text = (0..1500).fold(GOOD.to_owned(), |mut text, number| {
        writeln!(text, "key-that-is-not-there-{number} = 1").unwrap();
        text
    });
    tree.file("acme,a.toml", text);
    let said = run(&tree.0, &["acme,a.toml"]);
    assert!(String::from_utf8(said.stdout).unwrap().ends_with("error: and 500 more\n\n"));
    assert_eq!(said.stderr, b"1 file, 1500 errors, 0 warnings\n");
}

#[test]
fn whole_root_is_checked_with_its_overlay_directories() {
    let directory = Directory::new("root");
    let usr = "image/usr/lib/protheap/policies";
    directory.file(&format!("{usr}/acme,a9.toml"), "schema = 1\n");
    directory.file(&format!("{usr}/acme,b1.toml"), "schema = 1\n[gpu.\"*\"]\nheap = 1\n");
    directory.file("image/run/protheap/policies/acme,b1.toml", "");
    directory.file(
        "image/etc/protheap/policies/acme,a9.toml.d/10-x.toml",
        "schema = 1\n[gpu.\"arm,mali-valhall-csf\"]\nhold = \"x\"\n",
    );
    let found = lines(&directory.0, &["--root", "image"]);
    let (said, code) = (found.0.join("\n"), found.1);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("10-x.toml:3:8: error"), "{said}");
    assert!(said.contains("usr/lib/protheap/policies/acme,b1.toml"), "{said}");
    assert!(said.contains("run/protheap/policies/acme,b1.toml"), "{said}");
    assert_eq!(lines(&directory.0, &["image"]), found, "a root is recognized without the option");
    assert_eq!(lines(&directory.0, &["--root", "image", "image"]), found, "once is enough");
    let json = run(&directory.0, &["--root", "image", "--json"]).stdout;
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(json["files"], 4);
    for (root, why) in [("empty", "contains no policies"), ("nothing", "No such file")] {
        fs::create_dir_all(directory.path("empty")).unwrap();
        let (said, code) = lines(&directory.0, &["--root", root]);
        assert!(code == 1 && said.join("\n").contains(why), "{root}: {said:?}");
    }
}

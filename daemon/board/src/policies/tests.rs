// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use crate::testing::Tree;

fn keys(keys: &[&str]) -> Vec<Key> {
    keys.iter().map(|key| Key::new(key).unwrap()).collect()
}

/// Returns all files: key, standing, and text or reason.
fn all(tree: &Tree, asked: &[&str]) -> Vec<(String, &'static str, String)> {
    let root = tree.root();
    let mut problems = Vec::new();
    let files = Directories::open(&root).read(&root, &keys(asked), true, &mut problems);
    assert_eq!(problems, []);
    let shown = |file: PolicyFile| {
        let (word, text) = match file.standing {
            Standing::Text(text) => ("text", text),
            Standing::Masked(why) => ("masked", why),
            Standing::Shadowed(why) => ("shadowed", why),
            Standing::Untrusted(why) => ("untrusted", why),
            Standing::Refused(why) => ("refused", why),
        };
        (file.key.as_str().to_owned(), word, text.replace(tree.0.to_str().unwrap(), ""))
    };
    files.into_iter().map(shown).collect()
}

/// Returns the key and text of each file in effect, the problems, and all files.
fn counting(
    tree: &Tree,
    asked: &[&str],
    local: bool,
) -> (Vec<(String, String)>, Vec<Problem>, Vec<PolicyFile>) {
    let root = tree.root();
    let mut problems = Vec::new();
    let mut directories = Directories::open(&root);
    if !local {
        directories.distrust_local("closed");
    }
    let files = directories.read(&root, &keys(asked), false, &mut problems);
    let text = |file: &PolicyFile| match &file.standing {
        Standing::Text(text) => Some((file.key.as_str().to_owned(), text.clone())),
        _ => None,
    };
    (files.iter().filter_map(text).collect(), problems, files)
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn read_follows_directory_precedence_and_appends_drop_ins() {
    let tree = Tree::new();
    for (path, text) in [
        ("usr/lib/protheap/policies/default.toml", "lib default"),
        ("usr/lib/protheap/policies/acme,a9.toml", "lib a9"),
        ("usr/lib/protheap/policies/acme,a9.toml.d/20-b.toml", "lib 20"),
        ("usr/lib/protheap/policies/acme,a9.toml.d/10-a.toml", "lib 10"),
        ("run/protheap/policies/acme,a9.toml", "run a9"),
        ("run/protheap/policies/acme,a9.toml.d/15-c.toml", "run 15"),
        ("etc/protheap/policies/acme,a9.toml.d/20-b.toml", "etc 20"),
        ("etc/protheap/policies/acme,a9.toml.d/note.txt", "no"),
        ("etc/protheap/policies/acme,a9.toml.d/.10-a.toml.swp", "no"),
        ("etc/protheap/policies/acme,other.toml", "no"),
    ] {
        tree.file(path, text);
    }
    let asked = ["default", "acme,soc", "acme,a9"];
    let (files, problems, considered) = counting(&tree, &asked, true);
    let expected = [
        ("default", "lib default"),
        ("acme,a9", "run a9"),
        ("acme,a9", "lib 10"),
        ("acme,a9", "run 15"),
        ("acme,a9", "etc 20"),
    ];
    assert_eq!(files, pairs(&expected));
    assert_eq!(problems, []);
    assert!(considered[1].path.ends_with("/run/protheap/policies/acme,a9.toml"));
    let (files, problems, _) = counting(&tree, &asked, false);
    let expected = [
        ("default", "lib default"),
        ("acme,a9", "lib a9"),
        ("acme,a9", "lib 10"),
        ("acme,a9", "lib 20"),
    ];
    assert_eq!(files, pairs(&expected));
    let reported: Vec<_> = problems.iter().map(|p| p.message.as_str()).collect();
    assert_eq!(reported, ["ignored: closed"; 2]);
}

#[test]
fn read_limits_the_number_of_drop_ins() {
    let tree = Tree::new();
    let most = u32::try_from(MOST_DROP_INS).unwrap();
    for number in 0..2 * most {
        let layer = if number % 2 == 0 { "etc" } else { "run" };
        let text = number.to_string();
        tree.file(&format!("{layer}/protheap/policies/a.toml.d/{number:04}.toml"), text);
    }
    let (files, problems, _) = counting(&tree, &["a"], true);
    let expected: Vec<_> = (0..most).map(|n| ("a".to_owned(), n.to_string())).collect();
    assert_eq!(files, expected);
    assert!(
        matches!(&problems[..], [one] if one.path.ends_with("/etc/protheap/policies/a.toml.d"))
    );
}

#[test]
fn read_names_the_file_that_hides_another() {
    let tree = Tree::new();
    let at = |layer: &str| format!("{layer}/protheap/policies/a.toml");
    tree.file(&at("usr/lib"), "lib");
    tree.file(&at("run"), "run");
    assert_eq!(
        all(&tree, &["a"]),
        [
            ("a".into(), "text", "run".into()),
            ("a".into(), "shadowed", "by /run/protheap/policies/a.toml".into()),
        ]
    );
    tree.file(&at("etc"), "");
    let hidden = ("a".into(), "masked", "by /etc/protheap/policies/a.toml".into());
    let mask = "masks files of this name in directories of lower precedence".into();
    let expected = [("a".into(), "masked", mask), hidden.clone(), hidden];
    assert_eq!(all(&tree, &["a"]), expected);
}

#[test]
fn read_ignores_files_and_directories_writable_by_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = Tree::new();
    let at = |layer: &str, name: &str| format!("{layer}/protheap/policies/{name}");
    let mode = |path: &str, mode: u32| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(tree.path(path), permissions).unwrap();
    };
    for name in ["a.toml", "b.toml"] {
        tree.file(&at("usr/lib", name), "lib");
    }
    // A mask that other users can write to has no effect.
    tree.file(&at("etc", "a.toml"), "");
    tree.file(&at("etc", "b.toml"), "etc");
    mode(&at("etc", "a.toml"), 0o666);
    mode(&at("etc", "b.toml"), 0o620);
    let (files, problems, considered) = counting(&tree, &["a", "b"], true);
    assert_eq!(files, pairs(&[("a", "lib"), ("b", "lib")]));
    assert_eq!(problems, []);
    assert!(matches!(&considered[0].standing, Standing::Untrusted(why) if why.contains("0666")));

    // In a directory that other users can write to, every file is untrusted.
    mode(&at("etc", "b.toml"), 0o644);
    assert_eq!(counting(&tree, &["b"], true).0, pairs(&[("b", "etc")]));
    mode(&at("etc", ""), 0o1777);
    let (files, problems, _) = counting(&tree, &["b"], true);
    assert_eq!(files, pairs(&[("b", "lib")]));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(all(&tree, &["b"])[0].1, "untrusted");
    mode(&at("etc", ""), 0o755);
    tree.file(&at("etc", "b.toml.d/x.toml"), "x");
    mode(&at("etc", "b.toml.d"), 0o777);
    let (files, problems, _) = counting(&tree, &["b"], true);
    assert_eq!(files, pairs(&[("b", "etc")]));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn look_reads_files_writable_by_others() {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = Tree::new();
    tree.file("a.toml", "text");
    let permissions = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(tree.path("a.toml"), permissions).unwrap();
    let root = tree.root();
    assert!(matches!(look(&root, "a.toml"), Found::Text(text) if text == "text"));
    assert!(matches!(found(&root, "a.toml", false), Found::Untrusted(why) if why.contains("0666")));
    assert!(matches!(look(&root, "b.toml"), Found::Nothing));
    tree.directory("open");
    let permissions = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(tree.0.join("open"), permissions).unwrap();
    assert!(distrust(&root, "open").unwrap().contains("0777"));
    assert_eq!(distrust(&root, "nothing"), None);
}

#[test]
fn link_is_trusted_only_if_root_alone_can_redirect_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = Tree::new();
    let lib = "usr/lib/protheap/policies/a.toml";
    let link = "etc/protheap/policies/a.toml";
    tree.file(lib, "lib");
    tree.file("srv/a.toml", "linked");
    tree.link("../../../opt/a.toml", link);
    tree.link("/srv/a.toml", "opt/a.toml");
    assert_eq!(all(&tree, &["a"])[0], ("a".into(), "text", "linked".into()));
    let mode = |path: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(tree.0.join(path), mode).unwrap();
    };
    // A user who can write to a directory on the way could mask, break or replace the policy.
    for (open, target) in [("opt", "/srv/a.toml"), ("srv", "/srv/a.toml"), ("opt", "/dev/null")] {
        std::fs::remove_file(tree.0.join("opt/a.toml")).unwrap();
        tree.link(target, "opt/a.toml");
        mode(open, 0o777);
        let found = all(&tree, &["a"]);
        assert_eq!((found[0].1, found[1].1), ("untrusted", "text"), "{found:?}");
        assert!(found[0].2.starts_with(&format!("leads through /{open}, which ")), "{found:?}");
        mode(open, 0o755);
    }
    assert_eq!(all(&tree, &["a"])[0].1, "masked");
    // The same applies to directories.
    std::fs::remove_file(tree.0.join(link)).unwrap();
    tree.file("opt/drop-ins/x.toml", "x");
    tree.link("/opt/drop-ins", "etc/protheap/policies/a.toml.d");
    assert_eq!(all(&tree, &["a"])[1].2, "x");
    mode("opt", 0o777);
    assert_eq!(all(&tree, &["a"])[1].1, "untrusted");
}

/// As on NixOS, where `/nix/store` has mode 1775.
#[test]
fn link_through_a_sticky_directory_to_a_root_file_is_trusted() {
    use std::os::unix::fs::PermissionsExt as _;
    let tree = Tree::new();
    let mode = |path: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(tree.0.join(path), mode).unwrap();
    };
    tree.file("nix/store/abc-policies/a.toml", "store");
    tree.file("nix/store/b.toml", "alone");
    tree.file("usr/lib/protheap/policies/a.toml", "lib");
    mode("nix/store", 0o1777);
    tree.link("/nix/store/abc-policies", "etc/protheap/policies");
    assert_eq!(all(&tree, &["a"])[0], ("a".into(), "text", "store".into()));
    tree.link("/nix/store/b.toml", "run/protheap/policies/b.toml");
    assert_eq!(all(&tree, &["b"])[0], ("b".into(), "text", "alone".into()));
    // A link of root may lead out of the sticky directory again.
    tree.file("srv/c.toml", "out");
    tree.link("/srv/c.toml", "nix/store/c.toml");
    tree.link("/nix/store/c.toml", "run/protheap/policies/c.toml");
    assert_eq!(all(&tree, &["c"])[0], ("c".into(), "text", "out".into()));

    // Any user could create a missing file.
    tree.file("usr/lib/protheap/policies/d.toml", "lib");
    tree.link("/nix/store/d.toml", "run/protheap/policies/d.toml");
    let found = all(&tree, &["d"]);
    assert_eq!((found[0].1, found[1].1), ("untrusted", "text"), "{found:?}");
    let untrusted = |key: &str| all(&tree, &[key])[0].1 == "untrusted";
    mode("nix/store/abc-policies", 0o775 | 0o002);
    assert!(untrusted("a"));
    mode("nix/store/abc-policies", 0o755);
    mode("nix/store/b.toml", 0o666);
    assert!(untrusted("b"));
    mode("nix/store", 0o777);
    assert!(untrusted("a") && untrusted("b") && untrusted("c"));
    // A sticky directory is not trusted as a policy directory: any user could add a policy.
    mode("nix/store", 0o1777);
    std::fs::remove_file(tree.0.join("etc/protheap/policies")).unwrap();
    tree.link("/nix/store", "etc/protheap/policies");
    assert_eq!(all(&tree, &["b"])[0].1, "untrusted");
}

/// Reads the policies with the whole tree on another mount than the image.
fn mounted_over(tree: &Tree, sealed: bool, all: bool) -> (Vec<PolicyFile>, Vec<String>) {
    let root = tree.root();
    let mut directories = Directories::open(&root);
    directories.image.mount = ImageMount(Some(u64::MAX - 1));
    directories.image.sealed = sealed;
    let mut problems = Vec::new();
    let files = directories.read(&root, &keys(&["a"]), all, &mut problems);
    let shown = |problem: Problem| problem.to_string().replace(tree.0.to_str().unwrap(), "");
    (files, problems.into_iter().map(shown).collect())
}

#[test]
fn sealed_image_ignores_files_mounted_over_it() {
    let tree = Tree::new();
    tree.file("usr/lib/protheap/policies/a.toml", "lib");
    tree.file("etc/protheap/policies/a.toml.d/x.toml", "etc");
    let text = |file: &PolicyFile| matches!(file.standing, Standing::Text(_));
    let (files, problems) = mounted_over(&tree, false, false);
    assert_eq!(files.iter().filter(|file| text(file)).count(), 2);
    assert!(matches!(&problems[..], [one] if one.starts_with("/usr/lib/protheap/policies: is on")));
    let (files, problems) = mounted_over(&tree, true, false);
    assert!(files.iter().all(|file| file.path.contains("/etc/")), "{files:?}");
    assert!(
        matches!(&problems[..], [one] if one.starts_with("/usr/lib/protheap/policies: ignored: "))
    );
    let (files, problems) = mounted_over(&tree, true, true);
    assert!(matches!(&files[0].standing, Standing::Untrusted(why) if why.contains("mount")));
    assert_eq!(problems.len(), 1, "{problems:?}");
}

#[test]
fn read_limits_the_total_size_of_policies() {
    let tree = Tree::new();
    let text = format!("# {}\n", "x".repeat(60_000));
    for number in 10..40 {
        tree.file(&format!("usr/lib/protheap/policies/a.toml.d/{number}.toml"), &text);
    }
    let found = all(&tree, &["a"]);
    let refused: Vec<_> = found.iter().filter(|file| file.1 == "refused").collect();
    assert_eq!((found.len(), refused.len()), (30, 13));
    assert!(refused[0].2.contains("longer than 1048576 bytes"), "{refused:?}");
}

#[test]
fn elsewhere_lists_files_that_match_no_key() {
    let tree = Tree::new();
    for name in ["a.toml", "b.toml", "a.toml.d/x.toml", "b.toml.d/x.toml", "a.toml.bak"] {
        tree.file(&format!("etc/protheap/policies/{name}"), "");
        tree.file(&format!("usr/lib/protheap/policies/{name}"), "");
    }
    let mut problems = Vec::new();
    let elsewhere = elsewhere(&tree.root(), &keys(&["default", "a"]), &mut problems);
    let names: Vec<_> = elsewhere.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(names, ["a.toml.bak", "b.toml", "b.toml.d"]);
    assert!(elsewhere[0].ends_with("/etc/protheap/policies/a.toml.bak"));
    assert_eq!(problems, []);
}

#[test]
fn masks_hide_files_in_lower_directories() {
    let tree = Tree::new();
    for key in ["empty", "null", "far"] {
        tree.file(&format!("usr/lib/protheap/policies/{key}.toml"), "lib");
    }
    tree.file("usr/lib/protheap/policies/null.toml.d/a.toml", "a");
    tree.file("usr/lib/protheap/policies/null.toml.d/b.toml", "b");
    tree.file("etc/protheap/policies/empty.toml", "");
    tree.link("/dev/null", "etc/protheap/policies/null.toml");
    tree.link("/dev/null", "run/protheap/policies/null.toml.d/a.toml");
    let (files, problems, _) = counting(&tree, &["empty", "null", "far"], true);
    assert_eq!(files, pairs(&[("null", "b"), ("far", "lib")]));
    assert_eq!(problems, []);
}

#[test]
fn read_rejects_hostile_files_without_blocking() {
    let tree = Tree::new();
    let at = |name: &str| format!("etc/protheap/policies/{name}.toml");
    tree.fifo(&at("fifo"));
    tree.directory(&at("directory"));
    tree.link("loop.toml", &at("loop"));
    tree.link("/nowhere", &at("dangling"));
    tree.link("/dev/zero", "etc/protheap/policies/zero.toml");
    tree.file(&at("latin"), b"a = 1\nb = \"\xe9\"\n");
    tree.file(&at("good"), "fine");
    tree.file(&at("big"), "");
    let big = File::options().write(true).open(tree.path(&at("big"))).unwrap();
    big.set_len(100 << 20).unwrap();
    tree.directory("etc/protheap/policies/good.toml.d/x.toml");
    tree.file("usr/lib/protheap/policies/big.toml", "must not take its place");
    let names = ["fifo", "directory", "loop", "dangling", "zero", "latin", "big", "good"];
    let (files, problems, considered) = counting(&tree, &names, true);
    assert_eq!(files, pairs(&[("good", "fine")]));
    assert_eq!(problems, []);
    let refused = |file: &PolicyFile| match &file.standing {
        Standing::Refused(why) => Some(why.clone()),
        _ => None,
    };
    let reported: Vec<_> = considered.iter().filter_map(refused).collect();
    assert_eq!(reported.len(), 8, "{reported:?}");
    assert_eq!(reported[0], "is not a regular file");
    assert_eq!(reported[3], "is a link to \"/nowhere\", which does not exist");
    assert_eq!(reported[5], "is not UTF-8 in line 2");
    assert_eq!(reported[6], "is longer than 65536 bytes");
}

#[test]
fn image_reads_a_trusted_image_file() {
    let tree = Tree::new();
    assert_eq!(image(&tree.root()), Ok(None));
    tree.file(IMAGE, "local-policy = \"never\"\n");
    assert_eq!(image(&tree.root()).unwrap().unwrap().1, "local-policy = \"never\"\n");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(tree.0.join(IMAGE_PARENT), mode).unwrap();
    };
    mode(0o777);
    assert!(image(&tree.root()).is_err());
    mode(0o755);
    std::fs::remove_file(tree.path(IMAGE)).unwrap();
    assert_eq!(image(&tree.root()), Ok(None));
    tree.fifo(IMAGE);
    assert!(image(&tree.root()).is_err());
}

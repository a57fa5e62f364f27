// SPDX-License-Identifier: MIT OR Apache-2.0

//! Finds the drivers of a device among the built-in drivers and the modules of a root.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use rustix::fs::OFlags;

use crate::Problem;
use crate::root::{Root, Timed};

/// Size of the read buffer; alias files of distributions have 2 MB.
const CHUNK: usize = 32 * 1024;
/// Maximum size of a file in bytes; those of distributions have less than 3 MB.
const MOST: u64 = 16 << 20;
/// Maximum length of a line in bytes; those of current kernels have less than 400.
const LINE: u64 = 4096;

/// Returns, for each of `modaliases`, the matching built-in drivers and modules of the kernel
/// `release`.
pub(crate) fn serving(
    root: &Root,
    release: &str,
    modaliases: &[String],
    problems: &mut Vec<Problem>,
) -> Vec<Vec<String>> {
    let mut serving = vec![Vec::new(); modaliases.len()];
    let mut add = |pattern: &[u8], module: &[u8]| {
        let Ok(module) = std::str::from_utf8(module) else { return };
        // The name becomes part of paths.
        let is_name = module.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
        if module.is_empty() || !is_name {
            return;
        }
        for (modules, modalias) in serving.iter_mut().zip(modaliases) {
            if glob(pattern, modalias.as_bytes()) && !modules.iter().any(|known| known == module) {
                modules.push(module.to_owned());
            }
        }
    };
    // One `alias PATTERN MODULE` per line.
    each_piece(root, release, "modules.alias", b'\n', problems, &mut |line| {
        let mut words = line.split(|byte| *byte == b' ');
        if let (Some(b"alias"), Some(pattern), Some(module)) =
            (words.next(), words.next(), words.next())
        {
            add(pattern, module);
        }
        true
    });
    // `MODULE.alias=PATTERN`, among other information about built-in modules.
    each_piece(root, release, "modules.builtin.modinfo", 0, problems, &mut |info| {
        let dot = info.iter().position(|byte| *byte == b'.').unwrap_or(info.len());
        if let Some((module, rest)) = info.split_at_checked(dot)
            && let Some(pattern) = rest.strip_prefix(b".alias=")
        {
            add(pattern, module);
        }
        true
    });
    serving
}

/// Calls `visit` with each piece between separators in `file`, one of the files that describe the
/// modules of `release`, until `visit` returns false.
pub(crate) fn each_piece(
    root: &Root,
    release: &str,
    file: &str,
    separator: u8,
    problems: &mut Vec<Problem>,
    visit: &mut dyn FnMut(&[u8]) -> bool,
) {
    if release.is_empty() || release.contains('/') {
        return;
    }
    for parent in ["lib/modules", "usr/lib/modules"] {
        let path = format!("{parent}/{release}/{file}");
        let opened = root.open_at(&path, OFlags::RDONLY).map_err(crate::root::Failed::from);
        let Some(opened) = root.note(&path, opened, problems) else {
            continue;
        };
        // The time limit includes the time of comparing patterns.
        let reader = BufReader::with_capacity(CHUNK, Timed::new(File::from(opened)));
        let mut reader = reader.take(MOST);
        let mut piece = Vec::new();
        loop {
            piece.clear();
            let read = reader.by_ref().take(LINE).read_until(separator, &mut piece);
            let whole = piece.last() == Some(&separator);
            let cut = !whole && piece.len() as u64 == LINE;
            match if cut { reader.skip_until(separator) } else { read } {
                Ok(_) if cut => continue,
                Ok(0) => {
                    if reader.limit() == 0 {
                        let why = format!("is longer than {MOST} bytes, skipping the rest");
                        problems.push(Problem::new(root.shown(&path), why));
                    }
                    return;
                }
                Ok(_) => {}
                Err(e) => {
                    problems.push(Problem::new(root.shown(&path), format!("failed to read: {e}")));
                    return;
                }
            }
            if whole {
                piece.pop();
            }
            if !visit(&piece) {
                return;
            }
        }
    }
}

/// Returns whether `text` matches `pattern`, in which `*`, `?` and `[..]` have their meaning from
/// shells. Outside of brackets, `-` and `_` are equivalent, as for modprobe.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to continue if the text does not match what follows the last star.
    let mut retry = None;
    loop {
        let rest = pattern.get(p..).unwrap_or_default();
        match (rest.first(), text.get(t)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                p += 1;
                retry = Some((p, t));
                continue;
            }
            (Some(_), Some(byte)) => {
                if let Some(length) = matched(rest, *byte) {
                    p += length;
                    t += 1;
                    continue;
                }
            }
            (None, Some(_)) | (Some(_), None) => {}
        }
        match retry {
            Some((after, from)) if from < text.len() => {
                (p, t) = (after, from + 1);
                retry = Some((after, from + 1));
            }
            _ => return false,
        }
    }
}

/// Returns the length of the first element of `pattern` in bytes, if `byte` matches it.
fn matched(pattern: &[u8], byte: u8) -> Option<usize> {
    let fold = |byte| if byte == b'-' { b'_' } else { byte };
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => {
            let inside = pattern.get(1..)?;
            let negated = matches!(inside.first(), Some(b'!' | b'^'));
            let start = usize::from(negated);
            // A bracket that closes immediately stands for itself.
            let end = (start + 1..inside.len()).find(|i| inside.get(*i) == Some(&b']'))?;
            let mut set = inside.get(start..end)?;
            let mut found = false;
            while let [first, rest @ ..] = set {
                if let [b'-', last, rest @ ..] = rest {
                    found |= (*first..=*last).contains(&byte);
                    set = rest;
                } else {
                    found |= *first == byte;
                    set = rest;
                }
            }
            (found != negated).then_some(end + 2)
        }
        literal => (fold(literal) == fold(byte)).then_some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;
    use proptest::prelude::*;

    const OPTEE: &str = "of:NopteeT(null)Clinaro,optee-tz";

    fn one(tree: &Tree, modalias: &str) -> bool {
        let mut problems = Vec::new();
        let serving = serving(&tree.root(), "7.3.4", &[modalias.to_owned()], &mut problems);
        assert_eq!(problems, []);
        !serving[0].is_empty()
    }

    #[test]
    fn serving_finds_modules_and_built_in_drivers() {
        let tree = Tree::new();
        assert!(!one(&tree, OPTEE));
        // depmod replaces `-` with `_`.
        tree.file(
            "usr/lib/modules/7.3.4/modules.alias",
            "# Aliases\nalias of:N*T*Cacme,x foo\nalias of:N*T*Clinaro,optee_tzC* optee\n\
             alias of:N*T*Clinaro,optee_tz optee\n",
        );
        assert!(one(&tree, OPTEE));
        assert!(!one(&tree, "of:NopteeT(null)Clinaro,optee-tzz"));
        let info = b"a.license=GPL\0vec.alias=of:N*T*Cacme,vdecC*\0vec.alias=of:N*T*Cacme,vdec\0";
        tree.file("lib/modules/7.3.4/modules.builtin.modinfo", info);
        assert!(one(&tree, "of:NvT(null)Cacme,vdec"));
        assert!(!one(&tree, "of:NvT(null)Cacme,venc"));
    }

    #[test]
    fn serving_reads_big_files_and_skips_long_lines() {
        let tree = Tree::new();
        let mut text = "alias pci:v00008086d*sv*sd*bc*sc*i* e1000\n".repeat(50_000);
        text.push_str(&format!("alias {}{OPTEE} long\n", "*".repeat(5000)));
        tree.file("lib/modules/7.3.4/modules.alias", &text);
        assert!(!one(&tree, OPTEE), "a line that is too long is no pattern");
        text.push_str("alias of:N*T*Clinaro,optee-tz optee");
        tree.file("lib/modules/7.3.4/modules.alias", &text);
        assert!(one(&tree, OPTEE));
    }

    #[test]
    fn huge_file_is_truncated_and_reported() {
        for (file, separator) in [("modules.alias", b'\n'), ("modules.builtin.modinfo", 0)] {
            let tree = Tree::new();
            let path = format!("lib/modules/7.3.4/{file}");
            tree.file(&path, "");
            let sparse = File::options().write(true).open(tree.path(&path)).unwrap();
            sparse.set_len(8 << 40).unwrap();
            let mut problems = Vec::new();
            let mut visit = |_: &[u8]| true;
            each_piece(&tree.root(), "7.3.4", file, separator, &mut problems, &mut visit);
            let longer = "is longer than 16777216 bytes, skipping the rest";
            let late = "failed to read: timed out after 5 s";
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert!([longer, late].contains(&problem.message.as_str()), "{problem}");
        }
    }

    #[test]
    fn glob_matches_as_shells_do() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("x[0-9a-f]y", "xby", true),
            ("x[0-9a-f]y", "xgy", false),
            ("x[!0-9]y", "xgy", true),
            ("x[^0-9]y", "x5y", false),
            ("x[]]y", "x]y", true),
            ("x[y", "x[y", false),
            ("x[a-]y", "x-y", true),
            ("a-b_c", "a_b-c", true),
            ("[_]", "-", false),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    /// Matches as `glob` does, by trying every length for each star.
    fn any_reading(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|from| any_reading(rest, &text[from..])),
            (_, []) => false,
            (_, [byte, tail @ ..]) => {
                matched(pattern, *byte).is_some_and(|length| any_reading(&pattern[length..], tail))
            }
        }
    }

    #[test]
    fn glob_is_not_exponential_in_stars() {
        // Every reading would take longer than the universe.
        let pattern = [b"a*".repeat(100), b"b".to_vec()].concat();
        assert!(!glob(&pattern, &b"a".repeat(10_000)));
    }

    proptest! {
        #[test]
        fn glob_matches_patterns_made_from_the_text(text in "[a-c_,]{0,20}", holes in proptest::collection::vec(0..3u8, 20)) {
            let mut pattern = String::new();
            for (c, hole) in text.chars().zip(&holes) {
                match hole { 0 => pattern.push('?'), 1 => pattern.push_str("**"), _ => pattern.push(c) }
            }
            prop_assert!(glob(pattern.as_bytes(), text.as_bytes()), "{}", pattern);
        }

        #[test]
        fn glob_matches_if_any_reading_of_the_pattern_does(pattern in "[*ab?\\[\\]!_-]{0,12}", text in "[ab_-]{0,12}") {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(glob(pattern, text), any_reading(pattern, text));
        }
    }
}

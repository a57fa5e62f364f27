// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;
use proptest::prelude::*;

fn shown(file: &Checked) -> Vec<String> {
    let show = |fault: &Diagnostic| {
        let (place, word) = (fault.place, fault.severity.as_str());
        let help = fault.help.as_deref().unwrap_or("-");
        format!("{}:{} {word}: {} | {help}", place.line, place.column, fault.message)
    };
    file.problems.iter().map(show).collect()
}

fn one(key: &str, text: &str) -> Checked {
    policy(&Key::new(key).unwrap(), &format!("{key}.toml"), text)
}

/// Returns the problems of each file, checked together.
fn all(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let text = |text: &str| format!("schema = 1\n{text}");
    let mut files: Vec<_> = files.iter().map(|(key, body)| one(key, &text(body))).collect();
    between(&mut files, &mut || ["acme_machine".to_owned()].into());
    files.iter().map(shown).collect()
}

/// Returns the problems of a policy with this text after `schema = 1`.
fn said(body: &str) -> Vec<String> {
    all(&[("a,b", body)]).remove(0)
}

const GPU: &str = "[gpu.'arm,mali-valhall-csf']\n";

/// Returns the problems of these candidates, with evidence for `a`.
fn candidates(heaps: &str) -> Vec<String> {
    said(&format!("{GPU}heaps = [\n{heaps}\n]\n[evidence.a]\nstatus = 'tested'\n"))
}

#[test]
fn invalid_toml_statement_is_reported_once_and_the_rest_is_checked() {
    let text = "schema = 1
[gpu.'g.g']
heaps = [{ name = 'x' }
hold = 5s
firmware: 'arch10.8'
suspend = { bytes = 64KiB, count = 1 ]
allow-unprotected = 'no
[gpu.h
hold = nothing
holt = '1s'
[gpu.'i.i']
hold = '11s'
heaps = [
  { name = 'a b' },
  { name = 'c' }
  { nome = 'd' },
  { name = 'e', tee = 'f' },
]
[evidence.x]
status: 'tested'
[gpu.'i.i']
";
    let found = shown(&one("k,k", text));
    let expected = [
        "3:9 error: unclosed array | add the missing `]`",
        "4:8 error: string values must be quoted, expected literal string | write \"5s\"",
        "5:9 error: invalid unquoted key, expected letters, numbers, `-`, `_` | write `=` between a key and its value",
        "6:11 error: unclosed table | add the missing `}`",
        "7:24 error: invalid literal string, expected `'` | add the missing `'`",
        "8:7 error: unclosed table, expected `]` | -",
        "9:8 error: invalid float, expected `nan` | write \"nothing\"",
        "12:8 error: a hold must not exceed 10 seconds, after which the kernel reports a failure | -",
        "14:12 error: the heap name contains ' '; only printable ASCII characters other than `/` and space are allowed | -",
        "16:3 error: missing comma between array elements, expected `,` | write a `,` between the elements",
        "17:23 error: unknown TEE `f` | the kernel supports optee, amdtee, tstee, qtee",
        "20:7 error: invalid unquoted key, expected letters, numbers, `-`, `_` | write `=` between a key and its value",
        "21:6 error: duplicate key | define each table, and each key in a table, only once per file",
    ];
    assert_eq!(found, expected);
}

#[test]
fn unclosed_bracket_does_not_affect_later_statements() {
    let text = "schema = 1\n[gpu.'g.g']\nheaps = [\n  { name = 'x'\n]\nhold = '5'\n";
    let expected = [
        "4:3 error: unclosed table | add the missing `}`",
        "6:8 error: expected a duration such as \"5s\" or \"250ms\" | did you mean \"5s\"?",
    ];
    assert_eq!(shown(&one("k,k", text)), expected);
}

#[test]
fn common_mistakes_have_a_suggestion() {
    for (body, expected) in [
        ("[[gpu]]\nheaps = []\n", "write [gpu.\"arm,mali-valhall-csf\"]: each GPU has one table"),
        ("[gpu]\nheaps = []\n", "`[gpu]` does not name a GPU"),
        ("[gpu]\nsuspend = { bytes = '1KiB' }\n", "`[gpu]` does not name a GPU"),
        ("[gpu.fb000000.gpu]\nheaps = []\n", "[gpu.\"fb000000.gpu\"]"),
        ("[gpu.g]\nheaps = 'x'\n", "write `heaps = [{ name = \"x\" }]`"),
        ("[gpu.g]\nheaps = ['x']\n", "write { name = \"x\" }"),
        ("[gpu.g]\nheaps = { name = 'x' }\n", "heaps are a list"),
        ("[gpu.g]\nheaps = [{ name = 'x', tee = 'op-tee' }]\n", "did you mean \"optee\"?"),
        ("[gpu.g]\nheaps = [{ name = 'x', kernel = 7.3 }]\n", "did you mean \"=7.3\"?"),
        ("[gpu.g]\nheaps = [{ name = 'x', kernel = '=>7.3' }]\n", "did you mean \">=7.3\"?"),
        ("[gpu.g]\nheaps = [{ name = 'x', kernel = '==7.3' }]\n", "did you mean \"=7.3\"?"),
        (
            "[gpu.g]\nheaps = [{ name = 'x', kernel = '>=7.3-rc1' }]\n",
            "write only the version number: did you mean \">=7.3\"?",
        ),
        (
            "[gpu.g]\nheaps = [{ name = 'x', kernel = '>= 6.12.0-acme+, <7.3rc1' }]\n",
            "write only the version number: did you mean \">=6.12.0, <7.3\"?",
        ),
        (
            "[gpu.g]\nheaps = [{ name = 'x', kernel = '7.3-rc1' }]\n",
            "write only the version number: did you mean \"=7.3\"?",
        ),
        ("[gpu.g]\nheaps = [{ name = 'x', kernel = '>=next' }]\n", " | -"),
        ("[gpu.g]\nsuspend = '64k'\n", "write `suspend = { bytes = \"64KiB\" }`"),
        ("[gpu.g]\nsuspend = { count = '8' }\n", "write `count = 8`"),
        ("[gpu.g]\nfirmware = 'arm/mali/arch10.8/mali_csffw.bin'\n", "did you mean \"arch10.8\"?"),
        ("[gpu.g]\nallow-unprotected = 'true'\n", "write `allow-unprotected = true`"),
        ("[gpu.g]\nprotected_heap_name = 'x'\n", "write `heaps = [{ name = \"x\" }]`"),
        ("[gpu.g]\nhold = 5\n", "did you mean \"5s\"?"),
        ("hold = '5s'\n", "move it below [gpu.\"arm,mali-valhall-csf\"]"),
        ("compatible = 'a,b'\n", "remove it: the file name selects `a,b`"),
        ("protected_heap_name = 'x'\n", "write `heaps = [{ name = \"x\" }]` below [gpu."),
        ("[share.d]\nSecure_Video = []\n", "did you mean `secure-video`?"),
        ("[share.d]\nu = 'x'\n", "write [\"x\"]"),
        ("[share.d]\nu = [{ name = 'x' }]\n", "write \"x\""),
        ("[share]\nu = ['x']\n", "below [share.\"<compatible string>\"]"),
        ("[evidence]\nstatus = 'tested'\n", "below [evidence.\"<heap>\"]"),
        ("[evidence]\nx = 'tested'\n", "write { status = \"tested\" }"),
        ("[evidence.x]\nstatus = 'test'\n", "did you mean \"tested\"?"),
        ("[evidence.x]\nstatus = 'verified'\n", "did you mean \"tested\"?"),
    ] {
        let said = said(body);
        let help = said.iter().filter(|line| line.contains(" error: "));
        assert!(help.clone().next().is_some(), "{body}: {said:?}");
        assert!(help.clone().all(|line| line.contains(expected)), "{body}: {said:?}");
    }
    let version = shown(&one("k,k", "schema = '1'\n"));
    assert!(version[0].ends_with("| write `schema = 1`"), "{version:?}");
    let image = shown(&image("image.toml", "local-policy = 'Never'\n"));
    assert!(image[0].ends_with("| did you mean \"never\"?"), "{image:?}");
}

#[test]
fn valid_policy_has_no_problems() {
    let body = format!(
        "{GPU}heaps = [
          {{ name = 'a', tee = 'optee', tee-revision = '<4.6' }},
          {{ name = 'a', tee = 'optee', tee-revision = '>=4.6' }},
          {{ name = 'a', soc-id = 'x' }}, {{ name = 'a', soc-id = 'y' }},
          {{ name = 'a', kernel = '>=7.3' }}, {{ name = 'a', kernel = '>=7.2' }},
          {{ name = 'a' }}, {{ name = 'a', provider = 'a,b' }}, {{ name = 'protected,*' }} ]
        [share.d]\nu = ['a']\n[share.e]\nu = ['c', 'a']
        [evidence.a]\nstatus = 'tested'\n[evidence.'protected,secure-video']\nstatus = 'tested'\n"
    );
    assert_eq!(said(&body), [""; 0]);
}

#[test]
fn unreachable_candidates_are_reported() {
    for heaps in [
        "{ name = 'a' }, { name = 'a' }",
        "{ name = 'a' }, { name = 'a', tee = 'optee' }",
        "{ name = 'a', kernel = '>=7.3' }, { name = 'a', kernel = '>=7.3, <7.5', tee = 'optee' }",
        "{ name = 'a', kernel = '<7.4' }, { name = 'a', kernel = '<=7.3' }",
        "{ name = 'a', kernel = '>7.3' }, { name = 'a', kernel = '>7.3.0' }",
        "{ name = 'a', provider = 'x' }, { name = 'a', provider = 'x' }",
        "{ name = 'a' }, { name = 'protected,*' }, { name = 'protected,*', soc-id = 'x' }",
    ] {
        let found = candidates(heaps);
        assert!(found.len() == 1 && found[0].contains("never reached: line 4"), "{found:?}");
    }
    for heaps in [
        "{ name = 'a', tee-revision = '>4.6, <4.2' }",
        "{ name = 'a', kernel = '<0' }",
        "{ name = 'a', soc-revision = '=1, =2' }",
        "{ name = 'a', soc-revision = '>1, <=1.0' }",
    ] {
        let found = candidates(heaps);
        assert!(found.len() == 1 && found[0].contains("contains no revision"), "{found:?}");
    }
    for heaps in ["'>1, <1.0.1'", "'>=1, <=1'", "'>4294967295'", "'<0.1'", "'=0'"] {
        assert_eq!(candidates(&format!("{{ name = 'a', kernel = {heaps} }}")), [""; 0]);
    }
    let found = candidates("{ name = 'a', tee = 'qtee', tee-revision = '>1' }");
    assert!(found[0].contains("never met: qtee does not report its revision"), "{found:?}");
}

#[test]
fn unlikely_gpu_tables_are_reported() {
    for (body, expected) in [
        (
            "[gpu.'arm,mali-valhal-csf']\n",
            "2:6 warning: `arm,mali-valhal-csf` is not a known GPU | did you mean `arm,mali-valhall-csf`?",
        ),
        (
            "[gpu.'rockchip,rk3588_mali']\n",
            "2:6 warning: `rockchip,rk3588_mali` is not a known GPU | did you mean `rockchip,rk3588-mali`?",
        ),
        (
            "[gpu.'arm,mali-g610']\n",
            "2:6 warning: `arm,mali-g610` is not a known GPU | did you mean `arm,mali-valhall-csf`?",
        ),
        (
            "[gpu.panthor]\n",
            "2:6 warning: `panthor` is neither a compatible string nor a device name | use `arm,mali-valhall-csf` for all Mali CSF GPUs",
        ),
        (
            "[gpu.'g.g']\nheaps = [{ name = 'system' }]\n",
            "3:19 warning: never bound: the CPU can map this heap's memory | remove it, or set `allow-unprotected` for driver bring-up only",
        ),
        (
            "[gpu.'g.g']\nallow-unprotected = false\nheaps = [{ name = 'linux,cma' }]\n",
            "4:19 warning: never bound: the CPU can map this heap's memory | remove it, or set `allow-unprotected` for driver bring-up only",
        ),
        (
            "[gpu.'g.g']\nallow-unprotected = true\nheaps = [{ name = 'system' }]\n",
            "3:21 warning: a heap that the CPU can map may be bound | use it for driver bring-up only, and remove it before a release",
        ),
        (
            "[gpu.'g.g']\nallow-unprotected = true\n",
            "3:21 warning: a heap that the CPU can map may be bound | use it for driver bring-up only, and remove it before a release",
        ),
        (
            "[gpu.'g.g']\nhold = '0s'\nheaps = [{ name = 'protected,*', provider = 'x,y' }]\n",
            "3:8 warning: no GPU is held for `x,y` | set a duration such as \"5s\", or remove `provider`",
        ),
    ] {
        assert_eq!(said(body), [expected]);
    }
    for body in [
        "[gpu.'fb000000.gpu']\n",
        "[gpu.'soc:gpu']\n",
        "[gpu.'acme,a9-mali']\nheaps = [{ name = 'protected,*' }]\n",
        "[gpu.'acme,mali']\nallow-unprotected = false\nhold = '0s'\n",
    ] {
        assert_eq!(said(body), [""; 0]);
    }
    // The error about the table replaces the warning.
    for body in ["[gpu.suspend]\nbytes = '1KiB'\n", "[gpu.fb000000.gpu]\nhold = '1s'\n"] {
        let said = said(body);
        assert!(said.len() == 1 && said[0].contains(" error: "), "{said:?}");
    }
}

#[test]
fn shares_without_a_common_heap_are_reported() {
    for (body, expected) in [
        ("[share.d]\nu = []\n", "3:5 warning: the list of heaps for `u` is empty"),
        (
            "[share.d]\nu = ['a']\n[share.e]\nu = ['b']\n",
            "3:5 warning: the devices have no heap in common for `u`",
        ),
        (
            "[share.d]\nsecure-video = ['a']\nui = ['a']\n[share.e]\nsecure-vidoe = ['a']\nui = ['a']\n",
            "3:1 warning: only `d` has the usage `secure-video` | did you mean `secure-vidoe`?",
        ),
    ] {
        let said = said(body);
        assert!(said.first().is_some_and(|first| first.starts_with(expected)), "{said:?}");
    }
    assert_eq!(said("[share.d]\nu = ['a']\nv = ['a']\n"), [""; 0]);
}

#[test]
fn heap_without_evidence_and_unused_evidence_are_reported() {
    let evidence = "[evidence.acme_svp]\nstatus = 'tested'\n";
    let gpu = format!("{GPU}heaps = [{{ name = 'acme_svp' }}, {{ name = 'protected,*' }}]\n");
    let found = said(&gpu);
    assert_eq!(
        found,
        [
            "3:19 warning: no evidence for the heap name `acme_svp` | add [evidence.\"acme_svp\"] with a `status`: tested, documented or unverified"
        ]
    );
    let found = said(evidence);
    assert_eq!(
        found,
        ["2:11 warning: unused evidence for `acme_svp` | remove it, or add the heap to a list"]
    );
    let found = said(&format!("{GPU}heaps = [{{ name = 'acme_spv' }}]\n{evidence}"));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|line| line.contains("did you mean `acme_")), "{found:?}");
    // Evidence may be in another file of the same key, or in `default`.
    assert_eq!(all(&[("a,b", &gpu), ("a,b", evidence)]), [[""; 0], [""; 0]]);
    assert_eq!(all(&[("default", evidence), ("a,b", &gpu)]), [[""; 0], [""; 0]]);
    assert_eq!(all(&[("c,d", evidence), ("a,b", &gpu)]).concat().len(), 2);
    // A rejected file may contain the evidence or the candidate.
    let broken = "x = 1\n";
    assert_eq!(all(&[("a,b", &gpu), ("a,b", broken)])[0], [""; 0]);
    assert_eq!(all(&[("a,b", evidence), ("a,b", broken)])[0], [""; 0]);
}

#[test]
fn unknown_heap_near_a_known_one_is_reported() {
    for (written, meant) in [
        ("protected,secure_video", "protected,secure-video"),
        ("Protected,Secure-Video", "protected,secure-video"),
        ("protected,secure-vdeo", "protected,secure-video"),
        ("acme-machine", "acme_machine"),
        ("linux_cma", "linux,cma"),
    ] {
        let expected = format!("`{written}` is not a known heap | did you mean `{meant}`?");
        for body in [
            format!("{GPU}heaps = [{{ name = '{written}' }}]\n"),
            format!("[share.d]\nu = ['{written}']\n"),
        ] {
            let found = said(&body);
            assert!(found.len() == 1 && found[0].ends_with(&expected), "{found:?}");
            // A name near a heap of the kernel is a mistake even if two files contain it.
            if meant.starts_with("protected") {
                assert_eq!(all(&[("a,b", &body), ("c,d", &body)]).concat().len(), 2);
            }
        }
    }
    for known in ["acme_machine", "system", "quite-different"] {
        assert_eq!(said(&format!("[share.d]\nu = ['{known}']\n")), [""; 0], "{known}");
    }
}

#[test]
fn hostile_files_are_checked_quickly() {
    let wrong = "1,".repeat(30_000);
    let nested = ["[".repeat(30_000), "}".repeat(30_000)].concat();
    for text in [
        format!("schema = 1\n[gpu.g]\nheaps = [{wrong}]"),
        "=\n".repeat(30_000),
        "a=[\n".repeat(16_000),
        "[a]\n".repeat(16_000),
        format!("schema = 1\na = {nested}"),
        "'''".repeat(20_000),
        "a = \"\"\"\n".repeat(7_000),
        format!("schema = 1\n[gpu.g]\nheaps = [{}]", "{name='a',kernel='<1'},".repeat(2_500)),
        format!(
            "schema = 1\n[gpu.g]\nheaps = [{{ name = 'a', kernel = '<1{}' }}]",
            ",<1".repeat(20_000)
        ),
        format!("schema = 1\n[share.d]\nu = [{}]", "'abcdef',".repeat(6_000)),
    ] {
        let start = std::time::Instant::now();
        let mut files = [one("k,k", &text)];
        between(&mut files, &mut BTreeSet::new);
        let [file] = files;
        assert!(file.problems.len() <= 2 * MOST_FAULTS);
        assert!(start.elapsed().as_secs() < 10, "{:?}: {}", start.elapsed(), &text[..40]);
    }
    let many = one("k,k", &"=\n".repeat(30_000));
    assert_eq!((many.problems.len(), many.more), (MOST_FAULTS, 29_000));
}

proptest! {
    #[test]
    fn lint_rejects_the_same_files_as_parse_with_positions_in_the_file(
        text in "\\PC{0,200}|(schema = 1\n)?([a-z\\[\\]\"'{}=.,: \n*#]{0,200})|((schema = 1|\\[gpu\\.g\\]|heaps = \\[|\\{ name = 'a' \\}|,|\\]|hold = '5s'|\\[evidence\\.a\\]|status = \"tested\"|\"\"\")\n?){0,12}"
    ) {
        let key = Key::new("k,k").unwrap();
        let checked = policy(&key, "k.toml", &text);
        let parsed = Fragment::parse(&key, "k.toml", &text);
        prop_assert_eq!(checked.is_refused(), parsed.is_err(), "{:?}", checked.problems);
        let ends: Vec<_> = text.split('\n').map(|line| line.chars().count() + 1).collect();
        for fault in &checked.problems {
            prop_assert!(fault.place <= checked.end(fault));
            for place in [fault.place, checked.end(fault)] {
                prop_assert!(ends.get(place.line - 1).is_some_and(|end| place.column <= *end));
            }
        }
        prop_assert!(checked.problems.is_sorted_by_key(|fault| fault.place));
    }

    #[test]
    fn lint_rejects_mutated_policies_that_parse_rejects(
        slips in proptest::collection::vec((0..2000usize, "[\"'\\[\\]{}=,:\n#a]?"), 1..4)
    ) {
        let mut text = include_str!("../../../../policies/mediatek,mt8196.toml").to_owned();
        for (at, instead) in slips {
            if text.is_char_boundary(at) && text.is_char_boundary(at + 1) && at < text.len() {
                text.replace_range(at..at + 1, &instead);
            }
        }
        let key = Key::new("k,k").unwrap();
        let parsed = Fragment::parse(&key, "k.toml", &text);
        let checked = policy(&key, "k.toml", &text);
        prop_assert_eq!(checked.is_refused(), parsed.is_err(), "{:?}", checked.problems);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

use std::time::Duration;

mod unshared;

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
    said(&format!("{GPU}heaps = [\n{heaps}\n]\n[evidence.a]\nstatus = 'documented'\n"))
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
fn each_invalid_line_of_a_statement_is_reported_with_the_faults_of_the_others() {
    let comma =
        "missing comma between array elements, expected `,` | write a `,` between the elements";
    let elements = "heaps = [\n  { name = 'a' }, 3\n  { name = 'b' }\n  { name = 'c d' },\n]\n";
    let found = shown(&one("k,k", &format!("schema = 1\n[gpu.'g.g']\n{elements}")));
    assert!(found[0].starts_with("4:19 error: expected a table such as"), "{found:?}");
    assert_eq!(found[1..], [format!("5:3 error: {comma}"), format!("6:3 error: {comma}")]);
    // The statement has two lines.
    let elements = "heaps = [{ name = 'a b' },\n  { name = 'c' } { name = 'd' }]\n";
    let found = shown(&one("k,k", &format!("schema = 1\n[gpu.'g.g']\n{elements}")));
    assert!(found.len() == 2 && found[0].starts_with("3:19 error: the heap name"), "{found:?}");
    assert_eq!(found[1], format!("4:18 error: {comma}"));
    let table = "suspend = {\n  bytes: '64KiB',\n  count = 1\n}\n";
    let found = shown(&one("k,k", &format!("schema = 1\n[gpu.'g.g']\n{table}")));
    assert!(found[0].starts_with("4:8 error: "), "{found:?}");
    assert!(found[0].ends_with(" | write `=` between a key and its value"), "{found:?}");
}

#[test]
fn lost_statement_hides_only_the_absence_of_its_key() {
    let hold = "3:8 error: string values must be quoted, expected literal string | write \"5s\"";
    let found = shown(&one("k,k", "schema = 1\n[foo]\nhold = 5s\n"));
    assert!(found.len() == 2 && found[0].starts_with("2:2 error: unknown key `foo`"), "{found:?}");
    assert_eq!(found[1], hold);
    let found = shown(&one("k,k", "schema = one\n[evidence.a]\nstatus = tested\n"));
    assert!(found.len() == 2 && found[0].starts_with("1:10 error: "), "{found:?}");
    assert!(found[1].starts_with("3:10 error: invalid boolean"), "{found:?}");
}

#[test]
fn brackets_in_strings_and_comments_do_not_count() {
    let is_unclosed = |statement: &str| {
        let found = shown(&one("k,k", &format!("schema = 1\n[gpu.'g.g']\n{statement}\n")));
        assert!(!found.is_empty(), "{statement}");
        found.iter().any(|line| line.contains("unclosed array"))
    };
    for statement in [
        "hold = 5s # see [1",
        "firmware = 'see [1' x",
        "firmware = \"see [1\" x",
        r#"firmware = "a \"[" x"#,
        "firmware = 'see [1",
        "heaps = [\n  = 'x'\n]",
    ] {
        assert!(!is_unclosed(statement), "{statement}");
    }
    for statement in
        ["heaps = [ # see ]", "heaps = [ ']'", r"firmware = 'a\' [ x", r#"firmware = "a\\" [ x"#]
    {
        assert!(is_unclosed(statement), "{statement}");
    }
}

#[test]
fn string_of_several_lines_is_one_statement() {
    let hold = "string values must be quoted, expected literal string | write \"5s\"";
    for (quote, other) in [("'''", "\"\"\""), ("\"\"\"", "'''")] {
        let text = format!(
            "schema = 1\ndescription = {quote}\n[gpu.'x.x']\nheaps = [ {other} '\n{quote}\n[gpu.'g.g']\nhold = 5s\nheaps = [\n[evidence.a]\nsource = {quote}x{quote}\n[evidence.b]\n"
        );
        let expected = [
            format!("7:8 error: {hold}"),
            "8:9 error: unclosed array | add the missing `]`".to_owned(),
            "9:11 error: missing `status` | -".to_owned(),
            "11:11 error: missing `status` | -".to_owned(),
        ];
        assert_eq!(shown(&one("k,k", &text)), expected);
        // A short string ends on its line, whatever follows.
        let text = format!(
            "schema = 1\n[gpu.'g.g']\nheaps = [{{ name = 'x' }}, \"y\"\n[evidence.a]\nsource = {quote}\n{quote}\n"
        );
        let expected =
            ["3:9 error: unclosed array | add the missing `]`", "4:11 error: missing `status` | -"];
        assert_eq!(shown(&one("k,k", &text)), expected);
    }
}

#[test]
fn unclosed_bracket_ends_before_a_header_or_key() {
    let array = "3:9 error: unclosed array | add the missing `]`";
    let file = one("k,k", "schema = 1\n[gpu.'g.g']\nheaps = [\n[share.d]\nU = ['a']\n");
    let usage = "5:1 error: a usage may contain only lower-case letters, digits and `-` | did you mean `u`?";
    assert_eq!(shown(&file), [array, usage]);
    assert_eq!(file.end(&file.problems[0]), Place { line: 3, column: 10 });
    // The next key is indented, as the elements of the array are.
    let text = "schema = 1\n[gpu.'g.g']\nheaps = [\n  { name = 'x' },\n  hold = '11s'\n";
    let found = shown(&one("k,k", text));
    assert!(found.len() == 2 && found[1].starts_with("5:10 error: a hold must not"), "{found:?}");
    // Indented keys belong to an open inline table.
    let table = "suspend = {\n  bytes = '64KiB',\n  count = 129\n}\nhold = 5s\n";
    let found = shown(&one("k,k", &format!("schema = 1\n[gpu.'g.g']\n{table}")));
    assert!(found.len() == 2 && found[0].starts_with("5:11 error: expected a number"), "{found:?}");
    assert!(found[1].starts_with("7:8 error: string values must be quoted"), "{found:?}");
}

#[test]
fn common_mistakes_have_a_suggestion() {
    for (body, expected) in [
        ("[[gpu]]\nheaps = []\n", "write [gpu.\"arm,mali-valhall-csf\"]: each GPU has one table"),
        ("[gpu]\nheaps = []\n", "`[gpu]` does not name a GPU"),
        ("[gpu]\nsuspend = { bytes = '1KiB' }\n", "`[gpu]` does not name a GPU"),
        ("[gpu.fb000000.gpu]\nheaps = []\n", "[gpu.\"fb000000.gpu\"]"),
        ("[[gpu.g]]\nheaps = []\n", "write [gpu.\"g\"]: one table for each GPU"),
        ("[gpu.g]\ncompatible = 'x'\n", "remove it: the table name [gpu.\"g\"]"),
        ("[gpu.g]\nheaps = [\n  x,\n]\n", "write \"x\""),
        ("[gpu.g]\nfirmware = \"\\\n", "add the missing `\"`"),
        ("[gpu.g]\nhold =\n", "write a value after the `=`"),
        ("[gpu.g]\nallow-unprotected = True\n", "write true"),
        ("[gpu.g]\nallow-unprotected = off\n", "write false"),
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
        ("[gpu.g]\nfirmware = 'arch10.x/arch10.8'\n", "did you mean \"arch10.8\"?"),
        ("[gpu.g]\nfirmware = 'arch10.x'\n", " | -"),
        ("[gpu.g]\nfirmware = 'arch10.'\n", " | -"),
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
        [evidence.a]\nstatus = 'documented'\n[evidence.'protected,secure-video']\nstatus = 'documented'\n"
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
            "[gpu.panthor]\nsuspend = { count = 1 }\n",
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
    // The lists of a file with an error may be incomplete. Those of one with a warning are not.
    let share = "[share.d]\nu = []\n";
    let error = said(&format!("x = 1\n{share}"));
    assert!(error.len() == 1 && error[0].starts_with("2:1 error: "), "{error:?}");
    let warning = said(&format!("[gpu.panthor]\n{share}"));
    assert!(
        warning.len() == 2 && warning[1].starts_with("4:5 warning: the list of heaps"),
        "{warning:?}"
    );
}

#[test]
fn heap_without_evidence_and_unused_evidence_are_reported() {
    let evidence = "[evidence.acme_svp]\nstatus = 'documented'\n";
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
    let twice = "heaps = [{ name = 'b' }, { name = 'b', provider = 'x' }]\n[share.d]\nu = ['b']\n";
    let twice = said(&format!("{GPU}{twice}"));
    let unknown: Vec<_> = twice.iter().filter(|line| line.contains("no evidence")).collect();
    assert!(unknown.len() == 1 && unknown[0].starts_with("3:19 "), "{twice:?}");
    let invalid = said(&format!("{GPU}heaps = [{{ name = 'a b' }}]\n"));
    assert!(invalid.len() == 1 && invalid[0].contains(" error: the heap name"), "{invalid:?}");
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
fn heap_in_several_files_is_known() {
    let body = "[share.d]\nu = ['acme-machine']\n";
    assert_eq!(said(body).len(), 1);
    assert_eq!(all(&[("a,b", body), ("c,d", body)]), [[""; 0], [""; 0]]);
}

#[test]
fn names_from_elsewhere_are_read_only_for_unknown_heaps() {
    let reads = |files: &[(&str, &str)]| {
        let file = |(key, body): &(&str, &str)| one(key, &format!("schema = 1\n{body}"));
        let (mut files, mut reads) = (files.iter().map(file).collect::<Vec<_>>(), 0);
        between(&mut files, &mut || {
            reads += 1;
            BTreeSet::new()
        });
        reads
    };
    let (a, b) = ("[share.d]\nu = ['acme']\n", "[share.d]\nu = ['other']\n");
    assert_eq!(reads(&[("a,b", a)]), 1);
    assert_eq!(reads(&[("a,b", a), ("c,d", b)]), 1);
    assert_eq!(reads(&[("a,b", a), ("c,d", a)]), 0, "in several files");
    let evidence = format!("{a}[evidence.acme]\nstatus = 'documented'\n");
    assert_eq!(reads(&[("a,b", &evidence)]), 0, "with evidence");
    assert_eq!(reads(&[("a,b", "[share.d]\nu = ['system']\n")]), 0, "of the kernel");
}

#[test]
fn heaps_of_a_file_are_those_it_names() {
    let gpu = format!("{GPU}heaps = [{{ name = 'b' }}, {{ name = 'protected,*' }}]\n");
    let file = one("k,k", &format!("schema = 1\n{gpu}[share.d]\nu = ['a', 'b']\n"));
    assert_eq!(file.heaps(), ["a".to_owned(), "b".to_owned()].into());
    assert_eq!(one("k,k", "schema = 1\n").heaps(), BTreeSet::new());
}

#[test]
fn file_that_cannot_be_read_has_one_problem() {
    let problem = Diagnostic::new("k.toml", "", 0..0, "is a directory".into());
    let file = Checked::from(problem.clone());
    assert_eq!((&file.problems[..], file.more, file.is_refused()), (&[problem][..], 0, true));
}

#[test]
fn problems_beyond_the_maximum_are_counted() {
    let text = format!("schema = 1\n[gpu.'g.g']\nheaps = [{}]\n", "1,".repeat(MOST_FAULTS + 3));
    let file = one("k,k", &text);
    assert_eq!((file.problems.len(), file.more), (MOST_FAULTS, 3));
    let names: Vec<_> = (0..MOST_FAULTS + 2).map(|n| format!("{{ name = 'acme{n}' }},")).collect();
    let mut files = [one("a,b", &format!("schema = 1\n{GPU}heaps = [{}]\n", names.concat()))];
    between(&mut files, &mut BTreeSet::new);
    assert_eq!((files[0].problems.len(), files[0].more), (MOST_FAULTS, 2));
}

/// Returns the time that this thread has spent on a CPU, which does not depend on what else the
/// host runs.
fn cpu_time() -> Duration {
    let statistics = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = statistics.split_ascii_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
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
        let start = cpu_time();
        let mut files = [one("k,k", &text)];
        between(&mut files, &mut BTreeSet::new);
        let [file] = files;
        assert!(file.problems.len() <= 2 * MOST_FAULTS);
        let took = cpu_time() - start;
        assert!(took < Duration::from_secs(10), "{took:?}: {}", &text[..40]);
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

#[test]
fn tested_claim_without_its_circumstances_is_reported() {
    let evidence =
        |keys: &str| said(&format!("{GPU}heaps = [{{ name = 'a' }}]\n[evidence.a]\n{keys}\n"));
    let all = "kernel = '7.3.4'\nfirmware = 'OP-TEE 4.9'\ndate = '2026-11-30'\nobserver = 'Jane'";
    for status in ["documented", "unverified"] {
        assert_eq!(evidence(&format!("status = '{status}'")), [""; 0]);
    }
    assert_eq!(
        evidence("status = 'tested'\nkernel = '7.3.4'\nobserver = 'Jane'"),
        ["5:10 warning: `status` is \"tested\" without `firmware`, `date` | add `firmware`, \
             `date`, or write \"documented\" or \"unverified\""]
    );
    let firewall = evidence("status = 'documented'\nfirewall = 'tested'");
    assert!(firewall[0].starts_with("6:12 warning: `firewall` is \"tested\""), "{firewall:?}");
    assert_eq!(evidence(&format!("status = 'tested'\nfirewall = 'tested'\n{all}")), [""; 0]);
}

#[test]
fn invalid_fact_of_evidence_is_an_error_at_its_value() {
    for (line, message, help) in [
        ("kernel = 7", "expected a string, found an integer", "-"),
        (
            "kernel = '<uname -r>'",
            "the value of `kernel` is still a placeholder",
            "fill in `kernel`, or remove the line",
        ),
        (
            "observer = ''",
            "the value of `observer` is empty",
            "fill in `observer`, or remove the line",
        ),
        ("date = 2026-11-30", "expected a string, found a date", "write \"2026-11-30\""),
        ("date = '30.11.2026'", "expected a date such as \"2026-11-30\"", "-"),
        (
            "link = 'http://a.example'",
            "expected an address such as \"https://lore.kernel.org/...\"",
            "-",
        ),
        (
            "firewall = 'testet'",
            "expected \"tested\", \"documented\" or \"unverified\"",
            "did you mean \"tested\"?",
        ),
    ] {
        let body =
            format!("{GPU}heaps = [{{ name = 'a' }}]\n[evidence.a]\nstatus = 'documented'\n");
        let found = said(&format!("{body}{line}\n"));
        let column = line.find('=').unwrap() + 3;
        assert_eq!(found, [format!("6:{column} error: {message} | {help}")]);
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

#[test]
fn candidate_that_the_share_table_of_the_gpu_lacks_is_reported() {
    let unshared = |files: &[(&str, &str)]| {
        let mut found = all(files);
        found.iter_mut().for_each(|file| file.retain(|one| one.contains("does not list")));
        found
    };
    let evidence = "[evidence.a]\nstatus = 'documented'\n[evidence.b]\nstatus = 'documented'\n";
    let heaps = format!("{GPU}heaps = [{{ name = 'a' }}, {{ name = 'b' }}]\n");
    let share = |list: &str| format!("[share.'arm,mali-valhall-csf']\nvideo = [{list}]\n");
    let message = "[share.\"arm,mali-valhall-csf\"] does not list the candidate `a` for video: \
                   FindHeap does not return it for the GPU";
    let both = |list: &str| said(&format!("{heaps}{}{evidence}", share(list)));
    let expected = format!("3:19 warning: {message} | add it to a list of that table");
    assert_eq!(both("'b'"), [expected]);
    assert_eq!(both("'b', 'a'"), [""; 0]);
    assert_eq!(said(&format!("{heaps}{evidence}")), [""; 0]);
    // A board replaces the candidates of its platform.
    let of_platform = format!("{GPU}heaps = [{{ name = 'b' }}]\n{}{evidence}", share("'b'"));
    let board = format!("{heaps}{evidence}");
    let add = "add [share.\"arm,mali-valhall-csf\"] to this file, with a list that contains it";
    let expected = vec![format!("3:19 warning: {message} | {add}")];
    let found = unshared(&[("acme,a9-kiosk", &board), ("acme,a9", &of_platform)]);
    assert_eq!(found, [expected, vec![]]);
    let refined = format!("{board}{}", share("'a', 'b'"));
    let found = unshared(&[("acme,a9-kiosk", &refined), ("acme,a9", &of_platform)]);
    assert_eq!(found, [[""; 0]; 2]);
    // Nothing shows that these apply together.
    let found = unshared(&[("acme,a9x", &board), ("acme,a9", &of_platform)]);
    assert_eq!(found, [[""; 0]; 2]);
    // A board replaces the list of its platform.
    let platform = format!("{heaps}{}{evidence}", share("'a', 'b'"));
    let expected = vec![format!("3:1 warning: {message} | add it to a list of that table")];
    let found = unshared(&[("acme,a9", &platform), ("acme,a9-kiosk", &share("'b'"))]);
    assert_eq!(found, [vec![], expected]);
    // A prefix is compared with the names.
    let prefix = format!("{GPU}heaps = [{{ name = 'protected,*' }}]\n");
    assert_eq!(said(&format!("{prefix}{}", share("'protected,secure-video'"))), [""; 0]);
    assert_eq!(said(&format!("{prefix}{}", share("'a'"))).len(), 1);
}

#[test]
fn module_is_the_name_of_a_kernel_module() {
    let of = |value: &str| candidates(&format!("{{ name = 'a', module = {value} }}"));
    for valid in ["'acme_svp'", "'acme-svp2'"] {
        assert_eq!(of(valid), [""; 0], "{valid}");
    }
    let expected = "expected the name of a kernel module, such as \"restricted_heap\"";
    for (invalid, help) in [
        ("'acme_svp.ko.xz'", "did you mean \"acme_svp\"?"),
        ("'/lib/modules/acme.ko'", "did you mean \"acme\"?"),
        ("'../acme'", "did you mean \"acme\"?"),
        ("''", "-"),
        ("'a b'", "-"),
    ] {
        assert_eq!(of(invalid), [format!("4:24 error: {expected} | {help}")], "{invalid}");
    }
    assert_eq!(of(&format!("'{}'", "x".repeat(56))).len(), 1);
    let both = candidates("{ name = 'a', module = 'm', provider = 'a,b' }");
    let expected = "4:24 error: a candidate cannot have both `provider` and `module` | use \
                    `provider` if the module is the driver of a device, else `module`";
    assert_eq!(both, [expected]);
}

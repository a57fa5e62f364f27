// SPDX-License-Identifier: MIT OR Apache-2.0

//! Checks that the ioctls here are those of `include/uapi/drm/panthor_protheap.h`, which a patch in
//! driver/patches/protheap adds to the kernel.

use std::fs;
use std::mem::offset_of;
use std::path::Path;

use super::*;

const HEADER: &str = "include/uapi/drm/panthor_protheap.h";

/// Returns the header without comments, and with continued lines joined.
fn header() -> String {
    let patches = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../driver/patches/protheap");
    let mut patches: Vec<_> =
        fs::read_dir(patches).unwrap().map(|entry| entry.unwrap().path()).collect();
    patches.sort();
    let begin = format!("--- /dev/null\n+++ b/{HEADER}\n");
    let mut found = Vec::new();
    for patch in patches {
        let text = fs::read_to_string(patch).unwrap();
        if let Some((_, added)) = text.split_once(&begin) {
            let added = added.lines().skip(1).map_while(|line| line.strip_prefix('+'));
            found.push(added.collect::<Vec<_>>().join("\n"));
        } else {
            // The header is complete in the patch that adds it.
            assert!(!text.contains(&format!("+++ b/{HEADER}")), "changed by a later patch");
        }
    }
    let [text] = &found[..] else { panic!("{} patches add {HEADER}", found.len()) };
    let mut plain = String::new();
    for (number, part) in text.split("/*").enumerate() {
        plain += if number == 0 { part } else { part.split_once("*/").unwrap().1 };
    }
    plain.replace("\\\n", " ")
}

/// Returns the value of a macro of the header, or of a member of an enum.
fn value<'h>(header: &'h str, name: &str) -> &'h str {
    let mut values = header.lines().filter_map(|line| {
        let line = line.trim();
        let define = line.strip_prefix("#define ").and_then(|line| line.strip_prefix(name));
        let define = define.filter(|rest| rest.starts_with(char::is_whitespace));
        let member = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(" = "));
        define.or(member.map(|member| member.trim_end_matches(',')))
    });
    let found = values.next().unwrap_or_else(|| panic!("no {name} in {HEADER}")).trim();
    assert_eq!(values.next(), None, "{name}");
    found
}

fn number(text: &str) -> u32 {
    match (text.split_once(" << "), text.strip_prefix("0x")) {
        (Some((value, shift)), _) => number(value) << number(shift),
        (None, Some(digits)) => u32::from_str_radix(digits, 16).unwrap(),
        (None, None) => text.parse().unwrap(),
    }
}

/// Name, offset and size of a field.
type Field = (String, usize, usize);

/// Returns the fields of a structure of the header, as the kernel lays them out, and its size.
fn layout(header: &str, name: &str) -> (Vec<Field>, usize) {
    let (_, rest) = header.split_once(&format!("struct {name} {{")).unwrap();
    let (body, _) = rest.split_once("};").unwrap();
    let (mut fields, mut end, mut alignment) = (Vec::new(), 0_usize, 1);
    for declaration in body.split(';').map(str::trim).filter(|one| !one.is_empty()) {
        let (kind, field) = declaration.split_once(char::is_whitespace).unwrap();
        let size = match kind {
            "__u32" | "__s32" => 4,
            "__u64" => 8,
            _ => panic!("{name}: a type that this test does not know: {declaration}"),
        };
        let offset = end.next_multiple_of(size);
        fields.push((field.to_owned(), offset, size));
        (end, alignment) = (offset + size, alignment.max(size));
    }
    (fields, end.next_multiple_of(alignment))
}

/// Returns the number of an ioctl of the header, and the layout of its argument.
fn ioctl_of(header: &str, name: &str) -> (Opcode, Vec<Field>, usize) {
    let (direction, arguments) = value(header, name).split_once('(').unwrap();
    let arguments: Vec<_> = arguments.trim_end_matches(')').split(',').map(str::trim).collect();
    let [base, request, argument] = arguments[..] else { panic!("{name}: {arguments:?}") };
    let (fields, size) = layout(header, argument.strip_prefix("struct ").unwrap());
    let direction = match direction {
        "_IOW" => 1,
        "_IOR" => 2,
        "_IOWR" => 3,
        _ => panic!("{name}: {direction}"),
    };
    // The layout of asm-generic/ioctl.h.
    let base = number(value(header, base));
    let bytes = u32::try_from(size).unwrap();
    (direction << 30 | bytes << 16 | base << 8 | number(request), fields, size)
}

fn size_of_field<S, F>(_: impl Fn(&S) -> &F) -> usize {
    size_of::<F>()
}

/// Returns the layout of a structure, all of whose fields have to be named.
macro_rules! layout_of {
    ($name:ident { $($field:ident),* }) => {{
        let _ = |$name { $($field: _),* }: $name| {};
        let field = |name: &str, offset, size| (name.to_owned(), offset, size);
        let fields = vec![$(field(
            stringify!($field),
            offset_of!($name, $field),
            size_of_field(|one: &$name| &one.$field),
        )),*];
        (fields, size_of::<$name>())
    }};
}

#[test]
fn ioctls_match_the_header_of_panthor() {
    let header = header();
    let (fields, size) = layout_of!(RawQuery { flags, pad, firmware_size, suspend_size });
    let query = ioctl_of(&header, "PANTHOR_PROTHEAP_IOCTL_QUERY");
    assert_eq!(query, (QUERY, fields, size));
    let (fields, size) = layout_of!(SetFirmware { fd, flags });
    let set_firmware = ioctl_of(&header, "PANTHOR_PROTHEAP_IOCTL_SET_FIRMWARE");
    assert_eq!(set_firmware, (SET_FIRMWARE, fields, size));
    // A change of both the header and this crate would break programs that exist.
    assert_eq!((QUERY, SET_FIRMWARE), (0x8018_bb40, 0x4008_bb42));
}

#[test]
fn flags_match_the_header_of_panthor() {
    let header = header();
    let flag = |name: &str| number(value(&header, &format!("PANTHOR_PROTHEAP_{name}")));
    assert_eq!(
        [flag("READY"), flag("TAKES_BUFFER"), flag("HAS_BUFFER")],
        [1, TAKES_BUFFER, HAS_BUFFER]
    );
}

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Memory that Linux lends to a real OP-TEE: compares the log of the secure world with the accesses of the modelled
//! GPU.

/// Physical address and size of a range of memory.
type Lent = (u64, u64);

/// Returns complaints about a boot: OP-TEE must restore everything that it protected, and the model may only have seen
/// memory that OP-TEE protected.
pub(super) fn complaints(secure: &str, console: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let (mut protected, mut outstanding) = (Vec::new(), Vec::<Lent>::new());
    for line in secure.lines() {
        let Some(lent) = ranges(line) else { continue };
        if line.contains("protect_mem") {
            protected.push(lent);
            outstanding.push(lent);
        } else if line.contains("restore_mem") {
            match outstanding.iter().position(|other| *other == lent) {
                Some(at) => drop(outstanding.remove(at)),
                None => complaints.push(format!("OP-TEE restored {}", shown(lent))),
            }
        }
    }
    let left = outstanding.into_iter();
    complaints.extend(left.map(|lent| format!("OP-TEE never restored {}", shown(lent))));

    let mut rest = protected.iter();
    for line in console.lines().filter(|line| line.contains("csfmodel: lent")) {
        if let Some(lent) = ranges(line)
            && !rest.any(|other| *other == lent)
        {
            complaints
                .push(format!("the kernel lent {}, which OP-TEE did not protect", shown(lent)));
        }
    }
    complaints
}

/// Parses `... pa ADDRESS, size BYTES ...`, in hexadecimal.
fn ranges(line: &str) -> Option<Lent> {
    let (_, rest) = line.split_once(" pa 0x")?;
    let (address, rest) = rest.split_once(", size 0x")?;
    let bytes = rest.split_whitespace().next()?;
    Some((u64::from_str_radix(address, 16).ok()?, u64::from_str_radix(bytes, 16).ok()?))
}

fn shown((address, bytes): Lent) -> String {
    format!("{bytes:#x} bytes at {address:#x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTECT: &str =
        "D/TC:? 0 protect_mem:573 use_case 1 pa 0x5f000000, size 0x100000\nI/TC: other\n";
    const RESTORE: &str = "D/TC:? 0 restore_mem:584 use_case 1 pa 0x5f000000, size 0x100000\n";
    const LENT: &str = "[    0.9] csfmodel: lent pa 0x000000005f000000, size 0x100000\n";

    #[test]
    fn protected_memory_must_be_restored_and_lent_memory_protected() {
        let good = format!("{PROTECT}{RESTORE}{PROTECT}{RESTORE}");
        assert!(complaints(&good, &LENT.repeat(2)).is_empty());
        assert!(complaints(&good, "").is_empty());
        assert!(complaints("", "").is_empty());
        for (secure, console) in [
            (PROTECT.to_owned(), LENT.to_owned()),
            (RESTORE.to_owned(), String::new()),
            (good.clone(), LENT.repeat(3)),
            (good, LENT.replace("5f", "5e")),
            (String::new(), LENT.to_owned()),
        ] {
            assert_eq!(complaints(&secure, &console).len(), 1, "{secure} {console}");
        }
    }
}

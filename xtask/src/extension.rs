// SPDX-License-Identifier: MIT OR Apache-2.0
//! Extensions of a root as signed disk images: a file system, its hashes, and a signature of their root hash, each a
//! partition (The Discoverable Partitions Specification, and systemd-sysext(8)).

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use fs_err as fs;
use serde_json::json;

use crate::archive::Archive;
use crate::cache;
use crate::progress::{feed, output};
use crate::uefi::Key;

/// Host packages that are needed.
pub(crate) const PACKAGES: &[&str] = &["cryptsetup-bin", "erofs-utils", "fdisk", "openssl"];

/// Types of the partitions for arm64: the root, its hashes, and their signature.
const TYPES: [&str; 3] = [
    "b921b045-1df0-41c3-af44-4c6f280d3fae",
    "df3300ce-d69f-4c92-978c-9bfb0f38d820",
    "6db69de6-29f4-4758-a7a5-962190f00ce3",
];
/// Start of the first partition, and alignment of all of them.
const ALIGNMENT: u64 = 1 << 20;

/// Makes an extension with these files, signed by the key.
pub(crate) fn build(dir: &Path, files: &Archive, key: &Key, path: &Path) -> Result<()> {
    let work = dir.join("extension");
    cache::remove_dir(&work)?;
    cache::create_dir(&work)?;
    let stage = work.join("root");
    files.unpack(&stage)?;
    let data = work.join("data");
    let mut mkfs = Command::new("mkfs.erofs");
    mkfs.args(["--quiet", "--all-root", "-T0", "-x-1"]);
    output(mkfs.args(["-U", "00000000-0000-0000-0000-000000000002"]).args([&data, &stage]))?;

    let hashes = work.join("hashes");
    let mut format = Command::new("veritysetup");
    format.args(["format", "--salt=-", "--uuid=00000000-0000-0000-0000-000000000003"]);
    let said = output(format.args([&data, &hashes]))?;
    let Some(hash) = said.lines().find_map(|line| line.strip_prefix("Root hash:")).map(str::trim)
    else {
        bail!("veritysetup printed no root hash: {said}");
    };

    let signature = work.join("signature");
    let mut sign = Command::new("openssl");
    sign.args(["smime", "-sign", "-nocerts", "-noattr", "-binary", "-md", "sha256"]);
    sign.args(["-outform", "der", "-inkey"]).arg(&key.private);
    sign.arg("-signer").arg(&key.certificate).arg("-out").arg(&signature);
    feed(&mut sign, hash.as_bytes()).context("failed to sign the root hash")?;
    let base64 = output(Command::new("openssl").args(["base64", "-A", "-in"]).arg(&signature))?;
    let mut fingerprint = Command::new("openssl");
    fingerprint.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&key.certificate);
    let fingerprint = output(&mut fingerprint)?;
    let fingerprint: String = fingerprint
        .rsplit('=')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .collect();
    let signed = json!({
        "rootHash": hash,
        "certificateFingerprint": fingerprint.to_lowercase(),
        "signature": base64.trim(),
    });
    let said = work.join("signed");
    cache::write(&said, signed.to_string())?;

    // The UUIDs of the first two are the halves of the hash.
    let halves = [hash.get(..32), hash.get(32..64)].map(|half| half.map(uuid));
    let [Some(first), Some(second)] = halves else { bail!("`{hash}` is no hash of SHA-256") };
    let names = [first, second, "00000000-0000-0000-0000-000000000004".to_owned()];
    let parts = [&data, &hashes, &said];
    let mut image = fs::File::create(path)?;
    let mut table = String::from("label: gpt\nlabel-id: 00000000-0000-0000-0000-000000000005\n");
    let mut at = ALIGNMENT;
    for ((part, kind), name) in parts.iter().zip(TYPES).zip(names) {
        let bytes = cache::bytes(part)?;
        image.seek(SeekFrom::Start(at))?;
        image.write_all(&bytes)?;
        let size = (bytes.len() as u64).next_multiple_of(ALIGNMENT);
        table += &format!("start={}, size={}, type={kind}, uuid={name}\n", at / 512, size / 512);
        at += size;
    }
    image.set_len(at + ALIGNMENT)?;
    drop(image);
    feed(Command::new("sfdisk").arg("--quiet").arg(path), table.as_bytes())
        .with_context(|| format!("failed to write the partitions of {}", path.display()))?;
    cache::remove_dir(&work)
}

/// Formats thirty-two hexadecimal digits as a UUID.
fn uuid(digits: &str) -> String {
    let mut name = digits.to_owned();
    for at in [20, 16, 12, 8] {
        name.insert(at, '-');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_uuids_are_the_hash() {
        assert_eq!(
            uuid("0123456789abcdef0123456789abcdef"),
            "01234567-89ab-cdef-0123-456789abcdef"
        );
    }
}

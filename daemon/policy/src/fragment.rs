// SPDX-License-Identifier: MIT OR Apache-2.0

//! Parsed contents of one policy file.

use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::Diagnostic;
use crate::name::Key;
use crate::node::{File, Node, Origin, Table, Value};
use crate::schema::{Content, Reader};

/// Maximum size of a policy file, in bytes.
pub const LARGEST: usize = 64 * 1024;

/// Parsed contents of one policy file, checked without regard to other files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The file.
    pub file: Arc<File>,
    /// Contents as a table, for merging.
    pub(crate) table: Table,
    /// Contents as types.
    pub(crate) content: Content,
}

impl Fragment {
    /// Parses the file `path`, whose name contains `key`.
    ///
    /// # Errors
    ///
    /// Returns the faults of the file, at most [`MOST_FAULTS`](crate::schema::MOST_FAULTS), or only
    /// the first if it is not TOML. A file with a fault is rejected as a whole.
    pub fn parse(key: &Key, path: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        let (file, table) = parse(key, path, text)?;
        let root = Origin { file: Arc::clone(&file), span: (0, 0) };
        let mut reader = Reader::default();
        let content = reader.content(&root, &table);
        if reader.faults.is_empty() {
            Ok(Self { file, table, content })
        } else {
            Err(reader.faults)
        }
    }
}

/// Parses a TOML file of bounded size. Each value keeps its position.
pub(crate) fn parse(
    key: &Key,
    path: &str,
    text: &str,
) -> Result<(Arc<File>, Table), Vec<Diagnostic>> {
    if let Some(fault) = too_large(path, text) {
        return Err(vec![fault]);
    }
    // Further parser errors are mostly consequences of the first.
    let table = DeTable::parse(text).map_err(|error| vec![not_toml(path, text, 0, &error)])?;
    Ok(file(key, path, text, table.into_inner()))
}

/// Returns a fault if the file exceeds the maximum size.
pub(crate) fn too_large(path: &str, text: &str) -> Option<Diagnostic> {
    if text.len() <= LARGEST {
        return None;
    }
    let message = format!("the file is longer than {LARGEST} bytes");
    Some(Diagnostic::new(path, "", 0..0, message))
}

/// Converts a parser error for the part of `text` that begins at `offset`.
pub(crate) fn not_toml(
    path: &str,
    text: &str,
    offset: usize,
    error: &toml::de::Error,
) -> Diagnostic {
    let span = error.span().unwrap_or_default();
    // The parser's message may have several lines. The first describes the error.
    let message = error.message().lines().next().unwrap_or("invalid TOML");
    Diagnostic::new(path, text, offset + span.start..offset + span.end, message.to_owned())
}

/// Converts the contents of a file, with the position of each value.
pub(crate) fn file(key: &Key, path: &str, text: &str, table: DeTable<'_>) -> (Arc<File>, Table) {
    let file = Arc::new(File { key: key.clone(), path: path.into(), text: text.into() });
    let table = match Node::new(&file, 0..0, &DeValue::Table(table)).value {
        Value::Table(table) => table,
        // The conversion of a table always yields a table.
        _ => Table::new(),
    };
    (file, table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::MOST_FAULTS;
    use proptest::prelude::*;

    fn faults(text: &str) -> Vec<String> {
        match Fragment::parse(&Key::new("k").unwrap(), "k.toml", text) {
            Ok(_) => Vec::new(),
            Err(faults) => faults
                .iter()
                .map(|f| format!("{}:{}: {}", f.place.line, f.place.column, f.message))
                .collect(),
        }
    }

    #[test]
    fn parse_accepts_the_whole_format() {
        let text = r#"
            schema = 1
            description = "Acme A9 family"
            [gpu."arm,mali-valhall-csf"]
            heaps = [
              { name = "protected,secure-video" },
              { name = "acme_svp", tee = "optee", tee-revision = "<4.6", provider = "acme,a9-svp" },
              { name = "protected,*" },
            ]
            bind = "demand"
            hold = "5s"
            suspend = { bytes = "64KiB", count = 16 }
            firmware = "arch10.8"
            allow-unprotected = false
            [share."acme,a9-vdec"]
            secure-video = ["protected,secure-video", "acme_svp"]
            [evidence."protected,secure-video"]
            status = "tested"
            source = "https://example.org/"
            firewall = "unverified"
        "#;
        assert_eq!(faults(text), [""; 0]);
    }

    #[test]
    fn parse_reports_every_fault_with_its_position() {
        let text = "schema = 1
[gpu.g]
heap = []
hold = \"11s\"
suspend = { bytes = \"64\", count = 129, size = 3 }
firmware = \"10.8\"
heaps = [\"x\", {}, { name = \"a b\" }, { name = \"*\" }, { name = \"a*b\" }, { name = 3 }]
[gpu.h]
heaps = [{ name = \"a\", tee = \"tee\", tee-revision = \"4\" }]
[share.d]
Up = [\"a\"]
down = [3, \"protected,*\"]
[evidence.a]
[evidence.b]
status = \"sure\"
";
        let mut found = faults(text);
        found.sort();
        let expected = [
            "11:1: a usage may contain only lower-case letters, digits and `-`",
            "12:12: expected a heap name, found a pattern",
            "12:9: expected a heap name, found an integer",
            "13:11: missing `status`",
            "15:10: expected \"tested\", \"documented\" or \"unverified\"",
            "3:1: unknown key `heap`",
            "4:8: a hold must not exceed 10 seconds, after which the kernel reports a failure",
            "5:21: expected a size such as \"64KiB\" or \"1MiB\"",
            "5:35: expected a number from 0 to 128",
            "5:40: unknown key `size`",
            "6:12: expected the directory of the image, such as \"arch10.8\"",
            "7:10: expected a table such as { name = \"protected,secure-video\" }, found a string",
            "7:15: missing `name` of the heap",
            "7:28: the heap name contains ' '; only printable ASCII characters other than `/` and space are allowed",
            "7:46: the heap name is empty",
            "7:62: `*` is allowed only at the end of a heap name",
            "7:80: expected a string, found an integer",
            "9:30: unknown TEE `tee`",
            "9:52: expected bounds such as \"<4.6\" or \">=4.2, <4.6\"",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn parse_reports_faults_of_the_whole_file() {
        assert_eq!(faults("description = \"x\""), ["1:1: missing `schema`"]);
        assert_eq!(
            faults("schema = 2"),
            ["1:10: unsupported schema: this version of Protheap reads schema 1"]
        );
        let found = faults("schema = 1\n[gpu.g]\nheaps = [{ name = \"x\" }\nhold = \"5s\"\n");
        assert!(found.iter().all(|f| f.starts_with("3:") || f.starts_with("4:")), "{found:?}");
        assert!(!found.is_empty());
        let comment = |bytes: usize| format!("schema = 1\n{}", "#".repeat(bytes - 11));
        assert_eq!(faults(&comment(65_536)), [""; 0]);
        assert_eq!(faults(&comment(65_537)), ["1:1: the file is longer than 65536 bytes"]);
        assert!(!faults(&format!("schema = 1\na = {}", "[".repeat(10_000))).is_empty());
        assert!(!faults("schema = 1\nschema = 1").is_empty());
    }

    #[test]
    fn limits_of_numbers_are_valid() {
        let gpu = |body: &str| faults(&format!("schema = 1\n[gpu.g]\n{body}\n"));
        for (valid, invalid) in [
            ("hold = '10s'", "hold = '10001ms'"),
            ("hold = '0s'", "hold = '-1s'"),
            ("suspend = { bytes = '16MiB' }", "suspend = { bytes = '16385KiB' }"),
            ("suspend = { bytes = '1KiB' }", "suspend = { bytes = '0KiB' }"),
            ("suspend = { count = 128 }", "suspend = { count = 129 }"),
            ("suspend = { count = 0 }", "suspend = { count = -1 }"),
        ] {
            assert_eq!(gpu(valid), [""; 0]);
            assert_eq!(gpu(invalid).len(), 1, "{invalid}");
        }
    }

    #[test]
    fn firmware_is_arch_with_two_numbers() {
        let firmware =
            |image: &str| faults(&format!("schema = 1\n[gpu.g]\nfirmware = '{image}'\n"));
        for valid in ["arch10.8", "arch11.12"] {
            assert_eq!(firmware(valid), [""; 0]);
        }
        for invalid in ["arch10.", "arch.8", "arch.", "archx.8", "arch10.x", "arch10", "ark10.8"] {
            assert_eq!(firmware(invalid).len(), 1, "{invalid}");
        }
    }

    #[test]
    fn parse_error_lists_the_known_words() {
        let never = faults("schema = 1\n[gpu.g]\nheaps = []\nbind = \"never\"\n");
        assert_eq!(never, ["4:8: expected \"boot\" or \"demand\""]);
        let yes = faults("schema = 1\n[evidence.a]\nstatus = \"tested\"\nfirewall = \"yes\"\n");
        assert_eq!(yes, ["4:12: expected \"tested\", \"documented\" or \"unverified\""]);
        let number = faults("schema = 1\n[gpu.g]\nheaps = []\nbind = 1\n");
        assert_eq!(number, ["4:8: expected a string, found an integer"]);
    }

    #[test]
    fn number_of_reported_faults_is_limited() {
        let wrong = ["1,"; 30_000].concat();
        assert_eq!(faults(&format!("schema = 1\n[gpu.g]\nheaps = [{wrong}]")).len(), MOST_FAULTS);
        assert_eq!(faults(&"=\n".repeat(20_000)).len(), 1);
    }

    #[test]
    fn unknown_key_suggests_the_nearest_key() {
        let key = Key::new("k").unwrap();
        let error =
            Fragment::parse(&key, "k.toml", "schema = 1\n[gpu.g]\nfirmwere = 1\n").unwrap_err();
        assert_eq!(error[0].help.as_deref(), Some("did you mean `firmware`?"));
    }

    proptest! {
        #[test]
        fn parse_of_any_text_reports_only_positions_within_it(text in "\\PC{0,200}|(schema = 1\n)?([a-z\\[\\]\"{}=., \n*]{0,200})") {
            if let Err(found) = Fragment::parse(&Key::new("k").unwrap(), "k.toml", &text) {
                prop_assert!(!found.is_empty());
                for fault in found {
                    prop_assert!(fault.place.line <= text.matches('\n').count() + 1);
                    prop_assert!(fault.to_string().starts_with("k.toml:"));
                }
            }
        }
    }
}

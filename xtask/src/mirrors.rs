// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mirrors of Debian in the apt configuration of the machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cache;

/// Key ring of Debian's own sources.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One entry of the machine's apt configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    uris: Vec<String>,
    suites: Vec<String>,
    signed_by: Option<String>,
}

impl Source {
    /// Returns this mirror's deb822 entry for other suites and one of their components.
    pub(crate) fn entry(&self, suites: &str, component: &str) -> String {
        self.entry_of("deb", suites, component)
    }

    /// Returns the entry for source packages (`deb-src`) or packages (`deb`).
    pub(crate) fn entry_of(&self, kind: &str, suites: &str, component: &str) -> String {
        format!(
            "Types: {kind}\nURIs: {}\nSuites: {suites}\nComponents: {component}\nSigned-By: {}\n\n",
            self.uris.join(" "),
            self.signed_by.as_deref().unwrap_or(KEYRING),
        )
    }
}

/// Returns the mirrors of this machine: (main archive, security archive).
pub(crate) fn mirrors(codename: &str) -> Result<(Source, Source)> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    paths.extend(cache::files(Path::new("/etc/apt/sources.list.d"))?);
    let mut sources = Vec::new();
    for path in paths.iter().filter(|path| path.is_file()) {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("list") => sources.extend(parse_lines(&cache::read(path)?)),
            Some("sources") => sources.extend(parse_deb822(&cache::read(path)?)),
            _ => {}
        }
    }
    choose(&sources, codename).with_context(|| {
        format!("/etc/apt names no Debian archive with the suite `{codename}`: add one and run `apt-get update`")
    })
}

fn choose(sources: &[Source], codename: &str) -> Option<(Source, Source)> {
    let with = |names: &[String]| {
        let named = |source: &&Source| source.suites.iter().any(|suite| names.contains(suite));
        sources.iter().find(named).cloned()
    };
    let main = with(&[codename.to_owned(), "stable".to_owned()])?;
    let security = with(&[format!("{codename}-security"), "stable-security".to_owned()]);
    // A machine without security updates still has a mirror, and mirrors carry both archives side by side.
    let security = security.or_else(|| {
        let beside = |uri: &String| {
            let base = uri.trim_end_matches('/').strip_suffix("/debian")?;
            Some(format!("{base}/debian-security"))
        };
        let uris = main.uris.iter().map(beside).collect::<Option<_>>()?;
        Some(Source { uris, ..main.clone() })
    })?;
    Some((main, security))
}

/// Parses the one-line format: `deb [option=value ...] URI SUITE COMPONENT...`.
fn parse_lines(text: &str) -> Vec<Source> {
    let parse = |line: &str| {
        let rest = line.split('#').next()?.trim().strip_prefix("deb ")?.trim_start();
        let (options, rest) = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => ("", rest),
        };
        let signed_by = options.split_whitespace().find_map(|o| o.strip_prefix("signed-by="));
        let mut words = rest.split_whitespace();
        Some(Source {
            uris: vec![words.next()?.to_owned()],
            suites: vec![words.next()?.to_owned()],
            signed_by: signed_by.map(str::to_owned),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// Parses the deb822 format: stanzas of `Field: values`, separated by empty lines.
fn parse_deb822(text: &str) -> Vec<Source> {
    let parse = |stanza: &[&str]| {
        let field = |name: &str| {
            let mut values: Option<Vec<String>> = None;
            for line in stanza.iter().filter(|line| !line.starts_with('#')) {
                let value = if line.starts_with([' ', '\t']) {
                    values.is_some().then_some(*line)
                } else {
                    match line.split_once(':') {
                        Some((key, value)) if key.eq_ignore_ascii_case(name) => Some(value),
                        // The next field ends the values.
                        _ if values.is_some() => break,
                        _ => None,
                    }
                };
                if let Some(value) = value {
                    let words = value.split_whitespace().map(str::to_owned);
                    values.get_or_insert_default().extend(words);
                }
            }
            values
        };
        let enabled = field("Enabled").is_none_or(|v| v.first().is_none_or(|v| v != "no"));
        if !enabled || !field("Types")?.iter().any(|kind| kind == "deb") {
            return None;
        }
        // A key in the file itself spans lines: only a path can be used here.
        let signed_by = field("Signed-By").and_then(|v| v.into_iter().next());
        Some(Source {
            uris: field("URIs")?,
            suites: field("Suites")?,
            signed_by: signed_by.filter(|path| path.starts_with('/')),
        })
    };
    let lines: Vec<&str> = text.lines().collect();
    lines.split(|line| line.trim().is_empty()).filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_apt_formats_are_parsed() {
        let lines = parse_lines(
            "# deb http://old.example/debian trixie main\n\
             deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian trixie main # ours\n\
             deb-src https://mirror.example/debian trixie main\n\
             deb http://mirror.example/debian-security trixie-security main\n",
        );
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].uris, ["https://mirror.example/debian"]);
        assert_eq!(lines[0].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(lines[1].suites, ["trixie-security"]);

        let stanzas = parse_deb822(
            "Types: deb deb-src\n# a comment\nURIs: http://a.example/debian\n http://b.example/debian\n\
             Suites: bookworm bookworm-updates\nSigned-By: /k.gpg\n\n\
             Types: deb\nURIs: http://c.example\nSuites: x\nEnabled: no\n\n\
             Types: deb-src\nURIs: http://d.example\nSuites: x\n",
        );
        assert_eq!(stanzas.len(), 1);
        assert_eq!(stanzas[0].uris, ["http://a.example/debian", "http://b.example/debian"]);
        assert_eq!(stanzas[0].suites, ["bookworm", "bookworm-updates"]);
    }

    #[test]
    fn embedded_key_is_not_a_path() {
        let text = "Types: deb\nURIs: http://a.example/debian\nSuites: trixie\nSigned-By:\n -----BEGIN\n .\n";
        assert_eq!(parse_deb822(text)[0].signed_by, None);
    }

    #[test]
    fn security_archive_is_found_or_derived() {
        let both = parse_lines(
            "deb http://m.example/debian trixie main\ndeb http://s.example/sec trixie-security main\n",
        );
        let (main, security) = choose(&both, "trixie").unwrap();
        assert_eq!(main.uris, ["http://m.example/debian"]);
        assert_eq!(security.uris, ["http://s.example/sec"]);

        let (_, security) = choose(&both[..1], "trixie").unwrap();
        assert_eq!(security.uris, ["http://m.example/debian-security"]);
        assert!(choose(&both, "bookworm").is_none());
    }

    #[test]
    fn entry_names_other_suite_and_component() {
        let source = &parse_lines("deb http://m.example/debian trixie main")[0];
        let entry = source.entry("bookworm-security", "non-free-firmware");
        assert_eq!(parse_deb822(&entry)[0].suites, ["bookworm-security"]);
        assert!(entry.contains("Suites: bookworm-security\nComponents: non-free-firmware\n"));
    }
}

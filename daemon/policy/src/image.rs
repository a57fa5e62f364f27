// SPDX-License-Identifier: MIT OR Apache-2.0

//! `image.toml`: declares whether a signed image trusts the policies of the machine it runs on.

use crate::diagnostic::Diagnostic;
use crate::fragment::parse;
use crate::name::Key;
use crate::node::Table;
use crate::schema::Reader;

/// Condition under which the policies in `/etc` and `/run` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalPolicy {
    /// Never: only the image's own policies count.
    Never,
    /// Unless the kernel is locked down. This is the default.
    #[default]
    Unlocked,
    /// Always.
    Always,
}

impl LocalPolicy {
    /// Parses the text of an `image.toml`.
    ///
    /// # Errors
    ///
    /// Returns the faults of the file. Callers treat such an image as [`Self::Never`].
    pub fn parse(path: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        // The file is no policy and has no compatible string. This key only labels it.
        let Ok(key) = Key::new("image") else { return Ok(Self::Never) };
        let (_, table) = parse(&key, path, text)?;
        let mut reader = Reader::default();
        let local = Self::read(&mut reader, &table);
        if reader.faults.is_empty() { Ok(local) } else { Err(reader.faults) }
    }

    /// Reads the setting from the table. The reader collects the faults.
    pub(crate) fn read(reader: &mut Reader, table: &Table) -> Self {
        reader.keys(table, &["schema", "local-policy"]);
        reader.version(table);
        let Some(word) = reader.string(table, "local-policy") else {
            return Self::default();
        };
        let all = [Self::Never, Self::Unlocked, Self::Always];
        all.into_iter().find(|one| one.as_str() == word.value).unwrap_or_else(|| {
            reader.fault(&word.origin, "expected \"never\", \"unlocked\" or \"always\"");
            Self::Never
        })
    }

    /// Returns whether local policies count under a kernel with this lockdown state.
    pub fn counts(self, lockdown: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Unlocked => !lockdown,
            Self::Always => true,
        }
    }

    /// Returns the word for the setting.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Unlocked => "unlocked",
            Self::Always => "always",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_policy_depends_on_the_image_and_lockdown() {
        let of = |text: &str| LocalPolicy::parse("image.toml", text);
        assert_eq!(of(""), Ok(LocalPolicy::Unlocked));
        assert_eq!(of("schema = 1\n"), Ok(LocalPolicy::Unlocked));
        for (word, locked, unlocked) in
            [("never", false, false), ("unlocked", false, true), ("always", true, true)]
        {
            let local = of(&format!("local-policy = \"{word}\"\n")).unwrap();
            assert_eq!((local.counts(true), local.counts(false)), (locked, unlocked), "{word}");
        }
    }

    #[test]
    fn faults_have_a_position() {
        for (text, place) in [
            ("local-policy = \"sometimes\"", "image.toml:1:16: error: "),
            ("local_policy = \"never\"", "image.toml:1:1: error: unknown key `local_policy`"),
            ("local-policy = true", "image.toml:1:16: error: expected a string"),
            ("schema = 2", "image.toml:1:10: error: "),
            ("local-policy", "image.toml:1:13: error: "),
        ] {
            let faults = LocalPolicy::parse("image.toml", text).unwrap_err();
            assert!(faults[0].to_string().starts_with(place), "{}", faults[0]);
        }
    }
}

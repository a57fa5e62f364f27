// SPDX-License-Identifier: MIT OR Apache-2.0

//! `image.toml`: whether a signed image lets the machine that it runs on have policies of its own.

use crate::diagnostic::Diagnostic;
use crate::fragment::parse;
use crate::name::Key;
use crate::node::Table;
use crate::schema::Reader;

/// When the policies in `/etc` and `/run` count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalPolicy {
    /// Never: the image says all.
    Never,
    /// Unless the kernel is locked down. What an image without a word says.
    #[default]
    Unlocked,
    /// Always.
    Always,
}

impl LocalPolicy {
    /// Reads the text of an `image.toml`.
    ///
    /// # Errors
    ///
    /// Its faults. Such an image is taken for one that says [`Self::Never`].
    pub fn parse(path: &str, text: &str) -> Result<Self, Vec<Diagnostic>> {
        // It is no policy, and so has no compatible string for a key.
        let Ok(key) = Key::new("image") else { return Ok(Self::Never) };
        let (_, table) = parse(&key, path, text)?;
        let mut reader = Reader::default();
        let local = Self::read(&mut reader, &table);
        if reader.faults.is_empty() { Ok(local) } else { Err(reader.faults) }
    }

    /// What the table says; its faults are the reader's.
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

    /// Whether they count under a kernel that is, or is not, locked down.
    pub fn counts(self, lockdown: bool) -> bool {
        match self {
            Self::Never => false,
            Self::Unlocked => !lockdown,
            Self::Always => true,
        }
    }

    /// The word for it.
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
    fn an_image_says_when_local_policies_count() {
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
    fn faults_have_their_place() {
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

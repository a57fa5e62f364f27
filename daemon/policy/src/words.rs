// SPDX-License-Identifier: MIT OR Apache-2.0

//! Enums whose variants are stable words, which policy files, `state.json` and D-Bus contain.

/// Defines an enum whose variants are stable words, with conversions in both directions.
///
/// `FromStr` and `Deserialize` reject any other word.
#[macro_export]
macro_rules! words {
    ($(#[$doc:meta])* $type:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $type {
            /// All variants, in the order of their definition.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Returns the word for this variant.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// Returns the word for an optional value: an empty string for `None`.
            pub fn optional_str(value: Option<Self>) -> &'static str {
                value.map_or("", Self::as_str)
            }
        }

        impl ::std::fmt::Display for $type {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl ::std::str::FromStr for $type {
            type Err = $crate::UnknownWord;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err($crate::UnknownWord { known: &[$($word,)*] }),
                }
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <::std::borrow::Cow<'de, str> as ::serde::Deserialize>::deserialize(deserializer)?;
                word.parse().map_err(::serde::de::Error::custom)
            }
        }
    };
}

/// A word that matches no variant of an enum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unknown word; expected one of {}", known.join(", "))]
pub struct UnknownWord {
    /// The words of the enum.
    pub known: &'static [&'static str],
}

#[cfg(test)]
mod tests {
    use crate::schema::Bind;

    #[test]
    fn each_word_parses_to_its_variant() {
        for bind in Bind::ALL {
            assert_eq!(bind.as_str().parse(), Ok(*bind));
        }
        let unknown = "never".parse::<Bind>().unwrap_err();
        assert_eq!(unknown.to_string(), "unknown word; expected one of boot, demand");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Sanitizes text from outside for a terminal or a log.
//!
//! The names in files, device trees, kernels and other programs are arbitrary. A terminal
//! interprets control characters, and reorders or hides text because of invisible characters. A
//! name or a quoted line could then be displayed as another text (CVE-2021-42574).

use std::fmt::{self, Write as _};

/// Returns whether a terminal interprets a character, or whether the character is invisible and
/// changes how the text around it is displayed.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' // soft hyphen
            | '\u{34f}' // combining grapheme joiner
            | '\u{61c}' // Arabic letter mark
            | '\u{115f}'..='\u{1160}' | '\u{3164}' | '\u{ffa0}' // Hangul fillers
            | '\u{17b4}'..='\u{17b5}' // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}' // Mongolian variation selectors, vowel separator
            | '\u{200b}'..='\u{200f}' // zero width, marks of direction
            | '\u{2028}'..='\u{202e}' // separators of lines and paragraphs, embedding, overrides
            | '\u{2060}'..='\u{206f}' // joiner, invisible operators, isolates, deprecated ones
            | '\u{fe00}'..='\u{fe0f}' // variation selectors
            | '\u{feff}' // zero width no-break space, byte order mark
            | '\u{fff0}'..='\u{fffb}' // interlinear annotations, and not assigned
            | '\u{1bca0}'..='\u{1bca3}' // shorthand format controls
            | '\u{1d173}'..='\u{1d17a}' // musical format controls
            | '\u{e0000}'..='\u{e0fff}') // tags, further variation selectors
}

fn shown(c: char) -> char {
    match c {
        '\t' => ' ',
        c if is_hidden(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    }
}

/// Displays text as one line without [hidden](is_hidden) characters.
#[derive(Debug, Clone, Copy)]
pub struct Sanitized<'a>(pub &'a str);

impl fmt::Display for Sanitized<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| f.write_char(shown(c)))
    }
}

/// Removes [hidden](is_hidden) characters from text of several lines.
pub fn lines(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { c } else { shown(c) }).collect()
}

/// Escapes all [hidden](is_hidden) characters in JSON. They occur only in strings, so that the
/// meaning stays the same.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        // JSON permits white space between its elements.
        if c == '\n' || !is_hidden(c) {
            escaped.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a `String` cannot fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn control_and_invisible_characters_are_replaced() {
        let kinds = [
            "\0\u{1}\u{7}\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\n\r",
            "\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}\u{2066}\u{2067}\u{2068}\u{2069}\u{61c}",
            "\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2060}\u{feff}\u{ad}\u{34f}\u{180e}",
            "\u{2028}\u{2029}\u{fff9}\u{fffb}\u{fe0f}\u{e0001}\u{e0020}\u{e007f}\u{e0100}",
        ];
        for text in kinds {
            for c in text.chars() {
                assert!(is_hidden(c), "{c:?}");
                assert_eq!(Sanitized(&format!("a{c}b")).to_string(), "a\u{fffd}b", "{c:?}");
            }
        }
        let fine = "protected,secure-video hëaps 保護 مرحبا שלום é́ 🎬 –…";
        assert_eq!(Sanitized(fine).to_string(), fine);
        assert_eq!(Sanitized("a\tb").to_string(), "a b");
        assert_eq!(lines("a\nb\r\u{202e}\n"), "a\nb\u{fffd}\u{fffd}\n");
    }

    proptest! {
        #[test]
        fn output_contains_no_hidden_character(text in "\\PC*|(?s:.)*") {
            prop_assert!(!Sanitized(&text).to_string().contains(is_hidden));
            prop_assert!(!lines(&text).contains(|c| c != '\n' && is_hidden(c)));
        }

        #[test]
        fn escaped_json_has_the_same_meaning(text in "(?s:.)*", hidden in any::<char>()) {
            let value = format!("{text}{hidden}\u{e0041}\u{202e}");
            let escaped = json(&serde_json::to_string(&value).unwrap());
            prop_assert!(!escaped.contains(is_hidden));
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), value);
        }
    }
}

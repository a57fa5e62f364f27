// SPDX-License-Identifier: MIT OR Apache-2.0
//! Any `compatible` property gives strings that can name a policy file, and a cascade of those alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protheap_board::platform::compatible;
use protheap_policy::cascade::{DEFAULT, keys};
use protheap_policy::name::Key;

fuzz_target!(|property: &[u8]| {
    let (strings, bad) = compatible(property);
    let mut pieces = property.split(|byte| *byte == 0);
    for string in &strings {
        assert!(Key::new(string).is_ok(), "{string:?}");
        // Found in the property's order, each once.
        assert!(pieces.any(|piece| piece == string.as_bytes()));
    }
    for bad in bad {
        let told = bad.to_string();
        assert!(bad.number >= 1 && !told.contains(char::is_control), "{told:?}");
    }
    let keys = keys(&strings);
    assert_eq!(keys.first().map(Key::as_str), Some(DEFAULT));
    let mut seen = keys.clone();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), keys.len());
    for key in &keys {
        let file = format!("{key}.toml");
        let one = std::path::Path::new(&file).file_name().and_then(|name| name.to_str());
        assert!(one == Some(&file) && file.len() <= 255, "{file:?}");
    }
});

// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares `protheapctl schema` with the reader of policies: both must accept the same keys and
//! values.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::process::Command;

use protheap_policy::diagnostic::Diagnostic;
use protheap_policy::fragment::Fragment;
use protheap_policy::name::Key;
use serde_json::Value;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/policy.schema.json");

fn printed() -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_protheapctl")).arg("schema").output().unwrap();
    assert!(said.status.success() && said.stderr.is_empty(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&printed()).unwrap()
}

/// Returns the tables of the schema that have fixed keys, with their names. That of the whole file
/// is empty.
fn tables(schema: &Value) -> Vec<(String, Value)> {
    let inner = schema["$defs"].as_object().unwrap().iter();
    let inner = inner.map(|(name, table)| (name.clone(), table.clone()));
    let all = inner.chain([(String::new(), schema.clone())]);
    all.filter(|(_, table)| table["properties"].is_object()).collect()
}

/// Returns a policy with `key = value` in the named table. It is valid if key and value are.
fn policy(table: &str, key: &str, value: &str) -> String {
    let entry = format!("{key} = {value}");
    let with = |other: &str, needed: &str| match key == other {
        true => String::new(),
        false => needed.to_owned(),
    };
    let version = with("schema", "schema = 1\n");
    match table {
        "" => format!("{version}{entry}\n"),
        "Gpu" => format!("schema = 1\n[gpu.g]\n{entry}\n"),
        "Candidate" => {
            let name = with("name", "name = \"x\", ");
            format!("schema = 1\n[gpu.g]\nheaps = [{{ {name}{entry} }}]\n")
        }
        "Suspend" => format!("schema = 1\n[gpu.g]\nsuspend = {{ {entry} }}\n"),
        "Evidence" => {
            let status = with("status", "status = \"tested\"\n");
            format!("schema = 1\n[evidence.x]\n{status}{entry}\n")
        }
        other => panic!("say here how a policy with the new table {other} looks"),
    }
}

fn read(text: &str) -> Result<(), Vec<Diagnostic>> {
    Fragment::parse(&Key::new("a,b").unwrap(), "a,b.toml", text).map(drop)
}

#[test]
fn committed_schema_is_current() {
    let kept = std::fs::read_to_string(KEPT).unwrap_or_default();
    let renew = "renew it: cargo run -p protheapctl -- schema > docs/policy.schema.json";
    assert!(
        kept == printed(),
        "docs/policy.schema.json is not what `protheapctl schema` prints: {renew}"
    );
}

#[test]
fn schema_has_exactly_the_keys_of_the_reader() {
    let tables = tables(&schema());
    assert_eq!(tables.len(), 5);
    for (name, table) in tables {
        assert_eq!(table["additionalProperties"], false, "{name}");
        let faults = read(&policy(&name, "zzzzzzzzzzzzzzzz", "1")).unwrap_err();
        let help = faults[0].help.as_deref().unwrap();
        let known: BTreeSet<_> = help.strip_prefix("use one of: ").unwrap().split(", ").collect();
        let keys: BTreeSet<_> =
            table["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, known, "{name}");
    }
}

/// Returns the values that a property names: examples, and the words of an enum.
fn named(schema: &Value, property: &Value) -> Vec<Value> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut all = [list(&property["examples"]), list(&property["enum"])].concat();
    let words = list(&property["oneOf"]);
    all.extend(words.iter().map(|word| word["const"].clone()).filter(Value::is_string));
    if let Some(name) = property["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/")) {
        all.extend(named(schema, &schema["$defs"][name]));
    }
    all
}

#[test]
fn values_in_the_schema_are_valid() {
    let schema = schema();
    let mut count = 0;
    for (name, table) in tables(&schema) {
        for (key, property) in table["properties"].as_object().unwrap() {
            for value in named(&schema, property) {
                let text = policy(&name, key, &value.to_string());
                assert!(read(&text).is_ok(), "{text}");
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
    for heap in named(&schema, &schema["$defs"]["Heap"]) {
        assert!(read(&format!("schema = 1\n[share.d]\nu = [{heap}]\n")).is_ok(), "{heap}");
    }
}

#[test]
fn keys_required_by_the_schema_are_required_by_the_reader() {
    for (name, table) in tables(&schema()) {
        for key in table["required"].as_array().into_iter().flatten() {
            let key = key.as_str().unwrap();
            // Another key that is not required takes its place.
            let other = match name.as_str() {
                "" => ("description", "\"x\""),
                "Candidate" => ("provider", "\"x\""),
                _ => ("source", "\"x\""),
            };
            let whole = policy(&name, other.0, other.1);
            assert!(read(&whole).is_ok(), "{whole}");
            let needed = [
                ("schema", "schema = 1\n"),
                ("name", "name = \"x\", "),
                ("status", "status = \"tested\"\n"),
            ];
            let text = needed.iter().find(|(word, _)| *word == key).unwrap().1;
            assert!(read(&whole.replace(text, "")).is_err(), "{name}.{key}");
        }
    }
}

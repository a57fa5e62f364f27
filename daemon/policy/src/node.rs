// SPDX-License-Identifier: MIT OR Apache-2.0

//! TOML values that keep their position, and the rule by which they merge.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use crate::diagnostic::{Diagnostic, Place};
use crate::name::Key;

/// A policy file with its text, to which the positions of values refer.
#[derive(Debug, PartialEq, Eq)]
pub struct File {
    /// Key of the file, such as `rockchip,rk3588`.
    pub key: Key,
    /// Path of the file.
    pub path: String,
    /// Text of the file.
    pub text: String,
}

/// Position of a value.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    /// File that contains the value.
    pub file: Arc<File>,
    /// Byte range of the value: its first byte, and the one after its last.
    pub span: (usize, usize),
}

impl Origin {
    /// Returns line and column.
    pub fn place(&self) -> Place {
        Place::of(&self.file.text, self.span.0)
    }

    /// Creates an error at this position.
    pub fn fault(&self, message: String) -> Diagnostic {
        Diagnostic::new(&self.file.path, &self.file.text, self.span.0..self.span.1, message)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        write!(f, "{}:{}:{}", self.file.path, place.line, place.column)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A table: its values by key, with the origin of each key.
pub type Table = BTreeMap<String, (Origin, Node)>;

/// A value and its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Position of the value.
    pub origin: Origin,
    /// The value.
    pub value: Value,
}

/// A TOML value. Floats and dates are not valid in a policy, so that only their kind is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A string.
    String(String),
    /// An integer; `None` if it exceeds 64 bits.
    Integer(Option<i64>),
    /// A Boolean.
    Boolean(bool),
    /// An array.
    Array(Vec<Node>),
    /// A table.
    Table(Table),
    /// A float or a date.
    Other(&'static str),
}

impl Value {
    /// Returns the name of the value's type for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Boolean(_) => "a Boolean",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

impl Node {
    pub(crate) fn new(file: &Arc<File>, span: Range<usize>, value: &DeValue<'_>) -> Self {
        let origin =
            |span: Range<usize>| Origin { file: Arc::clone(file), span: (span.start, span.end) };
        let node = |value: &Spanned<DeValue<'_>>| Self::new(file, value.span(), value.get_ref());
        let value = match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(digits) => {
                Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).ok())
            }
            DeValue::Boolean(value) => Value::Boolean(*value),
            DeValue::Array(values) => Value::Array(values.iter().map(node).collect()),
            DeValue::Table(table) => {
                let mut entries = Table::new();
                for (key, value) in table {
                    entries.insert(key.get_ref().to_string(), (origin(key.span()), node(value)));
                }
                Value::Table(entries)
            }
            DeValue::Float(_) => Value::Other("a float"),
            DeValue::Datetime(_) => Value::Other("a date"),
        };
        Self { origin: origin(span), value }
    }
}

/// Merges `upper` into `lower`: tables merge by key, every other value is replaced.
pub fn merge(lower: &mut Table, upper: &Table) {
    for (key, (at, node)) in upper {
        match (lower.get_mut(key), &node.value) {
            (Some((_, Node { value: Value::Table(lower), .. })), Value::Table(upper)) => {
                merge(lower, upper);
            }
            _ => {
                lower.insert(key.clone(), (at.clone(), node.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use toml::de::DeTable;

    fn table(text: &str) -> Table {
        let key = Key::new("k").unwrap();
        let file = Arc::new(File { key, path: "k.toml".into(), text: text.into() });
        let parsed = DeTable::parse(text).unwrap();
        match Node::new(&file, 0..0, &DeValue::Table(parsed.into_inner())).value {
            Value::Table(table) => table,
            _ => unreachable!(),
        }
    }

    /// Returns the values without origins, for comparison. Merging moves origins with their values.
    fn values(table: &Table) -> String {
        fn show(node: &Node) -> String {
            match &node.value {
                Value::Table(table) => values(table),
                Value::Array(nodes) => format!("{:?}", nodes.iter().map(show).collect::<Vec<_>>()),
                value => format!("{value:?}"),
            }
        }
        let entries: Vec<_> = table.iter().map(|(k, (_, n))| format!("{k}={}", show(n))).collect();
        format!("{{{}}}", entries.join(","))
    }

    #[test]
    fn tables_merge_and_other_values_are_replaced() {
        let mut lower = table("a = 1\n[t]\nx = [1, 2]\ny = 1\n[t.u]\nz = 1\n");
        merge(&mut lower, &table("[t]\nx = [3]\n[t.u]\nw = 2\n"));
        assert_eq!(values(&lower), values(&table("a=1\n[t]\nx=[3]\ny=1\n[t.u]\nz=1\nw=2\n")));
    }

    fn any_table() -> impl Strategy<Value = String> {
        // The number of keys is small, so that collisions of every kind are common.
        let leaf =
            prop_oneof!["[0-9]", Just("[1, 2]".into()), Just("[]".into()), Just("true".into())];
        let value = leaf.prop_recursive(3, 12, 3, |inner| {
            proptest::collection::btree_map("[abc]", inner, 0..3).prop_map(|entries| {
                let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{k} = {v}")).collect();
                format!("{{ {} }}", entries.join(", "))
            })
        });
        proptest::collection::btree_map("[abc]", value, 0..3).prop_map(|entries| {
            entries.iter().map(|(k, v)| format!("{k} = {v}\n")).collect::<String>()
        })
    }

    proptest! {
        #[test]
        fn merge_is_idempotent(a in any_table(), b in any_table()) {
            let (a, b) = (table(&a), table(&b));
            let mut once = a.clone();
            merge(&mut once, &b);
            let mut twice = once.clone();
            merge(&mut twice, &b);
            prop_assert_eq!(values(&twice), values(&once));
            let mut onto_nothing = Table::new();
            merge(&mut onto_nothing, &b);
            prop_assert_eq!(onto_nothing, b);
        }

        #[test]
        fn upper_value_always_wins(a in any_table(), b in any_table()) {
            fn holds(merged: &Table, upper: &Table) -> bool {
                upper.iter().all(|(key, (_, node))| match (merged.get(key), &node.value) {
                    (Some((_, Node { value: Value::Table(m), .. })), Value::Table(u)) => holds(m, u),
                    (Some((_, merged)), _) => merged == node,
                    (None, _) => false,
                })
            }
            let (a, b) = (table(&a), table(&b));
            let mut merged = a.clone();
            merge(&mut merged, &b);
            prop_assert!(holds(&merged, &b));
            for key in a.keys() {
                prop_assert!(merged.contains_key(key));
            }
        }
    }
}

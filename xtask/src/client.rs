// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo xtask client`: generates the proxies of protheap-client from the installed XML of the interfaces.
//!
//! zbus-xmlgen generates proxies too, but drops the comments and ignores that properties may change without a signal: such
//! a proxy would return its cached value forever.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use zbus_xml::{Annotation, Arg, ArgDirection, Interface, Method, Node, Property, PropertyAccess};

use crate::cache::{self, Workspace};

/// Directory of the XML, in the checkout.
const XML: &str = "systemd/dbus-1/interfaces";
/// Directory of the proxies.
const SOURCES: &str = "daemon/client/src";
/// Prefix of the names of all interfaces: the service's name and a dot.
const SERVICE: &str = "org.protheap1.";
/// Interface with a single object, and the path of that object.
const MANAGER: (&str, &str) = ("Manager", "/org/protheap1");
/// Annotation for the signal of a property's changes.
const EMITS: &str = "org.freedesktop.DBus.Property.EmitsChangedSignal";
/// Maximum length of a line of a comment, with its indentation.
const WIDTH: usize = 100;

/// Arguments of the `client` command.
#[derive(Debug, ClapArgs)]
pub(crate) struct Args {
    /// Compare the proxies instead of writing them
    #[arg(long)]
    check: bool,
}

/// Writes the proxies, or compares them.
pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<bool> {
    if args.check {
        check(workspace)?;
        return Ok(true);
    }
    for proxy in proxies(workspace)? {
        cache::write(&workspace.root.join(&proxy.path), cache::read(&proxy.made)?)?;
        println!("wrote {}", proxy.path.display());
    }
    Ok(true)
}

/// Compares the proxies; an error shows how they differ.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let mut differences = String::new();
    for proxy in proxies(workspace)? {
        let output = Command::new("diff")
            .args(["-u", "-N"])
            .args([&workspace.root.join(&proxy.path), &proxy.made])
            .output()
            .context("failed to run diff: is it installed?")?;
        if !output.status.success() {
            differences += &String::from_utf8_lossy(&output.stdout);
            differences += &String::from_utf8_lossy(&output.stderr);
        }
    }
    if differences.is_empty() {
        return Ok(());
    }
    bail!("{SOURCES} is not what `cargo xtask client` writes of {XML}:\n{differences}");
}

/// A generated proxy.
#[derive(Debug)]
struct Proxy {
    /// Its path in the checkout.
    path: PathBuf,
    /// Path of the generated file.
    made: PathBuf,
}

/// Makes the proxies of all interfaces.
fn proxies(workspace: &Workspace) -> Result<Vec<Proxy>> {
    let mut proxies = Vec::new();
    for path in cache::files(&workspace.root.join(XML))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = cache::read(&path)?;
        let (interface, source) = source(&name, &text).with_context(|| format!("{XML}/{name}"))?;
        let file = format!("{}.rs", snake_case(&interface));
        let made = workspace.checkout.join("client").join(&file);
        cache::write(&made, source)?;
        format(workspace, &made)?;
        proxies.push(Proxy { path: Path::new(SOURCES).join(file), made });
    }
    Ok(proxies)
}

/// Formats a file as this checkout does.
fn format(workspace: &Workspace, path: &Path) -> Result<()> {
    let output = Command::new("rustfmt")
        .arg("--config-path")
        .args([&workspace.root, path])
        .output()
        .context("failed to run rustfmt: is it installed (`rustup component add rustfmt`)?")?;
    if !output.status.success() {
        bail!("failed to format {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// The name of the interface that the XML describes, without the service's, and its proxy.
fn source(file: &str, xml: &str) -> Result<(String, String)> {
    let node = Node::try_from(xml)?;
    let [interface] = node.interfaces() else {
        bail!("a file must have exactly one interface");
    };
    let full = interface.name();
    let name = full
        .strip_prefix(SERVICE)
        .with_context(|| format!("{full} is no interface of {SERVICE}*"))?;
    let comments = comments(xml);
    let mut members = String::new();
    for property in interface.properties() {
        members += &comment(&comments, property.name().as_str(), "property", "    ");
        members += &of_property(property)?;
    }
    for method in interface.methods() {
        members += &comment(&comments, method.name().as_str(), "method", "    ");
        members += &of_method(method)?;
    }
    if let Some(signal) = interface.signals().next() {
        bail!("{}: xtask/src/client.rs does not support signals", signal.name());
    }
    let service = SERVICE.trim_end_matches('.');
    let (manager, path) = MANAGER;
    let path = (name == manager).then(|| format!(", default_path = \"{path}\""));
    let source = format!(
        "// SPDX-License-Identifier: MIT OR Apache-2.0\n\
         // @generated by `cargo xtask client`: what is to be changed is\n\
         // {XML}/{file}.\n\n\
         {uses}\
         {comment}\
         #[zbus::proxy(interface = \"{full}\", default_service = \"{service}\"{path})]\n\
         pub trait {name} {{\n{members}}}\n",
        uses = uses(interface),
        path = path.unwrap_or_default(),
        comment = comment(&comments, full.as_str(), "interface", ""),
    );
    Ok((name.to_owned(), source))
}

/// The types of the crate's own that stand for the dictionaries of an interface.
fn uses(interface: &Interface<'_>) -> String {
    let mut names = Vec::new();
    for method in interface.methods() {
        let dictionaries = method.args().iter().filter(|arg| arg.ty().to_string() == DICTIONARY);
        names.extend(dictionaries.map(|arg| dictionary(method, arg)));
    }
    names.sort();
    if names.is_empty() {
        String::new()
    } else {
        format!("use crate::{{{}}};\n\n", names.join(","))
    }
}

/// A dictionary of options or details, which has its type in the crate.
const DICTIONARY: &str = "a{sv}";

/// `FindHeapOptions`, of the method and the argument.
fn dictionary(method: &Method<'_>, arg: &Arg<'_>) -> String {
    let mut name = method.name().to_string();
    let arg = arg.name().unwrap_or_default();
    name.extend(arg.chars().take(1).map(|c| c.to_ascii_uppercase()));
    name.extend(arg.chars().skip(1));
    name
}

fn of_property(property: &Property<'_>) -> Result<String> {
    let name = property.name();
    if property.access() != PropertyAccess::Read {
        bail!("{name}: xtask/src/client.rs does not support writable properties");
    }
    let emits = property.annotations().iter().find(|annotation| annotation.name() == EMITS);
    let attribute = match emits.map(Annotation::value) {
        None => "property".to_owned(),
        Some(value) => format!("property(emits_changed_signal = \"{value}\")"),
    };
    let ty = returned(&property.ty().to_string()).with_context(|| name.to_string())?;
    let function = snake_case(name.as_str());
    Ok(format!("#[zbus({attribute})]\nfn {function}(&self) -> crate::Result<{ty}>;\n\n"))
}

fn of_method(method: &Method<'_>) -> Result<String> {
    let name = method.name();
    let (mut taken, mut given) = (Vec::new(), Vec::new());
    for arg in method.args() {
        let label = arg.name().with_context(|| format!("{name}: an argument has no name"))?;
        let signature = arg.ty().to_string();
        let own = (signature == DICTIONARY).then(|| dictionary(method, arg));
        let place = || format!("{name}: {label}");
        if arg.direction() == Some(ArgDirection::Out) {
            given.push(own.map_or_else(|| returned(&signature), Ok).with_context(place)?);
        } else {
            let ty = own.map_or_else(|| passed(&signature), Ok).with_context(place)?;
            taken.push(format!(", {}: {ty}", snake_case(label)));
        }
    }
    let given = match given.as_slice() {
        [one] => one.clone(),
        several => format!("({})", several.join(", ")),
    };
    let function = snake_case(name.as_str());
    Ok(format!("fn {function}(&self{}) -> crate::Result<{given}>;\n\n", taken.concat()))
}

/// The Rust type that a method takes.
fn passed(signature: &str) -> Result<String> {
    Ok(match signature {
        "s" => "&str",
        "o" => "&zbus::ObjectPath<'_>",
        "a(uu)" => "&[(u32, u32)]",
        other => bail!("`{other}` has no Rust type: add one to xtask/src/client.rs"),
    }
    .to_owned())
}

/// The Rust type that a method returns, or a property has.
fn returned(signature: &str) -> Result<String> {
    Ok(match signature {
        "s" => "String",
        "as" => "Vec<String>",
        "b" => "bool",
        "u" => "u32",
        "t" => "u64",
        "o" => "zbus::OwnedObjectPath",
        "h" => "zbus::OwnedFd",
        other => bail!("`{other}` has no Rust type: add one to xtask/src/client.rs"),
    }
    .to_owned())
}

/// `FindHeap` is `find_heap`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The comments by what they are for: the interface that follows, or all members up to the next comment.
fn comments(xml: &str) -> BTreeMap<&str, &str> {
    let mut comments = BTreeMap::new();
    for part in xml.split("<!--").skip(1) {
        let Some((comment, elements)) = part.split_once("-->") else { continue };
        for element in elements.split('<') {
            let mut words = element.splitn(2, " name=\"");
            let (Some(kind), Some(rest)) = (words.next(), words.next()) else { continue };
            let name = rest.split('"').next().unwrap_or_default();
            match kind {
                "interface" => {
                    comments.insert(name, comment);
                    // The members have comments of their own.
                    break;
                }
                "property" | "method" => {
                    comments.insert(name, comment);
                }
                _ => {}
            }
        }
    }
    comments
}

/// The comment of `name`, for rustdoc.
fn comment(comments: &BTreeMap<&str, &str>, name: &str, kind: &str, indent: &str) -> String {
    let plain = format!("The {kind} `{name}`.");
    let text = comments.get(name).copied().unwrap_or(&plain);
    let mut lines = String::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && indent.len() + "/// ".len() + line.len() + 1 + word.len() > WIDTH {
            lines += &format!("/// {line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    lines + &format!("/// {line}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAMP: &str = r#"<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->
<node>
  <!-- A lamp. -->
  <interface name="org.protheap1.Lamp">
    <property name="Maker" type="s" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="const"/>
    </property>
    <!-- What is used, in
         watts, and will be. -->
    <property name="PowerNow" type="u" access="read">
      <annotation name="org.freedesktop.DBus.Property.EmitsChangedSignal" value="false"/>
    </property>
    <property name="PowerSoon" type="u" access="read"/>
    <!-- Lights it. -->
    <method name="Light">
      <arg name="colour" type="s" direction="in"/>
      <arg name="options" type="a{sv}" direction="in"/>
      <arg name="since" type="t" direction="out"/>
      <arg name="tube" type="h" direction="out"/>
    </method>
    <method name="Dim"/>
  </interface>
</node>
"#;

    #[test]
    fn proxy_has_every_member_with_its_comment() {
        let (name, source) = source("org.protheap1.Lamp.xml", LAMP).unwrap();
        assert_eq!(name, "Lamp");
        let (head, proxy) = source.split_once("\n\n").unwrap();
        assert!(head.contains("@generated"), "{head}");
        assert_eq!(
            proxy,
            r#"use crate::{LightOptions};

/// A lamp.
#[zbus::proxy(interface = "org.protheap1.Lamp", default_service = "org.protheap1")]
pub trait Lamp {
/// The property `Maker`.
#[zbus(property(emits_changed_signal = "const"))]
fn maker(&self) -> crate::Result<String>;

/// What is used, in watts, and will be.
#[zbus(property(emits_changed_signal = "false"))]
fn power_now(&self) -> crate::Result<u32>;

/// What is used, in watts, and will be.
#[zbus(property)]
fn power_soon(&self) -> crate::Result<u32>;

/// Lights it.
fn light(&self, colour: &str, options: LightOptions) -> crate::Result<(u64, zbus::OwnedFd)>;

/// Lights it.
fn dim(&self) -> crate::Result<()>;

}
"#
        );
    }

    #[test]
    fn unsupported_interfaces_are_refused() {
        for (old, new, expected) in [
            ("type=\"u\"", "type=\"ad\"", "PowerNow"),
            ("access=\"read\"/>", "access=\"readwrite\"/>", "PowerSoon"),
            ("org.protheap1.Lamp", "org.acme.Lamp", "org.acme.Lamp"),
            ("<method name=\"Dim\"/>", "<signal name=\"Dimmed\"/>", "Dimmed"),
            ("</node>", "", "node"),
        ] {
            let error = format!("{:#}", source("lamp.xml", &LAMP.replace(old, new)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn long_comments_are_wrapped() {
        let text = "word ".repeat(60);
        let comments = BTreeMap::from([("Long", text.as_str())]);
        let lines = comment(&comments, "Long", "method", "    ");
        assert!(lines.lines().all(|line| line.starts_with("/// word") && line.len() <= WIDTH - 4));
        assert_eq!(lines.matches("word").count(), 60);
    }
}

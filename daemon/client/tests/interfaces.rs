// SPDX-License-Identifier: MIT OR Apache-2.0

//! Compares the proxies with the installed XML of the D-Bus interfaces. Both are reduced to one
//! line per member, so that a member of only one side is a difference.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use protheap_client::{FindHeapDetails, FindHeapOptions};
use syn::{Attribute, FnArg, Item, LitStr, Meta, Pat, ReturnType, TraitItem, TraitItemFn, Type};
use zbus::Type as _;
use zbus::proxy::Defaults;
use zbus_xml::{Annotation, Arg, ArgDirection, Interface, Node, PropertyAccess};

const EMITS: &str = "org.freedesktop.DBus.Property.EmitsChangedSignal";

/// Returns the signature of a type of the proxies, without the parentheses of a tuple.
fn signature(ty: &Type) -> String {
    let plain = match ty {
        Type::Reference(reference) => return signature(&reference.elem),
        Type::Tuple(tuple) => return tuple.elems.iter().map(signature).collect(),
        other => quote::quote!(#other).to_string().replace(' ', ""),
    };
    match plain.as_str() {
        "str" | "String" => String::SIGNATURE,
        "bool" => bool::SIGNATURE,
        "u32" => u32::SIGNATURE,
        "u64" => u64::SIGNATURE,
        "Vec<String>" => Vec::<String>::SIGNATURE,
        "[(u32,u32)]" => <[(u32, u32)]>::SIGNATURE,
        "zbus::ObjectPath<'_>" => zbus::ObjectPath::SIGNATURE,
        "zbus::OwnedObjectPath" => zbus::OwnedObjectPath::SIGNATURE,
        "zbus::OwnedFd" => zbus::OwnedFd::SIGNATURE,
        "FindHeapOptions" => FindHeapOptions::SIGNATURE,
        "FindHeapDetails" => FindHeapDetails::SIGNATURE,
        other => panic!("add the type `{other}` to this test"),
    }
    .to_string()
}

/// Returns the D-Bus name of a function, as the macro does.
fn pascal_case(name: &str) -> String {
    let word = |word: &str| word[..1].to_uppercase() + &word[1..];
    name.split('_').map(word).collect()
}

/// Returns the `EmitsChangedSignal` of a property, or `None` for a method.
fn property(attributes: &[Attribute]) -> Option<String> {
    let mut emits = None;
    for attribute in attributes.iter().filter(|attribute| !attribute.path().is_ident("doc")) {
        assert!(attribute.path().is_ident("zbus"), "unknown attribute of a member");
        attribute
            .parse_nested_meta(|meta| {
                assert!(meta.path.is_ident("property"), "only properties have an attribute");
                emits = Some("true".to_owned());
                if !meta.input.is_empty() {
                    meta.parse_nested_meta(|option| {
                        assert!(option.path.is_ident("emits_changed_signal"));
                        emits = Some(option.value()?.parse::<LitStr>()?.value());
                        Ok(())
                    })?;
                }
                Ok(())
            })
            .unwrap();
    }
    emits
}

/// Describes a function of a proxy.
fn declared(function: &TraitItemFn) -> String {
    let name = pascal_case(&function.sig.ident.to_string());
    let ReturnType::Type(_, ty) = &function.sig.output else { panic!("{name} returns nothing") };
    let Type::Path(result) = &**ty else { panic!("{name} returns no result") };
    let syn::PathArguments::AngleBracketed(arguments) =
        &result.path.segments.last().unwrap().arguments
    else {
        panic!("{name} returns no result");
    };
    let Some(syn::GenericArgument::Type(output)) = arguments.args.first() else {
        panic!("{name} returns no type");
    };
    let output = signature(output);
    if let Some(emits) = property(&function.attrs) {
        return format!("property {name} {output} read emits={emits}");
    }
    let inputs = function.sig.inputs.iter().filter_map(|input| match input {
        FnArg::Typed(typed) => {
            let Pat::Ident(pattern) = &*typed.pat else { panic!("{name}: unnamed argument") };
            Some(format!("{} {}", pattern.ident, signature(&typed.ty)))
        }
        FnArg::Receiver(_) => None,
    });
    format!("method {name}({}) -> {output}", inputs.collect::<Vec<_>>().join(", "))
}

/// Describes all proxies in the source, each interface by its name and its members.
fn all_declared() -> Vec<String> {
    let mut lines = Vec::new();
    for path in files("src", "rs") {
        let source = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        for item in source.items {
            let Item::Trait(item) = item else { continue };
            let proxy = item.attrs.iter().find(|attribute| attribute.path().segments.len() == 2);
            let Some(Attribute { meta: Meta::List(list), .. }) = proxy else {
                panic!("{} is no proxy", item.ident);
            };
            let mut interface = None;
            list.parse_nested_meta(|meta| {
                let value = meta.value()?.parse::<LitStr>()?.value();
                if meta.path.is_ident("interface") {
                    interface = Some(value);
                }
                Ok(())
            })
            .unwrap();
            let interface = interface.expect("a proxy has an interface");
            for member in &item.items {
                let TraitItem::Fn(function) = member else { panic!("unknown member") };
                lines.push(format!("{interface} {}", declared(function)));
            }
        }
    }
    lines.sort();
    lines
}

/// Returns the `EmitsChangedSignal` of annotations, and refuses others.
fn emits(annotations: &[Annotation<'_>]) -> String {
    assert!(annotations.iter().all(|annotation| annotation.name() == EMITS));
    annotations.first().map_or("true", Annotation::value).to_owned()
}

/// Describes the members of an interface in the XML.
fn described(interface: &Interface<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    for property in interface.properties() {
        let access = match property.access() {
            PropertyAccess::Read => "read",
            PropertyAccess::Write => "write",
            PropertyAccess::ReadWrite => "readwrite",
        };
        let emits = emits(property.annotations());
        let (name, ty) = (property.name(), property.ty());
        lines.push(format!("property {name} {ty} {access} emits={emits}"));
    }
    for method in interface.methods() {
        assert!(method.annotations().is_empty(), "{}: unknown annotation", method.name());
        let (outputs, inputs): (Vec<_>, Vec<_>) =
            method.args().iter().partition(|arg| arg.direction() == Some(ArgDirection::Out));
        let input = |arg: &&Arg<'_>| format!("{} {}", arg.name().unwrap_or("?"), arg.ty());
        let inputs = inputs.iter().map(input).collect::<Vec<_>>().join(", ");
        let outputs: String = outputs.iter().map(|arg| arg.ty().to_string()).collect();
        lines.push(format!("method {}({inputs}) -> {outputs}", method.name()));
    }
    let signals = interface.signals().map(|signal| format!("signal {}", signal.name()));
    lines.extend(signals);
    lines.iter().map(|line| format!("{} {line}", interface.name())).collect()
}

/// Describes the interfaces of all files of XML.
fn all_described() -> Vec<String> {
    let mut lines = Vec::new();
    for path in files("../../systemd/dbus-1/interfaces", "xml") {
        let text = fs::read_to_string(&path).unwrap();
        let node = Node::try_from(text.as_str()).unwrap();
        let [interface] = node.interfaces() else { panic!("{} interfaces", path.display()) };
        assert_eq!(path.file_stem().unwrap().to_str(), Some(interface.name().as_str()));
        lines.extend(described(interface));
    }
    lines.sort();
    lines
}

fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

#[test]
fn proxies_declare_every_member_of_the_xml_and_no_other() {
    let (declared, described) = (all_declared(), all_described());
    assert!(described.len() > 20);
    assert_eq!(declared.join("\n"), described.join("\n"));
}

#[test]
fn proxies_have_the_names_of_the_service() {
    fn check<T: Defaults>(path: Option<&str>) {
        assert_eq!(T::DESTINATION.as_ref().unwrap().as_str(), protheap_client::SERVICE);
        assert_eq!(T::PATH.as_ref().map(zbus::ObjectPath::as_str), path);
    }
    check::<protheap_client::ManagerProxy<'_>>(Some(protheap_client::MANAGER_PATH));
    check::<protheap_client::GpuProxy<'_>>(None);
    check::<protheap_client::HeapProxy<'_>>(None);
}

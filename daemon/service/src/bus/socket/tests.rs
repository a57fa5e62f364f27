// SPDX-License-Identifier: MIT OR Apache-2.0

use std::collections::HashMap;

use protheap_client::MANAGER_PATH;
use zbus::message::Flags;
use zbus::names::InterfaceName;
use zbus::zvariant::Variant;
use zbus::{Connection, ObjectPath};

use super::*;
use crate::bus::tests::served;

const NOWHERE: &str = "/org/protheap1/nothing";

/// Calls a method and returns the last component of its error's name, or `answer` on success.
async fn call<B>(client: &Connection, path: &str, method: &str, body: &B) -> String
where
    B: zbus::export::serde::Serialize + zbus::zvariant::DynamicType,
{
    let (interface, method) = method.rsplit_once('.').unwrap();
    let path = ObjectPath::try_from(path).unwrap();
    let interface = InterfaceName::try_from(interface).unwrap();
    let called = client.call_method(Some("org.protheap1"), path, Some(interface), method, body);
    let reply = tokio::time::timeout(Duration::from_secs(20), called).await;
    let name = match reply.expect("an answer") {
        Ok(_) => "answer".to_owned(),
        Err(zbus::Error::MethodError(name, ..)) => name.to_string(),
        Err(zbus::Error::FDO(error)) => zbus::DBusError::name(&*error).to_string(),
        Err(other) => panic!("{other}"),
    };
    name.rsplit('.').next().unwrap().to_owned()
}

#[tokio::test]
async fn too_long_bodies_are_refused_for_every_method() {
    let (_server, client) = served().await;
    let names: Vec<_> = (0..5000).map(|number| format!("option-{number}")).collect();
    let options: HashMap<_, _> = names.iter().map(|n| (n.as_str(), Variant::from(1u8))).collect();
    let question = ("secure-video", vec![(1u32, 3u32)], options);
    let seen = call(&client, MANAGER_PATH, "org.protheap1.Manager.FindHeap", &question).await;
    assert_eq!(seen, "LimitsExceeded");

    let long = "x".repeat(3 << 20);
    for (path, method) in [
        (MANAGER_PATH, "org.protheap1.Manager.Explain"),
        (MANAGER_PATH, "org.protheap1.Manager.Reload"),
        (MANAGER_PATH, "org.protheap1.Manager.NoSuchMethod"),
        (MANAGER_PATH, "org.freedesktop.DBus.Properties.Get"),
        (MANAGER_PATH, "org.freedesktop.DBus.Properties.GetAll"),
        (MANAGER_PATH, "org.freedesktop.DBus.Properties.Set"),
        (MANAGER_PATH, "org.freedesktop.DBus.Introspectable.Introspect"),
        (MANAGER_PATH, "org.freedesktop.DBus.ObjectManager.GetManagedObjects"),
        (MANAGER_PATH, "org.freedesktop.DBus.Peer.Ping"),
        (MANAGER_PATH, "org.example.Unknown.Method"),
        (NOWHERE, "org.protheap1.Manager.FindHeap"),
        ("/org/protheap1/gpu/fb000000_2egpu", "org.protheap1.Gpu.Rebind"),
        ("/org/protheap1/heap/protected_2csecure_2dvideo", "org.protheap1.Heap.Open"),
    ] {
        assert_eq!(call(&client, path, method, &long).await, "LimitsExceeded", "{method}");
    }
    let seen = call(&client, MANAGER_PATH, "org.freedesktop.DBus.Peer.Ping", &()).await;
    assert_eq!(seen, "answer");
}

#[tokio::test]
async fn limit_applies_to_the_body() {
    let (_server, client) = served().await;
    // A string has its length before it and a NUL after it.
    for (more, expected) in [(0, "answer"), (1, "LimitsExceeded"), (8, "LimitsExceeded")] {
        let text = "x".repeat(LONGEST_BODY - 5 + more);
        let seen = call(&client, MANAGER_PATH, "org.freedesktop.DBus.Peer.Ping", &text).await;
        assert_eq!(seen, expected, "{more}");
    }
}

#[tokio::test]
async fn calls_after_a_refused_one_are_answered() {
    let (_server, client) = served().await;
    let long = "x".repeat(200_000);
    for _ in 0..20 {
        let refused = call(&client, MANAGER_PATH, "org.freedesktop.DBus.Peer.Ping", &long);
        let answered = call(&client, MANAGER_PATH, "org.freedesktop.DBus.Peer.GetMachineId", &());
        let (refused, answered) = tokio::join!(refused, answered);
        assert_eq!((refused.as_str(), answered.is_empty()), ("LimitsExceeded", false));
    }
}

/// Sends a message without waiting for a reply, and checks that the next call is answered.
async fn survives(message: Message) {
    let (server, client) = served().await;
    client.send(&message).await.unwrap();
    let seen = call(&client, MANAGER_PATH, "org.freedesktop.DBus.Peer.Ping", &()).await;
    assert_eq!(seen, "answer");
    assert!(!server.is_closed());
}

fn ping<'a>(path: &'a str) -> zbus::message::Builder<'a> {
    Message::method_call(path, "Ping").interface("org.freedesktop.DBus.Peer")
}

#[tokio::test]
async fn unusable_messages_do_not_close_the_connection() {
    let long = "x".repeat(1 << 20);
    survives(Message::signal("/", "org.example.A", "B").build(&(&long,)).unwrap()).await;
    let silent = ping("/").with_flags(Flags::NO_REPLY_EXPECTED);
    survives(silent.build(&(&long,)).unwrap()).await;
    // The path alone exceeds the limit of a header.
    let path = format!("/{long}");
    survives(ping(&path).build(&()).unwrap()).await;
    survives(ping(&path).build(&(&long,)).unwrap()).await;
    // Descriptors are not received.
    let null = std::fs::File::open("/dev/null").unwrap();
    let descriptor = zbus::Fd::from(&null);
    survives(ping("/").build(&(&descriptor,)).unwrap()).await;
    survives(ping("/").build(&(&descriptor, &long)).unwrap()).await;
}

#[tokio::test]
async fn descriptors_are_never_kept() {
    let (_server, client) = served().await;
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let null = std::fs::File::open("/dev/null").unwrap();
    let before = open();
    for _ in 0..100 {
        let descriptor = zbus::Fd::from(&null);
        client.send(&ping("/").build(&(&descriptor,)).unwrap()).await.unwrap();
    }
    let seen = call(&client, MANAGER_PATH, "org.freedesktop.DBus.Peer.Ping", &()).await;
    assert_eq!(seen, "answer");
    // Other tests in this process open fewer files.
    assert!(open() < before + 50, "{before} {}", open());
}

#[test]
fn fixed_part_determines_the_length_of_a_message() {
    let long = "x".repeat(70_000);
    for body in ["", "x", &long] {
        let message = ping("/a").build(&(body,)).unwrap();
        let fixed = Fixed::parse(&message.data()[..FIXED]).unwrap();
        assert_eq!(fixed.length(), message.data().len());
        assert_eq!((fixed.kind, fixed.body), (Kind::Call, body.len() + 5));
    }
    let big = [b'B', 2, 0, 1, 0, 0, 1, 0, 0, 0, 0, 7, 0, 0, 0, 9];
    let fixed = Fixed::parse(&big).unwrap();
    assert_eq!(fixed, Fixed { kind: Kind::Reply, body: 256, fields: 9 });
    assert_eq!(fixed.length(), 32 + 256);
}

#[test]
fn fixed_lengths_never_overflow() {
    use proptest::prelude::*;

    proptest!(|(bytes in proptest::array::uniform16(any::<u8>()), little in any::<bool>())| {
        let mut bytes = bytes;
        prop_assume!(bytes[0] != b'l' && bytes[0] != b'B');
        prop_assert!(Fixed::parse(&bytes).is_err());
        bytes[0] = if little { b'l' } else { b'B' };
        if let Ok(fixed) = Fixed::parse(&bytes) {
            prop_assert!(fixed.length() <= (128 << 20) + 32);
        }
    });
}

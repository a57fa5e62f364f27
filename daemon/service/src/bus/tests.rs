// SPDX-License-Identifier: MIT OR Apache-2.0

use std::path::Path;

use protheap_core::engine::{Keeper, Machine as _};
use protheap_core::facts::{Facts, Gpu as GpuFacts};
use protheap_policy::policy::Policy;
use tokio::net::UnixStream;
use zbus::fdo::IntrospectableProxy;

use super::*;

fn device() -> DeviceName {
    DeviceName::new("fb000000.gpu").unwrap()
}

fn bindings() -> Bindings {
    let mut facts = Facts::default();
    let compatible = vec!["arm,mali-valhall-csf".to_owned()];
    facts.gpus.insert(device(), GpuFacts { compatible, ..GpuFacts::default() });
    Bindings::given(&Keeper::new(Policy::default(), facts))
}

/// Returns the two ends of a connection without a bus: the service with its objects, and a client.
pub(super) async fn served() -> (Connection, Connection) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let guid = zbus::Guid::generate();
    let bindings = bindings();
    let heap = HeapName::new("protected,secure-video").unwrap();
    let server = Builder::socket(Bounded::new(ours))
        .server(guid)
        .user_id(rustix::process::getuid().as_raw())
        .p2p()
        .serve_at(MANAGER_PATH, Manager::new(bindings.clone()))
        .serve_at(gpu_path("fb000000.gpu"), Gpu::new(bindings.clone(), device()))
        .serve_at(heap_path(heap.as_str()), Heap::new(bindings, heap));
    let client = Builder::unix_stream(theirs.into_std().unwrap()).p2p();
    let (server, client) = tokio::join!(server.build(), client.build());
    (server.unwrap(), client.unwrap())
}

fn installed(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the members of an interface in a normalized form: without comments, sorted, one per
/// line.
fn offers(xml: &str, interface: &str) -> Vec<String> {
    let begin = xml.find(&format!("<interface name=\"{interface}\">")).expect(interface);
    let end = begin + xml[begin..].find("</interface>").unwrap();
    let mut text = xml[begin..end].to_owned();
    while let Some((before, rest)) = text.split_once("<!--") {
        text = format!("{before}{}", rest.split_once("-->").unwrap().1);
    }
    // Put each member on one line, with its arguments.
    let text = text.replace('\n', " ").replace("<annotation", "\u{1}").replace("<arg", "\u{1}");
    let mut members: Vec<_> = ["<method", "<property"]
        .iter()
        .flat_map(|kind| text.split(kind).skip(1).map(move |member| (kind, member)))
        .map(|(kind, member)| {
            let member = member.split("<method").next().unwrap().split("<property").next().unwrap();
            let words = member.replace("/>", " ").replace(">", " ");
            let words: Vec<_> =
                words.split_whitespace().filter(|word| !word.starts_with("</")).collect();
            format!("{kind} {}", words.join(" "))
        })
        .collect();
    members.sort();
    members
}

#[tokio::test]
async fn served_interfaces_match_the_xml() {
    let (_server, client) = served().await;
    for (path, interface) in [
        (ObjectPath::try_from(MANAGER_PATH).unwrap(), "org.protheap1.Manager"),
        (gpu_path("fb000000.gpu").into(), "org.protheap1.Gpu"),
        (heap_path("protected,secure-video").into(), "org.protheap1.Heap"),
    ] {
        let proxy = IntrospectableProxy::builder(&client)
            .destination("org.protheap1")
            .path(path)
            .build()
            .await
            .unwrap();
        let served = offers(&proxy.introspect().await.unwrap(), interface);
        let said = offers(&installed(&format!("dbus-1/interfaces/{interface}.xml")), interface);
        assert!(!said.is_empty());
        assert_eq!(served, said, "{interface}");
    }
}

#[tokio::test]
async fn find_heap_returns_errors_by_name() {
    let (_server, client) = served().await;
    let call = async |method: &str, body: &_| {
        let reply = client
            .call_method(
                Some("org.protheap1"),
                MANAGER_PATH,
                Some("org.protheap1.Manager"),
                method,
                body,
            )
            .await;
        match reply {
            Err(zbus::Error::MethodError(name, ..)) => name.to_string(),
            other => format!("{other:?}"),
        }
    };
    let none = HashMap::<&str, Variant<'_>>::new();
    let long = "x".repeat(60_000);
    let other = HashMap::from([("other", Variant::from(true))]);
    for (usage, devices, options, error) in [
        ("secure-video", vec![(1, 3)], &none, "UnknownDevice"),
        ("secure-video", vec![(4_000_000_000u32, 0u32)], &none, "UnknownDevice"),
        ("secure-video", vec![], &none, "InvalidArgument"),
        ("../up", vec![(1, 3)], &none, "InvalidArgument"),
        (&long, vec![(1, 3)], &none, "InvalidArgument"),
        ("secure-video", vec![(1, 3); 65], &none, "InvalidArgument"),
        ("secure-video", vec![(1, 3); 8000], &none, "InvalidArgument"),
        ("secure-video", vec![(1, 3)], &other, "InvalidArgument"),
    ] {
        let seen = call("FindHeap", &(usage, devices, options)).await;
        assert_eq!(seen, format!("org.protheap1.Error.{error}"), "{:.20}", usage);
    }
}

#[tokio::test]
async fn calls_without_a_sender_are_denied() {
    let (_server, client) = served().await;
    // Without a bus, messages have no sender.
    for (path, interface, method) in [
        (ObjectPath::try_from(MANAGER_PATH).unwrap(), "org.protheap1.Manager", "Reload"),
        (gpu_path("fb000000.gpu").into(), "org.protheap1.Gpu", "Rebind"),
        (heap_path("protected,secure-video").into(), "org.protheap1.Heap", "Open"),
    ] {
        let reply =
            client.call_method(Some("org.protheap1"), path, Some(interface), method, &()).await;
        let Err(zbus::Error::FDO(error)) = reply else { panic!("{method}: {reply:?}") };
        assert!(matches!(*error, zbus::fdo::Error::AccessDenied(_)), "{method}: {error}");
    }
}

/// A rule without a destination would allow calls to all services of root.
#[test]
fn bus_policy_rules_are_limited_to_this_service() {
    let policy = installed("dbus-1/system.d/org.protheap1.conf");
    let rules: Vec<_> = policy
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("<allow") || line.starts_with("<deny"))
        .collect();
    assert!(rules.len() > 8);
    for rule in rules {
        assert!(
            rule.contains(r#" send_destination="org.protheap1""#)
                || rule.contains(r#" own="org.protheap1""#),
            "{rule}"
        );
    }
    for interface in [Manager::name(), Gpu::name(), Heap::name()] {
        assert!(policy.contains(&format!("send_interface=\"{interface}\"")), "{interface}");
    }
}

#[test]
fn polkit_policy_defines_every_action() {
    use crate::authority::Action;

    let policy = installed("polkit-1/actions/org.protheap1.policy");
    for action in [Action::Manage, Action::OpenHeap] {
        assert!(policy.contains(&format!("<action id=\"{}\">", action.id())), "{action:?}");
    }
    assert_eq!(policy.matches("<action id=").count(), 2);
}

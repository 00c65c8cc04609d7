use super::*;

fn key(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).unwrap()
}

fn ports() -> Vec<ContainerPort> {
    let port = |name: &str, port, protocol: Option<&str>| ContainerPort {
        container: "web".into(),
        name: Some(name.into()),
        port,
        protocol: protocol.map(Into::into),
    };
    vec![port("http", 8080, None), port("metrics", 9090, None), port("dns", 53, Some("UDP"))]
}

fn draft(ports: &[ContainerPort]) -> Draft<'_> {
    Draft { capture: Capture::default(), resources: Resources::default(), ports }
}

#[test]
fn port_lists_take_numbers_ranges_names_and_a_star() {
    let ports = ports();
    for (text, want) in [
        ("", ""),
        ("80", "80"),
        ("80, 8000-8100 ,metrics", "80,8000-8100,9090"),
        ("*", "1-65535"),
        ("http,*", "1-65535"),
        ("dns", ""),
    ] {
        let mut draft = draft(&ports);
        key("exclude-inbound-ports").apply(text, Scope::Pod, &mut draft).unwrap();
        assert_eq!(draft.capture.exclude_inbound_ports.to_string(), want, "{text}");
    }
}

#[test]
fn a_name_must_exist_in_the_pod_that_gives_it_but_not_in_every_pod_of_a_namespace() {
    let ports = ports();
    let mut draft = draft(&ports);
    let key = key("exclude-outbound-ports");
    assert_eq!(
        key.apply("htp", Scope::Pod, &mut draft).unwrap_err(),
        "no container port is named 'htp'; the Pod has http, metrics, dns"
    );
    key.apply("3306,mysql,http", Scope::Namespace, &mut draft).unwrap();
    assert_eq!(draft.capture.exclude_outbound_ports.to_string(), "3306,8080");
}

#[test]
fn a_leading_plus_appends_and_without_it_the_list_is_replaced() {
    let ports = ports();
    let mut draft = draft(&ports);
    let mut apply = |name, text| key(name).apply(text, Scope::Pod, &mut draft).unwrap();
    for (name, first, then, last) in [
        ("exclude-inbound-ports", "1,2", "+ 3", "9"),
        ("exclude-outbound-cidrs", "10.0.0.0/8", "+fd00::/8,10.0.0.0/8", "192.168.0.0/16"),
        ("exclude-outbound-uids", "0", "+1000-1001", "5"),
    ] {
        apply(name, first);
        apply(name, then);
        if name == "exclude-inbound-ports" {
            apply(name, last);
        }
    }
    assert_eq!(draft.capture.exclude_inbound_ports.to_string(), "9");
    assert_eq!(mesh_config::capture::join(&draft.capture.exclude_outbound_cidrs), "10.0.0.0/8,fd00::/8");
    assert_eq!(draft.capture.exclude_outbound_uids.to_string(), "0,1000-1001");
}

#[test]
fn none_removes_a_quantity() {
    let mut draft = draft(&[]);
    draft.resources.cpu_limit = "500m".into();
    key("proxy-cpu-limit").apply(" none ", Scope::Pod, &mut draft).unwrap();
    key("proxy-memory-limit").apply("1Gi", Scope::Pod, &mut draft).unwrap();
    assert_eq!(draft.resources, Resources { memory_limit: "1Gi".into(), ..Resources::default() });
}

#[test]
fn bad_values_say_what_to_write() {
    let ports = ports();
    for (name, text, want) in [
        (
            "exclude-inbound-ports",
            "80,",
            "'' is not a port; write numbers from 1 to 65535, ranges, names of container ports, or *",
        ),
        (
            "exclude-inbound-ports",
            "70000",
            "'70000' is not a port; write numbers from 1 to 65535, ranges, names of container ports, or *",
        ),
        (
            "exclude-inbound-cidrs",
            "10.0.0.1",
            "'10.0.0.1' is not a network in CIDR form; write for example 10.0.0.0/8, 10.1.2.3/32 or fd00::/8",
        ),
        ("exclude-outbound-uids", "root", "'root' is not a user id or a range of them; write for example 0,1000-1010"),
        ("proxy-cpu-request", "", "'' is not a quantity; write for example 250m or 128Mi, or none"),
        ("proxy-cpu-request", "+1", "'+1' is not a quantity; write for example 250m or 128Mi, or none"),
    ] {
        let mut draft = draft(&ports);
        assert_eq!(key(name).apply(text, Scope::Pod, &mut draft).unwrap_err(), want, "{name} {text}");
    }
}

#[test]
fn an_unknown_key_of_ours_gets_a_warning_with_the_nearest_name() {
    for (annotation, want) in [
        (
            "outrigger.dev/exclude-inbound-port",
            Some(
                "annotation outrigger.dev/exclude-inbound-port is unknown, and ignored; did you mean exclude-inbound-ports?",
            ),
        ),
        ("outrigger.dev/colour", Some("annotation outrigger.dev/colour is unknown, and ignored")),
        ("outrigger.dev/inject", None),
        ("outrigger.dev/status", None),
        ("outrigger.dev/proxy-cpu-limit", None),
        ("outrigger.device/x", None),
        ("example.com/exclude-inbound-port", None),
    ] {
        assert_eq!(unknown(annotation).as_deref(), want, "{annotation}");
    }
}

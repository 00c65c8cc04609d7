//! What netlink loads is what `nft` loads from the text of the dry run.

use e2e::netns::{Init, Namespace, Privilege};
use mesh_config::Capture;
use mesh_config::capture::{IpFamilies, parse_cidrs};

const LIST: &str = "nft list table inet outrigger";

/// Both ways into fresh namespaces of one interface, `lo`.
fn assert_same(capture: &Capture) {
    let init = Init::find().unwrap();
    let [ours, theirs] = [(); 2].map(|()| {
        let namespace = Namespace::new().unwrap();
        namespace.tool("ip link set lo up").unwrap();
        namespace
    });
    init.apply(&ours, capture).unwrap();
    let text = init.run(&theirs, Privilege::NotGranted, capture, &["--dry-run"]).unwrap();
    assert_eq!((text.code, text.stderr.as_str()), (Some(0), ""));
    theirs.tool_with("nft -f -", &text.stdout).unwrap();
    assert_eq!(ours.tool(LIST).unwrap(), theirs.tool(LIST).unwrap(), "{capture:?}");
    // the text replaces as well: once more, on top of what netlink loaded
    ours.tool_with("nft -f -", &text.stdout).unwrap();
    assert_eq!(ours.tool(LIST).unwrap(), theirs.tool(LIST).unwrap());
    let verified = init.run(&theirs, Privilege::Injected, capture, &["--verify-only"]).unwrap();
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn the_default_table_is_the_same_by_netlink_and_by_nft() {
    assert_same(&Capture::default());
    assert_same(&Capture { ip_families: IpFamilies::Ipv4, ..Capture::default() });
    assert_same(&Capture { ip_families: IpFamilies::Ipv6, ..Capture::default() });
}

#[test]
fn a_table_with_everything_is_the_same_by_netlink_and_by_nft() {
    assert_same(&Capture {
        include_inbound_ports: Some("8080,1-5".parse().unwrap()),
        exclude_inbound_ports: "9000-9010,9999,65535".parse().unwrap(),
        exclude_inbound_cidrs: parse_cidrs("10.1.0.0/16,fd01::/16,fd02::/16").unwrap(),
        include_outbound_ports: Some("80,443".parse().unwrap()),
        include_outbound_cidrs: Some(parse_cidrs("10.96.0.0/12,fd96::/112,255.255.255.255/32").unwrap()),
        exclude_outbound_ports: "1-65535".parse().unwrap(),
        exclude_outbound_cidrs: parse_cidrs("169.254.169.254/32,10.2.0.0/24,10.2.1.0/24,10.2.2.0/24,ffff::/16")
            .unwrap(),
        exclude_outbound_uids: "0,1000-1010,4294967294".parse().unwrap(),
        exclude_interfaces: vec!["eth1".into(), "net-2.100".into()],
        ..Capture::default()
    });
}

#[test]
fn sets_that_hold_all_there_is_are_the_same_by_netlink_and_by_nft() {
    assert_same(&Capture {
        exclude_outbound_cidrs: parse_cidrs("0.0.0.0/0,::/0,10.0.0.0/8").unwrap(),
        exclude_outbound_uids: "0-4294967294".parse().unwrap(),
        exclude_inbound_cidrs: parse_cidrs("0.0.0.0/1,128.0.0.0/1,8000::/1").unwrap(),
        ..Capture::default()
    });
}

//! Who is believed, and about whom.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Field, Forwarders, NetworkError};

fn forwarders(header: Field) -> Forwarders {
    let trusted = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"].map(|network| network.parse().expect("a network"));
    Forwarders { trusted: trusted.to_vec(), header: Some(header), proxy_protocol: false }
}

#[test]
fn networks_are_addresses_with_a_common_beginning() {
    let check = |network: &str, inside: &[&str], outside: &[&str]| {
        let network: super::Network = network.parse().unwrap_or_else(|error| panic!("{network}: {error}"));
        let contains = |address: &&&str| network.contains(address.parse().expect("an address"));
        assert_eq!(inside.iter().filter(contains).count(), inside.len(), "{network:?} contains {inside:?}");
        assert_eq!(outside.iter().find(contains), None, "{network:?}");
    };
    check(
        "10.0.0.0/8",
        &["10.0.0.0", "10.255.255.255"],
        &["9.255.255.255", "11.0.0.0", "::10.0.0.0", "::ffff:10.0.0.1"],
    );
    check("192.0.2.4/30", &["192.0.2.4", "192.0.2.7"], &["192.0.2.3", "192.0.2.8"]);
    check("128.0.0.0/1", &["255.0.0.1"], &["127.0.0.1"]);
    check("192.0.2.1", &["192.0.2.1"], &["192.0.2.0", "192.0.2.2"]);
    check("192.0.2.1/32", &["192.0.2.1"], &["192.0.2.0"]);
    check("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db9::", "32.1.13.184"]);
    check("8000::/1", &["ffff::1"], &["7fff::1"]);
    check("::1", &["::1"], &["::", "0.0.0.1"]);
}

#[test]
fn what_is_no_network_is_told_why() {
    for (text, expect) in [
        ("", NetworkError::NoAddress),
        ("localhost", NetworkError::NoAddress),
        ("10.0.0", NetworkError::NoAddress),
        ("10.0.0.0:80", NetworkError::NoAddress),
        (" 10.0.0.0/8", NetworkError::NoAddress),
        ("::ffff:10.0.0.1", NetworkError::NoAddress),
        ("10.0.0.0/33", NetworkError::Bits(32)),
        ("10.0.0.0/", NetworkError::Bits(32)),
        ("10.0.0.0/255.0.0.0", NetworkError::Bits(32)),
        ("fd00::/129", NetworkError::Bits(128)),
        ("0.0.0.0/0", NetworkError::Everybody),
        ("::/0", NetworkError::Everybody),
        ("10.0.0.1/8", NetworkError::Address("10.0.0.1".parse().expect("an address"), 8)),
    ] {
        assert_eq!(text.parse::<super::Network>(), Err(expect), "{text}");
    }
    let help = "10.1.2.3/8".parse::<super::Network>().map_err(|error| error.help());
    assert_eq!(help, Err("write \"10.0.0.0/8\" for all of them, or \"10.1.2.3\" for this one".to_owned()));
}

/// The client of a request on a connection from `remote` with these lines of the header.
fn check(forwarders: &Forwarders, remote: &str, lines: &[&[u8]], expect: &str) {
    let mut headers = HeaderMap::new();
    for field in [Field::XForwardedFor, Field::Forwarded] {
        // What stands in the other header has no say.
        let other: &[&[u8]] = &[b"for=6.6.6.6", b"6.6.6.6"];
        for line in if forwarders.header == Some(field) { lines } else { other } {
            headers.append(HeaderName::from_static(field.name()), HeaderValue::from_bytes(line).expect("a header"));
        }
    }
    let remote = forwarders.remote(remote.parse().expect("an address"));
    assert_eq!(forwarders.client(remote, &headers).to_string(), expect, "{lines:?}");
}

#[test]
fn the_nearest_that_is_no_forwarder_is_the_client() {
    let trusting = forwarders(Field::XForwardedFor);
    let check = |remote, lines: &[&str], expect| {
        check(&trusting, remote, &lines.iter().map(|line| line.as_bytes()).collect::<Vec<_>>(), expect);
    };
    check("10.0.0.1:5", &["203.0.113.9"], "203.0.113.9");
    check("[::ffff:10.0.0.1]:5", &["203.0.113.9"], "203.0.113.9");
    check("10.0.0.1:5", &["203.0.113.9, 192.0.2.1", "10.9.9.9"], "203.0.113.9");
    check("[2001:db8::1]:5", &["2a00::1, 2001:db8::2"], "2a00::1");
    // What the client wrote itself stands before.
    check("10.0.0.1:5", &["6.6.6.6, 203.0.113.9"], "203.0.113.9");
    check("10.0.0.1:5", &["6.6.6.6", "10.0.0.7, 203.0.113.9"], "203.0.113.9");
    check("10.0.0.1:5", &["6.6.6.6, \"", "203.0.113.9"], "203.0.113.9");
    // A stranger is not believed, whatever it says.
    check("203.0.113.9:5", &["6.6.6.6"], "203.0.113.9");
    check("203.0.113.9:5", &["10.0.0.1, 10.0.0.1"], "203.0.113.9");
    check("[::ffff:203.0.113.9]:5", &["6.6.6.6"], "203.0.113.9");
}

#[test]
fn where_nobody_is_named_it_is_the_last_forwarder() {
    let trusting = forwarders(Field::XForwardedFor);
    let check = |lines: &[&[u8]], expect| check(&trusting, "10.0.0.1:5", lines, expect);
    check(&[], "10.0.0.1");
    check(&[b""], "10.0.0.1");
    check(&[b"10.0.0.3, 10.0.0.2"], "10.0.0.3");
    check(&[b"6.6.6.6, unknown"], "10.0.0.1");
    check(&[b"6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2");
    check(&[b"6.6.6.6", b"\xff"], "10.0.0.1");
}

#[test]
fn forwarded_is_read_as_its_rfc_says() {
    let trusting = forwarders(Field::Forwarded);
    let check = |line: &str, expect| check(&trusting, "10.0.0.1:5", &[line.as_bytes()], expect);
    check("for=6.6.6.6, for=\"203.0.113.9:4711\";proto=https, For=10.0.0.2", "203.0.113.9");
    check("for=6.6.6.6, for=\"[2a00::1]\"", "2a00::1");
    check("for=6.6.6.6, for=_hidden", "10.0.0.1");
    check("for=\"6.6.6.6, for=203.0.113.9", "203.0.113.9");
    check("for=203.0.113.9;host=\"a\\\", for=6.6.6.6\"", "203.0.113.9");
}

#[test]
fn without_forwarders_nobody_is_believed() {
    check(&Forwarders::default(), "127.0.0.1:5", &[], "127.0.0.1");
    let nobody = Forwarders { trusted: Vec::new(), ..forwarders(Field::XForwardedFor) };
    check(&nobody, "127.0.0.1:5", &[b"6.6.6.6"], "127.0.0.1");
}

#[test]
fn only_trusted_forwarders_announce() {
    let announcing = Forwarders { proxy_protocol: true, ..forwarders(Field::XForwardedFor) };
    let address = |text: &str| text.parse().expect("an address");
    assert!(announcing.announces(address("10.0.0.1")) && announcing.announces(address("::ffff:10.0.0.1")));
    assert!(!announcing.announces(address("203.0.113.9")));
    assert!(!forwarders(Field::XForwardedFor).announces(address("10.0.0.1")));
}

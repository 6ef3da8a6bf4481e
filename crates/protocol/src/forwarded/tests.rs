//! Who is named by what forwarders write, and by what clients write in front of it.

use super::Field;

/// The hops of one line as text; `-` for one without an address.
fn check(field: Field, line: &str, expect: &str) {
    let hops = field.hops(line).map(|hop| hop.map_or_else(|| "-".to_owned(), |address| address.to_string()));
    assert_eq!(hops.collect::<Vec<_>>().join(" "), expect, "{line}");
}

#[test]
fn x_forwarded_for_names_addresses() {
    let check = |line, expect| check(Field::XForwardedFor, line, expect);
    check("203.0.113.9", "203.0.113.9");
    check("203.0.113.9, 10.0.0.2,10.0.0.1", "10.0.0.1 10.0.0.2 203.0.113.9");
    check(
        "2001:db8::7, [2001:db8::8], [2001:db8::9]:443, 192.0.2.1:99",
        "192.0.2.1 2001:db8::9 2001:db8::8 2001:db8::7",
    );
    check("::ffff:192.0.2.1", "192.0.2.1");
    check("unknown, 203.0.113.9 , , ", "203.0.113.9 -");
    check("1.2.3, 1.2.3.4.5, 01.2.3.4, localhost, <script>, 203.0.113.9", "203.0.113.9 - - - - -");
    check("\"1.2.3.4, 203.0.113.9", "203.0.113.9 -");
    check("", "");
    check(" ,,", "");
}

#[test]
fn forwarded_names_whom_it_is_for() {
    let check = |line, expect| check(Field::Forwarded, line, expect);
    // RFC 7239, section 4.
    check("for=\"_gazonk\"", "-");
    check("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17");
    check("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60");
    check("for=192.0.2.43, for=198.51.100.17", "198.51.100.17 192.0.2.43");
    check("for=192.0.2.43, for=\"[2001:db8:cafe::17]\", for=unknown", "- 2001:db8:cafe::17 192.0.2.43");
    check("by=203.0.113.43 ; FOR=\"192.0.2.43:47011\"", "192.0.2.43");
    check("proto=https", "-");
    check("for=192.0.2.43;for=198.51.100.17", "-");
    check("192.0.2.43", "-");
}

#[test]
fn what_a_client_wrote_hides_nothing_behind_it() {
    let check = |line, expect| check(Field::Forwarded, line, expect);
    check("for=\"1.2.3.4, for=192.0.2.43", "192.0.2.43 -");
    check("for=\"1.2.3.4, for=\"[2001:db8::1]\"", "2001:db8::1 -");
    check("for=\"1.2.3.4\\, for=\"[2001:db8::1]\"", "2001:db8::1 -");
    check("\", for=192.0.2.43;host=\"a,b;for=1.2.3.4\"", "192.0.2.43 -");
    check("for=1.2.3.4, for=192.0.2.43;host=\"a\\\", for=6.6.6.6\"", "192.0.2.43 1.2.3.4");
    check("for=192.0.2.43;host=\"a\\\\\"", "192.0.2.43");
}

proptest::proptest! {
    #[test]
    fn nothing_before_the_last_entry_changes_it(before in ".{0,40}") {
        for (field, entry) in [
            (Field::XForwardedFor, "192.0.2.43"),
            (Field::Forwarded, "for=192.0.2.43"),
            (Field::Forwarded, "proto=https;for=\"192.0.2.43:1\";host=\"a\\\",b\""),
        ] {
            let line = format!("{before}, {entry}");
            proptest::prop_assert_eq!(field.hops(&line).next().flatten(), "192.0.2.43".parse().ok());
        }
    }
}

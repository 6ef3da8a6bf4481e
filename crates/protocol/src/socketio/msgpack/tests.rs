//! The msgpack codec: packets captured from the reference client, refusals, and round trips.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::json;
use serde_json::value::RawValue;

use super::values::iso_date;
use super::*;
use crate::message::Args;
use crate::socketio::{Error, Packet};

fn bytes(hex: &str) -> Bytes {
    let hex: String = hex.split_whitespace().collect();
    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
}

fn args(text: &str, attachments: &[&'static [u8]]) -> Args {
    let attachments = attachments.iter().map(|bytes| Bytes::from_static(bytes)).collect();
    Args::from_validated(text.to_owned(), attachments)
}

fn root() -> String {
    "/".to_owned()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap()
}

#[track_caller]
fn check(hex: &str, expect: Packet) {
    assert_eq!(decode(&bytes(hex), 10), Ok(expect.clone()));
    let encoded = encode(&expect);
    assert!(encoded.text.is_empty());
    assert_eq!(decode(&encoded.attachments[0], 10), Ok(expect));
}

#[track_caller]
fn refused(hex: &str, error: Error) {
    assert_eq!(decode(&bytes(hex), 1), Err(error));
}

/// An event `x` with one argument, whose msgpack is `hex`.
fn event_with(hex: &str) -> Bytes {
    bytes(&format!("83 a474797065 02 a464617461 92 a178 {hex} a36e7370 a12f"))
}

#[test]
fn packets_of_the_reference_client() {
    let connect = |auth| Packet::Connect { nsp: root(), query: None, auth };
    check("83a47479706500a46461746181a17401a36e7370a12f", connect(Some(raw(r#"{"t":1}"#))));
    check("83 a474797065 00 a464617461 d40000 a36e7370 a12f", connect(None));
    let event = Packet::Event { nsp: root(), ack: Some(0), name: "e".to_owned(), args: args(r#"{"a":1}"#, &[]) };
    check("85a47479706502a46461746192a16581a16101a76f7074696f6e7381a8636f6d7072657373c3a2696400a36e7370a12f", event);
    let answer = args(r#""ok",{"_placeholder":true,"num":0}"#, &[b"\x01"]);
    check(
        "84a2696400a47479706503a46461746192a26f6bc40101a36e7370a12f",
        Packet::Ack { nsp: root(), id: 0, args: answer },
    );
    check("82a47479706501a36e7370a12f", Packet::Disconnect { nsp: root() });
    check(
        "83a47479706504a36e7370a52f6e6f7065a46461746181a76d657373616765b1496e76616c6964206e616d657370616365",
        Packet::ConnectError { nsp: "/nope".to_owned(), error: raw(r#"{"message":"Invalid namespace"}"#) },
    );
}

#[test]
fn values_become_json() {
    #[track_caller]
    fn value(hex: &str, expect: &str) {
        match decode(&event_with(hex), 10) {
            Ok(Packet::Event { args, .. }) => assert_eq!(args.text(), expect),
            other => panic!("{other:?}"),
        }
    }
    value("c0", "null");
    value("c2", "false");
    value("7f", "127");
    value("e0", "-32");
    value("cc ff", "255");
    value("cd ffff", "65535");
    value("ce ffffffff", "4294967295");
    value("cf ffffffffffffffff", "18446744073709551615");
    value("d0 80", "-128");
    value("d1 0001", "1");
    value("d2 80000000", "-2147483648");
    value("d3 8000000000000000", "-9223372036854775808");
    value("ca 3f000000", "0.5");
    value("cb 3ff8000000000000", "1.5");
    value("cb 7ff8000000000000", "null");
    value("cb 4000000000000000", "2");
    value("cb 8000000000000000", "0");
    value("d9 02 c3a9", "\"é\"");
    value("da 0001 22", r#""\"""#);
    value("a1 ff", "\"\u{fffd}\"");
    value("d40000", "null");
    value("d700 0000000000000001", r#""1970-01-01T00:00:00.001Z""#);
    value("82 a161 d40000 a162 01", r#"{"b":1}"#);
    value("81 05 c3", r#"{"5":true}"#);
    value("dc 0002 01 02", "[1,2]");
    value("de 0001 a161 90", r#"{"a":[]}"#);
    value("c5 0001 ff", r#"{"_placeholder":true,"num":0}"#);
    value("c7 02 00 0102", r#"{"_placeholder":true,"num":0}"#);
    value("c8 0000 00", r#"{"_placeholder":true,"num":0}"#);
    value("92 c400 c400", r#"[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]"#);
    // Without a binary, an object that looks like a placeholder is an object.
    value("82 ac5f706c616365686f6c646572 c3 a36e756d 00", r#"{"_placeholder":true,"num":0}"#);
}

#[test]
fn refusals() {
    refused("", Error::Empty);
    refused("c0", Error::Msgpack);
    refused("80", Error::Namespace);
    refused("81 a36e7370 a12f", Error::UnknownType);
    refused("82 a474797065 05 a36e7370 a12f", Error::UnknownType);
    refused("82 a474797065 a130 a36e7370 a12f", Error::UnknownType);
    refused("82 a474797065 01 a36e7370 a178", Error::Namespace);
    refused("82 a474797065 01 a36e7370 05", Error::Namespace);
    refused("82 a474797065 01 a36e7370 a12f 00", Error::Msgpack);
    refused("83 a474797065 01 a36e7370 a12f", Error::Msgpack);
    refused("82 a474797065 01 05 a12f", Error::Msgpack);
    refused("83 a474797065 01 a464617461 80 a36e7370 a12f", Error::Payload);
    refused("83 a474797065 00 a464617461 90 a36e7370 a12f", Error::Payload);
    refused("83 a474797065 00 a464617461 81a161c400 a36e7370 a12f", Error::TooManyAttachments);
    refused("82 a474797065 02 a36e7370 a12f", Error::Payload);
    refused("83 a474797065 02 a464617461 90 a36e7370 a12f", Error::Payload);
    refused("83 a474797065 02 a464617461 80 a36e7370 a12f", Error::Payload);
    refused("83 a474797065 02 a464617461 91c0 a36e7370 a12f", Error::Payload);
    refused("83 a474797065 02 a464617461 91aa646973636f6e6e656374 a36e7370 a12f", Error::ReservedName);
    refused("83 a474797065 03 a464617461 90 a36e7370 a12f", Error::AckId);
    refused("84 a474797065 03 a26964 ff a464617461 90 a36e7370 a12f", Error::AckId);
    for value in
        ["c1", "c7 00 01", "c8 0001 00", "d4 01 00", "d5 00 0000", "d6 ff 00000000", "dd ffffffff", "df ffffffff"]
    {
        assert_eq!(decode(&event_with(value), 1), Err(Error::Msgpack), "{value}");
    }
    assert_eq!(decode(&event_with("92 c400 c400"), 1), Err(Error::TooManyAttachments));
    assert_eq!(decode(&event_with("81 c0 c0"), 1), Err(Error::Payload));
    let forged = "92 c400 82 ac5f706c616365686f6c646572 c3 a36e756d 00";
    assert_eq!(decode(&event_with(forged), 1), Err(Error::Attachments));
}

#[test]
fn depth_is_limited() {
    let deep = |levels: usize| event_with(&format!("{} c0", "91".repeat(levels)));
    assert!(decode(&deep(126), 1).is_ok());
    assert_eq!(decode(&deep(127), 1), Err(Error::TooDeep));
    assert_eq!(decode(&deep(1_000_000), 1), Err(Error::TooDeep));
}

#[test]
fn dates() {
    #[track_caller]
    fn check(ms: i64, expect: Option<&str>) {
        assert_eq!(iso_date(ms).as_deref(), expect);
    }
    check(0, Some("1970-01-01T00:00:00.000Z"));
    check(-1, Some("1969-12-31T23:59:59.999Z"));
    check(951_782_400_000, Some("2000-02-29T00:00:00.000Z"));
    check(1_735_689_599_123, Some("2024-12-31T23:59:59.123Z"));
    check(253_402_300_800_000, Some("+010000-01-01T00:00:00.000Z"));
    check(-62_198_755_200_000, Some("-000001-01-01T00:00:00.000Z"));
    check(8_640_000_000_000_000, Some("+275760-09-13T00:00:00.000Z"));
    check(8_640_000_000_000_001, None);
    check(i64::MIN, None);
}

fn value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<i16>().prop_map(|n| json!(f64::from(n) / 4.0 + 0.125)),
        any::<String>().prop_map(Into::into),
        (30usize..300).prop_map(|n| json!("x".repeat(n))),
    ];
    leaf.prop_recursive(3, 40, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Into::into),
            proptest::collection::vec((any::<String>(), inner), 0..20)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn events_come_back(
        ack in any::<Option<u64>>(),
        name in "[^cdnr].*",
        values in proptest::collection::vec(value(), 0..4),
        binary in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut values = values;
        values.push(json!({"deep": [{"_placeholder": true, "num": 0}]}));
        let text = Args::many(&values).text().to_owned();
        let args = Args::from_validated(text, vec![binary.into()]);
        let packet = Packet::Event { nsp: "/a".to_owned(), ack, name, args };
        prop_assert_eq!(decode(&encode(&packet).attachments[0], 10), Ok(packet));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in any::<Vec<u8>>(), tail in any::<Vec<u8>>()) {
        let _ = decode(&bytes.into(), 10);
        let mut event = event_with("").to_vec();
        event.splice(14..14, tail);
        let _ = decode(&event.into(), 10);
    }
}

//! The text codec: every rule of the wire format, good and bad, and round trips.

use proptest::prelude::*;

use super::Version::{V3, V4};
use super::*;

fn args(text: &str, attachments: &[&'static [u8]]) -> Args {
    Args::from_validated(text.to_owned(), attachments.iter().map(|b| Bytes::from_static(b)).collect())
}

fn event(nsp: &str, ack: Option<u64>, name: &str, args: Args) -> Packet {
    Packet::Event { nsp: nsp.to_owned(), ack, name: name.to_owned(), args }
}

fn connect(nsp: &str, query: Option<&str>, auth: Option<&str>) -> Packet {
    let auth = auth.map(|text| RawValue::from_string(text.to_owned()).unwrap());
    Packet::Connect { nsp: nsp.to_owned(), query: query.map(str::to_owned), auth }
}

fn disconnect(nsp: &str) -> Packet {
    Packet::Disconnect { nsp: nsp.to_owned() }
}

fn ack(nsp: &str, id: u64, args: Args) -> Packet {
    Packet::Ack { nsp: nsp.to_owned(), id, args }
}

fn decode(version: Version, text: &str, binaries: &[&'static [u8]]) -> Result<Option<Packet>, Error> {
    let mut decoder = Decoder::new(version, 10);
    let mut packet = decoder.push_text(text)?;
    for binary in binaries {
        assert_eq!(packet, None);
        packet = decoder.push_binary(Bytes::from_static(binary))?;
    }
    assert_eq!(packet.is_none(), decoder.waiting_in().is_some());
    Ok(packet)
}

/// The text reads as the packet, and the packet writes as the text.
#[track_caller]
fn both(text: &str, binaries: &[&'static [u8]], packet: Packet) {
    let encoded = encode(&packet);
    assert_eq!(encoded.text, text);
    assert_eq!(encoded.attachments, binaries);
    assert_eq!(decode(V4, text, binaries), Ok(Some(packet)));
}

#[track_caller]
fn reads(version: Version, text: &str, packet: Packet) {
    assert_eq!(decode(version, text, &[]), Ok(Some(packet)));
}

#[track_caller]
fn refused(text: &str, error: Error) {
    assert_eq!(decode(V4, text, &[]), Err(error));
}

#[test]
fn connections() {
    both("0", &[], connect("/", None, None));
    both(r#"0{"token":"t"}"#, &[], connect("/", None, Some(r#"{"token":"t"}"#)));
    both(r#"0/custom,{"a":1}"#, &[], connect("/custom", None, Some(r#"{"a":1}"#)));
    both("0/custom,", &[], connect("/custom", None, None));
    reads(V4, "0/custom", connect("/custom", None, None));
    // The query belongs to the name in version 4, and is split from it in version 3.
    reads(V4, "0/custom?a=1,", connect("/custom?a=1", None, None));
    reads(V3, "0/custom?token=abc,", connect("/custom", Some("token=abc"), None));
    reads(V3, "0/custom?token=abc", connect("/custom", Some("token=abc"), None));
    assert_eq!(encode(&connect("/custom", Some("token=abc"), None)).text, "0/custom?token=abc,");
    refused("0[]", Error::Payload);
    refused("0\"x\"", Error::Payload);
    refused("0null", Error::Payload);
    refused("0{", Error::Payload);
    refused("0{} {}", Error::Payload);
}

#[test]
fn disconnections_and_errors() {
    both("1", &[], disconnect("/"));
    both("1/custom,", &[], disconnect("/custom"));
    reads(V4, "1/custom", disconnect("/custom"));
    refused(r#"1{"a":1}"#, Error::Payload);
    let error = RawValue::from_string(r#"{"message":"Invalid namespace"}"#.to_owned()).unwrap();
    both(r#"4/nope,{"message":"Invalid namespace"}"#, &[], Packet::ConnectError { nsp: "/nope".to_owned(), error });
    refused("4", Error::Payload);
    refused("4[]", Error::Payload);
    // A bare number would read back as an acknowledgement id.
    refused("4\n35", Error::Payload);
}

#[test]
fn events() {
    both(r#"2["message",1,"2",{"3":[true]}]"#, &[], event("/", None, "message", args(r#"1,"2",{"3":[true]}"#, &[])));
    both(r#"2["m"]"#, &[], event("/", None, "m", Args::none()));
    both(r#"2["a\"\n"]"#, &[], event("/", None, "a\"\n", Args::none()));
    both(r#"21["q",1]"#, &[], event("/", Some(1), "q", args("1", &[])));
    both(r#"2/custom,456["q"]"#, &[], event("/custom", Some(456), "q", Args::none()));
    both(r#"218446744073709551615["q"]"#, &[], event("/", Some(u64::MAX), "q", Args::none()));
    reads(V4, "2[5,1]", event("/", None, "5", args("1", &[])));
    reads(V4, "2[-1.5]", event("/", None, "-1.5", Args::none()));
    reads(V4, "2 [ \"a\" , 1 , 2 ] ", event("/", None, "a", args("1 , 2", &[])));
    reads(V4, r#"2["a,]",","]"#, event("/", None, "a,]", args("\",\"", &[])));
    reads(V4, r#"2["a","\ud83d"]"#, event("/", None, "a", args(r#""\ufffd""#, &[])));
    // Without attachments a placeholder is an ordinary object.
    let object = r#"{"_placeholder":true,"num":0}"#;
    reads(V4, &format!("2[\"a\",{object}]"), event("/", None, "a", args(object, &[])));
}

#[test]
fn events_refused() {
    refused("", Error::Empty);
    refused("7", Error::UnknownType);
    refused("abc", Error::UnknownType);
    refused("é", Error::UnknownType);
    refused("2", Error::Payload);
    refused("2{}", Error::Payload);
    refused("2[]", Error::Payload);
    refused("2abc[\"x\"]", Error::Payload);
    refused("2[\"x\"", Error::Payload);
    refused("2[\"x\",]", Error::Payload);
    refused("2[\"x\"][]", Error::Payload);
    refused("2[\"x\"] []", Error::Payload);
    refused("2[null]", Error::Payload);
    refused("2[true]", Error::Payload);
    refused("2[{}]", Error::Payload);
    refused("2[\"\\u00\"]", Error::Payload);
    refused("218446744073709551616[\"q\"]", Error::AckId);
    refused("2/custom", Error::Payload);
    refused(&format!("2[\"x\",{}1{}]", "[".repeat(200), "]".repeat(200)), Error::TooDeep);
    for name in RESERVED_EVENTS {
        refused(&format!("2[\"{name}\"]"), Error::ReservedName);
    }
}

#[test]
fn acknowledgements() {
    both("30[]", &[], ack("/", 0, Args::none()));
    both(r#"3/custom,11["r",2]"#, &[], ack("/custom", 11, args(r#""r",2"#, &[])));
    refused("3[\"r\"]", Error::AckId);
    refused("31", Error::Payload);
    refused("31{}", Error::Payload);
}

#[test]
fn attachments() {
    let one = r#"{"_placeholder":true,"num":0}"#;
    let two = r#"{"a":[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]}"#;
    both(&format!(r#"51-["bin",{one}]"#), &[b"\x01\x02"], event("/", None, "bin", args(one, &[b"\x01\x02"])));
    both(&format!(r#"52-/n,7["bin",{two}]"#), &[b"a", b""], event("/n", Some(7), "bin", args(two, &[b"a", b""])));
    both(&format!("61-0[{one}]"), &[b"x"], ack("/", 0, args(one, &[b"x"])));
    // Announced but not referred to: dropped by nobody, used by nobody.
    both(r#"51-["bin"]"#, &[b"x"], event("/", None, "bin", args("", &[b"x"])));
    // The reference server delivers this one and then breaks; it is a plain event.
    reads(V4, r#"50-["bin"]"#, event("/", None, "bin", Args::none()));
}

#[test]
fn attachments_refused() {
    refused("5[\"bin\"]", Error::Attachments);
    refused("5-[\"bin\"]", Error::Attachments);
    refused("51[\"bin\"]", Error::Attachments);
    refused("51.5-[\"bin\"]", Error::Attachments);
    refused("5+1-[\"bin\"]", Error::Attachments);
    refused("5a-[\"bin\"]", Error::Attachments);
    refused("511-[\"bin\"]", Error::TooManyAttachments);
    refused("518446744073709551615-[\"bin\"]", Error::TooManyAttachments);
    refused("599999999999999999999999-[\"bin\"]", Error::Attachments);
    refused(r#"51-["bin",{"_placeholder":true,"num":5}]"#, Error::Attachments);
    refused(r#"51-["bin",{"_placeholder":true,"num":"0"}]"#, Error::Attachments);
    refused(r#"51-["bin",{"_placeholder":true}]"#, Error::Attachments);
    refused("51-[]", Error::Payload);
    refused("51-{}", Error::Payload);
}

#[test]
fn order_of_messages() {
    let mut decoder = Decoder::new(V4, 2);
    assert_eq!(decoder.push_binary(Bytes::new()), Err(Error::UnexpectedBinary));
    assert_eq!(decoder.push_text("53-[\"x\"]"), Err(Error::TooManyAttachments));
    assert_eq!(decoder.push_text("51-[\"x\"]"), Ok(None));
    assert_eq!(decoder.push_text("2[\"x\"]"), Err(Error::UnexpectedText));
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            proptest::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|entries| serde_json::Value::Object(entries.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn events_come_back(
        nsp in "/[a-z?]{0,5}",
        ack in any::<Option<u64>>(),
        name in "[^cdnr].*",
        values in proptest::collection::vec(json_value(), 0..4),
    ) {
        let packet = event(&nsp, ack, &name, Args::many(&values));
        let encoded = encode(&packet);
        prop_assert_eq!(Decoder::new(V4, 10).push_text(&encoded.text), Ok(Some(packet)));
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), tail in "[0-6][0-9]{0,2}-?(/[a-z],)?[0-9]?\\[\"?[a-z,\\[\\]\"{}:\\\\u]*") {
        let _ = Decoder::new(V4, 10).push_text(&text);
        let _ = Decoder::new(V3, 10).push_text(&tail);
    }
}

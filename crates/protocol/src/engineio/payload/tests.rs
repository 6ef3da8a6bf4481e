//! Polling payloads: the reference's examples, the refusals, and round trips.

use proptest::prelude::*;

use super::Version::{V3, V4};
use super::*;
use crate::engineio::PacketType;

fn message(text: &str) -> Packet<'_> {
    Packet::text(PacketType::Message, text)
}

#[track_caller]
fn check(body: &str, version: Version, expect: &[Packet<'_>]) {
    assert_eq!(decode(body, version).as_deref(), Ok(expect));
    assert_eq!(encode(expect, version, false), Body::Text(body.to_owned()));
}

#[track_caller]
fn refuse(body: &str, version: Version, expect: Error) {
    assert_eq!(decode(body, version), Err(expect));
}

#[test]
fn version_4() {
    check("4hello", V4, &[message("hello")]);
    check("4a\u{1e}2\u{1e}4é", V4, &[message("a"), Packet::text(PacketType::Ping, ""), message("é")]);
    check("4a\u{1e}bAQIDBA==", V4, &[message("a"), Packet::binary(vec![1, 2, 3, 4].into())]);
    refuse("", V4, Error::Empty);
    refuse("abc", V4, Error::UnknownType);
    refuse("4a\u{1e}", V4, Error::Empty);
    refuse("4a\u{1e}\u{1e}4b", V4, Error::Empty);
    refuse(&vec!["4"; MAX_PACKETS + 1].join("\u{1e}"), V4, Error::TooManyPackets);
    assert_eq!(decode(&vec!["4"; MAX_PACKETS].join("\u{1e}"), V4).map(|p| p.len()), Ok(MAX_PACKETS));
}

#[test]
fn version_3_counts_utf16_units() {
    check("2:4015:42[\"echo\",\"é€\"]", V3, &[message("0"), message("2[\"echo\",\"é€\"]")]);
    check("3:4😀", V3, &[message("😀")]);
    let header = "51-[\"bin-back\",{\"_placeholder\":true,\"num\":0}]";
    let packets = [message(header), Packet::binary(vec![1, 2, 3, 4].into())];
    check(&format!("46:4{header}10:b4AQIDBA=="), V3, &packets);
    refuse("", V3, Error::Empty);
    refuse("4hello", V3, Error::Length);
    refuse(":4", V3, Error::Length);
    refuse("0:", V3, Error::Empty);
    refuse("-1:4", V3, Error::Length);
    refuse("+1:4", V3, Error::Length);
    refuse("9:4", V3, Error::Length);
    refuse("2:4😀", V3, Error::Length);
    refuse("99999999999999999999999:4", V3, Error::Length);
    refuse("4294967296:4", V3, Error::Length);
    refuse(&"1:4".repeat(MAX_PACKETS + 1), V3, Error::TooManyPackets);
}

#[test]
fn version_3_octets() {
    let text = "51-[\"bin-back\",{\"_placeholder\":true,\"num\":0}]";
    let packets = [message(text), Packet::binary(vec![1, 2, 3, 4].into())];
    let mut bytes = vec![0, 4, 6, 0xff, b'4'];
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(&[1, 5, 0xff, 4, 1, 2, 3, 4]);
    assert_eq!(encode(&packets, V3, true), Body::Binary(bytes.clone()));
    assert_eq!(decode_octets(&bytes.into()).as_deref(), Ok(&packets[..]));
    // The length of text counts UTF-8 bytes here.
    assert_eq!(decode_octets(&Bytes::from_static(b"\x00\x03\xff4\xc3\xa9")), Ok(vec![message("é")]));
    // A batch of text alone stays text.
    assert_eq!(encode(&packets[..1], V3, true), Body::Text(format!("46:4{text}")));
}

#[test]
fn version_3_octets_refused() {
    #[track_caller]
    fn refuse(body: &'static [u8], expect: Error) {
        assert_eq!(decode_octets(&Bytes::from_static(body)), Err(expect));
    }
    refuse(b"", Error::Empty);
    refuse(b"\x00", Error::Length);
    refuse(b"\x00\xff", Error::Length);
    refuse(b"\x00\x01\xff", Error::Length);
    refuse(b"\x00\x00\xff", Error::Empty);
    refuse(b"\x00\x0a\xff4", Error::Length);
    refuse(b"\x02\x01\xff4", Error::UnknownType);
    refuse(b"\x01\x01\xff\x00", Error::UnknownType);
    refuse(b"\x00\x02\xff4\xff", Error::Utf8);
    refuse(b"\x00\x09\x09\x09\x09\x09\x09\x09\x09\x09\x09\xff4", Error::Length);
}

fn any_packet() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let text = proptest::option::of("[^\u{1e}]{0,20}");
    (text, proptest::collection::vec(any::<u8>(), 0..20))
}

proptest! {
    #[test]
    fn payloads_come_back(batch in proptest::collection::vec(any_packet(), 1..10)) {
        let packets: Vec<_> = batch
            .iter()
            .map(|(text, bytes)| match text {
                Some(text) => message(text),
                None => Packet::binary(bytes.clone().into()),
            })
            .collect();
        for (version, octets) in [(V4, false), (V3, false), (V3, true)] {
            let body = encode(&packets, version, octets);
            let bytes = if let Body::Binary(bytes) = &body { Bytes::copy_from_slice(bytes) } else { Bytes::new() };
            let read = match &body {
                Body::Text(text) => decode(text, version),
                Body::Binary(_) => decode_octets(&bytes),
            };
            prop_assert_eq!(read.as_ref(), Ok(&packets));
        }
    }

    #[test]
    fn any_body_is_read_or_refused(text in any::<String>(), bytes in any::<Vec<u8>>()) {
        let _ = decode(&text, V4);
        let _ = decode(&text, V3);
        let _ = decode_octets(&bytes.into());
    }
}

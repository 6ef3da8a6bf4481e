//! The specification's examples, what forwarders really send, and what enemies would.

use super::*;

const IPV4: [u8; 12] = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb];

/// A binary header with this command, family and block.
fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [V2, &[command, family], &length, block].concat()
}

fn extra_of(kind: u8, value: &[u8]) -> Vec<u8> {
    [&[kind][..], &u16::try_from(value.len()).unwrap().to_be_bytes()[..], value].concat()
}

/// As `binary`, over TCP and IPv4, with extras and at last their checksum.
fn checked(extras: &[u8]) -> Vec<u8> {
    let mut header = binary(0x21, 0x11, &[&IPV4[..], extras, &extra_of(CRC32C, &[0; 4])].concat());
    let itself = header.len() - 4..header.len();
    let sum = crc32c(&header, &itself).to_be_bytes();
    header[itself].copy_from_slice(&sum);
    header
}

fn client_at(address: &str) -> Announced {
    Announced::Client(address.parse().unwrap())
}

/// What a whole header says, whatever follows it; and that no beginning of it says anything.
fn check(header: &[u8], expect: Announced) {
    for end in 0..header.len() {
        assert_eq!(read(&header[..end]), Ok(None), "{end} bytes of {}", header.escape_ascii());
    }
    for after in [&b""[..], b"GET / HTTP/1.1\r\n", b"PROXY ", V2, &[0x16, 3, 1], &[0xff; 300]] {
        let sent = [header, after].concat();
        assert_eq!(read(&sent), Ok(Some((expect, header.len()))), "{}", sent.escape_ascii());
    }
}

fn refused(sent: &[u8], expect: ProxyError) {
    assert_eq!(read(sent), Err(expect), "{}", sent.escape_ascii());
}

#[test]
fn text() {
    check(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client_at("255.255.255.255:65535"));
    check(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", client_at("192.168.0.1:56324"));
    let full = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    check(format!("PROXY TCP6 {full} {full} 65535 65535\r\n").as_bytes(), client_at(&format!("[{full}]:65535")));
    check(b"PROXY TCP6 2001:db8::1 ::1 0 443\r\n", client_at("[2001:db8::1]:0"));
    check(b"PROXY UNKNOWN\r\n", Announced::Unknown);
    // The longest line that there is.
    let longest = format!("PROXY UNKNOWN {full} {full} 65535 65535\r\n");
    assert_eq!(longest.len(), V1_MAX);
    check(longest.as_bytes(), Announced::Unknown);
}

#[test]
fn text_that_is_refused() {
    for line in [
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 1\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443 \r\n",
        "PROXY TCP4  192.168.0.1 192.168.0.11 56324 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 65536 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 +1 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 01 443\r\n",
        "PROXY TCP4 192.168.0.1 192.168.0.11 -1 443\r\n",
        "PROXY TCP4 192.168.0.01 192.168.0.11 1 443\r\n",
        "PROXY TCP4 192.168.1 192.168.0.11 1 443\r\n",
        "PROXY TCP4 ::1 ::1 1 443\r\n",
        "PROXY TCP6 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY TCP6 fe80::1%eth0 ::1 1 443\r\n",
        "PROXY TCP5 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY UDP4 192.168.0.1 192.168.0.11 1 443\r\n",
        "PROXY UNKNOWNS\r\n",
        "PROXY unknown\r\n",
        "PROXY \r\n",
        "PROXY TCP4 ١٩٢.168.0.1 192.168.0.11 1 443\r\n",
    ] {
        refused(line.as_bytes(), ProxyError::Malformed);
    }
    refused(b"PROXY TCP4 \xff\xff\r\n", ProxyError::Malformed);
    refused(&[b"PROXY UNKNOWN ", &[b'x'; V1_MAX][..], b"\r\n"].concat(), ProxyError::TooLong);
    for other in
        [&b"GET / HTTP/1.1\r\n"[..], b"PROXX", b"proxy TCP4", &[0x16, 3, 1, 0], b"\r\n\r\nGET", b"\0", b" PROXY "]
    {
        refused(other, ProxyError::Missing);
    }
}

#[test]
fn binary_addresses() {
    check(&binary(0x21, 0x11, &IPV4), client_at("192.0.2.7:56324"));
    let mut block = [0; 36];
    block[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    block[15] = 1;
    block[32..].copy_from_slice(&[0xdc, 0x04, 0x01, 0xbb]);
    check(&binary(0x21, 0x21, &block), client_at("[2001:db8::1]:56324"));
    // What is forwarded as datagrams to the forwarder has an address, too.
    check(&binary(0x21, 0x12, &IPV4), client_at("192.0.2.7:56324"));
    check(&binary(0x21, 0x31, &[b'/'; 216]), Announced::Unknown);
    check(&binary(0x21, 0x00, b""), Announced::Unknown);
    check(&binary(0x21, 0x00, b"whatever stands here"), Announced::Unknown);
    check(&binary(0x21, 0x10, &IPV4), Announced::Unknown);
}

#[test]
fn a_forwarder_speaks_of_itself() {
    check(&binary(0x20, 0x00, b""), Announced::Itself);
    check(&binary(0x20, 0x11, &IPV4), Announced::Itself);
    check(&binary(0x20, 0xff, b"not to be looked at"), Announced::Itself);
}

#[test]
fn extras_are_skipped_and_checked() {
    // ALPN, the name that was asked for, what AWS adds, and padding.
    let extras =
        [extra_of(1, b"h2"), extra_of(2, b"push.example.com"), extra_of(0xea, &[1; 23]), extra_of(4, &[])].concat();
    check(&binary(0x21, 0x11, &[&IPV4[..], &extras].concat()), client_at("192.0.2.7:56324"));
    check(&checked(&extras), client_at("192.0.2.7:56324"));
    let most = vec![0; MAX - V2_HEAD - IPV4.len() - 3];
    check(&binary(0x21, 0x11, &[&IPV4[..], &extra_of(4, &most)].concat()), client_at("192.0.2.7:56324"));
}

#[test]
fn the_checksum_is_crc32c() {
    // RFC 3720, appendix B.4, and the usual check value.
    assert_eq!(crc32c(b"123456789", &(0..0)), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32], &(0..0)), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32], &(0..0)), 0x62a8_ab43);
    assert_eq!(crc32c(&[0xff; 32], &(0..32)), 0x8a91_36aa);
    let good = checked(&extra_of(2, b"push.example.com"));
    // Of the command, the addresses, the name, and the sum itself.
    for at in [12].into_iter().chain(16..28).chain(31..47).chain(good.len() - 4..good.len()) {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        assert!(matches!(read(&changed), Err(ProxyError::Checksum | ProxyError::Malformed)), "byte {at}");
    }
}

#[test]
fn binary_that_is_refused() {
    for (command, family) in
        [(0x11, 0x11), (0x31, 0x11), (0x22, 0x11), (0x2f, 0x11), (0x21, 0x41), (0x21, 0xf1), (0x21, 0x13)]
    {
        refused(&binary(command, family, &IPV4), ProxyError::Malformed);
    }
    refused(&binary(0x21, 0x11, &IPV4[..11]), ProxyError::Malformed);
    refused(&binary(0x21, 0x21, &[0; 35]), ProxyError::Malformed);
    refused(&binary(0x21, 0x31, &[0; 215]), ProxyError::Malformed);
    let with = |extras: &[u8]| binary(0x21, 0x11, &[&IPV4[..], extras].concat());
    for extras in
        [&[1][..], &[1, 0], &[1, 0, 1], &[1, 0xff, 0xff], &extra_of(CRC32C, &[0; 3]), &extra_of(CRC32C, &[0; 5])]
    {
        refused(&with(extras), ProxyError::Malformed);
    }
    refused(&with(&extra_of(CRC32C, &[0; 4])), ProxyError::Checksum);
    // Too long is said before the rest has come, and so is a wrong version.
    let mut long = binary(0x21, 0x11, &[0; 16]);
    long[14..16].copy_from_slice(&[0xff, 0xff]);
    refused(&long[..V2_HEAD], ProxyError::TooLong);
    refused(&binary(0x11, 0x11, &IPV4)[..V2_HEAD], ProxyError::Malformed);
}

#[test]
fn a_second_checksum_is_refused() {
    let mut header = checked(&[]);
    header.extend_from_slice(&extra_of(CRC32C, &[0; 4]));
    let length = u16::try_from(header.len() - V2_HEAD).unwrap().to_be_bytes();
    header[14..16].copy_from_slice(&length);
    let itself = V2_HEAD + 15..V2_HEAD + 19;
    let sum = crc32c(&header, &itself).to_be_bytes();
    header[itself].copy_from_slice(&sum);
    refused(&header, ProxyError::Malformed);
}

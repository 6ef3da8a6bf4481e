//! Which addresses are public. What is not leads to this machine or into the networks around it, where a request of the
//! server's may do what nobody outside could.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether an address is anybody's to reach.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let reserved = match (a, b, c) {
        // This network, loopback, multicast, reserved.
        (0 | 127 | 224.., ..) => true,
        // Shared by a carrier's customers; protocol assignments; benchmarks.
        (100, 64..128, _) | (192, 0, 0) | (198, 18 | 19, _) => true,
        _ => false,
    };
    !(reserved || address.is_private() || address.is_link_local() || address.is_documentation())
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let low = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match segments {
        // IPv4 in IPv6: mapped, compatible (and `::`, `::1`), translated, 6to4. What they lead to counts.
        [0, 0, 0, 0, 0, 0xffff | 0, high, last] | [0x64, 0xff9b, 0, 0, 0, 0, high, last] => {
            is_public_v4(low(high, last))
        }
        [0x2002, high, last, ..] => is_public_v4(low(high, last)),
        // Teredo, benchmarks and the like; documentation.
        [0x2001, 0..0x200, ..] | [0x2001, 0xdb8, ..] => false,
        // What is given out to the world; local, site-local and multicast addresses are outside of it.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_world_are_public() {
        #[track_caller]
        fn check(address: &str, expect: bool) {
            assert_eq!(is_public(address.parse().expect("an address")), expect, "{address}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700::1111",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2002:808:808::1",
        ] {
            check(public, true);
        }
        for private in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2001::1",
            "2001:db8::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "100::1",
        ] {
            check(private, false);
        }
    }
}

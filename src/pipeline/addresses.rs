//! Which addresses of the network a peer's URL may lead to: those of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks that belong to nobody on the public internet, as the registries of special-purpose addresses
/// of IANA have them, and one that belongs to a cloud's own service.
const RESERVED_V4: [Ipv4Net; 18] = [
    // This host and network; private; shared by carriers (one cloud's metadata are there); loopback.
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    // Link-local, where most clouds have their metadata; private.
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    // Protocol assignments, where one more has them; documentation; reverse DNS; multicast relays.
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 31, 196, 0], 24),
    v4([192, 52, 193, 0], 24),
    // Relays from IPv6; private; reverse DNS; benchmarks; documentation.
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([192, 175, 48, 0], 24),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    // Multicast, reserved and broadcast.
    v4([224, 0, 0, 0], 3),
    // The agent on every machine of one cloud.
    v4([168, 63, 129, 16], 32),
];

/// All that is public of IPv6. Beyond it are the ways to write an IPv4 address (mapped, compatible,
/// translated by 64:ff9b::/96), loopback, unique local, link-local and multicast addresses.
const GLOBAL_UNICAST_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What is not public within [`GLOBAL_UNICAST_V6`].
const RESERVED_V6: [Ipv6Net; 5] = [
    // Protocol assignments, with Teredo; documentation; IPv4 by 6to4; reverse DNS; documentation.
    v6([0x2001, 0, 0], 23),
    v6([0x2001, 0xdb8, 0], 32),
    v6([0x2002, 0, 0], 16),
    v6([0x2620, 0x4f, 0x8000], 48),
    v6([0x3fff, 0, 0], 20),
];

const fn v4(address: [u8; 4], length: u8) -> Ipv4Net {
    let [a, b, c, d] = address;
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(start: [u16; 3], length: u8) -> Ipv6Net {
    let [a, b, c] = start;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// True for an address of the public internet, or of one of the networks that are `allowed` all the same.
pub(super) fn may_be_asked(address: IpAddr, allowed: &[IpNet]) -> bool {
    let is_public = match address {
        IpAddr::V4(address) => !RESERVED_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_UNICAST_V6.contains(&address)
                && !RESERVED_V6.iter().any(|net| net.contains(&address))
        }
    };
    is_public || allowed.iter().any(|net| net.contains(&address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(address: &str) -> bool {
        may_be_asked(address.parse().unwrap(), &[])
    }

    #[test]
    fn only_public_addresses_may_be_asked() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.255.255",
            "223.255.255.255",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00:1450::1",
        ] {
            assert!(may(public), "{public}");
        }
        for reserved in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.255",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!may(reserved), "{reserved}");
        }
    }

    #[test]
    fn what_is_allowed_is_allowed_as_it_is_written() {
        let allowed = ["10.1.0.0/16".parse().unwrap(), "fd00::/8".parse().unwrap()];
        let may = |address: &str| may_be_asked(address.parse().unwrap(), &allowed);
        assert!(may("10.1.2.3") && may("fd12::1"));
        assert!(!may("10.2.0.1") && !may("::ffff:10.1.2.3") && !may("fc00::1"));
    }
}

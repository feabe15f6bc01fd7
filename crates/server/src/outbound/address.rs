//! Which addresses are public, by IANA's registries of special-purpose addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>, <https://www.iana.org/assignments/iana-ipv6-special-registry>).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is not public of IPv4, as address and length of the prefix.
const SPECIAL_V4: [(Ipv4Addr, u32); 16] = [
    // This network (RFC 791).
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    // Private use (RFC 1918).
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Shared by carriers (RFC 6598).
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback (RFC 1122).
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, with the metadata services of clouds (RFC 3927).
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Protocol assignments (RFC 6890).
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation (RFC 5737).
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Relays of 6to4, no longer in use (RFC 7526).
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Benchmarks (RFC 2544).
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Multicast (RFC 5771).
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    // Reserved (RFC 1112), with the limited broadcast.
    (Ipv4Addr::new(240, 0, 0, 0), 4),
    // A cloud's own services at what looks like a public address (<https://learn.microsoft.com/azure/virtual-network/what-is-ip-address-168-63-129-16>).
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// What is not public of IPv6's global unicast, `2000::/3`; outside of that nothing is.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] = [
    // Protocol assignments (RFC 2928), with Teredo, benchmarks and ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation (RFC 3849, RFC 9637).
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
    // 6to4, which leads to any address of IPv4 (RFC 3056).
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];

const GLOBAL_UNICAST: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Translation to IPv4 (RFC 6052): as public as the address in its last four bytes. That for local use (RFC 8215) is not.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether `address` is one that anybody on the Internet could be asked at. What is not known to be is not.
pub(crate) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.into_iter().any(|prefix| holds_v4(prefix, address)),
        IpAddr::V6(address) if holds_v6(NAT64, address) => {
            let [.., a, b, c, d] = address.octets();
            is_public(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
        }
        IpAddr::V6(address) => {
            holds_v6(GLOBAL_UNICAST, address)
                && !SPECIAL_V6.into_iter().any(|prefix| holds_v6(prefix, address))
        }
    }
}

fn holds_v4((prefix, length): (Ipv4Addr, u32), address: Ipv4Addr) -> bool {
    (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= length
}

fn holds_v6((prefix, length): (Ipv6Addr, u32), address: Ipv6Addr) -> bool {
    (prefix.to_bits() ^ address.to_bits()).leading_zeros() >= length
}

#[cfg(test)]
mod tests;

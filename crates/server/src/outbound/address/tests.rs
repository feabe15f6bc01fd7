use super::*;

fn public(text: &str) -> bool {
    is_public(text.parse().unwrap_or_else(|_| panic!("{text}")))
}

/// The first and the last address of each range that is not public, and the public ones beside them.
#[test]
fn ranges_of_ipv4_begin_and_end_where_the_registry_says() {
    for (first, last, before, after) in [
        ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
        ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
        ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
        ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
        ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
        ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
        ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
        ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
        ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
        ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
        ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
        ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
        ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
        ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
        ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
        ("239.255.255.255", "240.0.0.0", None, None),
    ] {
        assert!(!public(first) && !public(last), "{first} to {last}");
        for beside in [before, after].into_iter().flatten() {
            assert!(public(beside), "{beside}");
        }
        // The same addresses in the ways that IPv6 has to write them.
        for address in [first, last] {
            for prefix in ["::", "::ffff:", "::ffff:0:", "64:ff9b::", "64:ff9b:1::"] {
                assert!(!public(&format!("{prefix}{address}")), "{prefix}{address}");
            }
        }
    }
}

#[test]
fn of_ipv6_only_global_unicast_is_public() {
    for address in [
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:0:0:1::8.8.8.8",
        "100::1",
        "100:0:0:1::1",
        "1fff:ffff::",
        "2001::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:2::1",
        "2001:10::1",
        "2001:1ff:ffff::",
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        "2002:7f00:1::",
        "2002:808:808::",
        "3fff::",
        "3fff:fff:ffff::",
        "4000::",
        "5f00::1",
        "fc00::1",
        "fd12:3456:789a::1",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ] {
        assert!(!public(address), "{address}");
    }
    for address in [
        "2000::1",
        "2001:200::",
        "2001:4860:4860::8888",
        "2001:db7:ffff::",
        "2001:db9::",
        "2003::",
        "2606:2800:21f:cb07:6820:80da:af6b:8b2c",
        "3ffe:ffff::",
        "3fff:1000::",
        "64:ff9b::8.8.8.8",
        "64:ff9b::808:808",
    ] {
        assert!(public(address), "{address}");
    }
}

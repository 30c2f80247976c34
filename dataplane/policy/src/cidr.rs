//! Address ranges: who is trusted to say who the client is.

use std::net::IpAddr;

use crate::spec::Cidr;

/// A set of address ranges. IPv4 and its IPv4-mapped IPv6 form (RFC 4291 section 2.5.5.2) are the same address, because a
/// dual-stack listener reports IPv4 peers in mapped form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CidrSet {
    /// Inclusive, sorted, without overlap.
    ranges: Box<[(u128, u128)]>,
}

impl CidrSet {
    /// The set of these ranges; host bits are ignored (`10.1.2.3/8` is `10.0.0.0/8`), bits beyond the address length count as all.
    pub fn new(ranges: &[Cidr]) -> CidrSet {
        let mut all: Vec<(u128, u128)> = ranges.iter().map(bounds).collect();
        all.sort_unstable();
        let mut merged: Vec<(u128, u128)> = Vec::with_capacity(all.len());
        for (low, high) in all {
            match merged.last_mut() {
                Some(last) if low <= last.1 => last.1 = last.1.max(high),
                _ => merged.push((low, high)),
            }
        }
        CidrSet { ranges: merged.into_boxed_slice() }
    }

    /// Whether there is no range.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether `ip` lies in one of the ranges.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let number = number(ip);
        let behind = self.ranges.partition_point(|&(low, _)| low <= number);
        behind > 0 && number <= self.ranges[behind - 1].1
    }
}

fn bounds(cidr: &Cidr) -> (u128, u128) {
    let host_bits = match cidr.ip {
        IpAddr::V4(_) => 32 - u32::from(cidr.bits.min(32)),
        IpAddr::V6(_) => 128 - u32::from(cidr.bits.min(128)),
    };
    let host_mask = if host_bits == 128 { u128::MAX } else { (1 << host_bits) - 1 };
    let number = number(cidr.ip);
    (number & !host_mask, number | host_mask)
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(&str, u8)]) -> CidrSet {
        let ranges: Vec<Cidr> =
            ranges.iter().map(|&(ip, bits)| Cidr { ip: ip.parse().unwrap(), bits }).collect();
        CidrSet::new(&ranges)
    }

    fn holds(set: &CidrSet, ip: &str) -> bool {
        set.contains(ip.parse().unwrap())
    }

    #[test]
    fn edges_of_ranges() {
        let set = set(&[("10.1.2.3", 8), ("192.0.2.1", 32), ("2001:db8::", 32), ("192.0.2.0", 31)]);
        for inside in ["10.0.0.0", "10.255.255.255", "192.0.2.0", "192.0.2.1", "2001:db8:ffff::1"] {
            assert!(holds(&set, inside), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "192.0.2.2", "2001:db9::", "2001:db7:ffff::", "::1"] {
            assert!(!holds(&set, outside), "{outside}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        assert!(holds(&set(&[("10.0.0.0", 8)]), "::ffff:10.9.9.9"));
        assert!(holds(&set(&[("::ffff:10.0.0.0", 104)]), "10.9.9.9"));
        assert!(!holds(&set(&[("10.0.0.0", 8)]), "::10.9.9.9"));
    }

    #[test]
    fn all_and_none() {
        assert!(!holds(&CidrSet::default(), "10.0.0.1"));
        assert!(holds(&set(&[("0.0.0.0", 0)]), "255.255.255.255"));
        assert!(!holds(&set(&[("0.0.0.0", 0)]), "2001:db8::1"));
        let all = set(&[("::", 0), ("10.0.0.0", 8)]);
        assert!(holds(&all, "10.0.0.1") && holds(&all, "ffff:ffff::"));
    }
}

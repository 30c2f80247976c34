//! CRC32c (RFC 3720 appendix B.4), table driven: a header is a few hundred bytes once per connection.

/// The checksum of `parts` in order.
pub(super) fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0u32, |crc, &byte| {
        let index = (crc ^ u32::from(byte)) as u8;
        (crc >> 8) ^ TABLE.get(usize::from(index)).copied().unwrap_or_default()
    })
}

static TABLE: [u32; 256] = build_table();

#[allow(clippy::indexing_slicing)] // Runs in the compiler only, where a wrong index is a build error.
const fn build_table() -> [u32; 256] {
    const POLYNOMIAL_REVERSED: u32 = 0x82f6_3b78;
    let mut table = [0u32; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ POLYNOMIAL_REVERSED } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #[test]
    fn rfc_3720_vectors() {
        assert_eq!(super::checksum([&[0u8; 32][..]]), 0x8a91_36aa);
        assert_eq!(super::checksum([&[0xffu8; 16][..], &[0xffu8; 16][..]]), 0x62a8_ab43);
        assert_eq!(super::checksum([&b"123456789"[..]]), 0xe306_9283);
    }
}

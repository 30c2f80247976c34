//! Character classes as one table, and scanning eight bytes at a time.

/// RFC 9110 section 5.6.2 `tchar`.
pub(crate) const TOKEN: u8 = 1;
/// Bytes of a path or query that a WHATWG URL serialiser may emit: the URI characters of RFC 3986 and `[]{}|^` and
/// grave accent, which no two HTTP parsers read differently.
pub(crate) const TARGET: u8 = 2;
/// Bytes of a reg-name or IPv4 address: unreserved and sub-delims of RFC 3986 section 3.2.2 without the comma, which is
/// what joined duplicate `Host` lines look like, and without percent-encoding, which has two readings.
pub(crate) const HOST: u8 = 4;
/// `0-9a-fA-F`.
pub(crate) const HEX: u8 = 8;
/// `TARGET` and what `Relaxations::TARGET_CHARACTERS` lets through besides.
pub(crate) const TARGET_RELAXED: u8 = 16;

/// Class bits of each byte.
static CLASSES: [u8; 256] = build_classes();

/// Whether `byte` is of `class`, one of the above.
#[inline]
pub(crate) fn is(byte: u8, class: u8) -> bool {
    class_bits(byte) & class != 0
}

#[inline]
fn class_bits(byte: u8) -> u8 {
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

/// How many leading bytes are of `class`, one of the above.
#[inline]
pub(crate) fn span_of(bytes: &[u8], class: u8) -> usize {
    let (blocks, _) = bytes.as_chunks::<4>();
    let whole = |[a, b, c, d]: &[u8; 4]| {
        class_bits(*a) & class_bits(*b) & class_bits(*c) & class_bits(*d) & class != 0
    };
    let start = 4 * blocks.iter().take_while(|block| whole(block)).count();
    let rest = bytes.get(start..).unwrap_or(&[]);
    start + rest.iter().take_while(|&&byte| is(byte, class)).count()
}

/// How many leading bytes are HTAB or no control character: a field value or reason phrase up to its line ending
/// (RFC 9110 section 5.5: VCHAR, SP, HTAB, obs-text).
#[inline]
pub(crate) fn text_len(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut offset = 0;
    while let Some((block, tail)) = rest.split_first_chunk::<8>() {
        let hits = control_bits(u64::from_le_bytes(*block));
        if hits == 0 {
            offset += 8;
            rest = tail;
            continue;
        }
        let index = hits.trailing_zeros() as usize / 8;
        if block.get(index) != Some(&b'\t') {
            return offset + index;
        }
        offset += index + 1;
        rest = rest.get(index + 1..).unwrap_or(&[]);
    }
    let tail = rest.iter().position(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f);
    offset + tail.unwrap_or(rest.len())
}

/// The top bit of each byte below 0x20 or equal to 0x7f. Only the lowest set bit is sure to be one: a borrow can set
/// bits above it.
#[inline]
fn control_bits(word: u64) -> u64 {
    const SPACES: u64 = 0x2020_2020_2020_2020;
    const DELETES: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let below_space = word.wrapping_sub(SPACES);
    let is_delete = (word ^ DELETES).wrapping_sub(ONES);
    (below_space | is_delete) & !word & TOPS
}

/// Without leading and trailing SP and HTAB (RFC 9110 section 5.6.3 `OWS`).
#[inline]
pub(crate) fn trim(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    while let [b' ' | b'\t', tail @ ..] = rest {
        rest = tail;
    }
    while let [head @ .., b' ' | b'\t'] = rest {
        rest = head;
    }
    rest
}

#[allow(clippy::indexing_slicing)] // Runs in the compiler only, where a wrong index is a build error.
const fn build_classes() -> [u8; 256] {
    let mut table = [0u8; 256];
    let mut byte = 0usize;
    while byte < 256 {
        let c = byte as u8;
        let alphanumeric = c.is_ascii_alphanumeric();
        if alphanumeric || contains(b"!#$%&'*+-.^_`|~", c) {
            table[byte] |= TOKEN;
        }
        if alphanumeric || contains(b"-._~!$&'()*+,;=:@/?%[]{}|^`", c) {
            table[byte] |= TARGET;
        }
        if table[byte] & TARGET != 0 || c >= 0x80 || contains(b"\"<>\\", c) {
            table[byte] |= TARGET_RELAXED;
        }
        if alphanumeric || contains(b"-._~!$&'()*+;=", c) {
            table[byte] |= HOST;
        }
        if c.is_ascii_hexdigit() {
            table[byte] |= HEX;
        }
        byte += 1;
    }
    table
}

#[allow(clippy::indexing_slicing)] // As above.
const fn contains(set: &[u8], byte: u8) -> bool {
    let mut index = 0;
    while index < set.len() {
        if set[index] == byte {
            return true;
        }
        index += 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_ends_at_the_first_control_at_every_offset() {
        for length in 0..40usize {
            for at in 0..length {
                for control in (0..0x20u8).chain([0x7f]) {
                    let mut bytes = vec![b'\xff'; length];
                    bytes[at] = control;
                    let expected = if control == b'\t' { length } else { at };
                    assert_eq!(text_len(&bytes), expected, "{control:#x} at {at} of {length}");
                }
            }
            assert_eq!(text_len(&vec![b'~'; length]), length);
        }
    }

    #[test]
    fn a_delete_or_borrow_behind_a_tab_is_not_mistaken() {
        assert_eq!(text_len(b"\t \t !\t\x20\x80\x7e\x7e"), 10);
        assert_eq!(text_len(b"\t\t\t\t\t\t\t\t\x7f"), 8);
    }

    #[test]
    fn trimming() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
    }
}

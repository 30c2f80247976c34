//! Bodies whose every byte follows from (key, offset): a byte that is missing, doubled, moved or from another body is seen.

/// Writes the bytes of body `key` from `offset` on over `out`.
pub fn fill(key: u64, offset: u64, out: &mut [u8]) {
    let mut at = offset;
    let mut rest = out;
    while !rest.is_empty() {
        let skip = (at % 8) as usize;
        let bytes = &word(key, at / 8)[skip..];
        let n = bytes.len().min(rest.len());
        let (now, later) = rest.split_at_mut(n);
        now.copy_from_slice(&bytes[..n]);
        rest = later;
        at += n as u64;
    }
}

/// `len` bytes of body `key` from `offset` on.
pub fn bytes(key: u64, offset: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    fill(key, offset, &mut out);
    out
}

/// The first offset at which `got` is not body `key` from `offset` on.
pub fn mismatch(key: u64, offset: u64, got: &[u8]) -> Option<u64> {
    let mut at = offset;
    let mut rest = got;
    while !rest.is_empty() {
        let skip = (at % 8) as usize;
        let wanted = &word(key, at / 8)[skip..];
        let n = wanted.len().min(rest.len());
        if rest[..n] != wanted[..n] {
            return (0..n).find(|i| rest[*i] != wanted[*i]).map(|i| at + i as u64);
        }
        rest = &rest[n..];
        at += n as u64;
    }
    None
}

/// The key of the request body of an exchange.
pub fn request_key(id: u64) -> u64 {
    id * 2
}

/// The key of the answer body of an exchange.
pub fn answer_key(id: u64) -> u64 {
    id * 2 + 1
}

fn word(key: u64, index: u64) -> [u8; 8] {
    let mut z =
        key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ index.wrapping_add(1).wrapping_mul(0xd6e8_feb8_6659_fd93);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (z ^ (z >> 27)).to_le_bytes()
}

#[test]
fn every_byte_is_told_apart() {
    let body = bytes(7, 3, 1000);
    assert_eq!(mismatch(7, 3, &body), None);
    assert_eq!(mismatch(7, 4, &body), Some(4));
    assert_eq!(mismatch(8, 3, &body), Some(3));
    let mut missing = body.clone();
    missing.remove(500);
    assert!(mismatch(7, 3, &missing).is_some_and(|at| (503..510).contains(&at)));
    assert_eq!(bytes(7, 103, 50), body[100..150]);
}

//! The type-length-value part of a version 2 header (section 2.2.4 and following).

/// Registered TLV types.
#[allow(missing_docs)]
pub mod kind {
    pub const ALPN: u8 = 0x01;
    pub const AUTHORITY: u8 = 0x02;
    pub const CRC32C: u8 = 0x03;
    pub const NOOP: u8 = 0x04;
    pub const UNIQUE_ID: u8 = 0x05;
    pub const SSL: u8 = 0x20;
    pub const SSL_VERSION: u8 = 0x21;
    pub const SSL_CN: u8 = 0x22;
    pub const SSL_CIPHER: u8 = 0x23;
    pub const SSL_SIG_ALG: u8 = 0x24;
    pub const SSL_KEY_ALG: u8 = 0x25;
    pub const NETNS: u8 = 0x30;
}

/// One property.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tlv<'a> {
    /// See [`kind`].
    pub kind: u8,
    /// Its bytes.
    pub value: &'a [u8],
}

/// The properties of a header, already known to fill their space exactly.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Tlvs<'a> {
    bytes: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// The properties in `bytes`; `None` if one leaves the space or bytes are left over.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Tlvs<'a>> {
        let mut rest = bytes;
        while !rest.is_empty() {
            next(&mut rest)?;
        }
        Some(Tlvs { bytes })
    }

    /// All in order.
    pub fn iter(&self) -> impl Iterator<Item = Tlv<'a>> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || next(&mut rest))
    }

    /// The value of the first of this kind.
    pub fn get(&self, kind: u8) -> Option<&'a [u8]> {
        self.iter().find(|tlv| tlv.kind == kind).map(|tlv| tlv.value)
    }

    /// The application protocol the client agreed on.
    pub fn alpn(&self) -> Option<&'a [u8]> {
        self.get(kind::ALPN)
    }

    /// The server name the client asked for.
    pub fn authority(&self) -> Option<&'a [u8]> {
        self.get(kind::AUTHORITY)
    }

    /// The id the first proxy gave the connection, at most 128 bytes.
    pub fn unique_id(&self) -> Option<&'a [u8]> {
        self.get(kind::UNIQUE_ID).filter(|id| id.len() <= 128)
    }

    /// What is known of the client's TLS session; `None` also if it is malformed.
    pub fn ssl(&self) -> Option<Ssl<'a>> {
        let (front, rest) = self.get(kind::SSL)?.split_first_chunk::<5>()?;
        let [client, verify @ ..] = *front;
        Some(Ssl { client, verify: u32::from_be_bytes(verify), tlvs: Tlvs::new(rest)? })
    }

    /// Where in the section the value of the first of this kind stands.
    pub(super) fn offset_of(&self, kind: u8) -> Option<usize> {
        let mut rest = self.bytes;
        loop {
            let start = self.bytes.len() - rest.len();
            if next(&mut rest)?.kind == kind {
                return Some(start + TLV_HEADER_BYTES);
            }
        }
    }
}

/// `PP2_TYPE_SSL`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ssl<'a> {
    /// Bits: 1 the client used TLS, 2 it gave a certificate on this connection, 4 in this session.
    pub client: u8,
    /// 0 if the certificate was verified.
    pub verify: u32,
    /// Version, common name, cipher and others.
    pub tlvs: Tlvs<'a>,
}

/// Type and length.
pub(super) const TLV_HEADER_BYTES: usize = 3;

fn next<'a>(rest: &mut &'a [u8]) -> Option<Tlv<'a>> {
    let (&[kind, high, low], tail) = rest.split_first_chunk::<TLV_HEADER_BYTES>()?;
    let (value, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes([high, low])))?;
    *rest = tail;
    Some(Tlv { kind, value })
}

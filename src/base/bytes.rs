//! Bytes at an address, read from the front: numbers, LEB128, encoded pointers.
#![forbid(unsafe_code)]

/// Bytes that are read from the front; every read may find their end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) address: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        self.address = self.address.wrapping_add(count);
        Some(taken)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.take(count).map(drop)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn leb(&mut self) -> Option<(u64, u32, u8)> {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some((value, shift, byte));
            }
        }
    }

    pub(super) fn uleb(&mut self) -> Option<usize> {
        usize::try_from(self.leb()?.0).ok()
    }

    pub(super) fn sleb(&mut self) -> Option<isize> {
        let (value, shift, last) = self.leb()?;
        let sign = if last & 0x40 == 0 { 0 } else { u64::MAX.checked_shl(shift).unwrap_or(0) };
        isize::try_from((value | sign).cast_signed()).ok()
    }

    /// A pointer in one of the encodings of the standard base; relative ones start at `data` or here.
    pub(super) fn encoded(&mut self, encoding: u8, data: usize) -> Option<usize> {
        let base = match encoding & 0xf0 {
            0x00 => 0,
            0x10 => self.address,
            0x30 => data,
            _ => return None,
        };
        let value = match encoding & 0x0f {
            0x00 | 0x04 | 0x0c => self.u64()?.cast_signed(),
            0x01 => i64::try_from(self.leb()?.0).ok()?,
            0x02 => i64::from(self.u16()?),
            0x03 => i64::from(self.u32()?),
            0x09 => self.sleb()? as i64,
            0x0a => i64::from(self.u16()?.cast_signed()),
            0x0b => i64::from(self.u32()?.cast_signed()),
            _ => return None,
        };
        Some(base.wrapping_add_signed(isize::try_from(value).ok()?))
    }
}

//! Call frame information: how to find a caller's registers, from the tables compilers emit (`.eh_frame`).
//!
//! ```text
//! header ─ sorted (code address, FDE) pairs ──▶ FDE ──▶ CIE
//!                                               a program for a table's rows: address ▶ CFA, places
//! ```
//!
//! The reader knows the part that compiled code uses: a CFA that is a register and an offset, registers
//! saved at an offset from it. Rules in the form of expressions are unknown to it, and so is all that
//! lies outside of the given bytes: then it has no answer, never a wrong address.
//!
//! Source: DWARF 5, section 6.4; Linux Standard Base, "Exception Frames".
#![forbid(unsafe_code)]

use super::bytes::Cursor;

/// Registers with a number in x86-64 tables, the return address (16) last.
pub(crate) const REGISTERS: usize = 17;

/// Bytes of a loaded object with its unwind tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tables<'a> {
    pub(crate) bytes: &'a [u8],
    /// Where the bytes lie.
    pub(crate) address: usize,
    /// Where the table of the header begins.
    pub(crate) header: usize,
}

/// Where a caller's register is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Still in the register.
    Same,
    /// In memory, this far from the CFA.
    Saved(isize),
    /// Lost.
    Gone,
}

/// What holds at one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// The CFA, the caller's stack pointer: a register and an offset.
    pub(crate) cfa: (usize, isize),
    pub(crate) rules: [Rule; REGISTERS],
    /// A frame that a signal made: its caller has not called.
    pub(crate) is_signal: bool,
}

impl Tables<'_> {
    /// What holds at the instruction at `pc`; `None` if the tables do not say so in a way known here.
    pub(crate) fn row(&self, pc: usize) -> Option<Row> {
        let fde = self.find(pc)?;
        let (cie_at, mut fde) = self.entry(fde)?;
        let (zero, mut cie) = self.entry(cie_at?)?;
        if zero.is_some() {
            return None;
        }
        let common = Common::read(&mut cie)?;
        let begin = fde.encoded(common.pointers, self.header)?;
        let length = fde.encoded(common.pointers & 0x0f, 0)?;
        if pc.checked_sub(begin)? >= length {
            return None;
        }
        if common.augmented {
            let skip = fde.uleb()?;
            fde.skip(skip)?;
        }
        let mut machine = Machine::new(&common);
        machine.run(&mut cie, pc, begin)?;
        machine.initial = Some(machine.row);
        machine.run(&mut fde, pc, begin)?;
        Some(Row { is_signal: common.is_signal, ..machine.row })
    }

    /// The description of the function that `pc` may lie in, by the sorted table.
    fn find(&self, pc: usize) -> Option<usize> {
        let mut at = self.cursor(self.header)?;
        let [version, frames, count, table] = [at.u8()?, at.u8()?, at.u8()?, at.u8()?];
        // Pairs of 32-bit offsets from the header: what every linker writes.
        if version != 1 || table != 0x3b {
            return None;
        }
        at.encoded(frames, self.header)?;
        let count = at.encoded(count, self.header)?;
        let pairs = at.take(count.checked_mul(8)?)?;
        let half = |index: usize, offset: usize| {
            let place = index.checked_mul(8)?.checked_add(offset)?;
            let bytes = pairs.get(place..place.checked_add(4)?)?;
            let value = i32::from_le_bytes(bytes.try_into().ok()?);
            Some(self.header.wrapping_add_signed(value as isize))
        };
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if half(middle, 0)? <= pc { low = middle + 1 } else { high = middle }
        }
        half(low.checked_sub(1)?, 4)
    }

    /// Opens an entry: the address of its CIE (`None`: it is one itself) and what follows.
    fn entry(&self, address: usize) -> Option<(Option<usize>, Cursor<'_>)> {
        let mut at = self.cursor(address)?;
        // A length of all ones announces the 64-bit form, which no compiler emits here.
        let length = at.u32()? as usize;
        let body = Cursor { address: at.address, bytes: at.take(length)? };
        let place = body.address;
        let mut body = body;
        let back = body.u32()? as usize;
        let cie = if back == 0 { None } else { Some(place.checked_sub(back)?) };
        Some((cie, body))
    }

    fn cursor(&self, address: usize) -> Option<Cursor<'_>> {
        let bytes = self.bytes.get(address.checked_sub(self.address)?..)?;
        Some(Cursor { bytes, address })
    }
}

/// What a CIE says for all its functions.
struct Common {
    code: usize,
    data: isize,
    /// How code addresses are encoded.
    pointers: u8,
    augmented: bool,
    is_signal: bool,
}

impl Common {
    fn read(cie: &mut Cursor<'_>) -> Option<Self> {
        let version = cie.u8()?;
        let end = cie.bytes.iter().position(|byte| *byte == 0)?;
        let letters = cie.take(end + 1)?;
        let (code, data) = (cie.uleb()?, cie.sleb()?);
        let returns = if version == 1 { usize::from(cie.u8()?) } else { cie.uleb()? };
        let mut common = Self { code, data, pointers: 0, augmented: false, is_signal: false };
        if returns != REGISTERS - 1 {
            return None;
        }
        if letters.first() == Some(&b'z') {
            common.augmented = true;
            let length = cie.uleb()?;
            let mut data = Cursor { address: cie.address, bytes: cie.take(length)? };
            for letter in letters {
                match letter {
                    b'R' => common.pointers = data.u8()?,
                    b'S' => common.is_signal = true,
                    b'L' => drop(data.u8()?),
                    b'P' => {
                        let encoding = data.u8()? & 0x7f;
                        data.encoded(encoding, 0)?;
                    }
                    _ => {}
                }
            }
        }
        Some(common)
    }
}

/// Runs the programs of an entry.
struct Machine {
    code: usize,
    data: isize,
    row: Row,
    initial: Option<Row>,
    kept: Vec<Row>,
}

impl Machine {
    fn new(common: &Common) -> Self {
        // Nothing is known of the CFA before the program has said so.
        let row = Row { cfa: (REGISTERS, 0), rules: [Rule::Same; REGISTERS], is_signal: false };
        Self { code: common.code, data: common.data, row, initial: None, kept: Vec::new() }
    }

    fn set(&mut self, register: usize, rule: Rule) {
        // Vector registers are of no use here.
        if let Some(place) = self.row.rules.get_mut(register) {
            *place = rule;
        }
    }

    fn saved(&mut self, register: usize, factored: isize) -> Option<()> {
        self.set(register, Rule::Saved(factored.checked_mul(self.data)?));
        Some(())
    }

    fn restore(&mut self, register: usize) -> Option<()> {
        let rule = self.initial.as_ref()?.rules.get(register).copied();
        self.set(register, rule.unwrap_or(Rule::Same));
        Some(())
    }

    /// Runs until the row for `pc` is there.
    fn run(&mut self, program: &mut Cursor<'_>, pc: usize, begin: usize) -> Option<()> {
        let mut at = begin;
        while !program.bytes.is_empty() {
            let op = program.u8()?;
            let low = usize::from(op & 0x3f);
            let step = match (op >> 6, op) {
                (1, _) => low,
                (2, _) => {
                    let offset = program.uleb()?.cast_signed();
                    self.saved(low, offset)?;
                    continue;
                }
                (3, _) => {
                    self.restore(low)?;
                    continue;
                }
                (_, 0x02) => usize::from(program.u8()?),
                (_, 0x03) => usize::from(program.u16()?),
                (_, 0x04) => program.u32()? as usize,
                _ => {
                    self.operate(op, program)?;
                    continue;
                }
            };
            at = at.checked_add(step.checked_mul(self.code)?)?;
            if at > pc {
                return Some(());
            }
        }
        Some(())
    }

    fn operate(&mut self, op: u8, program: &mut Cursor<'_>) -> Option<()> {
        match op {
            0x00 => {}
            0x05 => {
                let (register, offset) = (program.uleb()?, program.uleb()?.cast_signed());
                self.saved(register, offset)?;
            }
            0x06 => {
                let register = program.uleb()?;
                self.restore(register)?;
            }
            0x07 => {
                let register = program.uleb()?;
                self.set(register, Rule::Gone);
            }
            0x08 => {
                let register = program.uleb()?;
                self.set(register, Rule::Same);
            }
            0x0a => self.kept.push(self.row),
            0x0b => self.row = self.kept.pop()?,
            0x0c => self.row.cfa = (program.uleb()?, program.uleb()?.cast_signed()),
            0x0d => self.row.cfa.0 = program.uleb()?,
            0x0e => self.row.cfa.1 = program.uleb()?.cast_signed(),
            0x11 => {
                let (register, offset) = (program.uleb()?, program.sleb()?);
                self.saved(register, offset)?;
            }
            0x12 => self.row.cfa = (program.uleb()?, program.sleb()?.checked_mul(self.data)?),
            0x13 => self.row.cfa.1 = program.sleb()?.checked_mul(self.data)?,
            // The size of pushed arguments: of interest to landing pads only.
            0x2e => drop(program.uleb()?),
            // Expressions, and what nobody emits.
            _ => return None,
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one pair, a CIE, and an FDE whose function pushes `rbp`: what a compiler emits.
    fn tables() -> Vec<u8> {
        let mut bytes = vec![1, 0x1b, 0x03, 0x3b];
        bytes.extend(0u32.to_le_bytes()); // where the entries begin: not used
        bytes.extend(1u32.to_le_bytes());
        bytes.extend(0x1000i32.to_le_bytes()); // code, from the header
        bytes.extend(44i32.to_le_bytes()); // its FDE, from the header
        assert_eq!(bytes.len(), 20);
        // The CIE: code 1, data -8, returns in 16; the CFA is rsp + 8, the return address just below.
        bytes.extend(20u32.to_le_bytes());
        bytes.extend([0, 0, 0, 0, 1, b'z', b'R', 0, 1, 0x78, 16, 1, 0x1b, 0x0c, 7, 8, 0x90, 1, 0, 0]);
        assert_eq!(bytes.len(), 44);
        bytes.extend(20u32.to_le_bytes());
        bytes.extend(28u32.to_le_bytes()); // back to the CIE
        let here = bytes.len();
        bytes.extend((0x1000 - here as i32).to_le_bytes());
        bytes.extend(0x20u32.to_le_bytes());
        // One byte on: the CFA is rsp + 16, and rbp (6) is saved at its foot.
        bytes.extend([0, 0x41, 0x0e, 16, 0x86, 2, 0, 0]);
        bytes
    }

    #[test]
    fn rows_change_with_the_instruction() {
        let bytes = tables();
        let tables = Tables { bytes: &bytes, address: 0x7000, header: 0x7000 };
        let first = tables.row(0x8000).unwrap();
        assert_eq!((first.cfa, first.rules[16], first.rules[6]), ((7, 8), Rule::Saved(-8), Rule::Same));
        let second = tables.row(0x8001).unwrap();
        assert_eq!((second.cfa, second.rules[6]), ((7, 16), Rule::Saved(-16)));
    }

    #[test]
    fn there_is_no_answer_outside_of_a_function_and_for_tables_cut_short() {
        let bytes = tables();
        let tables = |bytes| Tables { bytes, address: 0x7000, header: 0x7000 };
        assert_eq!(tables(&bytes).row(0x7fff), None);
        assert_eq!(tables(&bytes).row(0x8020), None);
        for end in 0..bytes.len() - 3 {
            assert_eq!(tables(&bytes[..end]).row(0x8001), None, "{end}");
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic() {
        let mut bytes = tables();
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let before = core::mem::replace(&mut bytes[at], value);
                let _ = Tables { bytes: &bytes, address: 0x7000, header: 0x7000 }.row(0x8001);
                bytes[at] = before;
            }
        }
    }
}

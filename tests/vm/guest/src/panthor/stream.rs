// SPDX-License-Identifier: MIT OR Apache-2.0
//! Command streams: 64-bit instructions with the opcode in bits 56 to 63.
//!
//! The encodings of `MOV48` and `SYNC_ADD64` are those of the driver (`prepare_job_instrs()` in panthor_sched.c), the
//! encodings of `PROT_REGION`, `HEAP_SET` and `RUN_TILING` are from Mesa (genxml of v10).

const MOV48: u64 = 1;
const RUN_TILING: u64 = 5;
const PROT_REGION: u64 = 41;
const HEAP_SET: u64 = 48;
const SYNC_ADD64: u64 = 51;

/// Registers, each the first of two; the driver uses the last ones.
const ADDRESS: u64 = 0;
const VALUE: u64 = 2;

/// Size of a prefetch of the GPU, which is the minimum of a stream.
const LINE: usize = 64;

/// Instructions for a queue.
#[derive(Debug, Default)]
pub(super) struct Stream(Vec<u64>);

impl Stream {
    /// Adds to the word at that address of the GPU, atomically; both have 48 bits.
    pub(super) fn add(&mut self, address: u64, value: u64) {
        self.0.push(mov48(ADDRESS, address));
        self.0.push(mov48(VALUE, value));
        // Bit 0: errors are reported.
        self.0.push(SYNC_ADD64 << 56 | ADDRESS << 40 | VALUE << 32 | 1);
    }

    /// Runs the tiler with the heap whose context is at that address.
    pub(super) fn tile(&mut self, heap: u64) {
        self.0.push(mov48(ADDRESS, heap));
        self.0.push(HEAP_SET << 56 | ADDRESS << 40);
        self.0.push(RUN_TILING << 56);
    }

    /// Adds that many instructions without an effect.
    pub(super) fn pass(&mut self, instructions: u16) {
        self.0.resize(self.0.len() + usize::from(instructions), 0);
    }

    /// Adds `part` as a region in protected mode. `None` if its length does not fit 16 bits.
    pub(super) fn protect(&mut self, part: &Self) -> Option<()> {
        let count = u16::try_from(part.0.len()).ok()?;
        self.0.push(PROT_REGION << 56 | u64::from(count));
        self.0.extend(&part.0);
        Some(())
    }

    /// Returns the instructions, padded to a multiple of a prefetch.
    pub(super) fn finish(mut self) -> Vec<u64> {
        self.0.resize(self.0.len().next_multiple_of(LINE / size_of::<u64>()), 0);
        self.0
    }
}

/// Loads 48 bits into two registers of 32.
fn mov48(register: u64, value: u64) -> u64 {
    MOV48 << 56 | register << 48 | value & 0xffff_ffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_added_to_by_three_instructions_in_a_line() {
        let mut stream = Stream::default();
        stream.add(0x1234_5678_9abc, 7);
        let expected =
            [0x0100_1234_5678_9abc, 0x0102_0000_0000_0007, 0x3300_0002_0000_0001, 0, 0, 0, 0, 0];
        assert_eq!(stream.finish(), expected);
    }

    #[test]
    fn the_tiler_runs_after_its_heap_was_set() {
        let mut stream = Stream::default();
        stream.tile(0x1234_5678_9abc);
        let expected = [0x0100_1234_5678_9abc, 0x3000_0000_0000_0000, 0x0500_0000_0000_0000];
        assert_eq!(stream.finish()[..3], expected);
    }

    #[test]
    fn a_protected_region_counts_its_instructions() {
        let (mut stream, mut region) = (Stream::default(), Stream::default());
        region.add(0x10_0000, 1);
        region.pass(2);
        stream.protect(&region).unwrap();
        let stream = stream.finish();
        assert_eq!(stream[..2], [0x2900_0000_0000_0005, 0x0100_0000_0010_0000]);
        assert_eq!(stream.len(), 8);
    }

    #[test]
    fn a_region_that_is_too_long_is_refused() {
        let (mut stream, mut region) = (Stream::default(), Stream::default());
        region.pass(u16::MAX);
        assert!(stream.protect(&region).is_some());
        region.pass(1);
        assert!(stream.protect(&region).is_none());
    }

    #[test]
    fn a_value_never_reaches_the_register_or_the_opcode() {
        assert_eq!(mov48(2, u64::MAX), 0x0102_ffff_ffff_ffff);
    }
}

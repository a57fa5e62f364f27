// SPDX-License-Identifier: MIT OR Apache-2.0

//! The clock of all timestamps. It continues across switch-root, and the kernel stamps its events
//! with it.

use rustix::time::{ClockId, clock_gettime};

/// Returns the time of `CLOCK_MONOTONIC` in microseconds.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock starts at boot and nanoseconds are below 10^9, so neither is negative.
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

#[cfg(test)]
mod tests {
    #[test]
    fn now_us_advances_monotonically() {
        let start = super::now_us();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let passed = super::now_us() - start;
        assert!((2_000..2_000_000).contains(&passed), "{passed}");
    }
}

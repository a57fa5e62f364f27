// SPDX-License-Identifier: MIT OR Apache-2.0

//! The one clock: it survives switch-root, and the kernel stamps its own events with it.

use rustix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`, in microseconds.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The clock counts from the boot and its nanoseconds are below 10^9: neither is negative.
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1_000
}

#[cfg(test)]
mod tests {
    #[test]
    fn never_goes_back_and_does_advance() {
        let start = super::now_us();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let passed = super::now_us() - start;
        assert!((2_000..2_000_000).contains(&passed), "{passed}");
    }
}

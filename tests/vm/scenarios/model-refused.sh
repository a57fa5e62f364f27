# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the simulated GPU does not load on boards where its registers are memory that the kernel uses
# overlay: gpu-in-memory

check 'the kernel does not load the simulated GPU' is "$(modprobe csfmodel 2>/dev/null || echo refused)" refused
check 'the simulated GPU logs why it does not load' like "$(dmesg | grep csfmodel:)" "*is the kernel's: reserve it with no-map*"

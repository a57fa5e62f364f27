# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the modelled GPU is not for boards where its registers are memory that the kernel uses
# overlay: gpu-in-memory

check 'it is not loaded' is "$(modprobe csfmodel 2>/dev/null || echo refused)" refused
check 'and says why' like "$(dmesg | grep csfmodel:)" "*is the kernel's: reserve it with no-map*"

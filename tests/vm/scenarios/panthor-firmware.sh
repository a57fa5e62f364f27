# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the protected section of firmware images of vendors, where they could be fetched, is bound like that of the test image
# board: rk3588 imx95 mt8196

DEBIAN=/lib/firmware-debian
[ -d $DEBIAN ] || say 'no image could be fetched: only the test image is used'
[ ! -d $DEBIAN ] || echo -n $DEBIAN >/sys/module/firmware_class/parameters/path
bound_panthor 4
check 'panthor probes' is "$(driver)" panthor
say "$(dmesg | sed -n 's/.*Firmware git sha/git sha/p')"
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'all 64 pages of the protected section are in the carve-out' is "$(firmware_says protected-section-pages)" 64
check 'ordinary jobs run' is "$(panthor job --count 3)" 'jobs 3/3'
check 'protected jobs run' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
check 'the simulated GPU reports no violation' is "$(check_model)" fine

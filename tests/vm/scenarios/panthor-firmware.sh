# SPDX-License-Identifier: MIT OR Apache-2.0
# about: vendors' firmware images, where they could be fetched: their protected section is bound like the test image's
# board: rk3588 imx95 mt8196

DEBIAN=/lib/firmware-debian
[ -d $DEBIAN ] || say 'no image could be fetched: the test image alone'
[ ! -d $DEBIAN ] || echo -n $DEBIAN >/sys/module/firmware_class/parameters/path
bound_panthor 4
check 'panthor probes' is "$(driver)" panthor
say "$(dmesg | sed -n 's/.*Firmware git sha/git sha/p')"
check 'the protected section is in the carve-out' is "$(firmware_says protected-section)" carve-out
check 'as a whole' is "$(firmware_says protected-section-pages)" 64
check 'jobs run' is "$(panthor job --count 3)" 'jobs 3/3'
check 'protected jobs too' is "$(panthor protected-job --count 3)" 'protected-jobs 3/3'
check 'the model has nothing to complain of' is "$(check_model)" fine

# SPDX-License-Identifier: MIT OR Apache-2.0
# about: the patched panthor reports the version, numbers and flags of Linux to programs, and has separate ioctls for protected groups
# limit: 60

# interface: prints what the loaded panthor reports to programs, and the flags that it refuses
interface() {
	load_panthor
	panthor query | grep -v '^protected-'
	panthor group-bits
}
protected_memory() { panthor query | sed -n 's/^protected-memory //p'; }

own=$(ls /lib/modules/*/panthor.ko)
need cp "$own" /run/own.ko
use_panthor unmodified
load_model
unmodified=$(interface)
say "$(echo "$unmodified" | tr '\n' ' ')"
check 'without the patches, panthor reports a version' like "$unmodified" 'version 1.*'
check 'without the patches, panthor refuses each unassigned flag' like "$unmodified" '*EINVAL 32'
check 'without the patches, panthor does not know the query of protected memory' is "$(protected_memory)" ENOTTY
check 'without the patches, panthor does not know protected groups' is "$(panthor group --protected 2>&1)" 'groups 0 ENOTTY'
need rmmod panthor

need cp /run/own.ko "$own"
check 'with the patches, panthor has the same interface' is "$(interface)" "$unmodified"
check 'without a binding, the query reports no protected memory' is "$(protected_memory)" no
check 'without a binding, panthor refuses protected groups' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
need rmmod panthor

load_tee
load_protheap
make_binding protected,secure-video 65536 4
check 'with a binding, panthor has the same interface' is "$(interface)" "$unmodified"
check 'with a binding, the query reports protected memory' is "$(protected_memory)" yes
check 'with protheap.ko, the query reports that no buffer is taken' is "$(panthor query | sed -n 's/^protected-takes-buffer //p')" no
check 'with protheap.ko, a buffer of a program is refused' is "$(panthor set-firmware)" EBUSY
check 'with protheap.ko, no buffer can be taken back' is "$(panthor take-firmware)" EBUSY
check 'with a binding, a protected group runs a job' is "$(panthor group --protected --job)" 'groups 1
jobs 1/1
destroyed 1/1'
check 'the simulated GPU reports no violation' is "$(check_model)" fine

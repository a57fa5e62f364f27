# SPDX-License-Identifier: MIT OR Apache-2.0
# about: programs see the version, numbers and flags of Linux's own panthor; protected groups have ioctls of their own
# limit: 60

# interface: of the panthor that is loaded, to programs that know Linux's own, and to those that know protected groups
interface() {
	load_panthor
	panthor query | grep -v protected-memory
	panthor group-bits
}
protected_memory() { panthor query | sed -n 's/^protected-memory //p'; }

own=$(ls /lib/modules/*/panthor.ko)
need cp "$own" /run/own.ko
use_panthor unmodified
load_model
unmodified=$(interface)
say "$(echo "$unmodified" | tr '\n' ' ')"
check 'without the patches there is a version' like "$unmodified" 'version 1.*'
check 'each bit that is not assigned is refused' like "$unmodified" '*EINVAL 32'
check 'the query of protected memory is not known' is "$(protected_memory)" ENOTTY
check 'nor are protected groups' is "$(panthor group --protected 2>&1)" 'groups 0 ENOTTY'
need rmmod panthor

need cp /run/own.ko "$own"
check 'with the patches all of that is the same' is "$(interface)" "$unmodified"
check 'without protected memory the query says so' is "$(protected_memory)" no
check 'and protected groups are refused' is "$(panthor group --protected 2>&1)" 'groups 0 EOPNOTSUPP'
need rmmod panthor

load_tee
load_protheap
make_binding protected,secure-video 65536 4
check 'with a binding all of that is the same' is "$(interface)" "$unmodified"
check 'the query finds protected memory' is "$(protected_memory)" yes
check 'protected groups work' is "$(panthor group --protected --job)" 'groups 1
jobs 1/1
destroyed 1/1'
check 'the model has nothing to complain of' is "$(check_model)" fine

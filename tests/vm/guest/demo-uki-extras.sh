# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --uki` with all that somebody put beside the signed image, and into the root that follows it:
# `refused CASE true|false` for what must not count, `honoured CASE true|false` for what must.

# told KIND CASE COMMAND...: whether the command succeeds
told() {
	kind=$1 case=$2
	shift 2
	if seen=$("$@" 2>&1); then
		echo "$kind $case true"
	else
		echo "$kind $case false"
		say "$case: $seen"
	fi
}
explained() { protheapctl explain --json >/run/explain.json && protheap-guest get /run/explain.json "$1"; }
has_word() { like " $(cat /proc/cmdline) " "* $1 *"; }
has_no_word() { ! has_word "$1"; }

# The policy of a file that wants another heap, as $KEY.toml.
KEY=$(tr '\0' '\n' </sys/firmware/devicetree/base/compatible | head -n 1)
OTHER='protected,trusted-ui'
HEAP='protected,secure-video'
wish() { prefer "$OTHER"; }
# unmoved: whatever there is, this board gets what the image says
unmoved() { protheapctl reload && is "$(explained /gpus/0/decision) $(attr heap)" "$HEAP $HEAP"; }
# outcome_of PATH: what `explain` says of that file
outcome_of() {
	protheapctl explain --json | tr '{' '\n' | grep -F "\"$1\"" | sed -n 's/.*"outcome":"\([a-z]*\)".*/\1/p'
}

taken_over() { like "$(state_of /written_by)" 'protheapd *'; }
need wait_until 30 taken_over
need is "$(attr heap)" "$HEAP"

for pcr in 4 7 11 12; do
	echo "fact pcr$pcr \"$(cat "/sys/class/tpm/tpm0/pcr-sha256/$pcr")\""
done

told honoured signed-addon has_word demonstration=signed-addon
told refused unsigned-addon has_no_word demonstration=unsigned-addon

# udev has loaded the signed one, which no device wants.
need rmmod csfgpu
insert() { insmod "$1/csfgpu.ko"; }
unsigned_module() { fails_with_words 'not permitted' insert /usr/lib/unsigned && absent /sys/module/csfgpu; }
fails_with_words() { words=$1; shift; seen=$("$@" 2>&1) && return 1; like "$seen" "*$words*"; }
told refused unsigned-module unsigned_module
told honoured signed-module insert /lib/modules/*

# A credential from beside the image: it is there, and it would write a policy if anybody believed it.
delivered() { ls /run/credentials/*/tmpfiles.extra; }
no_effect() { delivered && absent /etc/protheap/policies/by-credential.toml && unmoved; }
told refused credential no_effect

mkdir -p /etc/protheap/policies
wish >"/etc/protheap/policies/$KEY.toml"
etc_policy() { unmoved && is "$(outcome_of "/etc/protheap/policies/$KEY.toml")" untrusted; }
told refused etc-policy etc_policy
rm "/etc/protheap/policies/$KEY.toml"

# Extensions, merged by systemd as it would at boot where they have to be signed.
SIGNED=root=signed+absent:usr=signed+absent
extend() { systemd-"$1" --image-policy="$SIGNED" merge; }
mkdir -p /run/extensions /run/confexts
cp /usr/lib/extensions-of-vendor/foreign.raw /run/extensions/vendor.raw
not_merged() { ! extend sysext && unmoved; }
told refused foreign-sysext not_merged
cp /usr/lib/extensions-of-vendor/signed.raw /run/extensions/vendor.raw
vendor() {
	extend sysext && protheapctl reload &&
		is "$(outcome_of "/usr/lib/protheap/policies/$KEY.toml") $(explained /gpus/0/decision)" "applied $OTHER"
}
told honoured signed-sysext vendor
systemd-sysext unmerge
cp /usr/lib/extensions-of-vendor/confext.raw /run/confexts/vendor.raw
confext() { extend confext && unmoved && is "$(outcome_of "/etc/protheap/policies/$KEY.toml")" untrusted; }
told refused signed-confext confext

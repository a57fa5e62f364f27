# SPDX-License-Identifier: MIT OR Apache-2.0
#
# The guest of `demo --uki` with additional files beside the signed image and in the root that follows it. Prints
# `refused CASE true|false` for files that must not apply, and `honoured CASE true|false` for files that must.

# result KIND CASE COMMAND...: prints whether the command succeeds
result() {
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

# A policy that names another heap, as $KEY.toml.
KEY=$(tr '\0' '\n' </sys/firmware/devicetree/base/compatible | head -n 1)
OTHER='protected,trusted-ui'
HEAP='protected,secure-video'
wish() { prefer "$OTHER"; }
# unmoved: the board has the heap of the policy in the image
unmoved() { protheapctl reload && is "$(explained /gpus/0/decision) $(attr heap)" "$HEAP $HEAP"; }
# outcome_of PATH: prints the outcome of that file in `explain`
outcome_of() {
	protheapctl explain --json | tr '{' '\n' | grep -F "\"$1\"" | sed -n 's/.*"outcome":"\([a-z]*\)".*/\1/p'
}

taken_over() { like "$(state_of /written_by)" 'protheapd *'; }
need wait_until 30 taken_over
need is "$(attr heap)" "$HEAP"

for pcr in 4 7 11 12; do
	echo "fact pcr$pcr \"$(cat "/sys/class/tpm/tpm0/pcr-sha256/$pcr")\""
done

result honoured signed-addon has_word demonstration=signed-addon
result refused unsigned-addon has_no_word demonstration=unsigned-addon

# udev has loaded the signed module, which no device uses.
need rmmod csfgpu
insert() { insmod "$1/csfgpu.ko"; }
unsigned_module() { fails_with_words 'not permitted' insert /usr/lib/unsigned && absent /sys/module/csfgpu; }
fails_with_words() { words=$1; shift; seen=$("$@" 2>&1) && return 1; like "$seen" "*$words*"; }
result refused unsigned-module unsigned_module
result honoured signed-module insert /lib/modules/*

# A credential beside the image: it was delivered, and would write a policy if systemd-tmpfiles used it.
delivered() { ls /run/credentials/*/tmpfiles.extra; }
no_effect() { delivered && absent /etc/protheap/policies/by-credential.toml && unmoved; }
result refused credential no_effect

mkdir -p /etc/protheap/policies
wish >"/etc/protheap/policies/$KEY.toml"
etc_policy() { unmoved && is "$(outcome_of "/etc/protheap/policies/$KEY.toml")" untrusted; }
result refused etc-policy etc_policy
rm "/etc/protheap/policies/$KEY.toml"

# Extensions, merged as systemd does at boot where they have to be signed.
SIGNED=root=signed+absent:usr=signed+absent
extend() { systemd-"$1" --image-policy="$SIGNED" merge; }
mkdir -p /run/extensions /run/confexts
cp /usr/lib/extensions-of-vendor/foreign.raw /run/extensions/vendor.raw
not_merged() { ! extend sysext && unmoved; }
result refused foreign-sysext not_merged
cp /usr/lib/extensions-of-vendor/signed.raw /run/extensions/vendor.raw
vendor() {
	extend sysext && protheapctl reload &&
		is "$(outcome_of "/usr/lib/protheap/policies/$KEY.toml") $(explained /gpus/0/decision)" "applied $OTHER"
}
result honoured signed-sysext vendor
systemd-sysext unmerge
cp /usr/lib/extensions-of-vendor/confext.raw /run/confexts/vendor.raw
confext() { extend confext && unmoved && is "$(outcome_of "/etc/protheap/policies/$KEY.toml")" untrusted; }
result refused signed-confext confext

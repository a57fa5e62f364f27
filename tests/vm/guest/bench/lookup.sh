# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Measures the plan with few and with many installed policies.

. /scenarios/bench/common.sh
load_tee
load_protheap
LIB=/usr/lib/protheap
OWN=$(ls $LIB/policies | wc -l)
for count in 10 10000; do
	need cp -r $LIB/policies "$LIB/$count"
	need bench-tool policies "$LIB/$count" $((count - OWN))
	need is "$(ls "$LIB/$count" | wc -l)" $count
done
rm -r $LIB/policies

# planned_with COUNT: measures the plan with that many policies
planned_with() {
	mv "$LIB/$1" $LIB/policies
	need bench-tool run "plan-$1" protheap-bind --plan
	mv $LIB/policies "$LIB/$1"
	plan=$seen
	need like "$plan" '*"policies":\["rockchip,rk3588","default"\]*'
	echo "$plan" | grep '^figure '
}

for _ in $(seq $ROUNDS); do
	planned_with 10
	planned_with 10000
done

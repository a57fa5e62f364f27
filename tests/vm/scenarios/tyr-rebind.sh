# SPDX-License-Identifier: MIT OR Apache-2.0
# about: Tyr waits for the end of its own reset, so that each of 40 probes boots the firmware
# limit: 60

# rebind NUMBER: unbinds Tyr and binds it again that many times, and prints how many times it has probed
rebind() {
	probes=0
	for round in $(seq "$1"); do
		unbind_gpu tyr || return
		bind_gpu tyr >/dev/null 2>&1 && is_driver tyr >/dev/null && probes=$((probes + 1))
	done
	echo "$probes"
}

load_model
need modprobe tyr
check 'Tyr probes' is_driver tyr
check 'Tyr probes after each of 40 rebinds' is "$(rebind 40)" 40
check 'the GPU is reset once per probe' is "$(model soft-resets)" 41
check 'the firmware boots once per probe' is "$(model boots)" 41
check 'the simulated GPU reports no violation' is "$(check_model)" fine
check 'tyr and csfmodel can be unloaded' rmmod tyr csfmodel

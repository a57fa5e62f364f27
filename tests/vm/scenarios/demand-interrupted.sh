# SPDX-License-Identifier: MIT OR Apache-2.0
# about: after a program that waits for a binding on demand was killed, the next program demands the binding again at once
# source: kernel, handed

load_tee
load_protheap
protheap-guest uevents /run/events 30 &
listener=$!
need wait_until 5 exists /run/events
need mkdir "$CONFIG/$GPU"
need store heap protected,secure-video
need store commit demand
load_gpu
demands() { grep -c '^on-demand binding$' /run/events; }
check 'the GPU is to be bound on demand' is "$(attr state) $(driver)" 'on-demand csfgpu'

for round in first second; do
	before=$(demands)
	started=$(now_ms)
	# Not by a function, because the process to be killed is the one that writes.
	protheap-guest write "/sys/kernel/debug/csfgpu/$GPU/groups" create 2>/dev/null &
	program=$!
	check "the $round program demands a binding" wait_until 1 is_count $((before + 1)) demands
	check "the $round program waits for the binding" exists "/proc/$program/exe"
	kill $program
	wait $program 2>/dev/null
	check "the $round program is killed before its wait times out" at_most $(($(now_ms) - started)) 1500
done
check 'a program that is not killed demands a binding' fails create_group
check 'user space is notified of the third demand' wait_until 1 is_count 3 demands
check 'a program demands a binding after the third demand has timed out' fails create_group
check 'user space is notified of the fourth demand' wait_until 1 is_count 4 demands
kill $listener

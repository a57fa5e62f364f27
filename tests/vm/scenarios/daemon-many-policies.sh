# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with 10,000 unrelated files among the policies, the daemon still applies a changed policy in little time and memory
# limit: 120

VIDEO=protected,secure-video
UI=protected,trusted-ui
POLICIES=/etc/protheap/policies
FILE=radxa,rock-5b.toml

# fill DIRECTORY TEXT: writes 10,000 files with that text
fill() {
	mkdir -p "$1"
	i=0
	while [ $i -lt 10000 ]; do
		echo "$2" >"$1/$i.toml"
		i=$((i + 1))
	done
}
# sees WHAT HEAP NEXT: the daemon applies a policy that prefers HEAP, with WHAT among the policies, and reports NEXT
sees() {
	begin=$(now_ms)
	prefer "$2" >$POLICIES/$FILE
	check "$1: the daemon applies the changed policy" wait_until 20 next_is "$3"
	say "$(($(now_ms) - begin)) ms, $(daemon_kb VmHWM) KiB, $(wc -c <$STATE) bytes of state, $(wc -l <$DAEMON_LOG) lines"
	check 'the GPU keeps the heap that it uses' is "$(attr state) $(attr heap)" "in-use $VIDEO"
}

load_tee "heaps=$VIDEO;$UI"
load_protheap
run_binder
load_gpu
start_daemon
mkdir -p $POLICIES
sees 'one file' $UI $UI
small=$(daemon_kb VmHWM)

fill $POLICIES 'schema = 1'
sees 'files of other boards' $VIDEO none
seq 10000 | sed "s,.*,$POLICIES/&.toml.d," | xargs mkdir
sees 'directories of other boards' $UI $UI
fill $POLICIES/$FILE.d 'schema = 1'
sees 'drop-ins' $VIDEO none
check 'state.json reports that not all drop-ins are read' like "$(state_of /refused)" "*$FILE.d*"
fill $POLICIES/$FILE.d 'x = 1'
sees 'bad drop-ins' $UI $UI
grep -o 'skipped: [^ ]*:' $DAEMON_LOG >/run/skipped
check 'bad drop-ins: protheapd logs some of them' at_least "$(log_count skipped:)" 1
check 'bad drop-ins: protheapd logs none of them twice' empty repeated /run/skipped
check 'bad drop-ins: protheapd logs at most as many as it reads' at_most "$(log_count skipped:)" 300
check 'state.json has at most 256 KiB' at_most "$(wc -c <$STATE)" 262144
check 'the memory of the daemon grows by at most 8 MiB' at_most "$(daemon_kb VmHWM)" $((small + 8192))
rm -r $POLICIES
check 'state.json reports no refused file when all files are removed' wait_until 20 is_count '[]' state_of /refused
check 'the daemon reports no preferred heap when all files are removed' wait_until 20 next_is none
stop_daemon
check 'the daemon exits with status 0' is "$DAEMON_STATUS" 0

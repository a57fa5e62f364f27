# SPDX-License-Identifier: MIT OR Apache-2.0
# about: faults can be found: counters, one uevent for each state, and one line in the kernel log for each step
# source: kernel, handed

load_tee
load_protheap
protheap-guest uevents /run/uevents 30 &
listener=$!
need wait_until 5 exists /run/uevents
uevents() { tr '\n' ';' </run/uevents | sed 's/ ;/;/g'; }
log() { dmesg | grep -c "$GPU: protheap: $1"; }

need mkdir "$CONFIG/$GPU"
need store hold_ms 5000
need store origin 'test.toml:1:1'
load_gpu
case $(attr source) in
handed)
	need store heap protected,secure-video
	need store suspend_bytes_wanted 65536
	need store suspend_count 2
	check 'the kernel refuses a buffer that is too small' fails_with EMSGSIZE hand_over suspend protected,secure-video 4096
	check 'the kernel refuses a second buffer that is too small' fails_with EMSGSIZE hand_over suspend protected,secure-video 4096
	check 'the kernel counts both refused buffers' is "$(counter refused-too-small)" 2
	need hand_over firmware protected,secure-video 262144
	need hand_over suspend protected,secure-video 65536
	;;
kernel)
	need store heap protected,secure-video
	need store firmware_bytes_wanted 99999999
	check 'the kernel refuses a buffer that is larger than the heap' fails_with ENOMEM store commit bind
	check 'the kernel counts the failed allocation' is "$(counter refused-heap-too-small)" 1
	need store firmware_bytes_wanted 262144
	need store suspend_bytes_wanted 65536
	need store suspend_count 2
	;;
esac
need store commit bind
check 'the GPU probes with its buffers' wait_until 2 holds "$CONFIG/$GPU/state" in-use
need create_group
need unbind_gpu
need bind_gpu
need rmdir "$CONFIG/$GPU"
need unbind_gpu
case $(cat $CONFIG/can_allocate) in
0) states='open;held;bound suspend;in-use suspend;bound suspend;in-use suspend;absent;' ;;
*) states='open;held;bound;in-use;bound;in-use;absent;' ;;
esac
check 'the kernel sends a uevent for each state, in order' wait_until 2 is_count "$states" uevents
check 'the kernel logs the hold once' is "$(log 'held for at most 5000 ms')" 1
check 'the kernel logs the heap and the policy once' is "$(log 'bound to protected,secure-video by policy test.toml:1:1')" 1
check 'the kernel logs the withdrawal once' is "$(log 'binding withdrawn, . protected buffers are still in use')" 1
check 'the kernel has no buffer when the driver is unbound' is "$(counter state) $(counter buffers) $(counter bytes) $(counter in-use)" 'absent 0 0 0'
check 'the kernel counts the hold of the device as spent' is "$(counter hold-spent)" 1
kill $listener

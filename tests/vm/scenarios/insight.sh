# SPDX-License-Identifier: MIT OR Apache-2.0
# about: whoever looks for a fault finds it: counters, an event for every state, and words in the log, once each
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
need store origin 'somebody'
load_gpu
case $(attr source) in
handed)
	need store heap protected,secure-video
	need store suspend_bytes 65536
	need store suspend_count 2
	check 'too small a buffer' fails_with EMSGSIZE hand_over suspend protected,secure-video 4096
	check 'and another' fails_with EMSGSIZE hand_over suspend protected,secure-video 4096
	check 'both are counted' is "$(counter refused-too-small)" 2
	need hand_over firmware protected,secure-video 262144
	need hand_over suspend protected,secure-video 65536
	;;
kernel)
	need store heap protected,secure-video
	need store firmware_bytes_wanted 99999999
	check 'too large a buffer' fails_with ENOMEM store commit bind
	check 'is counted' is "$(counter refused-heap-too-small)" 1
	need store firmware_bytes_wanted 262144
	need store suspend_bytes 65536
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
case $(cat $CONFIG/sources) in
handed) states='open;held;bound suspend;in-use suspend;bound suspend;in-use suspend;absent;' ;;
*) states='open;held;bound;in-use;bound;in-use;absent;' ;;
esac
check 'every state has its uevent, in order' wait_until 2 is_count "$states" uevents
check 'the window is in the log' is "$(log 'held for at most 5000 ms')" 1
check 'the heap, and who decided' is "$(log 'bound to protected,secure-video by policy somebody')" 1
check 'that it was taken back' is "$(log 'binding withdrawn, . protected buffers are still in use')" 1
check 'nothing is held' is "$(counter state) $(counter buffers) $(counter bytes) $(counter in-use)" 'absent 0 0 0'
check 'the window is spent' is "$(counter window-spent)" 1
kill $listener

# SPDX-License-Identifier: MIT OR Apache-2.0
# about: two GPUs and one parameter: they get the heap that both want, or none
# without: protheap
# overlay: second-gpu

use_panthor parameter
load_tee 'heaps=protected,secure-video;protected,trusted-ui'

# of_second HEAP
of_second() {
	policy radxa,rock-5b <<-END
		schema = 1
		[gpu."fc000000.gpu"]
		heaps = [{ name = "$1" }]
	END
}

of_second protected,trusted-ui
run_binder
check 'the binder tells of a failure' is "$BINDER_STATUS" 1
check 'because their heaps differ' ends failed heaps-differ
check 'for both' is "$(state_of /gpus/1/state) $(state_of /gpus/1/reason)" 'failed heaps-differ'
check 'no option is set' absent "$OPTIONS"

of_second protected,secure-video
run_binder
check 'the binder ends well' is "$BINDER_STATUS" 0
check 'both are bound' is "$(state_of /gpus/0/state) $(state_of /gpus/1/state)" 'bound bound'
check 'by one name' holds "$OPTIONS" 'options panthor protected_heap_name=protected,secure-video'

of_second not-there
run_binder
check 'one that goes without leaves it to the other' is "$(state_of /gpus/0/state) $(state_of /gpus/1/state)" 'bound unprotected'
check 'by its name' holds "$OPTIONS" 'options panthor protected_heap_name=protected,secure-video'

# SPDX-License-Identifier: MIT OR Apache-2.0
# about: two GPUs that share the parameter of panthor get the heap that both policies select, or none
# without: protheap
# overlay: second-gpu

use_panthor parameter
load_tee 'heaps=protected,secure-video;protected,trusted-ui'

# of_second HEAP: writes a policy that names that heap for the second GPU
of_second() {
	policy radxa,rock-5b <<-END
		schema = 1
		[gpu."fc000000.gpu"]
		heaps = [{ name = "$1" }]
	END
}

of_second protected,trusted-ui
run_binder
check 'the binder exits with status 1' is "$BINDER_STATUS" 1
check 'state.json reports state failed and reason heaps-differ for the first GPU' ends failed heaps-differ
check 'state.json reports state failed and reason heaps-differ for the second GPU' is "$(state_of /gpus/1/state) $(state_of /gpus/1/reason)" 'failed heaps-differ'
check 'the binder sets no option for modprobe' absent "$OPTIONS"

of_second protected,secure-video
run_binder
check 'the binder exits with status 0' is "$BINDER_STATUS" 0
check 'both GPUs are bound when their policies select the same heap' is "$(state_of /gpus/0/state) $(state_of /gpus/1/state)" 'bound bound'
check 'the binder sets the heap that both policies select' holds "$OPTIONS" 'options panthor protected_heap_name=protected,secure-video'

of_second not-there
run_binder
check 'an unprotected GPU does not prevent that the other is bound' is "$(state_of /gpus/0/state) $(state_of /gpus/1/state)" 'bound unprotected'
check 'the binder sets the heap of the bound GPU' holds "$OPTIONS" 'options panthor protected_heap_name=protected,secure-video'

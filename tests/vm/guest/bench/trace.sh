# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Which system calls protheap-bind makes where its heap is there.

. /scenarios/bench/common.sh
load_tee
bound_by bench-tool trace protheap-bind

# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Traces the system calls of protheap-bind when its heap exists.

. /scenarios/bench/common.sh
load_tee
bound_by bench-tool trace protheap-bind

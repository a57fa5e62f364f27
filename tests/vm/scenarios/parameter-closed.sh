# SPDX-License-Identifier: MIT OR Apache-2.0
# about: with the parameter of panthor, a closed image keeps the heap name that the initrd has set
# without: protheap

use_panthor parameter
load_model
load_tee 'heaps=protected,secure-video;protected,trusted-ui'
named() { holds "$OPTIONS" "options panthor protected_heap_name=$1"; }
run_binder
need named protected,secure-video

# The policies of the next root prefer another heap.
cat >/usr/lib/protheap/policies/radxa,rock-5b.toml <<-END
	schema = 1
	[gpu."arm,mali-valhall-csf"]
	heaps = [{ name = "protected,trusted-ui" }, { name = "protected,secure-video" }]
END
run_binder
check 'in an open image, the binder sets the heap of the present policy' named protected,trusted-ui
echo 'local-policy = "never"' >/usr/lib/protheap/image.toml
sed -i '/heaps/s/= .*/= [{ name = "protected,secure-video" }, { name = "protected,trusted-ui" }]/' \
	/usr/lib/protheap/policies/radxa,rock-5b.toml
run_binder
check 'in a closed image, the binder keeps the heap name' named protected,trusted-ui
check 'state.json reports state bound' ends bound ''
sed -i '/heaps/s/= .*/= [{ name = "protected,secure-video" }]/' /usr/lib/protheap/policies/radxa,rock-5b.toml
run_binder
check 'in a closed image, the binder sets no heap when the policy does not name the old one' absent "$OPTIONS"
check 'state.json reports state unprotected and reason no-policy' ends unprotected no-policy

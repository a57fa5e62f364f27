# SPDX-License-Identifier: MIT OR Apache-2.0
# about: panthor's parameter where an image is closed: what the initrd named is not decided again
# without: protheap

use_panthor parameter
load_model
load_tee 'heaps=protected,secure-video;protected,trusted-ui'
named() { holds "$OPTIONS" "options panthor protected_heap_name=$1"; }
run_binder
need named protected,secure-video

# The root that follows prefers another heap.
cat >/usr/lib/protheap/policies/radxa,rock-5b.toml <<-END
	schema = 1
	[gpu."arm,mali-valhall-csf"]
	heaps = [{ name = "protected,trusted-ui" }, { name = "protected,secure-video" }]
END
run_binder
check 'where nothing is closed, what is there now counts' named protected,trusted-ui
echo 'local-policy = "never"' >/usr/lib/protheap/image.toml
sed -i '/heaps/s/= .*/= [{ name = "protected,secure-video" }, { name = "protected,trusted-ui" }]/' \
	/usr/lib/protheap/policies/radxa,rock-5b.toml
run_binder
check 'in a closed image the name stays' named protected,trusted-ui
check 'and is bound' ends bound ''
sed -i '/heaps/s/= .*/= [{ name = "protected,secure-video" }]/' /usr/lib/protheap/policies/radxa,rock-5b.toml
run_binder
check 'a policy that does not name it binds nothing else' absent "$OPTIONS"
check 'and says why' ends unprotected no-policy

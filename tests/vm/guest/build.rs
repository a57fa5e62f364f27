// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compiles the client of panthor only if `cargo xtask` has made the bindings of its interface.

fn main() {
    println!("cargo::rustc-check-cfg=cfg(panthor)");
    println!("cargo::rerun-if-env-changed=PROTHEAP_UAPI");
    if std::env::var_os("PROTHEAP_UAPI").is_some() {
        println!("cargo::rustc-cfg=panthor");
    }
}

// SPDX-License-Identifier: MIT OR Apache-2.0

//! Omits the unwind tables from release builds for Linux to reduce their size (see `no-unwind.ld`).

fn main() {
    println!("cargo::rerun-if-changed=no-unwind.ld");
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let directory = variable("CARGO_MANIFEST_DIR");
    // The C library's startup code for static programs refers to the tables.
    let is_static = variable("CARGO_CFG_TARGET_FEATURE").split(',').any(|f| f == "crt-static");
    let is_arm64 = variable("CARGO_CFG_TARGET_ARCH") == "aarch64";
    let is_linux = variable("CARGO_CFG_TARGET_OS") == "linux";
    if variable("PROFILE") == "release" && is_linux && !is_static {
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{directory}/no-unwind.ld");
        if is_arm64 {
            // By default, the erratum workaround adds up to 4 KiB. The `adr` variant suffices for
            // programs below 1 MiB.
            println!("cargo::rustc-link-arg-bins=-Wl,--fix-cortex-a53-843419=adr");
        }
    }
}

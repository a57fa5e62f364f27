// SPDX-License-Identifier: MIT OR Apache-2.0

use super::*;

fn of(compatible: &str, address: u32) -> Source {
    node().with("compatible", compatible).cells("reg", &[0, address, 0, 0x1000])
}

/// Returns nodes as in the trees of RK3588, i.MX 95 and MT8196.
fn board() -> Source {
    let sensor = node().with("compatible", "sony,imx219\0").cells("reg", &[0x10]);
    let i2c = node().bus(1, 0).child("camera@10", sensor);
    let reserved = node().bus(2, 2).with("ranges", "").child("vdec@9", of("acme,vdec-memory\0", 9));
    node()
        .bus(2, 2)
        .child("audio-codec@1", of("acme,a9-codec\0", 1))
        .child("display-controller@2", of("nxp,imx95-dpu\0", 2))
        .child("i2c@3", i2c)
        .child("iommu@4", of("rockchip,rk3588-vdec-iommu\0rockchip,rk3588-iommu\0", 4))
        .child("isi@5", of("fsl,imx95-isi\0", 5))
        .child("jpegdec@6", of("nxp,imx95-jpgdec\0nxp,imx8qxp-jpgdec\0", 6))
        .child("reserved-memory", reserved)
        .child("video-codec@a", of("rockchip,rk3588-vdec\0", 0xa))
        .child("video-codec@b", of("rockchip,rk3588-vdec\0", 0xb))
        .child("video-codec@c", of("rockchip,rk3588-av1-vpu\0", 0xc))
        .child("video-codec@d", of("rockchip,rk3588-vepu121\0rockchip,rk3568-vepu\0", 0xd))
        .child("video-codec@e", of("acme,off-vdec\0", 0xe).with("status", "disabled\0"))
        .child("video-codec@f", of("acme,video\0", 0xf))
        .child("video@10", of("mediatek,mt8196-vcodec-dec\0", 0x10))
        .child("video@11", of("mediatek,mt8196-vcodec-enc\0", 0x11))
        .child("vop@12", of("rockchip,rk3588-vop\0", 0x12))
}

fn found(source: &Source) -> Vec<(String, Role)> {
    let devices = DeviceTree::of_blob(&source.blob()).unwrap().media_devices();
    devices.into_iter().map(|device| (device.compatible[0].clone(), device.role)).collect()
}

#[test]
fn media_devices_are_found_by_name_and_compatible_string() {
    let mut expected = [
        ("nxp,imx95-dpu", Role::Display),
        ("fsl,imx95-isi", Role::Camera),
        ("nxp,imx95-jpgdec", Role::Decoder),
        ("rockchip,rk3588-vdec", Role::Decoder),
        ("rockchip,rk3588-av1-vpu", Role::Codec),
        ("rockchip,rk3588-vepu121", Role::Encoder),
        ("acme,video", Role::Codec),
        ("mediatek,mt8196-vcodec-dec", Role::Decoder),
        ("mediatek,mt8196-vcodec-enc", Role::Encoder),
        ("rockchip,rk3588-vop", Role::Display),
    ]
    .map(|(compatible, role)| (compatible.to_owned(), role))
    .to_vec();
    assert_eq!(found(&board()), expected);

    let subsystem = node().with("compatible", "rockchip,display-subsystem\0");
    expected.retain(|(_, role)| *role != Role::Display);
    expected.insert(0, ("rockchip,display-subsystem".to_owned(), Role::Display));
    assert_eq!(found(&board().child("display-subsystem", subsystem)), expected);
}

// SPDX-License-Identifier: GPL-2.0
/*
 * A video decoder without a function: it binds to the board's decoder node and registers a video node, which can be
 * opened and queried. It accesses no registers. For tests only.
 */
#include <linux/err.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <media/v4l2-dev.h>
#include <media/v4l2-device.h>
#include <media/v4l2-fh.h>
#include <media/v4l2-ioctl.h>

/* Freed when the last open file of the video node is closed. */
struct simvideo {
	struct v4l2_device v4l2;
	struct video_device video;
};

static int querycap(struct file *file, void *priv, struct v4l2_capability *cap)
{
	strscpy(cap->driver, "simvideo");
	strscpy(cap->card, "a decoder for tests");
	return 0;
}

static const struct v4l2_ioctl_ops ioctl_ops = {
	.vidioc_querycap = querycap,
};

static const struct v4l2_file_operations file_ops = {
	.owner = THIS_MODULE,
	.open = v4l2_fh_open,
	.release = v4l2_fh_release,
	.unlocked_ioctl = video_ioctl2,
};

static void release(struct v4l2_device *v4l2)
{
	kfree(container_of(v4l2, struct simvideo, v4l2));
}

static int simvideo_probe(struct platform_device *pdev)
{
	struct simvideo *sim = kzalloc_obj(*sim);
	int ret;

	if (!sim)
		return -ENOMEM;
	ret = v4l2_device_register(&pdev->dev, &sim->v4l2);
	if (ret) {
		kfree(sim);
		return ret;
	}
	sim->v4l2.release = release;
	strscpy(sim->video.name, "simvideo");
	sim->video.v4l2_dev = &sim->v4l2;
	sim->video.fops = &file_ops;
	sim->video.ioctl_ops = &ioctl_ops;
	sim->video.release = video_device_release_empty;
	sim->video.vfl_dir = VFL_DIR_M2M;
	sim->video.device_caps = V4L2_CAP_VIDEO_M2M_MPLANE | V4L2_CAP_STREAMING;
	ret = video_register_device(&sim->video, VFL_TYPE_VIDEO, -1);
	if (ret) {
		v4l2_device_unregister(&sim->v4l2);
		v4l2_device_put(&sim->v4l2);
		return ret;
	}
	platform_set_drvdata(pdev, sim);
	return 0;
}

static void simvideo_remove(struct platform_device *pdev)
{
	struct simvideo *sim = platform_get_drvdata(pdev);

	video_unregister_device(&sim->video);
	v4l2_device_unregister(&sim->v4l2);
	v4l2_device_put(&sim->v4l2);
}

static const struct of_device_id simvideo_match[] = {
	{ .compatible = "rockchip,rk3588-vdec" },
	{ }
};
MODULE_DEVICE_TABLE(of, simvideo_match);

static struct platform_driver simvideo_driver = {
	.probe = simvideo_probe,
	.remove = simvideo_remove,
	.driver = {
		.name = "simvideo",
		.of_match_table = simvideo_match,
	},
};

static char *device;
module_param(device, charp, 0444);
MODULE_PARM_DESC(device, "Name of a platform device without a driver, which exists while the module is loaded");

static struct platform_device *registered;

static int __init simvideo_init(void)
{
	int ret = platform_driver_register(&simvideo_driver);

	if (ret || !device)
		return ret;
	registered = platform_device_register_simple(device, PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(registered)) {
		platform_driver_unregister(&simvideo_driver);
		return PTR_ERR(registered);
	}
	return 0;
}
module_init(simvideo_init);

static void __exit simvideo_exit(void)
{
	platform_device_unregister(registered);
	platform_driver_unregister(&simvideo_driver);
}
module_exit(simvideo_exit);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Video node of a decoder device, for tests");

"""Writes `inception_reference.npz` beside this file: logits of networks written with PyTorch's own operations.

    python make_inception_reference.py

in an environment with torch. Made with torch 2.13.0. Weights as in `make_torch_reference.py`; the names are
torchvision's for VGG and its GoogLeNet, and our layers' for the others. Of Inception-v4's modules there is one of each
kind: through all of them, random weights make every image alike.
"""

from pathlib import Path

import numpy as np
from make_torch_reference import CLASSES, draw, images

# Odd sizes, height not width; VGG and AlexNet end in maps of 2x3 and 1x2, so that the order of flattening shows.
SIZES = {
    "alexnet": (67, 104),
    "zfnet": (59, 90),
    "vgg11": (64, 107),
    "googlenet": (75, 107),
    "googlenet_torchvision": (75, 107),
    "inception_v4": (83, 107),
}


def main() -> None:
    import torch
    from torch.nn import functional as F

    def parameter(name, *shape):
        return torch.from_numpy(draw(name, shape))

    def conv(x, module, filters, size=1, stride=1, padding=None, bias=True):
        sizes = (size, size) if isinstance(size, int) else size
        padding = [s // 2 for s in sizes] if padding is None else padding
        weight = parameter(f"{module}.weight", filters, x.shape[1], *sizes)
        return F.conv2d(x, weight, parameter(f"{module}.bias", filters) if bias else None, stride, padding)

    def plain(x, name, *row, **options):
        return torch.relu(conv(x, f"{name}_conv", *row, **options))

    def normed(join):
        def layer(x, name, *row, **options):
            x = conv(x, f"{name}{join}conv", *row, bias=False, **options)
            kinds = ("running_mean", "running_var", "weight", "bias")
            values = [parameter(f"{name}{join}bn.{kind}", x.shape[1]) for kind in kinds]
            return torch.relu(F.batch_norm(x, *values, eps=1e-3))

        return layer

    def dense(x, module, units):
        return F.linear(x, parameter(f"{module}.weight", units, x.shape[1]), parameter(f"{module}.bias", units))

    def lrn(x):  # whose alpha is divided by the number of channels
        return F.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)

    def caffe(x):
        return x - torch.tensor([123.68, 116.779, 103.939]).view(3, 1, 1)

    def dense_top(x, *modules):
        for module in modules[:-1]:
            x = torch.relu(dense(x, module, 4096))
        return dense(x, modules[-1], CLASSES)

    def last_convolutions(x):
        for name, filters in (("c5", 384), ("c6", 384), ("c7", 256)):
            x = plain(x, name, filters, 3)
        return dense_top(F.max_pool2d(x, 3, 2).flatten(1), "fc1", "fc2", "predictions")

    def alexnet(x):
        x = F.max_pool2d(lrn(plain(caffe(x), "c1", 96, 11, 4, 0)), 3, 2)
        x = F.max_pool2d(lrn(plain(x, "c3", 256, 5)), 3, 2)
        return last_convolutions(x)

    def zfnet(x):
        # Pooling as Keras' "same": what is odd is padded on both sides, what is even at the end alone
        def pool(x):
            height, width = x.shape[2:]
            return F.max_pool2d(F.pad(x, (width % 2, 1, height % 2, 1)), 3, 2)

        x = lrn(pool(plain(caffe(x), "c1", 96, 7, 2, 1)))
        x = lrn(pool(plain(x, "c3", 256, 5, 2, 0)))
        return last_convolutions(x)

    def vgg11(x):
        x = x / 255 - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
        x = x / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
        for index, filters in ((0, 64), (3, 128), (6, 256), (8, 256), (11, 512), (13, 512), (16, 512), (18, 512)):
            x = torch.relu(conv(x, f"features.{index}", filters, 3))
            if index in (0, 3, 8, 13, 18):
                x = F.max_pool2d(x, 2)
        return dense_top(x.flatten(1), "classifier.0", "classifier.3", "classifier.6")

    modules = {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    }

    def pool(x, size=3):
        return F.max_pool2d(x, size, 2, ceil_mode=True)

    def googlenet(x):
        def inception(x, name, a, b, c, d, e, f):
            name = f"inception{name}"
            first = plain(x, f"{name}_1_1", a)
            second = plain(plain(x, f"{name}_2_1", b), f"{name}_2_2", c, 3)
            third = plain(plain(x, f"{name}_3_1", d), f"{name}_3_2", e, 5)
            fourth = plain(F.max_pool2d(x, 3, 1, 1), f"{name}_4_2", f)
            return torch.cat([first, second, third, fourth], 1)

        x = lrn(pool(plain(caffe(x), "conv1", 64, 7, 2)))
        x = pool(lrn(plain(plain(x, "conv2_reduce", 64), "conv2", 192, 3)))
        for name, row in modules.items():
            x = inception(pool(x) if name in ("4a", "5a") else x, name, *row)
        return dense(x.mean((2, 3)), "predictions", CLASSES)

    def googlenet_torchvision(x):
        basic = normed(".")

        def inception(x, name, a, b, c, d, e, f):
            name = f"inception{name}.branch"
            first = basic(x, f"{name}1", a)
            second = basic(basic(x, f"{name}2.0", b), f"{name}2.1", c, 3)
            third = basic(basic(x, f"{name}3.0", d), f"{name}3.1", e, 3)
            fourth = basic(F.max_pool2d(x, 3, 1, 1), f"{name}4.1", f)
            return torch.cat([first, second, third, fourth], 1)

        x = pool(basic(x / 127.5 - 1, "conv1", 64, 7, 2))
        x = pool(basic(basic(x, "conv2", 64), "conv3", 192, 3))
        for name, row in modules.items():
            x = inception(pool(x, 3 if name == "4a" else 2) if name in ("4a", "5a") else x, name, *row)
        return dense(x.mean((2, 3)), "fc", CLASSES)

    def inception_v4(x):
        layer = normed("_")
        row, column = (1, 7), (7, 1)

        def average(x):
            return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

        def split(x, name):
            return torch.cat([layer(x, f"{name}_1_1", 256, (1, 3)), layer(x, f"{name}_2_1", 256, (3, 1))], 1)

        def chain(x, name, *rows):
            for i, options in enumerate(rows, 1):
                x = layer(x, f"{name}_{i}", *options)
            return x

        def a(x, name):
            first = layer(x, f"{name}_1_1", 96)
            second = chain(x, f"{name}_2", (64,), (96, 3))
            third = chain(x, f"{name}_3", (64,), (96, 3), (96, 3))
            return torch.cat([first, second, third, layer(average(x), f"{name}_4_2", 96)], 1)

        def b(x, name):
            first = layer(x, f"{name}_1_1", 384)
            second = chain(x, f"{name}_2", (192,), (224, row), (256, column))
            third = chain(x, f"{name}_3", (192,), (192, column), (224, row), (224, column), (256, row))
            return torch.cat([first, second, third, layer(average(x), f"{name}_4_2", 128)], 1)

        def c(x, name):
            first = layer(x, f"{name}_1_1", 256)
            second = split(layer(x, f"{name}_2_1", 384), f"{name}_2_2")
            third = split(chain(x, f"{name}_3", (384,), (448, (3, 1)), (512, (1, 3))), f"{name}_3_4")
            return torch.cat([first, second, third, layer(average(x), f"{name}_4_2", 256)], 1)

        x = layer(x / 127.5 - 1, "stem1", 32, 3, 2, 0)
        x = layer(layer(x, "stem2", 32, 3, 1, 0), "stem3", 64, 3)
        x = torch.cat([F.max_pool2d(x, 3, 2), layer(x, "stem4_2_1", 96, 3, 2, 0)], 1)
        left = chain(x, "stem5_1", (64,), (96, 3, 1, 0))
        x = torch.cat([left, chain(x, "stem5_2", (64,), (64, row), (64, column), (96, 3, 1, 0))], 1)
        x = torch.cat([layer(x, "stem6_1_1", 192, 3, 2, 0), F.max_pool2d(x, 3, 2)], 1)
        x = a(x, "inception_a1")
        left = layer(x, "reduction_a_1_1", 384, 3, 2, 0)
        middle = chain(x, "reduction_a_2", (192,), (224, 3), (256, 3, 2, 0))
        x = torch.cat([left, middle, F.max_pool2d(x, 3, 2)], 1)
        x = b(x, "inception_b1")
        left = chain(x, "reduction_b_1", (192,), (192, 3, 2, 0))
        middle = chain(x, "reduction_b_2", (256,), (256, row), (320, column), (320, 3, 2, 0))
        x = torch.cat([left, middle, F.max_pool2d(x, 3, 2)], 1)
        return dense(c(x, "inception_c1").mean((2, 3)), "predictions", CLASSES)

    networks = (alexnet, zfnet, vgg11, googlenet, googlenet_torchvision, inception_v4)
    reference = {}
    with torch.no_grad():
        for network in networks:
            name = network.__name__
            x = torch.from_numpy(images(SIZES[name]).copy()).permute(0, 3, 1, 2)
            reference[name] = network(x).numpy()
            print(name, reference[name].round(2).tolist())
    np.savez_compressed(Path(__file__).with_name("inception_reference.npz"), **reference)


if __name__ == "__main__":
    main()

"""Writes `torch_reference.npz` beside this file: logits of networks written with PyTorch's own layers.

    python make_torch_reference.py

in an environment with torch. Made with torch 2.13.0.

The modules carry torchvision's names. Their weights are random, but the same wherever they are made: each is drawn from
a generator that is seeded by its name, of a kind (`RandomState`) whose numbers NumPy promises never to change.
"""

import zlib
from pathlib import Path

import numpy as np

SIZE = (75, 107)
CLASSES = 10
# Units of each stage, whether they are bottlenecks, stride in the 1x1, groups, width of a group, ratio of SE.
RESNETS = {
    "resnet18": ((2, 2, 2, 2), False, False, 1, 64, 0),
    "resnet34": ((3, 4, 6, 3), False, False, 1, 64, 0),
    "resnet50_v1_5": ((3, 4, 6, 3), True, False, 1, 64, 0),
    "resnext50_32x4d": ((3, 4, 6, 3), True, False, 32, 4, 0),
    "se_resnet50": ((3, 4, 6, 3), True, True, 1, 64, 16),
}
# Image size that the positions are for, patch, width, heads, blocks.
VIT = (64, 16, 24, 3, 2)
WRN = (16, 2)  # depth, width


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array for the parameter of a module."""
    random = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("running_var"):
        value = random.uniform(0.5, 2, shape)
    elif len(shape) < 2:
        value = random.normal(float(name.endswith("weight")), 0.2, shape)  # the gain of a norm is near 1
    else:
        value = random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
    return np.asarray(value, "float32")


def images(size: tuple[int, int] = SIZE) -> np.ndarray:
    """float32 `[2, *size, 3]` in 0..255: squares of colour."""
    squares = np.random.RandomState(0).uniform(0, 255, (2, 8, 8, 3)).astype("float32")
    return squares.repeat(16, axis=1).repeat(16, axis=2)[:, : size[0], : size[1]]


def main() -> None:
    import torch
    from torch import nn

    class Squeeze(nn.Module):
        def __init__(self, channels, ratio):
            super().__init__()
            self.reduce = nn.Conv2d(channels, channels // ratio, 1)
            self.expand = nn.Conv2d(channels // ratio, channels, 1)

        def forward(self, x):
            weight = self.expand(torch.relu(self.reduce(x.mean((2, 3), keepdim=True))))
            return x * torch.sigmoid(weight)

    class Unit(nn.Module):
        def __init__(self, inputs, channels, stride, bottleneck, first, groups, group_width, ratio):
            super().__init__()
            filters = channels * (4 if bottleneck else 1)
            if bottleneck:
                width = channels * group_width // 64 * groups
                at1, at3 = (stride, 1) if first else (1, stride)
                self.conv1 = nn.Conv2d(inputs, width, 1, at1, bias=False)
                self.conv2 = nn.Conv2d(width, width, 3, at3, 1, groups=groups, bias=False)
                self.conv3 = nn.Conv2d(width, filters, 1, bias=False)
                self.bn1, self.bn2, self.bn3 = nn.BatchNorm2d(width), nn.BatchNorm2d(width), nn.BatchNorm2d(filters)
            else:
                self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
                self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
                self.bn1, self.bn2 = nn.BatchNorm2d(filters), nn.BatchNorm2d(filters)
            self.bottleneck = bottleneck
            self.se = Squeeze(filters, ratio) if ratio else nn.Identity()
            self.downsample = nn.Identity()
            if stride != 1 or inputs != filters:
                conv = nn.Conv2d(inputs, filters, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(filters))

        def forward(self, x):
            y = torch.relu(self.bn1(self.conv1(x)))
            y = self.bn2(self.conv2(y))
            if self.bottleneck:
                y = self.bn3(self.conv3(torch.relu(y)))
            return torch.relu(self.se(y) + self.downsample(x))

    class ResNet(nn.Module):
        def __init__(self, units, bottleneck, *options):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
            inputs = 64
            for stage, count in enumerate(units):
                row = []
                for unit in range(count):
                    stride = 2 if stage and not unit else 1
                    row.append(Unit(inputs, 64 * 2**stage, stride, bottleneck, *options))
                    inputs = 64 * 2**stage * (4 if bottleneck else 1)
                setattr(self, f"layer{stage + 1}", nn.Sequential(*row))
            self.fc = nn.Linear(inputs, CLASSES)

        def forward(self, x):
            x = (x / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
            x = torch.relu(self.bn1(self.conv1(x.permute(0, 3, 1, 2))))
            x = nn.functional.max_pool2d(x, 3, 2, 1)
            for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
                x = stage(x)
            return self.fc(x.mean((2, 3)))

    class WideUnit(nn.Module):
        def __init__(self, inputs, filters, stride):
            super().__init__()
            self.bn1, self.bn2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(filters)
            self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
            self.downsample = nn.Conv2d(inputs, filters, 1, stride, bias=False) if inputs != filters else None

        def forward(self, x):
            y = torch.relu(self.bn1(x))
            x = x if self.downsample is None else self.downsample(y)
            return x + self.conv2(torch.relu(self.bn2(self.conv1(y))))

    class WideResNet(nn.Module):
        def __init__(self, depth, width):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(64 * width)
            inputs, self.layers = 16, nn.ModuleList()
            for group in range(3):
                for unit in range((depth - 4) // 6):
                    stride = 2 if group and not unit else 1
                    self.layers.append(WideUnit(inputs, 16 * width * 2**group, stride))
                    inputs = 16 * width * 2**group
            self.fc = nn.Linear(inputs, CLASSES)

        def forward(self, x):
            x = self.conv1((x / 127.5 - 1).permute(0, 3, 1, 2))
            for layer in self.layers:
                x = layer(x)
            return self.fc(torch.relu(self.bn1(x)).mean((2, 3)))

    class VisionTransformer(nn.Module):
        def __init__(self, image_size, patch, width, heads, blocks):
            super().__init__()
            self.grid = image_size // patch
            self.conv_proj = nn.Conv2d(3, width, patch, patch)
            self.class_token = nn.Parameter(torch.zeros(1, width))
            self.position = nn.Parameter(torch.zeros(1 + self.grid**2, width))
            self.blocks = nn.ModuleList(
                nn.TransformerEncoderLayer(
                    width, heads, 4 * width, 0.0, "gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
                )
                for _ in range(blocks)
            )
            self.norm = nn.LayerNorm(width, 1e-6)
            self.fc = nn.Linear(width, CLASSES)

        def forward(self, x):
            x = self.conv_proj((x / 127.5 - 1).permute(0, 3, 1, 2))
            table = self.position[1:].T.reshape(1, -1, self.grid, self.grid)
            x = x + nn.functional.interpolate(table, x.shape[2:], mode="bilinear", align_corners=False)
            first = (self.class_token + self.position[:1]).expand(len(x), 1, -1)
            x = torch.cat([first, x.flatten(2).transpose(1, 2)], 1)
            for block in self.blocks:
                x = block(x)
            return self.fc(self.norm(x)[:, 0])

    def logits(network: nn.Module, size: tuple[int, int] = SIZE) -> np.ndarray:
        state = {
            name: torch.from_numpy(draw(name, tuple(tensor.shape)))
            for name, tensor in network.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        network.load_state_dict(state, strict=False)
        with torch.no_grad():
            return network.eval()(torch.from_numpy(images(size).copy())).numpy()

    reference = {name: logits(ResNet(*row)) for name, row in RESNETS.items()}
    reference["wide_resnet"] = logits(WideResNet(*WRN))
    reference["vit"] = logits(VisionTransformer(*VIT), (64, 64))
    reference["vit_resized"] = logits(VisionTransformer(*VIT), (48, 96))
    for name, value in reference.items():
        print(name, value.round(2).tolist())
    np.savez_compressed(Path(__file__).with_name("torch_reference.npz"), **reference)


if __name__ == "__main__":
    main()

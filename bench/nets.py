"""The networks of the zoo: a LeNet, a plain CNN and a ResNet-20, each taking images of 0..1 in channels first."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn


class Scaled(nn.Module):
    """Centres and scales the pixels with constants that are part of the network, then asks the body."""

    def __init__(self, body: nn.Module, mean: tuple[float, ...], spread: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("scale", 1 / torch.tensor(spread)[:, None, None])
        self.body = body

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (samples, channels, rows, columns) to logits (samples, classes)."""
        return self.body((images - self.mean) * self.scale)


class Residual(nn.Module):
    """Two 3x3 convolutions beside an identity, or beside a 1x1 convolution where the shape changes."""

    def __init__(self, narrow: int, wide: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(narrow, wide, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(wide)
        self.conv2 = nn.Conv2d(wide, wide, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(wide)
        self.skip: nn.Module = nn.Identity()
        if stride != 1 or narrow != wide:
            self.skip = nn.Sequential(nn.Conv2d(narrow, wide, 1, stride, bias=False), nn.BatchNorm2d(wide))

    def forward(self, flow: torch.Tensor) -> torch.Tensor:
        """The block's answer, of the shape that its stride and width say."""
        inner = torch.relu(self.norm1(self.conv1(flow)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.skip(flow))


def lenet() -> nn.Module:
    """LeNet-5 in Caffe's widths, for 28x28 grey images: 430 500 weights."""
    features = [nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Dropout(0.3), nn.Linear(800, 500), nn.ReLU(), nn.Dropout(0.3), nn.Linear(500, 10)]
    return Scaled(nn.Sequential(*features, *head), (0.1307,), (0.3081,))


def plain(classes: int = 10) -> nn.Module:
    """Three 3x3 convolutions, each pooled, and two dense layers, for 28x28 grey images."""
    parts: list[nn.Module] = []
    for narrow, wide in ((1, 32), (32, 64), (64, 128)):
        parts += [nn.Conv2d(narrow, wide, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout2d(0.05)]
    parts += [nn.Flatten(), nn.Linear(1152, 256), nn.ReLU(), nn.Dropout(0.4), nn.Linear(256, classes)]
    return Scaled(nn.Sequential(*parts), (0.2860,), (0.3530,))


def wide() -> nn.Module:
    """Two hidden dense layers for 28x28 grey images: ten million weights."""
    layers = [nn.Flatten(), nn.Linear(784, 3000), nn.ReLU(), nn.Linear(3000, 2500), nn.ReLU(), nn.Linear(2500, 10)]
    return Scaled(nn.Sequential(*layers), (0.1307,), (0.3081,))


def resnet20() -> nn.Module:
    """ResNet-20 of He et al. (2016), for 32x32 colour images, with projections where the shape changes."""
    parts: list[nn.Module] = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    narrow = 16
    for wide, stride in ((16, 1), (32, 2), (64, 2)):
        for block in range(3):
            parts.append(Residual(narrow, wide, stride if block == 0 else 1))
            narrow = wide
    parts += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)]
    return Scaled(nn.Sequential(*parts), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


NETS: dict[str, Callable[[], nn.Module]] = {
    "lenet": lenet,
    "plain": plain,
    "plain11": partial(plain, 11),
    "resnet20": resnet20,
    "wide": wide,
}

"""Tiny networks of the families that people train, exported as people export them."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional


class Residual(nn.Module):
    """A block of a ResNet, wide or not."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.down = nn.Conv2d(inside, outside, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(y + self.down(x))


class Mobile(nn.Module):
    """An inverted bottleneck with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8), nn.Hardswish())
        self.expand = nn.Sequential(nn.Conv2d(8, 16, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.depth = nn.Sequential(nn.Conv2d(16, 16, 5, 2, 2, groups=16, bias=False), nn.BatchNorm2d(16))
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 4, 1), nn.SiLU(), nn.Conv2d(4, 16, 1), nn.Hardsigmoid()
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(16, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.depth(self.expand(self.stem(x)))
        return self.head(x * self.squeeze(x))


class Vision(nn.Module):
    """A transformer over patches of an image."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.first = nn.Parameter(torch.randn(1, 1, 16))
        self.places = nn.Parameter(torch.randn(1, 5, 16))
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.project = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(x.shape[0], -1, -1), x], 1) + self.places
        n, t, c = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(n, t, 3, 4, c // 4).permute(2, 0, 3, 1, 4)
        y = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, t, c)
        x = x + self.project(y)
        x = x + self.mlp(self.norm2(x))
        return self.head(x[:, 0])


class Encoder(nn.Module):
    """A transformer over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 16)
        self.layers = nn.ModuleList([nn.TransformerEncoderLayer(16, 4, 32, batch_first=True) for _ in range(2)])
        self.head = nn.Linear(16, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.words(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x.mean(1))


class Recurrent(nn.Module):
    """An LSTM or a GRU over tokens."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.cells = kind(8, 12, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(24, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.cells(self.words(tokens))[0].mean(1))


class Ushaped(nn.Module):
    """Down and up again, with a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.norm, self.out = nn.GroupNorm(2, 12), nn.Conv2d(18, 2, 3, padding=1, padding_mode="reflect")

    def forward(self, x: Tensor) -> Tensor:
        a = functional.relu(self.down1(x))
        b = functional.leaky_relu(self.down2(functional.max_pool2d(a, 2)))
        far = functional.interpolate(functional.avg_pool2d(a, 2), scale_factor=2, mode="bilinear", align_corners=False)
        near = functional.interpolate(functional.max_pool2d(a, 2), scale_factor=2)
        return self.out(torch.cat([self.norm(torch.cat([self.up(b), near], 1)), far], 1))


def _plain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.BatchNorm2d(8),
        nn.ELU(),
        nn.Flatten(),
        nn.Linear(8 * 36, 5),
        nn.LogSoftmax(1),
    )


def _residual() -> nn.Module:
    blocks = [Residual(8, 8, 1), Residual(8, 12, 2)]
    return nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 5))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "plain": _plain,
    "residual": _residual,
    "mobile": Mobile,
    "vision": Vision,
    "encoder": Encoder,
    "lstm": lambda: Recurrent(nn.LSTM),
    "gru": lambda: Recurrent(nn.GRU),
    "ushaped": Ushaped,
}
TOKENS = ("encoder", "lstm", "gru")


def network(name: str) -> nn.Module:
    """A network as it might be after some training: no two tensors alike, statistics that matter."""
    torch.manual_seed(1)
    net = NETWORKS[name]()
    with torch.no_grad():
        for values in [*net.parameters(), *net.buffers()]:
            if values.is_floating_point():
                values.add_(torch.rand_like(values) * 0.1 + 0.01)
    return net.eval()


def inputs(name: str) -> Tensor:
    """A batch for a network."""
    draw = torch.Generator().manual_seed(2)
    if name in TOKENS:
        return torch.randint(0, 20, (3, 7), generator=draw)
    return torch.randn(3, 3, 16 if name == "plain" else 8, 16 if name == "plain" else 8, generator=draw)


def exported(name: str, path: Path, *, tracing: bool = True, folded: bool = True, opset: int | None = None) -> Path:
    """Export a network: by tracing (needs onnx only) or by torch.export, for batches of any size."""
    net, x, buffer = network(name), inputs(name), io.BytesIO()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporters warn of each other and of themselves
        if tracing:
            names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
            torch.onnx.export(
                net, (x,), buffer, dynamo=False, do_constant_folding=folded, opset_version=opset, **names,
                training=torch.onnx.TrainingMode.EVAL if folded else torch.onnx.TrainingMode.PRESERVE,
            )  # fmt: skip
        else:
            torch.onnx.export(net, (x,), buffer, dynamo=True, verbose=False, opset_version=opset)
    path.write_bytes(buffer.getvalue())
    return path

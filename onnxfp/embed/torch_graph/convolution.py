"""Convolutions in one, two and three dimensions, with the padding rules of the standard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator

_CONVOLVE: dict[int, Operation] = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED: dict[int, Operation] = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


@final
class Window:
    """Strides, dilations and pads of a sliding window."""

    def __init__(self, call: Call) -> None:
        self._strides = call.integers("strides")
        self._dilations = call.integers("dilations")
        self._pads = call.integers("pads")
        self.auto = call.text("auto_pad", "NOTSET")
        if self.auto not in ("NOTSET", "", "VALID", "SAME_UPPER", "SAME_LOWER"):
            call.refuse(f"auto_pad={self.auto}")

    def strides(self, rank: int) -> tuple[int, ...]:
        """One for each axis."""
        return self._strides or (1,) * rank

    def dilations(self, rank: int) -> tuple[int, ...]:
        """One for each axis."""
        return self._dilations or (1,) * rank

    def pads(self, extents: Sequence[int], kernel: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the pads before and after each axis."""
        rank = len(kernel)
        if self.auto.startswith("SAME"):
            return self._same(extents, kernel)
        if self.auto == "VALID" or not self._pads:
            return (0,) * rank, (0,) * rank
        return self._pads[:rank], self._pads[rank:]

    def _same(self, extents: Sequence[int], kernel: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """As many outputs as steps begun."""
        rank, small, large = len(kernel), [], []
        rows = zip(extents, kernel, self.strides(rank), self.dilations(rank), strict=True)
        for extent, size, stride, dilation in rows:
            total = max(0, (-(-extent // stride) - 1) * stride + (size - 1) * dilation + 1 - extent)
            small.append(total // 2)
            large.append(total - total // 2)
        before, after = (small, large) if self.auto == "SAME_UPPER" else (large, small)
        return tuple(before), tuple(after)


def padded(value: Tensor, before: Sequence[int], after: Sequence[int], fill: float = 0.0) -> Tensor:
    """Pad the last axes."""
    pairs = [pad for axis in reversed(range(len(before))) for pad in (before[axis], after[axis])]
    return functional.pad(value, pairs, value=fill) if any(pairs) else value


def _convolution(call: Call) -> Operation:
    window, groups = Window(call), call.integer("group", 1)

    def convolve(value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        before, after = window.pads(value.shape[2:], weight.shape[2:])
        if before != after:
            value, before = padded(value, before, after), (0,) * rank
        return _CONVOLVE[rank](value, weight, bias, window.strides(rank), before, window.dilations(rank), groups)

    return convolve


def _transposed(call: Call) -> Operation:
    window, groups = Window(call), call.integer("group", 1)
    extra, extents = call.integers("output_padding"), call.integers("output_shape")

    def convolve(value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        rank = weight.dim() - 2
        strides, dilations, more = window.strides(rank), window.dilations(rank), extra or (0,) * rank
        kernel = [(size - 1) * by + 1 for size, by in zip(weight.shape[2:], dilations, strict=True)]
        whole = [(n - 1) * by + k + e for n, by, k, e in zip(value.shape[2:], strides, kernel, more, strict=True)]
        wanted = extents[-rank:] or _same_extents(window, value, strides)
        before, after = _crop(window, whole, wanted) if wanted else window.pads(value.shape[2:], weight.shape[2:])
        if before == after:
            return _TRANSPOSED[rank](value, weight, bias, strides, before, more, groups, dilations)
        result = _TRANSPOSED[rank](value, weight, bias, strides, 0, more, groups, dilations)
        return padded(result, [-cut for cut in before], [-cut for cut in after])

    return convolve


def _same_extents(window: Window, value: Tensor, strides: Sequence[int]) -> tuple[int, ...]:
    if not window.auto.startswith("SAME"):
        return ()
    return tuple(n * stride for n, stride in zip(value.shape[2:], strides, strict=True))


def _crop(window: Window, whole: Sequence[int], wanted: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What to cut before and after each axis so that `wanted` remains."""
    totals = [max(0, have - want) for have, want in zip(whole, wanted, strict=True)]
    small, large = tuple(total // 2 for total in totals), tuple(total - total // 2 for total in totals)
    return (small, large) if window.auto == "SAME_UPPER" else (large, small)


OPERATORS: dict[str, Operator] = {
    "Conv": Operator(_convolution),
    "ConvTranspose": Operator(_transposed),
}

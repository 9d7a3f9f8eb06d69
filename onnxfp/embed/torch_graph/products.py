"""Matrix products: Gemm, MatMul, Einsum, and attention as one operator."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor
from torch.nn import functional

from onnxfp.embed.torch_graph.operator import Call, Operation, Operator, plain


def _gemm(call: Call) -> Operation:
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    flip_a, flip_b = call.integer("transA"), call.integer("transB")

    def product(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if flip_a else a
        if alpha == 1 and beta == 1 and (c is None or c.dim() == 1):
            return functional.linear(a, b if flip_b else b.t(), c)
        product = alpha * (a @ (b.t() if flip_b else b))
        return product if c is None else product + beta * c

    return product


def _einsum(call: Call) -> Operation:
    equation = call.text("equation")
    return lambda *operands: torch.einsum(equation, *operands)


def _fused_matmul(call: Call) -> Operation:
    alpha = call.number("alpha", 1.0)
    flip_a, flip_b = call.integer("transA"), call.integer("transB")
    for name in ("transBatchA", "transBatchB"):
        call.only(name, 0)

    def product(a: Tensor, b: Tensor) -> Tensor:
        return alpha * (a.mT if flip_a and a.dim() > 1 else a) @ (b.mT if flip_b and b.dim() > 1 else b)

    return product


# --- attention ----------------------------------------------------------------------------------------------------


def _attention(call: Call) -> Operation:
    """Attention of opset 23: (batch, heads, length, size), or (batch, length, heads * size) with the heads named."""
    if call.given(6):
        call.refuse("lengths of padded keys")
    call.only("qk_matmul_output_mode", 0)
    scale, softcap, causal = call.number("scale", 0.0), call.number("softcap", 0.0), call.integer("is_causal")
    heads = call.integer("q_num_heads"), call.integer("kv_num_heads"), call.integer("kv_num_heads")

    def attend(*inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        given = [*inputs, *[None] * (6 - len(inputs))]
        flat = given[0].dim() == 3
        q, k, v = (_split_heads(value, count) for value, count in zip(given[:3], heads, strict=True))
        past = 0 if given[4] is None else given[4].shape[2]
        k, v = (_after(old, new) for old, new in ((given[4], k), (given[5], v)))
        repeats = q.shape[1] // k.shape[1]
        scores = (q * (scale or 1 / sqrt(q.shape[-1]))) @ k.repeat_interleave(repeats, 1).mT
        capped = softcap * torch.tanh(scores / softcap) if softcap else scores
        y = torch.softmax(_masked(capped, given[3], past if causal else None), -1) @ v.repeat_interleave(repeats, 1)
        return (y.transpose(1, 2).flatten(2) if flat else y), k, v, scores

    return attend


def _split_heads(value: Tensor, heads: int) -> Tensor:
    return value if value.dim() == 4 else value.unflatten(2, (heads, -1)).transpose(1, 2)


def _after(past: Tensor | None, value: Tensor) -> Tensor:
    return value if past is None else torch.cat([past, value], 2)


def _masked(scores: Tensor, mask: Tensor | None, causal_from: int | None) -> Tensor:
    if causal_from is not None:
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril(causal_from)
        scores = scores.masked_fill(~allowed, -torch.inf)
    if mask is None:
        return scores
    if mask.shape[-1] < scores.shape[-1]:  # keys that the mask does not reach are not seen
        missing = scores.shape[-1] - mask.shape[-1]
        mask = functional.pad(mask, (0, missing), value=False if mask.dtype == torch.bool else -torch.inf)
    return scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask


OPERATORS: dict[str, Operator] = {
    "Attention": Operator(_attention),
    "Einsum": Operator(_einsum),
    "Gemm": Operator(_gemm),
    "MatMul": plain(torch.matmul),
}
MICROSOFT: dict[str, Operator] = {
    "FusedMatMul": Operator(_fused_matmul),
}

"""A linear layer as one kernel, with the GELU after it where there is one, where a processor has it. Knows no network.

PyTorch's own GELU by tanh takes a processor as long as the product before it; oneDNN's joins it to the product. PyTorch's own
layer copies its bias into every row of the result before the product is added, and is slower by it on tokens of small width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils.flop_counter import register_flop_formula

KERNEL = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
if KERNEL is not None:

    @register_flop_formula(KERNEL)
    def _operations(x: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
        """For PyTorch's counter of operations, which would take the kernel for nothing."""
        return 2 * math.prod(x) * weight[0]


Form = Literal["none", "tanh"]
"""Of the GELU: exact, or by tanh."""


def has_linear_kernel(x: Tensor, weight: Tensor) -> bool:
    """Whether `linear`, `linear_gelu` and `linear_geglu` can be used now.

    The kernel has no gradient, autocast does not know it, and a compiler finds better by itself.
    """
    return (
        x.device.type == "cpu"
        and x.dtype == weight.dtype
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and _works(x.dtype)
    )


def linear(
    x: Float[Tensor, "*n d"], weight: Float[Tensor, "e d"], bias: Float[Tensor, "e"] | None
) -> Float[Tensor, "*n e"]:
    """x·weightᵀ + bias."""
    assert KERNEL is not None  # `has_linear_kernel` asked
    return KERNEL(x, weight, bias, "none", [], "")


def linear_gelu(
    x: Float[Tensor, "*n d"], weight: Float[Tensor, "e d"], bias: Float[Tensor, "e"] | None, form: Form
) -> Float[Tensor, "*n e"]:
    """GELU(x·weightᵀ + bias)."""
    assert KERNEL is not None  # `has_linear_kernel` asked
    return KERNEL(x, weight, bias, "gelu", [], form)


def linear_geglu(
    x: Float[Tensor, "*n d"], weight: Float[Tensor, "e2 d"], bias: Float[Tensor, "e2"] | None
) -> Float[Tensor, "*n e"]:
    """The first half of x·weightᵀ + bias, times the GELU of the second."""
    value, gate = weight.chunk(2)
    biases = (None, None) if bias is None else bias.chunk(2)
    return linear(x, value, biases[0]).mul_(linear_gelu(x, gate, biases[1], "none"))


@cache
def _works(dtype: torch.dtype) -> bool:
    """Whether this build of PyTorch has the kernel and it computes what is meant: it is not among PyTorch's promises."""
    if dtype not in (torch.float32, torch.bfloat16) or KERNEL is None or not torch.backends.mkldnn.is_available():
        return False
    forms: tuple[Form, ...] = ("none", "tanh")
    with _disable_current_modes():  # whoever counts operations, or computes on shapes alone, does not mean these
        x, bias = torch.linspace(-1, 1, 128).view(8, 16).to(dtype), torch.linspace(-1, 1, 8).to(dtype)
        try:
            got = [linear(x, x, bias), *(linear_gelu(x, x, bias, form) for form in forms)]
        except RuntimeError:
            return False
        product = F.linear(x, x, bias)
        want = [product, *(F.gelu(product, approximate=form) for form in forms)]
        return all(torch.allclose(a, b, 0, 16 * torch.finfo(dtype).eps) for a, b in zip(got, want, strict=True))

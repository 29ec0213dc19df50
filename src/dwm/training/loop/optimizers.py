"""Optimizers: AdamW everywhere, Muon for the matrices of networks that are trained from nothing; clipping; the rate over steps.

Muon (Jordan et al. 2024) orthogonalises each matrix's momentum by Newton-Schulz steps. Matrices of one shape are stacked and
treated at once; wide ones iterate on their small Gram matrix. This module knows no network: what Muon leaves to AdamW is
chosen by shape and by a pattern on parameter names. Parameters may be sharded (DTensor) or whole.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dwm.devices import has_fused_adamw
from dwm.training.loop.options import OptimizerOptions
from dwm.training.parallel.tensors import is_sharded, local, sharded_like, sum_over_shards, whole

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's quintic: pushes every singular value in (0, 1] near 1 within five steps."""


def orthogonalise(matrices: Float[Tensor, "n r c"], steps: int = 5) -> Float[Tensor, "n r c"]:
    """Each matrix with its singular values brought near 1 (0.7 … 1.2), its singular vectors kept."""
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalise(matrices.mT, steps).mT
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    # Iterating X ← p(XXᵀ)X costs rows·rows·columns a product; its factor p(…) alone needs only rows³.
    gram, total = x @ x.mT, None
    a, b, c = NEWTON_SCHULZ
    for step in range(steps):
        power = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        power.diagonal(dim1=1, dim2=2).add_(a)
        total = power if total is None else power @ total
        if step + 1 < steps:
            gram = power @ gram @ power
    return x if total is None else total @ x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised per matrix. Convolution kernels count as matrices (out, in·height·width).

    The update is scaled by 0.2·√(longer side), so that its size per element resembles AdamW's at the same rate.
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float = 3e-3, momentum: float = 0.95, steps: int = 5):
        super().__init__(params, {"lr": lr, "momentum": momentum, "steps": steps})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                # A sharded matrix is gathered: its singular vectors need all of it.
                direction = whole(self._direction(parameter, group["momentum"])).reshape(len(parameter), -1)
                by_shape[(len(parameter), direction.shape[1])].append((parameter, direction))
            for (rows, columns), pairs in by_shape.items():
                updates = orthogonalise(torch.stack([direction for _, direction in pairs]), group["steps"])
                scale = 0.2 * max(rows, columns) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.add_(sharded_like(update.reshape(parameter.shape), parameter), alpha=-group["lr"] * scale)

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        assert parameter.grad is not None  # `step` asks for those that have one
        state["momentum"].lerp_(parameter.grad, 1 - momentum)
        return parameter.grad.lerp(state["momentum"], momentum)


def build_optimizers(
    named_parameters: Iterable[tuple[str, nn.Parameter]], options: OptimizerOptions
) -> list[torch.optim.Optimizer]:
    """The optimizers of all trainable parameters; each group remembers its full rate as `initial_lr`."""
    trained = [(name, parameter) for name, parameter in named_parameters if parameter.requires_grad]
    for_muon = [pair for pair in trained if options.kind == "muon" and _is_for_muon(*pair, options.muon_except)]
    muon_ids = {id(parameter) for _, parameter in for_muon}
    rest = [parameter for _, parameter in trained if id(parameter) not in muon_ids]
    optimizers: list[torch.optim.Optimizer] = []
    if for_muon:
        optimizers.append(Muon([parameter for _, parameter in for_muon], options.muon_lr, options.momentum))
    if rest:
        settings = {"lr": options.lr, "betas": options.betas, "eps": options.eps, "weight_decay": options.weight_decay}
        # One kernel for all parameters where there is one: a third of the time on a CPU.
        fused = all(has_fused_adamw(kind) for kind in {parameter.device.type for parameter in rest})
        optimizers.append(torch.optim.AdamW(rest, **settings, fused=fused, foreach=not fused))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def set_rates(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Every group's rate becomes `factor` times its full one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


@torch.no_grad()
def clip(parameters: Sequence[nn.Parameter], largest: float, scale: float = 1.0) -> Float[Tensor, ""]:
    """Scales all gradients so that their total norm is at most `largest` (0: any), and returns the norm before that.

    `scale`: what the loss was multiplied by; it is taken out. Sharded parameters count over all shards. Nothing waits for
    the device. Parameters without a gradient are left alone.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    norm = gradient_norm(gradients) / scale
    shrink = torch.clamp(largest / (norm + 1e-6), max=1.0) if largest else torch.ones_like(norm)
    # A CPU knows at once that nothing is to be scaled; to ask another device would be to wait for it.
    as_it_is = scale == 1.0 and (not largest or (norm.device.type == "cpu" and float(shrink) == 1.0))
    if not as_it_is:
        torch._foreach_mul_([local(gradient) for gradient in gradients], shrink / scale)
    return norm


def gradient_norm(gradients: Sequence[Tensor]) -> Float[Tensor, ""]:
    """The norm of all gradients together, those of sharded parameters over all shards."""
    plain = [gradient for gradient in gradients if not is_sharded(gradient)]
    sharded = [gradient for gradient in gradients if is_sharded(gradient)]
    squares = [_square_sum(part) for part in (plain, [local(gradient) for gradient in sharded]) if part]
    if sharded:
        squares[-1] = sum_over_shards(squares[-1], sharded[0])
    return torch.stack(squares).sum().sqrt()


def _square_sum(tensors: Sequence[Tensor]) -> Float[Tensor, ""]:
    return torch.stack(torch._foreach_norm(list(tensors))).square().sum()


def _is_for_muon(name: str, parameter: nn.Parameter, left_out: str) -> bool:
    rows, columns = len(parameter) if parameter.ndim else 0, math.prod(parameter.shape[1:]) if parameter.ndim > 1 else 0
    return min(rows, columns) >= 8 and re.search(left_out, name) is None

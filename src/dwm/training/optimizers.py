"""Optimizers: AdamW everywhere, Muon for the matrices of networks that are trained from nothing; the learning rate over steps.

Muon (Jordan et al. 2024) orthogonalises each matrix's momentum by Newton-Schulz steps. Matrices of one shape are stacked and
treated at once; wide ones iterate on their small Gram matrix. This module knows no network: what Muon leaves to AdamW is
chosen by shape and by a pattern on parameter names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from dwm.options import Options

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Jordan's quintic: pushes every singular value in (0, 1] near 1 within five steps."""


class OptimizerOptions(Options):
    kind: Literal["adamw", "muon"] = Field("adamw", description="muon: matrices by Muon, the rest by AdamW")
    lr: float = Field(1e-4, gt=0, description="learning rate of AdamW")
    betas: tuple[float, float] = Field((0.9, 0.975), description="AdamW's decay rates of the two moments")
    eps: float = Field(1e-8, gt=0, description="AdamW's denominator offset")
    weight_decay: float = Field(0.01, ge=0, description="AdamW's decoupled weight decay")
    muon_lr: float = Field(3e-3, gt=0, description="learning rate of Muon")
    momentum: float = Field(0.95, ge=0, lt=1, description="Muon's momentum (Nesterov)")
    muon_except: str = Field(
        r"(norm\d?(_context)?\.linear|embed|add_[qkv]_proj|to_add_out|ff_context|proj_out|zero_convs)",
        description="pattern searched in parameter names: matrices left to AdamW although Muon could take them",
    )


class ScheduleOptions(Options):
    warmup: int = Field(0, ge=0, description="optimizer steps of linear rise from zero")
    decay: float = Field(0.0, ge=0, le=1, description="last fraction of the steps, over which the rate falls linearly")
    floor: float = Field(0.0, ge=0, le=1, description="fraction of the rate at the very end")

    def factor(self, step: int, steps: int) -> float:
        """What the learning rates are multiplied by at optimizer step `step` (from 0) of `steps`."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        falling = max(1.0, self.decay * steps)
        left = (steps - step) / falling if self.decay else 1.0
        return rise * max(self.floor, min(1.0, left))


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
    def step(self, closure: Callable[[], Any] | None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                direction = self._direction(parameter, group["momentum"])
                by_shape[(len(parameter), direction.shape[1])].append((parameter, direction))
            for (rows, columns), pairs in by_shape.items():
                updates = orthogonalise(torch.stack([direction for _, direction in pairs]), group["steps"])
                scale = 0.2 * max(rows, columns) ** 0.5
                for (parameter, _), update in zip(pairs, updates, strict=True):
                    parameter.add_(update.reshape(parameter.shape), alpha=-group["lr"] * scale)

    def _direction(self, parameter: nn.Parameter, momentum: float) -> Float[Tensor, "r c"]:
        state = self.state[parameter]
        if "momentum" not in state:
            state["momentum"] = torch.zeros_like(parameter, memory_format=torch.contiguous_format)
        gradient = parameter.grad
        state["momentum"].lerp_(gradient, 1 - momentum)
        return gradient.lerp(state["momentum"], momentum).reshape(len(parameter), -1)


def build_optimizers(
    named_parameters: Iterable[tuple[str, nn.Parameter]], options: OptimizerOptions
) -> list[torch.optim.Optimizer]:
    """The optimizers of all trainable parameters; each group remembers its full rate as `initial_lr`."""
    trained = [(name, parameter) for name, parameter in named_parameters if parameter.requires_grad]
    chosen = [pair for pair in trained if options.kind == "muon" and _is_for_muon(*pair, options.muon_except)]
    taken = {id(parameter) for _, parameter in chosen}
    rest = [parameter for _, parameter in trained if id(parameter) not in taken]
    optimizers: list[torch.optim.Optimizer] = []
    if chosen:
        optimizers.append(Muon([parameter for _, parameter in chosen], options.muon_lr, options.momentum))
    if rest:
        settings = {"lr": options.lr, "betas": options.betas, "eps": options.eps, "weight_decay": options.weight_decay}
        optimizers.append(torch.optim.AdamW(rest, **settings))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    return optimizers


def set_rates(optimizers: Iterable[torch.optim.Optimizer], factor: float) -> None:
    """Every group's rate becomes `factor` times its full one."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor


def _is_for_muon(name: str, parameter: nn.Parameter, left_out: str) -> bool:
    rows, columns = len(parameter) if parameter.ndim else 0, parameter[0].numel() if parameter.ndim > 1 else 0
    return min(rows, columns) >= 8 and re.search(left_out, name) is None

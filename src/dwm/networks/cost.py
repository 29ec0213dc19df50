"""What a driving network costs: parameters, memory and arithmetic of a pass, counted on shapes alone. The one count of them.

It allocates nothing, so that a network of any size costs seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from dwm.networks.dryrun import tally
from dwm.networks.inputs import Conditions
from dwm.networks.kinds import kind_of
from dwm.networks.options import NetworkOptions

REST = "embeddings and output"


@dataclass(frozen=True)
class Shape:
    """What the network sees in one pass: b clips of t latent frames of v views of h×w latents, `text` tokens a picture, layout
    pictures with `factor` pixels for each latent in a side."""

    b: int
    t: int
    v: int
    h: int
    w: int
    text: int = 154
    factor: int = 8

    def latents(self, channels: int) -> tuple[int, int, int, int, int, int]:
        return self.b, self.t, self.v, channels, self.h, self.w

    @property
    def layout(self) -> tuple[int, int]:
        return self.h * self.factor, self.w * self.factor


@dataclass(frozen=True)
class Cost:
    """Bytes on the device and arithmetic of one step. What a run has no use for is 0."""

    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int
    flops: int

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.average + self.activations


def skeleton(options: NetworkOptions, dtype: torch.dtype = torch.float32) -> Any:
    """The driving network of these options without numbers."""
    return kind_of(options).without_numbers(options).to("meta", dtype)


def parameters(options: NetworkOptions) -> Counter[str]:
    """How many parameters each part of the network has."""
    network, counts = skeleton(options), Counter[str]()
    for name, parameter in network.named_parameters():
        counts[network.parts.get(name.partition(".")[0], REST)] += parameter.numel()
    return counts


def operations(options: NetworkOptions, shape: Shape) -> int:
    """Products and sums, each counted, of one pass forward and backward without recomputation, every block in use."""
    network = _counted(options.without_recomputation(), shape).train()
    sample, times, conditions = inputs(network, shape)
    return tally(lambda: _pass(network, sample, times, conditions).float().square().mean().backward()).flops


def generation_cost(options: NetworkOptions, shape: Shape, dtype: torch.dtype = torch.float32) -> Cost:
    """One sampling step. With guidance, `shape.b` counts every clip twice. Weights and activations are in `dtype`."""
    network = _counted(options, shape, dtype).eval()
    sample, times, conditions = inputs(network, shape)
    with torch.no_grad():
        prepared: list[Any] = []
        before = tally(lambda: prepared.append(_prepared(network, sample, conditions)))
        step = tally(lambda: network(sample, times, prepared[0]))
    held = _bytes_of_inputs(sample, conditions)
    return Cost(_bytes(network), 0, 0, 0, held + max(before.peak, before.remaining + step.peak), step.flops)


def training_cost(
    options: NetworkOptions,
    shape: Shape,
    dtype: torch.dtype = torch.float32,
    recompute: bool = False,
    moments: float = 2.0,
    average: bool = True,
) -> Cost:
    """One micro-batch, forward and backward. Weights, gradients, optimizer (`moments` numbers a parameter) and average are
    float32; activations are in `dtype`. `recompute` turns on gradient checkpointing of the spatial blocks and of what the
    options say besides.
    """
    network = _counted(options, shape, dtype).train()
    network.enable_gradient_checkpointing(recompute)
    sample, times, conditions = inputs(network, shape)
    cost = learning_cost(network, lambda: _pass(network, sample, times, conditions), moments, average)
    return replace(cost, activations=cost.activations + _bytes_of_inputs(sample, conditions))


def learning_cost(network: nn.Module, answer: Callable[[], Tensor], moments: float = 2.0, average: bool = True) -> Cost:
    """One micro-batch of any network on the meta device, forward and backward from `answer`; memory as in `training_cost`,
    without the inputs."""
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learned:  # there since the micro-batch before: all are held beside the most that a pass holds
        parameter.grad = torch.empty_like(parameter)
    spent = tally(lambda: answer().float().square().mean().backward())
    count, all_of_it = (sum(parameter.numel() for parameter in some) for some in (learned, network.parameters()))
    return Cost(4 * all_of_it, 4 * count, int(4 * count * moments), 4 * count * average, spent.peak, spent.flops)


def inputs(network: Any, shape: Shape) -> tuple[Tensor, Tensor, Conditions]:
    """Latents, times and conditions of this shape, numbers unset, on the network's device."""
    latents = shape.latents(network.options.in_channels)
    conditions = network.blank_conditions(latents, shape.text, shape.layout)
    device = next(network.parameters()).device
    sample = torch.empty(latents, dtype=network.dtype, device=device)
    return sample, torch.empty(latents[:3], device=device), conditions


def _counted(options: NetworkOptions, shape: Shape, dtype: torch.dtype = torch.float32) -> Any:
    return skeleton(options.without_switches(shape.t, shape.v), dtype)


def _prepared(network: Any, sample: Tensor, conditions: Conditions) -> Any:
    latents = tuple(sample.shape)
    return network.with_every_block(network.prepare(conditions, latents), latents)


def _pass(network: Any, sample: Tensor, times: Tensor, conditions: Conditions) -> Tensor:
    return network(sample, times, _prepared(network, sample, conditions))


def _bytes(module: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in (*module.parameters(), *module.buffers()))


def _bytes_of_inputs(sample: Tensor, conditions: Conditions) -> int:
    held = (getattr(conditions, item.name) for item in fields(conditions))
    large = (tensor for tensor in held if isinstance(tensor, Tensor) and tensor.is_floating_point())
    return sample.nbytes + sum(tensor.nbytes for tensor in large)

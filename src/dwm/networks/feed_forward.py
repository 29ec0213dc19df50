"""Linear layers, and feed-forwards as diffusers has them, by name and weight, through this house's kernels."""

from __future__ import annotations

from typing import TypeVar

from diffusers.models.activations import GEGLU, GELU
from jaxtyping import Float
from torch import Tensor, nn

from dwm.devices import has_linear_kernel, linear, linear_geglu, linear_gelu

Module = TypeVar("Module", bound=nn.Module)


class Linear(nn.Linear):
    """A linear layer."""

    def forward(self, input: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        if has_linear_kernel(input, self.weight):
            return linear(input, self.weight, self.bias)
        return super().forward(input)


class TanhGelu(GELU):
    """A linear layer, and GELU by tanh."""

    def forward(self, hidden_states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        if has_linear_kernel(hidden_states, self.proj.weight):
            return linear_gelu(hidden_states, self.proj.weight, self.proj.bias, "tanh")
        return super().forward(hidden_states)


class Geglu(GEGLU):
    """A linear layer, half of it times the GELU of the other."""

    def forward(self, hidden_states: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        if has_linear_kernel(hidden_states, self.proj.weight):
            return linear_geglu(hidden_states, self.proj.weight, self.proj.bias)
        return super().forward(hidden_states)


OURS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: Linear, GELU: TanhGelu, GEGLU: Geglu}


def use_our_kernels(module: Module) -> Module:
    """The same module, its layers through this house's kernels: they differ from libraries' in their forward pass alone."""
    for layer in module.modules():
        if isinstance(layer, GELU) and layer.approximate != "tanh":
            continue
        layer.__class__ = OURS.get(type(layer), type(layer))
    return module

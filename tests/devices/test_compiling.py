"""Compiled blocks give the same; where compiling fails, a line says so and nothing else changes."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dwm.devices import compile_blocks


class Doubled(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 2:
            raise ValueError("two axes, please")
        return 2 * x


def impossible(graph: Any, inputs: Any) -> Any:
    raise OSError("no C++ compiler\nin a long story")


@pytest.mark.slow
def test_what_cannot_be_compiled_runs_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=impossible))
    blocks = [Doubled(), Doubled()]
    compiler = compile_blocks(blocks)
    assert compiler.failed is None
    for block in blocks:
        assert torch.equal(block(torch.ones(2, 3)), torch.full((2, 3), 2.0))
    assert "no C++ compiler" in (compiler.failed or "")
    assert capsys.readouterr().err.count("nothing is compiled, as that fails here") == 1


def test_what_is_wrong_with_the_inputs_is_still_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    block = Doubled()
    compiler = compile_blocks([block])
    with pytest.raises(ValueError, match="two axes"):
        block(torch.ones(3))
    assert compiler.failed is None
    assert block(torch.ones(1, 1)) == 2


WHOLE = """
import torch
from dwm.networks import CrossviewTemporalDiT
from dwm.networks.attention import Grid
from dwm.recipes.town import town_network

options = town_network().with_(num_layers=2, dual_attention_layers=(0,), crossview_block_layers=(0,), temporal_block_layers=(1,))
network = CrossviewTemporalDiT(options).eval().requires_grad_(False)
x, text, temb = torch.randn(4, 6, 128), torch.randn(4, 2, 128), torch.randn(4, 128)
grid, mask = Grid(1, 2, 2, 2, 3), torch.ones(1, 1, 6, 6, dtype=torch.bool)
inputs = [(x, text, temb)] * 2 + [(grid.unflatten(x), grid, mask), (grid.unflatten(x), grid)]
for block, given in zip(network.blocks(), inputs, strict=True):
    with torch.no_grad():
        compiled, plain = torch.compile(block.forward, backend="aot_eager", fullgraph=True)(*given), block(*given)
    pairs = [(compiled, plain)] if isinstance(plain, torch.Tensor) else zip(compiled, plain)
    for a, b in pairs:
        assert (a is None and b is None) or torch.allclose(a, b, atol=1e-5), type(block)
print("whole")
"""

FEW = """
import torch
from torch._dynamo.utils import counters

from dwm.networks import CrossviewTemporalDiT
from dwm.networks.attention import Grid
from dwm.recipes.town import town_network

options = town_network().with_(num_layers=4, crossview_block_layers=(0, 2), temporal_block_layers=(1, 3))
network = CrossviewTemporalDiT(options).eval().requires_grad_(False)
compiled = [torch.compile(block.forward, backend="eager", fullgraph=True) for block in network.blocks()]
for frames in (1, 2, 4, 8):
    grid, n = Grid(2, frames, 3, 2, 3), 6 * frames
    x, text, temb = torch.randn(n, 6, 128), torch.randn(n, 2, 128), torch.randn(n, 128)
    extra = (grid.unflatten(x), grid)
    inputs = [(x, text, temb)] * 4 + [(*extra, torch.ones(2, 1, 9, 9, dtype=torch.bool))] * 2 + [extra] * 2
    with torch.no_grad():
        for forward, given in zip(compiled, inputs, strict=True):
            forward(*given)
    print(counters["stats"]["unique_graphs"])
"""


@pytest.mark.slow
def test_each_block_is_one_graph() -> None:
    """In a process of its own: the tests' checks of annotations would break the graph."""
    ran = subprocess.run([sys.executable, "-c", WHOLE], capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "whole", ran.stderr[-2000:]


@pytest.mark.slow
def test_a_kind_of_block_compiles_once_for_all_layers_and_once_more_for_all_numbers_of_frames() -> None:
    """Four kinds: spatial, the last spatial one, across views, across frames."""
    ran = subprocess.run([sys.executable, "-c", FEW], capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["4", "8", "8", "8"], ran.stderr[-2000:]

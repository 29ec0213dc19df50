"""The count of what a step needs is what a step computes, where nothing is computed twice."""

from __future__ import annotations

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from dwm.networks import CrossviewTemporalDiT
from dwm.networks.cost import Shape, inputs, operations
from dwm.recipes.town import town_network


@pytest.mark.parametrize("rows", [4, 20])
def test_a_step_forward_and_backward_computes_what_is_counted(rows: int) -> None:
    """With few tokens attention is plain products, with many PyTorch's; fused kernels would compute scores twice."""
    options = town_network().with_(
        num_layers=3, crossview_block_layers=(0,), temporal_block_layers=(1,), merge_strategy="learned"
    )
    shape = Shape(1, 2, 2, rows, 6, text=4)
    network = CrossviewTemporalDiT(options).train()
    sample, times, conditions = inputs(network, shape)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        prepared = network.prepare(conditions, tuple(sample.shape))
        network(sample, times, prepared).square().mean().backward()
    assert counter.get_total_flops() == operations(options, shape)

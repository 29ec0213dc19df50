"""What the transformer promises beyond the recorded numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from dwm.networks import Conditions, CrossviewTemporalDiT, DiTOptions, Masking, zero_extra_blocks, zero_modulation
from dwm.networks.dit.options import MaskOptions

B, T, V = 2, 3, 4
SHAPE = (B, T, V, 4, 4, 6)


def options(**changes: object) -> DiTOptions:
    values = {
        "num_layers": 2,
        "attention_head_dim": 4,
        "num_attention_heads": 2,
        "in_channels": 4,
        "out_channels": 4,
        "joint_attention_dim": 6,
        "caption_projection_dim": 8,
        "pooled_projection_dim": 5,
        "pos_embed_max_size": 8,
        "sample_size": 8,
        "enable_crossview": True,
        "crossview_attention_type": "rowwise",
        "crossview_block_layers": (0,),
        "enable_temporal": True,
        "temporal_attention_type": "pointwise",
        "temporal_block_layers": (1,),
        "perspective_modeling_type": "explicit",
    }
    return DiTOptions(**values | changes)


def network(seed: int = 0, **changes: object) -> CrossviewTemporalDiT:
    torch.manual_seed(seed)
    return CrossviewTemporalDiT(options(**changes)).eval()


def conditions(seed: int = 1, **changes: object) -> Conditions:
    g = torch.Generator().manual_seed(seed)
    off = torch.zeros(B, dtype=torch.bool)
    return replace(
        Conditions(
            text=torch.randn(B, T, V, 3, 6, generator=g),
            pooled=torch.randn(B, T, V, 5, generator=g),
            intrinsics_norm=torch.eye(3).expand(B, T, V, 3, 3),
            ego0_from_camera=torch.eye(4).expand(B, T, V, 4, 4),
            disable_crossview=off,
            disable_temporal=off,
        ),
        **changes,
    )


def sample(seed: int = 2) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=g), torch.rand(B, T, V, generator=g) * 1000


def predict(net: CrossviewTemporalDiT, told: Conditions, **more: object) -> Tensor:
    x, times = sample()
    with torch.no_grad():
        return net(x, times, net.prepare(told, SHAPE), **more)


class NoWaiting(TorchDispatchMode):
    """Fails where a value must come back from the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert "local_scalar_dense" not in str(func), "the loop waits for the device"
        assert "nonzero" not in str(func), "the loop waits for the device"
        return func(*args, **(kwargs or {}))


def test_nothing_in_the_loop_waits_for_the_device() -> None:
    net, (x, times) = network(), sample()
    prepared = net.prepare(conditions(crossview_mask=torch.ones(B, V, V, dtype=torch.bool)), SHAPE)
    with torch.no_grad(), NoWaiting():
        net(x, times, prepared)


def test_blocks_that_no_item_uses_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network()
    on, off = torch.ones(B, dtype=torch.bool), torch.tensor([True, False])
    blended = predict(net, conditions(disable_temporal=off, disable_crossview=on))

    def fail(*_: object) -> None:
        raise AssertionError("a disabled block ran")

    monkeypatch.setattr(net.temporal_transformer_blocks[0], "forward", fail)
    monkeypatch.setattr(net.crossview_transformer_blocks[0], "forward", fail)
    skipped = predict(net, conditions(disable_temporal=on, disable_crossview=on))
    torch.testing.assert_close(skipped[0], blended[0])
    with pytest.raises(AssertionError, match="disabled block ran"):
        predict(net, conditions(disable_temporal=off, disable_crossview=on))


def test_gradients_pass_through_what_is_prepared() -> None:
    net, (x, times) = network(), sample()
    text = conditions().text.clone().requires_grad_()
    net.train()
    net(x, times, net.prepare(conditions(text=text), SHAPE)).square().mean().backward()
    assert text.grad.abs().sum() > 0
    without = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    # The last block has no text output; keys' biases shift all scores of a query alike.
    assert all("transformer_blocks.1.attn.add_q_proj" in name or "_k" in name for name in without), without


@pytest.mark.parametrize("kind", ["rowwise", "full"])
def test_a_view_sees_only_what_its_mask_allows(kind: str) -> None:
    net = network(crossview_attention_type=kind, enable_temporal=False)
    x, times = sample()
    mask = torch.eye(V, dtype=torch.bool).repeat(B, 1, 1)
    mask[:, 0, 1] = True
    with torch.no_grad():
        prepared = net.prepare(conditions(crossview_mask=mask), SHAPE)
        before = net(x, times, prepared)
        x[:, :, 1] += 1
        changed = (net(x, times, prepared) - before).abs().amax((0, 1, 3, 4, 5)) > 1e-6
    assert changed.tolist() == [True, True, False, False]


def test_neighbours_of_two_frames_for_any_number_of_views() -> None:
    net = network(crossview_attention_type="adj_fuse", enable_temporal=False)
    ring = torch.stack([torch.tensor([(i - 1) % V, i, (i + 1) % V]) for i in range(V)]).flatten().repeat(B, 1)
    x, times = sample()
    with torch.no_grad():
        prepared = net.prepare(conditions(crossview_index=ring), SHAPE)
        before = net(x, times, prepared)
        x[:, 1, 0] += 1
        changed = (net(x, times, prepared) - before).abs().amax((0, 3, 4, 5)) > 1e-6
    assert changed[0].tolist() == [False] * V, "an earlier frame sees no later one"
    assert changed[1].tolist() == [True, True, False, True]
    assert changed[2].tolist() == [True, True, False, True]
    with pytest.raises(ValueError, match="crossview_index"):
        predict(net, conditions())


def test_mixers_take_flags_of_both_shapes() -> None:
    net, flag = network(mixer_type="Mixer"), torch.tensor([True, False])
    torch.testing.assert_close(
        predict(net, conditions(disable_temporal=flag)), predict(net, conditions(disable_temporal=flag[:, None, None]))
    )


def test_a_warm_start_begins_with_the_base() -> None:
    net = network()
    zero_extra_blocks(net)
    on = torch.ones(B, dtype=torch.bool)
    alone = predict(net, conditions(disable_temporal=on, disable_crossview=on))
    torch.testing.assert_close(predict(net, conditions()), alone)
    zero_modulation(net)
    assert predict(net, conditions()).abs().max() == 0


def test_masked_reconstruction_draws_from_its_own_generator() -> None:
    mask = MaskOptions(num_heads=2, attention_head_dim=8, decode_layer=1, mlp_ratio=2.0, mask_ratio=0.5)
    net = network(
        num_attention_heads=2, attention_head_dim=8, caption_projection_dim=16, in_channels=16, mask_module=mask
    )
    g = torch.Generator().manual_seed(3)
    shape = (B, T, V, 16, 4, 8)
    x, noise, times = torch.randn(shape, generator=g), torch.randn(shape, generator=g), torch.full((B, T, V), 500.0)

    def once(seed: int) -> Tensor:
        draws = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            prepared = net.prepare(conditions(crossview_mask=torch.ones(B, V, V, dtype=torch.bool)), shape)
            return net(x, times, prepared, Masking(noise, lambda size: torch.rand(size, generator=draws)))

    assert torch.equal(once(0), once(0))
    assert not torch.equal(once(0), once(1))


def test_odd_sizes_and_missing_conditions_are_named() -> None:
    net = network()
    with pytest.raises(ValueError, match="5×6"):
        net.prepare(conditions(), (B, T, V, 4, 5, 6))
    with pytest.raises(ValueError, match="intrinsics_norm"):
        net.prepare(conditions(intrinsics_norm=None), SHAPE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption_projection_dim": 9}, "must be equal"),
        ({"crossview_attention_type": None}, "crossview_attention_type"),
        ({"temporal_block_layers": (2,)}, "from 0 to 1"),
        ({"perspective_modeling_type": "implicit"}, "256 ×"),
        ({"condition_image_adapter_config": {"channels": (8, 9), "is_downblocks": (True, False)}}, "must all be 8"),
        ({"condition_image_adapter_config": {"channels": (8,), "is_downblocks": (True, False)}}, "levels"),
    ],
)
def test_options_that_do_not_fit_together(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        options(**change)

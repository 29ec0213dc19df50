import pytest
import torch
from torch import nn

from dwm.training.loop.optimizers import OptimizerOptions, build_optimizers, clip, orthogonalise, set_rates
from dwm.training.loop.options import ScheduleOptions


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 12, 48), (2, 48, 12)])
def test_orthogonalise_brings_singular_values_near_one_and_keeps_the_vectors(shape):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, generator=generator)
    found = orthogonalise(matrices, steps=7)
    assert torch.linalg.svdvals(found).max() < 1.4
    assert torch.linalg.svdvals(found).median() > 0.6
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ found @ v.mT
    off = inner - torch.diag_embed(inner.diagonal(dim1=1, dim2=2))
    assert off.abs().max() < 1e-3


def test_the_short_way_over_the_gram_matrix_equals_the_plain_iteration():
    x = torch.randn(2, 6, 30, generator=torch.Generator().manual_seed(1))
    plain = x / x.norm(dim=(1, 2), keepdim=True)
    for _ in range(5):
        gram = plain @ plain.mT
        plain = 3.4445 * plain - 4.7750 * gram @ plain + 2.0315 * gram @ gram @ plain
    assert torch.allclose(orthogonalise(x, 5), plain, atol=1e-4)


def test_muon_takes_matrices_and_leaves_embeddings_norms_and_biases_to_adamw():
    module = nn.ModuleDict(
        {"embed": nn.Linear(16, 16), "body": nn.Linear(16, 32), "conv": nn.Conv2d(16, 8, 3), "norm": nn.LayerNorm(16)}
    )
    muon, adamw = build_optimizers(module.named_parameters(), OptimizerOptions(kind="muon"))
    taken = {id(p) for group in muon.param_groups for p in group["params"]}
    names = {name for name, parameter in module.named_parameters() if id(parameter) in taken}
    assert names == {"body.weight", "conv.weight"}
    assert sum(len(group["params"]) for group in adamw.param_groups) == 6


def test_frozen_parameters_are_in_no_optimizer():
    module = nn.Linear(16, 16)
    module.weight.requires_grad_(False)
    (adamw,) = build_optimizers(module.named_parameters(), OptimizerOptions())
    assert [p is module.bias for group in adamw.param_groups for p in group["params"]] == [True]


def test_muon_learns_a_badly_scaled_linear_map():
    generator = torch.Generator().manual_seed(3)
    net = nn.Sequential(nn.Linear(32, 64, bias=False), nn.Linear(64, 32, bias=False))
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) / 8)
    target = torch.randn(32, 32, generator=generator) / 6
    x = torch.randn(256, 32, generator=generator) * torch.logspace(0, -2, 32)
    optimizers = build_optimizers(net.named_parameters(), OptimizerOptions(kind="muon", muon_lr=1e-2))
    losses = []
    for _ in range(150):
        loss = ((net(x) - x @ target) ** 2).mean()
        loss.backward()
        losses.append(loss.item())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert losses[-1] < 0.01 * losses[0]


def test_schedule_rises_holds_and_falls():
    schedule = ScheduleOptions(warmup=4, decay=0.5, floor=0.1)
    factors = [schedule.factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.2) and factors[4] == 1 and factors[50] == 1
    assert factors[75] == pytest.approx(0.5) and factors[-1] == pytest.approx(0.1)


def test_rates_are_multiples_of_the_full_rate():
    optimizers = build_optimizers(
        nn.Linear(16, 16).named_parameters(), OptimizerOptions(kind="muon", lr=0.5, muon_lr=0.25)
    )
    set_rates(optimizers, 0.5)
    set_rates(optimizers, 0.5)
    assert sorted(group["lr"] for optimizer in optimizers for group in optimizer.param_groups) == [0.125, 0.25]


@pytest.mark.parametrize(
    ("schedule", "scheduler"),
    [
        (
            ScheduleOptions(shape="cosine", period=30, floor=0.1),
            lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 30, eta_min=0.1),
        ),
        (ScheduleOptions(gamma=0.9), lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)),
        (
            ScheduleOptions(warmup=5, start=0.25),
            lambda optimizer: torch.optim.lr_scheduler.LinearLR(optimizer, 0.25, 1.0, 5),
        ),
    ],
)
def test_published_schedules_can_be_said(schedule, scheduler):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    published = scheduler(optimizer)
    for step in range(30):
        assert schedule.factor(step, 1000) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-6)
        optimizer.step()
        published.step()


def test_clipping_equals_pytorchs_and_takes_the_scale_out():
    module = nn.Linear(8, 8)
    ours, theirs = (torch.randn(8, 8, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    module.weight.grad = ours
    assert clip(list(module.parameters()), 0.5) == pytest.approx(float(theirs.norm()), rel=1e-5)
    module.weight.grad = theirs
    torch.nn.utils.clip_grad_norm_(module.parameters(), 0.5)
    torch.testing.assert_close(ours, theirs)
    module.weight.grad = 4 * torch.eye(8)
    assert clip(list(module.parameters()), 100, scale=4) == pytest.approx(8**0.5)
    torch.testing.assert_close(module.weight.grad, torch.eye(8))

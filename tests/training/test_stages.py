import json

import pytest
import torch
from tiny_run import InventedClips, options, train

from dwm.base_models import BaseModel
from dwm.checkpoints.folder import load_network, read_card
from dwm.config.recipe import PreviewOptions
from dwm.data import collate
from dwm.data.readers import Ask
from dwm.errors import DwmError
from dwm.latents.store import StoredLatents
from dwm.runs.own_base import make_own_base, own_material
from dwm.runs.start import context
from dwm.runs.train import card
from dwm.training.feed.clip_cache import ClipCache, fill


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    return output, train(options(), output)


def test_a_run_from_nothing_ends_in_a_weights_folder(trained):
    output, weights = trained
    assert read_card(weights) == card(options())
    assert {path.name for path in output.iterdir()} >= {
        "clips",
        "base",
        "autoencoder",
        "decoder",
        "pictures",
        "driving",
    }
    network, base = load_network(weights), BaseModel.load(weights)
    own = make_own_base(options(), InventedClips(), context(options(), output))
    material = own_material(options(), card(options()), own, context(options(), output))
    last, _ = material.load(output / "driving" / "weights.safetensors")
    for name, value in last.state_dict().items():
        assert torch.allclose(network.state_dict()[name], value, atol=1e-3, rtol=1e-3)
    assert base.text.encode(["day", "night"]).pooled.shape == (2, 32)


def test_latents_are_normalised_and_the_decoder_stage_leaves_the_encoder_alone(trained):
    output, weights = trained
    cache = ClipCache(output / "clips")
    own = make_own_base(options(), InventedClips(), context(options(), output))
    stored = StoredLatents(own.store, [cache.size])

    def latents_of(index):
        part = cache.read(Ask(index, cache.size))
        return stored.moments(part.keys.reshape(-1, 2), cache.size, part.where).mean.unflatten(
            0, (1, *part.keys.shape[:2])
        )

    latents = torch.cat([latents_of(index) for index in range(len(cache))]).float()
    assert latents.mean((0, 1, 2, 4, 5)).abs().max() < 0.3
    assert (latents.std((0, 1, 2, 4, 5)) - 1).abs().max() < 0.3
    frames = cache.clip(1).frames
    shipped = BaseModel.load(weights, text=False).autoencoder.encode(frames)
    assert (shipped - latents_of(1)).abs().max() < 0.1


def test_finished_stages_are_not_trained_again(trained):
    output, _ = trained
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*.safetensors")}
    before = {path: time for path, time in before.items() if "weights" not in path.parts[-3:]}
    train(options(), output)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items() if path.parent.name != "transformer")


def test_every_stage_logs_its_losses(trained):
    output, _ = trained
    for stage in ("autoencoder", "decoder", "pictures", "driving"):
        folder = output / stage
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines] == list(range(1, 7))
        assert all(0 < line["loss"] < 10 for line in lines)


def test_the_cache_gives_what_the_source_had(tmp_path):
    source = InventedClips(5)
    fill(tmp_path, source, (32, 32), shard=2)
    cache = ClipCache(tmp_path)
    assert (len(cache), cache.frames, cache.views) == (5, 3, 2)
    wanted, found = collate([source[3]], size=(32, 32)), cache.clip(3)
    assert found.captions == wanted.captions and found.scenes == wanted.scenes
    for name in ("frames", "layout_boxes", "layout_map"):
        assert (getattr(found, name) - getattr(wanted, name)).abs().max() < 1e-6
    part = cache.clip(3, slice(1, 2), slice(1, 2))
    assert torch.equal(part.frames, found.frames[:, 1:2, 1:2]) and part.shape == (1, 1, 1)
    assert torch.equal(part.world_from_ego, found.world_from_ego[:, 1:2, 1:2])


def test_a_filled_cache_is_only_completed(tmp_path):
    fill(tmp_path, InventedClips(4), (32, 32), shard=2)
    (tmp_path / "clips_00001.safetensors").unlink()
    kept = (tmp_path / "clips_00000.safetensors").stat().st_mtime_ns
    fill(tmp_path, InventedClips(4), (32, 32), shard=2)
    assert len(ClipCache(tmp_path)) == 4
    assert (tmp_path / "clips_00000.safetensors").stat().st_mtime_ns == kept


def test_an_empty_cache_says_so(tmp_path):
    with pytest.raises(DwmError, match="holds no clips"):
        ClipCache(tmp_path)


def test_previews_are_written_and_change_no_loss(trained, tmp_path):
    output, _ = trained
    previewed = options().with_(preview=PreviewOptions(every=3))
    train(previewed, tmp_path / "run", preview=InventedClips(9)[8])
    for stage in ("pictures", "driving"):
        with_previews, without = (folder / stage / "log.jsonl" for folder in (tmp_path / "run", output))
        losses = [
            [json.loads(line)["loss"] for line in path.read_text().splitlines()] for path in (with_previews, without)
        ]
        assert losses[0] == losses[1]
        assert len(list((tmp_path / "run" / stage / "previews").iterdir())) == 2

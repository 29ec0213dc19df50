"""Published recipes on small pieces of all their sets: nuScenes (the town), Waymo, Argoverse and OpenDV, by the real commands."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from set_pieces import SIZE, WITH_OTHER_SETS, make_sets, on_pieces, read_log

from dwm.config import save
from dwm.config.campaign import Campaign, CampaignStage, find_campaign
from dwm.data.readers import Ask
from dwm.runs.clips import training_readers, validation_clips

sys.path.append(str(Path(__file__).parents[1] / "data"))
from recordings import run

pytestmark = pytest.mark.filterwarnings("ignore:.*(izhGt1GnGFk|do not divide|longer than what is read)")
OF_UNIMLVG = tuple(name for name in WITH_OTHER_SETS if name.startswith("unimlvg"))


@pytest.fixture(scope="module")
def sets(shared, tmp_path_factory):
    return make_sets(tmp_path_factory.mktemp("pieces"), shared)


@pytest.fixture(autouse=True)
def _below(sets, monkeypatch):
    monkeypatch.chdir(sets)


@pytest.mark.parametrize("name", WITH_OTHER_SETS)
def test_a_recipe_opens_all_its_sets(name):
    recipe = on_pieces(name)
    readers, held_out = training_readers(recipe.data), validation_clips(recipe.data)
    assert len(readers) == len(recipe.data.train) and len(held_out) >= len(recipe.data.validation)
    for source, reader in zip(recipe.data.train, readers, strict=True):
        clips = reader.read(Ask(0, SIZE)).clips
        assert clips.frames.shape == (1, source.frames, recipe.data.views, 3, *SIZE[::-1])
        assert clips.frames.float().std() > 1, "pictures show something"
        said = [text for row in clips.captions[0] for text in row]
        assert all(said) and clips.crossview_mask[0].tolist() == [list(row) for row in source.crossview_mask]
        if recipe.conditions.boxes and (source.kind != "opendv" or source.made_up_layout is not None):
            assert float(clips.layout_map.float().max()) > 0, source.kind


def test_rates_that_differ_are_cut_as_stated():
    """§5 and §9: each frame is the one nearest to its time, whether 10, 12 or 20 pictures a second were recorded, or a film."""
    recipe = on_pieces("sd35-text-nwao")
    steps = {"nuscenes": 1 / 12, "waymo": 0.1, "argoverse": 0.05, "opendv": 0.1}
    for source, reader in zip(recipe.data.train, training_readers(recipe.data), strict=True):
        for index in range(min(3, len(reader))):
            clip = reader.windows[index]
            start = clip.times[0]
            off = (clip.times - start) / 1e6 - np.arange(clip.length)[:, None] / 10
            assert np.abs(off).max() <= steps[source.kind] + 0.01, source.kind
            assert clip.fps == 10 and (np.diff(clip.times, axis=0) >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WITH_OTHER_SETS if name not in OF_UNIMLVG])
def test_a_recipe_trains_on_all_its_sets(name, tmp_path, capsys):
    config = save(on_pieces(name), tmp_path, "run.json")
    code, _ = run(capsys, "train", "-c", config, "-o", tmp_path / "run")
    assert code == 0 and len(losses := read_log(tmp_path / "run")) == 2 and np.isfinite(losses).all()
    assert (tmp_path / "run" / "weights" / "dwm.json").is_file()


@pytest.mark.slow
def test_unimlvgs_stages_follow_one_another_on_their_sets_and_go_on_where_they_were_stopped(tmp_path, capsys):
    stages = [
        CampaignStage(name=stage.name, run=on_pieces(f"unimlvg-{stage.name}"))
        for stage in find_campaign("unimlvg").stages
    ]
    assert [[source.kind for source in stage.run.data.train] for stage in stages] == [
        ["opendv"],
        *[["nuscenes", "waymo", "argoverse"]] * 2,
    ]
    config, output = save(Campaign(name="unimlvg-pieces", stages=tuple(stages)), tmp_path, "run.json"), tmp_path / "run"
    code, said = run(capsys, "train", "-c", config, "-o", output)
    assert code == 0 and said.count("tensors loaded") == 2
    first, second, third = (weights(output / name) for name in ("stage1", "stage2", "stage3"))
    frozen = "transformer_blocks.0.attn.to_q.weight"
    assert first[frozen].equal(second[frozen]) and not second[frozen].equal(third[frozen])

    # As if the second stage had been killed after the first of its two steps.
    shutil.rmtree(output / "stage3")
    shutil.rmtree(output / "stage2" / "weights")
    (last,) = [save for save in (output / "stage2").glob("driving/checkpoints/*2") if save.is_dir()]
    shutil.rmtree(last)
    code, said = run(capsys, "train", "-c", config, "-o", output)
    assert code == 0 and said.count("done before") == 1
    for name, before in (("stage2", second), ("stage3", third)):
        again = weights(output / name)
        assert all(before[key].equal(again[key]) for key in before), name


def weights(folder):
    return load_file(folder / "weights" / "transformer" / "diffusion_pytorch_model.safetensors")

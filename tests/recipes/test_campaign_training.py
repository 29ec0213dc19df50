import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file

from dwm.config import resolve
from dwm.config.campaign import changed, find_campaign
from dwm.errors import DwmError
from dwm.generation import DrivingPipeline
from dwm.runs.campaign import train_campaign
from dwm.runs.train import train_run

SHORT = ("training.steps=1", "training.accumulate=1", "data.size=[64,32]", "data.clips=2")


@pytest.mark.slow
def test_a_campaign_runs_what_is_due_each_from_the_last_ones_weights(tmp_path: Path, capfd):
    campaign = changed(find_campaign("unimlvg-tiny"), SHORT)
    assert train_campaign(campaign, tmp_path) == tmp_path / "stage3" / "weights"
    said = capfd.readouterr().err
    for line in (
        "transformer_blocks is frozen: 0.54 M parameters",
        f"{tmp_path}/stage1/weights: 172 tensors loaded, 26 of new blocks start fresh",
        f"{tmp_path}/stage2/weights: 198 tensors loaded\n",
    ):
        assert line in said
    first, second, third = (load_file(_weights(tmp_path / f"stage{place}")) for place in (1, 2, 3))
    frozen, added = "transformer_blocks.0.attn.to_q.weight", "rayencoder.proj.weight"
    assert first[frozen].equal(second[frozen]) and not second[frozen].equal(third[frozen])
    assert not first[added].equal(second[added])

    shutil.rmtree(tmp_path / "stage3")
    train_campaign(campaign, tmp_path)
    said = capfd.readouterr().err
    assert said.count("done before") == 2 and "stage3: unimlvg-stage3-tiny, from" in said
    again = load_file(_weights(tmp_path / "stage3"))
    assert all(third[name].equal(again[name]) for name in third)

    with pytest.raises(DwmError, match="was started with stages stage1, stage2, stage3, not warmup, main"):
        train_campaign(changed(find_campaign("sd35-nuscenes-tiny"), SHORT), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd35-videolatents-nwao", "sd21-crossview-nuscenes"])
def test_a_twin_on_a_base_model_of_its_own_trains_and_its_weights_load(tmp_path: Path, name: str):
    run = resolve(f"{name}-tiny", overrides=SHORT[:2])
    weights = train_run(run, tmp_path / "run", resume=False)
    (line,) = (tmp_path / "run/driving/log.jsonl").read_text().splitlines()
    assert json.loads(line)["loss"] > 0
    pipe = DrivingPipeline.from_pretrained(str(weights))
    assert pipe.card.prediction == ("v_prediction" if name.startswith("sd21") else "flow")


@pytest.mark.slow
def test_scores_on_the_way_change_no_loss_and_choose_the_best_saves(tmp_path: Path):
    run = resolve(
        "sd35-crossview-nuscenes-tiny", overrides=(*SHORT[1:], "training.steps=2", "sampling.num_inference_steps=1")
    )
    train_run(run, tmp_path / "plain", resume=False)
    preview = run.preview.with_(score_every=1, score_clips=2)
    scored = run.with_(preview=preview, evaluation=run.evaluation.with_(scores=("box_pixels",), optional=()))
    train_run(scored, tmp_path / "scored", resume=False)
    stage = tmp_path / "scored" / "driving"
    told = {number: json.loads((stage / f"scores/{number:06d}.json").read_text()) for number in (1, 2)}
    kept = json.loads((stage / "checkpoints/scores.json").read_text())
    assert kept == {str(number): -score["box_pixels"]["share"] for number, score in told.items()}
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "driving/log.jsonl").read_text().splitlines()]
        for name in ("plain", "scored")
    ]
    assert losses[0] == losses[1]


def _weights(folder: Path) -> Path:
    return folder / "weights/transformer/diffusion_pytorch_model.safetensors"

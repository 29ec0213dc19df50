"""torch-fidelity and torchmetrics, in an environment of their own, judge our FID, KID, precision and recall."""

from __future__ import annotations

import json
import subprocess
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from test_scores import clip

from dwm.evaluation import EvaluationOptions, Tools, known_scores
from dwm.evaluation.networks.files import FILES, torch_checkpoints
from dwm.evaluation.networks.inception import Inception
from dwm.evaluation.score import Pair
from dwm.opendwm.parity.score_inputs import fill, pictures
from dwm.report import Video

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-judges/bin/python"
JUDGE = Path(__file__).with_name("scores_judge.py")
GENERATED, REAL = 10, 12

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (ROOT / ".venv-judges/.ready").exists(),
        reason="no torch-fidelity and torchmetrics: `make judges` installs them",
    ),
]


def test_the_same_pictures_score_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    weights = torch_checkpoints() / FILES["inception"].names[0]
    weights.parent.mkdir(parents=True)
    network = fill(Inception())
    torch.save({key: value for key, value in network.state_dict().items() if "num_batches" not in key}, weights)
    # 107 by 189 pixels: sizes that no resizer divides evenly.
    sides = {
        "generated": pictures(range(5000, 5000 + GENERATED))[:, :, :107, :189].contiguous(),
        "real": pictures(range(6000, 6000 + REAL))[:, :, :107, :189].contiguous(),
    }
    save_file(sides, tmp_path / "pictures.safetensors")
    command = [PYTHON, JUDGE, tmp_path / "pictures.safetensors"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    judged = json.loads(run.stdout.splitlines()[-1])

    scores = ("fid", "kid", "precision_recall")
    options = EvaluationOptions(scores=scores, kid_subsets=20, kid_subset_size=GENERATED - 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filled by a rule, and told so
        tools = Tools(options)
        made = {name: known_scores()[name].make(tools) for name in scores}
    generated, real = (Video(side[None, :, None].float() / 255, 1.0, ("CAM_FRONT",)) for side in sides.values())
    pair = Pair(clip(0), generated, real)
    fid, kid, shares = (made[name].result([made[name].keep(pair)]) for name in scores)

    # Fewer pictures than features: what their eigenvalues lose is about 1e-4; torch-fidelity's means are float32.
    assert fid.distance == pytest.approx(judged["frechet_inception_distance"], abs=2e-3)
    assert fid.distance == pytest.approx(judged["torchmetrics_fid"], abs=2e-3)
    assert kid.distance == pytest.approx(judged["kernel_inception_distance_mean"], abs=2e-5)
    assert kid.deviation == pytest.approx(judged["kernel_inception_distance_std"], abs=2e-5)
    assert (shares.precision, shares.recall, shares.f_score) == pytest.approx(
        (judged["precision"], judged["recall"], judged["f_score"])
    )
    print(fid, kid, shares, judged)

"""A user's way to a recorded picture: the config that was recorded, translated; its weights, loaded; the pipeline, called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from dwm.opendwm.parity.batches import read_case_batch
from dwm.opendwm.parity.cases import Case, Setup, read_tensors
from dwm.opendwm.parity.pipelines import reduced
from dwm.opendwm.runs import converted
from dwm.runs.published import published_pipeline

GROUPS = ("pipelines", "pipelines_streaming")
SETUP = Setup(torch.device("cpu"), torch.float32)


def cases(shared: Path) -> list[Case]:
    folders = [folder for group in GROUPS for folder in sorted((shared / "vectors" / group).iterdir())]
    found = [folder for folder in folders if (folder / "case.json").is_file()]
    return [Case(folder, json.loads((folder / "case.json").read_text("utf-8"))) for folder in found]


def generate(case: Case) -> torch.Tensor:
    run = converted(dict(case.config), case.name).run
    places = {"base_model": run.base_model, "weights": run.weights, "autoencoder_folder": run.autoencoder_folder}
    found = {key: None if name is None else str(case.find(name, SETUP)) for key, name in places.items()}
    pipe = published_pipeline(run.with_(**found, device="cpu"), case.name)
    batch = read_case_batch(case.folder, case.data)
    rows, columns = case.data["latent_shape"][-2:]
    factor = pipe.base.autoencoder.factor
    given = run.sampling.reference_frames if run.preview.given_frames else 0
    generator = torch.Generator().manual_seed(run.training.seed)
    made = pipe(
        batch,
        generator=generator,
        size=(columns * factor, rows * factor),
        reference_frames=given,
        force=True,
        output_type="pt",
    )
    return made[:, given:].flatten(0, 2)


@pytest.mark.slow
def test_recorded_pictures_come_out_of_translated_configs(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The bounds are of float32; without this a run computes in what is fastest on the machine.
    monkeypatch.setattr("dwm.runs.published.run_dtype", lambda run, device: torch.float32)
    found = cases(shared)
    assert len(found) >= 9
    for case in found:
        want = read_tensors(case.folder / "outputs.safetensors")["images"].float()
        got = reduced(generate(case), case.data["reduced_outputs"].get("images", ""))
        assert got.numel() == want.numel(), case.name
        worst = float((got.reshape(want.shape) - want).abs().max())
        assert worst <= case.data["tolerance"]["images_atol"], f"{case.name}: {worst}"

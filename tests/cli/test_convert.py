"""`dwm convert`: what it writes can be used at once, and what it says is true."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from typer.testing import CliRunner

from dwm import DrivingPipeline
from dwm.checkpoints.published import read_state
from dwm.cli.main import app
from dwm.opendwm.parity.batches import read_case_batch
from dwm.opendwm.parity.cases import read_tensors

RUN = CliRunner()


def invoke(*arguments: object) -> str:
    done = RUN.invoke(app, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_weights_become_a_folder_that_generates_the_recorded_pictures(vectors, tmp_path: Path) -> None:
    folder = vectors("pipelines/images")
    case = json.loads((folder / "case.json").read_text())
    (tmp_path / "upstream.json").write_text(json.dumps(case["config"]))
    torch.save(read_tensors(folder / "weights.safetensors"), tmp_path / "weights.pth")
    said = invoke(
        "convert", "weights", tmp_path / "weights.pth", "-c", tmp_path / "upstream.json", "-o", tmp_path / "out"
    )
    assert "tensors loaded" in said and (tmp_path / "out" / "dwm.json").is_file()
    base = vectors("base_models") / Path(case["config"]["pipeline"]["pretrained_model_name_or_path"]).name
    pipe = DrivingPipeline.from_pretrained(tmp_path / "out", base_model=base)
    generator = torch.Generator().manual_seed(case["config"]["generator_seed"])
    rows, columns = case["latent_shape"][-2:]
    size = (columns * pipe.base.autoencoder.factor, rows * pipe.base.autoencoder.factor)
    made = pipe(read_case_batch(folder, case), generator=generator, size=size, force=True, output_type="pt")
    want = read_tensors(folder / "outputs.safetensors")["images"].float()
    assert float((made.flatten(0, 2) - want).abs().max()) <= case["tolerance"]["images_atol"]

    invoke(
        "convert", "weights", tmp_path / "out" / "transformer", "-o", tmp_path / "one.safetensors", "--dtype", "float16"
    )
    one, parts = read_state(tmp_path / "one.safetensors"), read_state(tmp_path / "out" / "transformer")
    assert set(one) == set(parts) and all(torch.equal(one[key], parts[key].half()) for key in one)


def test_oddities_and_ignored_keys_are_told(shared: Path, tmp_path: Path) -> None:
    config = shared / "reference" / "configs" / "ctsd" / "single_dataset" / "ctsd_35_tirda_bm_nusc_a.json"
    said = invoke("convert", "config", config, "-o", tmp_path / "ours.json")
    assert "compatibility is reference, which keeps OpenDWM's oddities; set it to ours in" in said
    assert "informations: left out; published results of the run, not settings" in said
    assert f"look at it: dwm show config -c {tmp_path / 'ours.json'}" in said
    assert "network.num_layers = 24" in invoke("show", "config", "-c", tmp_path / "ours.json")

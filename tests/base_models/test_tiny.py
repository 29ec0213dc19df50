import filecmp
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from dwm.base_models.tiny import create_tiny_base_model, tiny_words
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

"""Configs of base models may name known classes and local files, of sizes that their weights bear out; nothing of theirs runs."""

import json
import shutil
import time

import pytest

from dwm.base_models import BaseModel
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.checkpoints.folder import load_network
from dwm.checkpoints.locations import TOWN, resolve
from dwm.errors import DwmError


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base") / "tiny"
    create_tiny_base_model(folder, ("day", "night"), 0, TinyOptions())
    return folder


@pytest.fixture
def base(original, tmp_path):
    return shutil.copytree(original, tmp_path / "base")


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


EVIL = "open({!r}, 'w').write('ran')\nfrom transformers import CLIPTokenizer\nclass Evil(CLIPTokenizer): pass\n"


@pytest.mark.parametrize(
    "place", ["tokenizer/tokenizer_config.json", "tokenizer/config.json", "text_encoder/config.json"]
)
def test_code_that_a_folder_brings_is_never_run(base, tmp_path, place, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question"))
    path = base / place
    (path.parent / "evil.py").write_text(EVIL.format(str(tmp_path / "ran")))
    if not path.exists():
        path.write_text("{}")
    change(path, tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None], "AutoModel": "evil.Evil"})
    with pytest.raises(DwmError, match=r"config\.json: auto_map names Python code of the folder, which is never run"):
        BaseModel.load(base, autoencoder=False)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "entries, words",
    [
        (
            {"_attn_implementation": "kernels-community/flash-attn"},
            "_attn_implementation is 'kernels-community/flash-attn'",
        ),
        ({"attn_implementation": "flash_attention_2"}, "attn_implementation is"),
        ({"text_config": {"attn_implementation": "paged|sdpa"}}, "attn_implementation is"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "quantization_config asks"),
        ({"quantization_config": "x"}, "quantization_config asks"),
        ({"use_kernels": True}, "use_kernels asks"),
        ({"dtype": "os.system"}, "dtype is 'os.system'"),
        ({"torch_dtype": "int8"}, "torch_dtype is 'int8'"),
        ({"hidden_act": "os.system"}, "describes no CLIPTextModelWithProjection"),
        ({"num_attention_heads": 0}, "describes no CLIPTextModelWithProjection"),
        ({"hidden_size": "wide"}, "describes no CLIPTextModelWithProjection"),
        ({"hidden_size": -48}, "describes no CLIPTextModelWithProjection"),
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers is 1000000000, but the weights beside it hold \d+ tensors"),
        ({"num_hidden_layers": 1e9}, "num_hidden_layers is 1000000000"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000, more than the weights beside it have numbers"),
        ({"intermediate_size": 60_000}, r"describes \d+ numbers, of which the weights beside it hold \d+"),
    ],
)
def test_a_config_that_asks_for_more_than_its_weights_is_one_line(base, entries, words):
    change(base / "text_encoder" / "config.json", **entries)
    started = time.monotonic()
    with pytest.raises(DwmError, match=rf"text_encoder/config\.json: {words}"):
        BaseModel.load(base, autoencoder=False)
    assert time.monotonic() - started < 60  # a billion layers would take days


@pytest.mark.parametrize(
    "entries, words",
    [
        ({"layers_per_block": 10**8}, "layers_per_block is 100000000"),
        ({"block_out_channels": [8] * 5000}, "block_out_channels has 5000 entries"),
        ({"norm_num_groups": 0}, "describes no AutoencoderKL"),
        ({"act_fn": "os.system"}, "describes no AutoencoderKL"),
        ({"down_block_types": ["os.system"] * 4}, "describes no AutoencoderKL"),
        ({"quantization_config": {"quant_method": "bitsandbytes"}}, "quantization_config asks"),
    ],
)
def test_the_same_of_an_autoencoder(base, entries, words):
    change(base / "vae" / "config.json", **entries)
    with pytest.raises(DwmError, match=rf"vae/config\.json: {words}"):
        BaseModel.load(base, text=False)


@pytest.mark.parametrize("entry", ["/etc/passwd", "../../secret", "https://host/vocab.json"])
def test_a_tokenizer_reads_no_file_outside_its_folder(base, entry):
    change(base / "tokenizer" / "tokenizer_config.json", vocab_file=entry)
    with pytest.raises(DwmError, match=r"tokenizer_config\.json: vocab_file .* is no file of this folder"):
        BaseModel.load(base, autoencoder=False)


def test_an_adapter_does_not_put_another_model_in_its_place(base):
    (base / "text_encoder" / "adapter_config.json").write_text('{"base_model_name_or_path": "somebody/else"}')
    with pytest.raises(DwmError, match=r"adapter_config\.json: an adapter"):
        BaseModel.load(base, autoencoder=False)


def test_an_index_names_files_of_its_folder_only(base, tmp_path):
    folder = base / "text_encoder"
    (folder / "model.safetensors").rename(tmp_path / "secret.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": "../../secret.safetensors"}}))
    with pytest.raises(DwmError, match="names files outside its folder"):
        BaseModel.load(base, autoencoder=False)


def test_a_tokenizer_of_an_unknown_kind_is_one_line(base):
    (base / "tokenizer" / "merges.txt").unlink()
    with pytest.raises(DwmError, match=r"holds neither tokenizer\.json nor the files of"):
        BaseModel.load(base, autoencoder=False)


@pytest.mark.parametrize("entries", [{"num_layers": 900}, {"num_layers": 10**9}, {"auto_map": {"AutoModel": "a.B"}}])
def test_a_driving_network_is_bounded_before_it_is_built(tmp_path, entries):
    folder = shutil.copytree(TOWN, tmp_path / "town")
    change(folder / "transformer" / "config.json", **entries)
    with pytest.raises(DwmError, match=rf"transformer/config\.json: {next(iter(entries))}"):
        load_network(folder)


def test_a_folder_called_town_hides_the_built_in_weights_only_where_it_holds_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "town" / "samples").mkdir(parents=True)
    assert resolve("town") == TOWN
    (tmp_path / "town" / "dwm.json").write_text("{}")
    assert resolve("town").resolve() == tmp_path / "town"


def test_a_tokenizer_that_gives_more_than_its_encoder_reads_is_refused(base):
    (base / "tokenizer" / "tokenizer_config.json").unlink()  # which says how many tokens a text has
    with pytest.raises(
        DwmError, match=r"tokenizer: gives 77 tokens of a text .* its text encoder reads \d+; fetch both"
    ):
        BaseModel.load(base, autoencoder=False)


def test_half_a_list_of_merges_is_refused_where_texts_would_be_split_in_another_way(base):
    merges = base / "tokenizer" / "merges.txt"
    merges.write_text("\n".join(merges.read_text().splitlines()[:2]))
    vocabulary = base / "tokenizer" / "vocab.json"
    words = json.loads(vocabulary.read_text())
    words |= {f"word{number}": len(words) + number for number in range(700)}
    vocabulary.write_text(json.dumps(words))
    with pytest.raises(DwmError, match=r"merges\.txt: has 2 rules for the \d+ words of vocab\.json: it ends early"):
        BaseModel.load(base, autoencoder=False)

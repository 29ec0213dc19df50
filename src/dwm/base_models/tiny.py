"""Makes a base model of the embedded weights' size: the folder layout of SD3 or SD 2.1, real classes, small and untrained.

Words of the given list are single tokens; any other text still encodes, letter by letter. It trains nothing.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLCogVideoX, DDIMScheduler, FlowMatchEulerDiscreteScheduler
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from dwm.base_models.base import quiet
from dwm.base_models.options import TinyOptions
from dwm.errors import DwmError

START, END = "<|startoftext|>", "<|endoftext|>"
T5_SPECIAL = ("<pad>", "</s>", "<unk>")


def create_tiny_base_model(
    folder: Path | str, words: Iterable[str], seed: int = 0, options: TinyOptions = TinyOptions()
) -> None:
    """Writes an untrained base model to `folder`, which must not exist yet or be empty. The same seed gives the same files."""
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise DwmError(f"{folder}: is not empty; a new base model needs an empty or a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write(beside, tiny_words(words), seed, options)
        beside.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        beside.rename(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def tiny_words(words: Iterable[str]) -> list[str]:
    """The distinct single words in `words` (which may be whole sentences), lower case, sorted."""
    return sorted({word for text in words for word in re.findall(r"[^\W\d_]+", text.lower())})


def _write(folder: Path, words: list[str], seed: int, options: TinyOptions) -> None:
    old = options.family == "sd21"
    vocabulary, merges = _bpe(words)
    for name, padding in (("tokenizer", END), ("tokenizer_2", "!"))[: 1 if old else 2]:
        _write_clip_tokenizer(folder / name, vocabulary, merges, padding, options.clip_tokens)
    pieces = 0 if old else _write_t5_tokenizer(folder / "tokenizer_3", words, options.t5_tokens)
    # The libraries initialise from the global generator; it is put back as it was.
    with torch.random.fork_rng(devices=[]), quiet():
        torch.manual_seed(seed)
        for name in ("text_encoder",) if old else ("text_encoder", "text_encoder_2"):
            kind = CLIPTextModel if old else CLIPTextModelWithProjection
            kind(_clip_config(len(vocabulary), vocabulary, options)).save_pretrained(folder / name)
        if not old:
            _t5(pieces, options).save_pretrained(folder / "text_encoder_3")
        (_video_autoencoder if options.video else _autoencoder)(options).save_pretrained(folder / "vae")
    flow = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=options.shift)
    (DDIMScheduler(**SD21_NOISE) if old else flow).save_pretrained(folder / "scheduler")
    _write_json(folder / "model_index.json", _index(options))


SD21_NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
"""SD 2.1's own schedule."""


def _index(options: TinyOptions) -> dict[str, object]:
    autoencoder = ["diffusers", "AutoencoderKLCogVideoX" if options.video else "AutoencoderKL"]
    if options.family == "sd3":
        return {**MODEL_INDEX, "vae": autoencoder}
    return {
        "_class_name": "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "vae": autoencoder,
    }


MODEL_INDEX = {
    "_class_name": "StableDiffusion3Pipeline",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
    "text_encoder_3": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "CLIPTokenizer"],
    "tokenizer_3": ["transformers", "PreTrainedTokenizerFast"],
}


def _clip_config(size: int, vocabulary: dict[str, int], options: TinyOptions) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=size,
        hidden_size=options.clip_width,
        intermediate_size=4 * options.clip_width,
        projection_dim=options.clip_width,
        num_hidden_layers=options.clip_layers,
        num_attention_heads=4,
        max_position_embeddings=options.clip_tokens,
        hidden_act="quick_gelu",
        bos_token_id=vocabulary[START],
        eos_token_id=vocabulary[END],
        pad_token_id=vocabulary[END],
    )


def _t5(pieces: int, options: TinyOptions) -> T5EncoderModel:
    config = T5Config(
        vocab_size=pieces,
        d_model=options.t5_width,
        d_kv=options.t5_width // 4,
        d_ff=2 * options.t5_width,
        num_layers=options.t5_layers,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=16,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        use_cache=False,
        is_encoder_decoder=False,
        tie_word_embeddings=False,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5EncoderModel(config)


def _autoencoder(options: TinyOptions) -> AutoencoderKL:
    levels = len(options.autoencoder_widths)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=options.autoencoder_widths,
        layers_per_block=1,
        latent_channels=options.latent_channels,
        norm_num_groups=options.norm_groups,
        sample_size=96,
        scaling_factor=1.0,
        shift_factor=0.0,
        force_upcast=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


def _video_autoencoder(options: TinyOptions) -> AutoencoderKLCogVideoX:
    levels = len(options.autoencoder_widths)
    return AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * levels,
        up_block_types=("CogVideoXUpBlock3D",) * levels,
        block_out_channels=options.autoencoder_widths,
        layers_per_block=1,
        latent_channels=options.latent_channels,
        norm_num_groups=options.norm_groups,
        temporal_compression_ratio=4,
        scaling_factor=1.0,
        force_upcast=False,
    )


def _bpe(words: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """CLIP's vocabulary (bytes, bytes that end a word, merges, start, end) in which every word merges to one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    # Merging to the very end leaves each word of the list as one piece.
    # Merges of equal frequency go by number: letters that end a word are numbered here, not as a hash table meets them.
    ends = [letter + "</w>" for letter in alphabet]
    trainer = trainers.BpeTrainer(
        vocab_size=1_000_000,
        min_frequency=1,
        end_of_word_suffix="</w>",
        initial_alphabet=alphabet,
        special_tokens=ends,
        show_progress=False,
    )
    tokenizer.train_from_iterator(words, trainer)
    merges = [tuple(merge) for merge in json.loads(tokenizer.to_str())["model"]["merges"]]
    tokens = [*alphabet, *ends]
    tokens += dict.fromkeys(left + right for left, right in merges if left + right not in set(tokens))
    return {token: index for index, token in enumerate([*tokens, START, END])}, merges


def _write_clip_tokenizer(
    folder: Path, vocabulary: dict[str, int], merges: list[tuple[str, str]], padding: str, length: int
) -> None:
    folder.mkdir()
    _write_json(folder / "vocab.json", vocabulary)
    lines = ["#version: 0.2", *(" ".join(merge) for merge in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": padding}
    _write_json(folder / "special_tokens_map.json", special)
    config = {**special, "tokenizer_class": "CLIPTokenizer", "model_max_length": length, "do_lower_case": True}
    _write_json(folder / "tokenizer_config.json", config)


def _write_t5_tokenizer(folder: Path, words: list[str], length: int) -> int:
    """A unigram tokenizer that knows the words and falls back to letters, then to bytes; returns its number of pieces."""
    folder.mkdir()
    letters = sorted({chr(code) for code in range(33, 127)} | {letter for word in words for letter in word})
    pieces = [(piece, 0.0) for piece in T5_SPECIAL]
    pieces += [(f"<0x{byte:02X}>", -30.0) for byte in range(256)]
    pieces += [(letter, -10.0) for letter in ("▁", *letters)]
    pieces += [(f"▁{word}", -2.0) for word in words]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always"),
            pre_tokenizers.Punctuation(),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(list(T5_SPECIAL))
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    _write_json(folder / "special_tokens_map.json", special)
    # The general class takes tokenizer.json as it stands; T5's own rebuilds it without lower case and bytes in newer versions.
    config = {**special, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length}
    _write_json(folder / "tokenizer_config.json", config)
    return tokenizer.get_vocab_size()


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

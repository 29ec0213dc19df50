"""Loads the base model under a driving network: one code for SD 3.5, SD 2.1, a video autoencoder and the embedded tiny one.

It reads local folders only (safetensors, never a pickle) and knows no driving network.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from dwm.base_models.absent import Absent, RememberedText
from dwm.base_models.autoencoder import Autoencoder, VideoAutoencoder
from dwm.base_models.finite import require_finite
from dwm.base_models.known_folders import where_to_fetch
from dwm.base_models.text import LONGEST, Sd3TextEncoder, Sd21TextEncoder, TextEncoder
from dwm.base_models.trust import CONFIG, check_folder_configs, check_model
from dwm.errors import DwmError
from dwm.storage import limits, read_file, regular
from dwm.strict_json import check_pointer, parse_json
from dwm.versions import installed

AUTOENCODERS = {"AutoencoderKL": Autoencoder, "AutoencoderKLCogVideoX": VideoAutoencoder}
"""What we wrap each of diffusers' classes in. Both libraries are imported where something is loaded: they take seconds."""

TOKENIZERS = {("vocab.json", "merges.txt"): "CLIPTokenizerFast", ("spiece.model",): "T5TokenizerFast"}
"""transformers' classes for tokenizers that have no tokenizer.json, by their files."""

LARGEST_WIDTH = 1 << 20
LETTERS = 600
"""Words of a vocabulary that come from no merge: 256 bytes, each also as an end of a word, and special ones."""
LARGEST_POINTER = 1024
"""Bytes; Git LFS's own are of about 130."""


@dataclass(frozen=True)
class BaseModel:
    """The frozen parts around a driving network. What was not asked for is None."""

    folder: Path
    scheduler: dict
    text: TextEncoder | None
    autoencoder: Autoencoder | None

    @classmethod
    def load(
        cls,
        folder: Path | str,
        text: bool = True,
        autoencoder: bool = True,
        t5: bool = True,
        autoencoder_folder: Path | str | None = None,
        text_dtype: torch.dtype = torch.float32,
        piece: int | None = None,
        keep_text: bool = True,
    ) -> BaseModel:
        """Reads a base model in the SD3 or SD 2.1 layout, in evaluation mode, on the CPU.

        Leave `text` out when embeddings are at hand, `t5` to replace the largest encoder by zeros. `autoencoder_folder` takes
        the autoencoder from elsewhere. `piece`: pictures en/decoded at once (0: all, None: one on a
        CPU, elsewhere what fits). Without `keep_text` the text encoders are read one after another when there are words to
        encode, and are gone after it. Raises DwmError for what is missing.
        """
        folder = Path(folder)
        _require(folder, folder)
        return cls(
            folder,
            read_json(folder / "scheduler" / "scheduler_config.json", folder),
            load_text(folder, t5, text_dtype, keep_text) if text else None,
            load_autoencoder(Path(autoencoder_folder or folder), piece) if autoencoder else None,
        )

    def to(self, device: torch.device | str) -> BaseModel:
        for part in (self.text, self.autoencoder):
            if part is not None:
                part.to(device)
        return self


def load_autoencoder(folder: Path, piece: int | None = None) -> Autoencoder:
    """The autoencoder of `folder`/vae, float32."""
    config = read_json(folder / "vae" / "config.json", folder)
    name = config.get("_class_name")
    if name not in AUTOENCODERS:
        raise DwmError(
            f"{folder / 'vae' / 'config.json'}: _class_name {name!r} is not known; known: {', '.join(AUTOENCODERS)}"
        )
    import diffusers

    return AUTOENCODERS[name](_load(getattr(diffusers, name), folder, "vae", torch.float32), piece)


def load_text(folder: Path, t5: bool = True, dtype: torch.dtype = torch.float32, keep: bool = True) -> TextEncoder:
    """The text encoders and tokenizers of `folder`: SD3's where there is a text_encoder_2, SD 2.1's otherwise. Without `keep`
    the encoders are read when they are used, one after another."""
    encoder = _text(folder, t5, partial(_load_part if keep else _absent, folder, dtype)).eval().requires_grad_(False)
    return encoder if keep else RememberedText(encoder)


def _text(folder: Path, t5: bool, part: Callable[..., nn.Module]) -> TextEncoder:
    """The encoder of parts that `part(class, name, tokenizer, the tokenizer's path)` makes."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

    if not (folder / "text_encoder_2").is_dir():
        tokenizer = _tokenizer(folder, "tokenizer")
        return Sd21TextEncoder(part(CLIPTextModel, "text_encoder", tokenizer, folder / "tokenizer"), tokenizer)
    names = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}
    tokenizers = [_tokenizer(folder, name) for name in names.values()]
    clips = [
        part(CLIPTextModelWithProjection, name, tokenizer, folder / names[name])
        for name, tokenizer in zip(names, tokenizers, strict=True)
    ]
    # The width of T5's tokens is needed without T5 too; SD3's own is 4096.
    config = folder / "text_encoder_3" / "config.json"
    width = read_json(config, folder).get("d_model") if config.is_file() else 4096
    if not isinstance(width, int) or not 0 < width <= LARGEST_WIDTH:
        raise DwmError(f"{config}: d_model is {str(width)[:40]}, not a number of channels; fetch it again")
    t5_tokenizer = _tokenizer(folder, "tokenizer_3") if t5 or (folder / "tokenizer_3").is_dir() else None
    if t5_tokenizer is not None and not t5:
        _fitting(t5_tokenizer, None, folder / "tokenizer_3")
    t5_model = part(T5EncoderModel, "text_encoder_3", t5_tokenizer, folder / "tokenizer_3") if t5 else None
    return Sd3TextEncoder(clips, tokenizers, t5_model, t5_tokenizer, width)


def _load_part(folder: Path, dtype: torch.dtype, kind: Any, name: str, tokenizer: Any, path: Path) -> nn.Module:
    model = _load(kind, folder, name, dtype)
    _fitting(tokenizer, model, path)
    return model.requires_grad_(False)


def _absent(folder: Path, dtype: torch.dtype, kind: Any, name: str, tokenizer: Any, path: Path) -> nn.Module:
    """Stands for a part that is read when it is used; what can be told without its weights is told at once."""
    _require(folder / name / "config.json", folder)
    check_pointers(folder / name)
    _fitting(tokenizer, None, path)
    return Absent(lambda weights: _load_part(folder, weights, kind, name, tokenizer, path), dtype)


def _fitting(tokenizer: Any, model: nn.Module | None, path: Path) -> Any:
    """The same tokenizer. Raises DwmError where it makes tokens that the model does not know, or texts of no length."""
    if type(tokenizer.model_max_length) not in (int, float) or not tokenizer.model_max_length >= 1:
        raise DwmError(f"{path}: model_max_length is {str(tokenizer.model_max_length)[:40]!r}, not a number of tokens")
    if tokenizer.pad_token_id is None:
        raise DwmError(f"{path}: names no pad_token; fetch it again")
    token_count = None if model is None else model.get_input_embeddings().num_embeddings
    if token_count is not None and len(tokenizer) > token_count:
        raise DwmError(f"{path}: has {len(tokenizer)} tokens, its text encoder knows {token_count}; fetch both again")
    positions = None if model is None else getattr(model.config, "max_position_embeddings", None)
    if positions is not None and (length := min(tokenizer.model_max_length, LONGEST)) > positions:
        raise DwmError(
            f"{path}: gives {length} tokens of a text (model_max_length in tokenizer_config.json), its text encoder reads "
            f"{positions}; fetch both again"
        )
    return tokenizer


def read_json(path: Path, folder: Path) -> dict:
    _require(path, folder)
    values = parse_json(read_file(path, CONFIG), str(path))
    if not isinstance(values, dict):
        raise DwmError(f"{path}: holds {type(values).__name__}, not an object; fetch it again")
    return values


def _load(model_class: Any, folder: Path, part: str, dtype: torch.dtype) -> nn.Module:
    _require(folder / part / "config.json", folder)
    check_pointers(folder / part)
    check_model(model_class, folder / part, read_json(folder / part / "config.json", folder))
    try:
        with quiet():
            model = model_class.from_pretrained(
                folder / part, torch_dtype=dtype, use_safetensors=True, local_files_only=True
            ).eval()
    except UNFIT as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DwmError(f"{folder / part}: cannot be loaded: {lines[0][:200]}; {_where(folder)}") from None
    require_finite(folder / part, model.state_dict())
    return model


def _tokenizer(folder: Path, part: str):
    _require(folder / part, folder)
    check_pointers(folder / part)
    check_folder_configs(folder / part)
    kind = _tokenizer_class(folder / part)
    try:
        with quiet():
            return kind.from_pretrained(folder / part, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        if not isinstance(error, UNFIT) and type(error) is not Exception:  # which is what `tokenizers` raises
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DwmError(f"{folder / part}: no tokenizer can be loaded: {lines[0][:200]}") from None


UNFIT = (
    *(OSError, ValueError, RuntimeError, SafetensorError, ImportError),
    *(LookupError, TypeError, AttributeError, ArithmeticError, AssertionError),
)
"""What the libraries raise for configs and files that do not fit them, most of which they take on trust."""


def check_pointers(folder: Path) -> None:
    """Raises DwmError where a file of the folder is Git LFS's pointer to what should be there."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.stat().st_size < LARGEST_POINTER:
            check_pointer(path)


def _tokenizer_class(folder: Path) -> type:
    """Which of the known classes reads a tokenizer's folder: never one that the folder brings."""
    import transformers

    # Newer transformers rebuild T5's tokenizer from its vocabulary alone; the file says it exactly.
    if (folder / "tokenizer.json").exists():
        regular(folder / "tokenizer.json", limits.TEXT)
        return transformers.PreTrainedTokenizerFast
    for names, kind in TOKENIZERS.items():
        if all((folder / name).exists() for name in names):
            for name in names:
                regular(folder / name, limits.TEXT)
            if "spiece.model" in names and not (installed("sentencepiece") and installed("protobuf")):
                raise DwmError(
                    f"{folder}: has no tokenizer.json, and its spiece.model is read by SentencePiece and protobuf: "
                    "pip install 'dwm[sd3]'"
                )
            if "merges.txt" in names:
                _check_merges(folder)
            return getattr(transformers, kind)
    raise DwmError(f"{folder}: holds neither tokenizer.json nor the files of CLIP's or T5's tokenizer; fetch it again")


def _check_merges(folder: Path) -> None:
    """Raises DwmError where merges.txt has fewer rules than its vocabulary came from: a half file would split texts otherwise."""
    rules = sum(bool(line.strip()) for line in read_file(folder / "merges.txt", limits.TEXT).splitlines())
    words = len(read_json(folder / "vocab.json", folder))
    if words > rules + LETTERS:
        raise DwmError(
            f"{folder / 'merges.txt'}: has {rules} rules for the {words} words of vocab.json: it ends early; fetch it again"
        )


def _require(path: Path, folder: Path) -> None:
    if not path.exists():
        raise DwmError(f"{path}: is missing; {_where(folder)}")


def _where(folder: Path) -> str:
    source = where_to_fetch(folder) or (
        "a folder in the layout of Stable Diffusion 3 (scheduler, vae, text_encoder*, tokenizer*)"
    )
    return f"fetch {source} and put it at {folder}"


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the progress bar over a few dozen tensors, and the libraries' remarks on tokenizer classes and accelerate."""
    from transformers.utils import logging as transformers_logging

    bar, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    diffusers_log = logging.getLogger("diffusers")
    diffusers_level = diffusers_log.level
    diffusers_log.setLevel(logging.ERROR)
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_log.setLevel(diffusers_level)
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()

"""Loads the base model under a driving network: one code for SD 3.5, SD 2.1, a video autoencoder and the embedded tiny one.

It reads local folders only (safetensors, never a pickle) and knows no driving network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLCogVideoX
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5EncoderModel,
)
from transformers.utils import logging as transformers_logging

from dwm.base_models.autoencoder import Autoencoder, VideoAutoencoder
from dwm.base_models.text import Sd3TextEncoder, Sd21TextEncoder, TextEncoder
from dwm.errors import DwmError

AUTOENCODERS = {
    "AutoencoderKL": (AutoencoderKL, Autoencoder),
    "AutoencoderKLCogVideoX": (AutoencoderKLCogVideoX, VideoAutoencoder),
}

GATED = "about 16 GB; gated: sign in and accept its licence there first"
KNOWN = {
    "stable-diffusion-3.5-medium": f"https://huggingface.co/stabilityai/stable-diffusion-3.5-medium ({GATED})",
    "stable-diffusion-3-medium-diffusers": f"https://huggingface.co/stabilityai/stable-diffusion-3-medium-diffusers ({GATED})",
    "stable-diffusion-2-1": "https://huggingface.co/stabilityai/stable-diffusion-2-1 (about 5 GB)",
    "CogVideoX-2b": "https://huggingface.co/THUDM/CogVideoX-2b (only vae/: about 0.9 GB)",
}
"""Where the published folders are to be had."""


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
        piece: int = 0,
    ) -> BaseModel:
        """Reads a base model in the SD3 or SD 2.1 layout, in evaluation mode, on the CPU.

        Leave `text` out when embeddings are at hand, `t5` to replace the largest encoder by zeros. `autoencoder_folder` takes
        the autoencoder from elsewhere. `piece`: pictures en/decoded at once (0: all). Raises DwmError for what is missing.
        """
        folder = Path(folder)
        _require(folder, folder)
        return cls(
            folder,
            read_json(folder / "scheduler" / "scheduler_config.json", folder),
            load_text(folder, t5, text_dtype) if text else None,
            load_autoencoder(Path(autoencoder_folder or folder), piece) if autoencoder else None,
        )

    def to(self, device: torch.device | str) -> BaseModel:
        for part in (self.text, self.autoencoder):
            if part is not None:
                part.to(device)
        return self


def load_autoencoder(folder: Path, piece: int = 0) -> Autoencoder:
    """The autoencoder of `folder`/vae, float32."""
    config = read_json(folder / "vae" / "config.json", folder)
    name = config.get("_class_name")
    if name not in AUTOENCODERS:
        raise DwmError(
            f"{folder / 'vae' / 'config.json'}: _class_name {name!r} is not known; known: {', '.join(AUTOENCODERS)}"
        )
    model_class, wrapper = AUTOENCODERS[name]
    return wrapper(_load(model_class, folder, "vae", torch.float32), piece)


def load_text(folder: Path, t5: bool = True, dtype: torch.dtype = torch.float32) -> TextEncoder:
    """The text encoders and tokenizers of `folder`: SD3's where there is a text_encoder_2, SD 2.1's otherwise."""
    if not (folder / "text_encoder_2").is_dir():
        encoder = Sd21TextEncoder(_load(CLIPTextModel, folder, "text_encoder", dtype), _tokenizer(folder, "tokenizer"))
        return encoder.eval().requires_grad_(False)
    names = ("text_encoder", "text_encoder_2")
    clips = [_load(CLIPTextModelWithProjection, folder, name, dtype) for name in names]
    tokenizers = [_tokenizer(folder, name) for name in ("tokenizer", "tokenizer_2")]
    # The width of T5's tokens is needed without T5 too; SD3's own is 4096.
    config = folder / "text_encoder_3" / "config.json"
    width = read_json(config, folder)["d_model"] if config.is_file() else 4096
    t5_model = _load(T5EncoderModel, folder, "text_encoder_3", dtype) if t5 else None
    t5_tokenizer = _tokenizer(folder, "tokenizer_3") if t5 or (folder / "tokenizer_3").is_dir() else None
    return Sd3TextEncoder(clips, tokenizers, t5_model, t5_tokenizer, width).eval().requires_grad_(False)


def read_json(path: Path, folder: Path) -> dict:
    _require(path, folder)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DwmError(f"{path}: is not JSON ({error}); fetch it again") from None
    if not isinstance(found, dict):
        raise DwmError(f"{path}: holds {type(found).__name__}, not an object; fetch it again")
    return found


def _load(model_class: type[nn.Module], folder: Path, part: str, dtype: torch.dtype) -> nn.Module:
    _require(folder / part / "config.json", folder)
    try:
        with quiet():
            return model_class.from_pretrained(
                folder / part, torch_dtype=dtype, use_safetensors=True, local_files_only=True
            ).eval()
    except (OSError, ValueError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise DwmError(f"{folder / part}: cannot be loaded: {lines[0][:200]}; {_where(folder)}") from None


def _tokenizer(folder: Path, part: str):
    _require(folder / part, folder)
    # Newer transformers rebuild T5's tokenizer from its vocabulary alone; the file says it exactly.
    kind = PreTrainedTokenizerFast if (folder / part / "tokenizer.json").is_file() else AutoTokenizer
    try:
        with quiet():
            return kind.from_pretrained(folder / part, local_files_only=True)
    except (OSError, ValueError) as error:
        raise DwmError(f"{folder / part}: no tokenizer can be loaded: {str(error).splitlines()[0][:200]}") from None


def _require(path: Path, folder: Path) -> None:
    if not path.exists():
        raise DwmError(f"{path}: is missing; {_where(folder)}")


def where_to_fetch(path: Path) -> str | None:
    """Where a published base model's folder, or what lies in it, is to be had, with its size; None for others."""
    return next((KNOWN[name] for name in reversed(path.parts) if name in KNOWN), None)


def _where(folder: Path) -> str:
    source = where_to_fetch(folder) or (
        "a folder in the layout of Stable Diffusion 3 (scheduler, vae, text_encoder*, tokenizer*)"
    )
    return f"fetch {source} and put it at {folder}"


@contextmanager
def quiet() -> Iterator[None]:
    """Hides the library's progress bar over a few dozen tensors and its remarks on tokenizer classes."""
    bar, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bar:
            transformers_logging.enable_progress_bar()

"""Which base model made some numbers: a short digest of the files that decide them. Loads no weights."""

from __future__ import annotations

import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

from dwm.errors import DwmError
from dwm.storage import limits, open_binary, read_file
from dwm.strict_json import parse_json

SAMPLES = 64
BLOCK = 4096
NO_MATTER = ("_name_or_path", "_diffusers_version", "transformers_version", "torch_dtype", "dtype")
"""Entries of a config that change nothing."""


def autoencoder_identity(folder: Path | str) -> str:
    """Of `folder`/vae. Raises DwmError where it is not there."""
    return _identity(Path(folder), ("vae",))


def text_identity(folder: Path | str, t5: bool = True) -> str:
    """Of the text encoders and tokenizers of `folder`; without `t5` the third stays out."""
    parts = [
        f"{kind}{number}" for number in ("", "_2", "_3")[: 3 if t5 else 2] for kind in ("text_encoder", "tokenizer")
    ]
    present = [part for part in parts if (Path(folder) / part).is_dir()]
    return _identity(Path(folder), present or parts[:1])


def _identity(folder: Path, parts: Iterable[str]) -> str:
    digest = blake2b(digest_size=8)
    for part in parts:
        if not (folder / part).is_dir():
            raise DwmError(f"{folder / part}: is missing; the store is for the base model that it was made with")
        for path in sorted((folder / part).rglob("*")):
            if path.is_dir():
                continue
            if path.suffix == ".json" and path.name.startswith(("config", "tokenizer_config")):
                values = {key: value for key, value in _values(path).items() if key not in NO_MATTER}
                digest.update(json.dumps(values, sort_keys=True).encode())
            elif path.suffix in (".json", ".txt", ".model", ".safetensors"):
                digest.update(path.name.encode())
                _sample(digest, path)
    return digest.hexdigest()


def _values(path: Path) -> dict:
    values = parse_json(read_file(path, limits.TEXT), str(path))
    return values if isinstance(values, dict) else {}


def _sample(digest: blake2b, path: Path) -> None:
    """Size and evenly spread blocks: all of a small file, enough of a large one to tell trainings apart."""
    size = path.stat().st_size
    digest.update(size.to_bytes(8, "little"))
    offsets = range(0, size, BLOCK) if size <= SAMPLES * BLOCK else [size * i // SAMPLES for i in range(SAMPLES)]
    with open_binary(path) as file:
        for offset in offsets:
            file.seek(offset)
            digest.update(file.read(BLOCK))

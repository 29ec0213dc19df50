"""Words → what a driving network reads: SD3's two CLIP encoders and T5, or SD 2.1's one CLIP encoder.

Distinct prompts are encoded once per call. It knows no clip and no network.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dwm.devices import send, send_numbers
from dwm.errors import DwmError
from dwm.storage import regular
from dwm.strict_json import check_characters, parse_json

LONGEST = 77
"""Tokens per encoder at most, whatever a tokenizer allows: what published weights were trained with."""

PROMPTS_AT_ONCE = 32
SHOWN = 60
"""Letters of a text that a message shows."""


@dataclass(frozen=True)
class TextEmbedding:
    """n prompts as token sequences and, where the family has it, as one pooled vector each."""

    sequence: Float[Tensor, "*n l d"]
    pooled: Float[Tensor, "*n p"] | None

    def __getitem__(self, index: Tensor | slice) -> TextEmbedding:
        return TextEmbedding(self.sequence[index], None if self.pooled is None else self.pooled[index])

    def to(self, *target: Any) -> TextEmbedding:
        """As `Tensor.to`."""
        return TextEmbedding(self.sequence.to(*target), None if self.pooled is None else self.pooled.to(*target))


@runtime_checkable
class TextSource(Protocol):
    """What turns prompts into embeddings: encoders in memory, or embeddings that were stored before."""

    def encode(self, prompts: Sequence[str], gradients: bool = False) -> TextEmbedding: ...


def present(part: Any) -> AbstractContextManager[Any]:
    """The part of an encoder for as long as it works: itself, or what stands for it brings it (`Absent`)."""
    return part.present() if hasattr(part, "present") else nullcontext(part)


class TextEncoder(nn.Module):
    """Shared way of the families: find the distinct prompts, encode them in pieces, hand them out again.

    `presence` gives a part for as long as it works, one after another.
    """

    presence: Callable[[Any], AbstractContextManager[Any]] = staticmethod(present)

    def encode(self, prompts: Sequence[str], gradients: bool = False) -> TextEmbedding:
        """Embeddings of `prompts` in their order. With `gradients` the encoders can be trained through the result."""
        distinct = list(dict.fromkeys(prompts))
        position = {prompt: index for index, prompt in enumerate(distinct)}
        with torch.set_grad_enabled(gradients and torch.is_grad_enabled()):
            pieces = [
                self._encode(distinct[start : start + PROMPTS_AT_ONCE])
                for start in range(0, len(distinct), PROMPTS_AT_ONCE)
            ]
            pooled = [piece.pooled for piece in pieces if piece.pooled is not None]
            embedding = TextEmbedding(
                torch.cat([piece.sequence for piece in pieces]),
                torch.cat(pooled) if pooled else None,
            )
            return embedding[send_numbers([position[prompt] for prompt in prompts], embedding.sequence.device)]

    def _encode(self, prompts: list[str]) -> TextEmbedding:
        raise NotImplementedError

    @property
    def tokenizers(self) -> dict[str, Any]:
        """The tokenizers by the name of the encoder that each serves."""
        raise NotImplementedError

    @property
    def parts(self) -> list[nn.Module]:
        """The encoders, which work one after another."""
        raise NotImplementedError

    def unread(self, prompts: Sequence[str]) -> str | None:
        """What of `prompts` no encoder reads, as one line; None where all is read.

        The encoders that read furthest decide: one that is shorter on purpose (T5's part of the embedded weights) is named
        with the others, but does not complain by itself.
        """
        lengths = {name: _length(tokenizer) for name, tokenizer in self.tokenizers.items()}
        longest = max(lengths.values())
        remainders: dict[str, str] = {}
        for name, tokenizer in self.tokenizers.items():
            if lengths[name] < longest:
                continue
            for prompt, ids in zip(prompts, tokenizer(list(prompts), verbose=False)["input_ids"], strict=True):
                if len(ids) > longest:
                    rest = tokenizer.decode(ids[longest - 1 : -1], skip_special_tokens=True).strip()
                    remainders[prompt] = max(remainders.get(prompt, ""), rest, key=len)
        if not remainders:
            return None
        prompt, rest = next(iter(remainders.items()))
        count, start = len(remainders), _excerpt(prompt)
        which = f"the text {start!r}" if count == 1 else f"{count} texts, the first {start!r},"
        limits = ", ".join(f"{name} {length}" for name, length in lengths.items())
        return (
            f"{which} is longer than what is read (tokens: {limits}): not read of it is {_excerpt(rest)!r}; "
            "say it in fewer words"
        )

    def say_unread(self, prompts: Sequence[str]) -> None:
        """Warns of what is not read, for the first of many calls in which something is not: every caption would be a line."""
        if not self._has_warned and (unread := self.unread(sorted(set(prompts)))) is not None:
            self._has_warned = True
            warnings.warn(f"{unread} (said of the first captions only)", stacklevel=3)

    _has_warned = False

    @property
    def length(self) -> int:
        """Tokens of a prompt's sequence."""
        raise NotImplementedError


class Sd3TextEncoder(TextEncoder):
    """[CLIP-L | CLIP-G, padded with zeros to T5's width] then T5's tokens; pooled = both CLIP projections.

    Without T5 its tokens are zeros of the width and number that it would have given.
    """

    def __init__(self, clips: list[nn.Module], clip_tokenizers: list, t5: nn.Module | None, t5_tokenizer, width: int):
        super().__init__()
        self.clips, self.t5 = nn.ModuleList(clips), t5
        self.clip_tokenizers, self.t5_tokenizer, self.width = clip_tokenizers, t5_tokenizer, width

    def _encode(self, prompts: list[str]) -> TextEmbedding:
        sequences, projections = [], []
        for part, tokenizer in zip(self.clips, self.clip_tokenizers, strict=True):
            with self.presence(part) as clip:
                result = clip(_tokens(tokenizer, prompts, _device_of(clip)), output_hidden_states=True)
            # The last layer shapes only the pooled vector; the sequence leaves before it, without the final norm.
            sequences.append(result.hidden_states[-2])
            projections.append(result.text_embeds)
            del clip, result
        sequence = torch.cat(sequences, -1)
        sequence = nn.functional.pad(sequence, (0, self.width - sequence.shape[-1]))
        t5 = self._t5(prompts, sequence.device).to(sequence.dtype)
        return TextEmbedding(torch.cat([sequence, t5], 1), torch.cat(projections, -1))

    @property
    def tokenizers(self) -> dict[str, Any]:
        by_part = {f"text_encoder{'_2' * index}": tokenizer for index, tokenizer in enumerate(self.clip_tokenizers)}
        return by_part if self.t5 is None else by_part | {"text_encoder_3": self.t5_tokenizer}

    @property
    def parts(self) -> list[nn.Module]:
        return [*self.clips, *([] if self.t5 is None else [self.t5])]

    @property
    def length(self) -> int:
        return _length(self.clip_tokenizers[0]) + self._t5_length

    @property
    def _t5_length(self) -> int:
        return LONGEST if self.t5_tokenizer is None else _length(self.t5_tokenizer)

    def _t5(self, prompts: list[str], device: torch.device) -> Float[Tensor, "n l d"]:
        if self.t5 is None:
            return torch.zeros(len(prompts), self._t5_length, self.width, device=device)
        with self.presence(self.t5) as t5:
            return t5(_tokens(self.t5_tokenizer, prompts, _device_of(t5)))[0]


class Sd21TextEncoder(TextEncoder):
    """SD 2.1: the last hidden state of one CLIP encoder; nothing pooled."""

    def __init__(self, clip: nn.Module, tokenizer):
        super().__init__()
        self.clip, self.tokenizer = clip, tokenizer

    @property
    def tokenizers(self) -> dict[str, Any]:
        return {"text_encoder": self.tokenizer}

    @property
    def parts(self) -> list[nn.Module]:
        return [self.clip]

    @property
    def length(self) -> int:
        return _length(self.tokenizer)

    def _encode(self, prompts: list[str]) -> TextEmbedding:
        with self.presence(self.clip) as clip:
            return TextEmbedding(clip(_tokens(self.tokenizer, prompts, _device_of(clip)))[0], None)


class StoredText:
    """Embeddings that were computed before: lets the encoders stay out of memory."""

    def __init__(self, prompts: Sequence[str], embedding: TextEmbedding):
        self.index = {prompt: index for index, prompt in enumerate(prompts)}
        self.embedding = embedding

    def encode(self, prompts: Sequence[str], gradients: bool = False) -> TextEmbedding:
        """As `TextEncoder.encode`. Raises DwmError naming a prompt that was not stored."""
        missing = next((prompt for prompt in prompts if prompt not in self.index), None)
        if missing is not None:
            raise DwmError(f"prompt {missing[:60]!r} is not among the {len(self.index)} stored embeddings")
        return self.embedding[send_numbers([self.index[prompt] for prompt in prompts], self.embedding.sequence.device)]

    def to(self, *target: torch.device | torch.dtype | str) -> StoredText:
        return StoredText(list(self.index), self.embedding.to(*target))

    def map(self, change: Callable[[Tensor], Tensor]) -> StoredText:
        """The same prompts with both tensors changed."""
        embedding = self.embedding
        pooled = None if embedding.pooled is None else change(embedding.pooled)
        return StoredText(list(self.index), TextEmbedding(change(embedding.sequence), pooled))

    def save(self, path: Path | str) -> None:
        tensors = {"sequence": self.embedding.sequence.contiguous()}
        if self.embedding.pooled is not None:
            tensors["pooled"] = self.embedding.pooled.contiguous()
        save_file(tensors, path, {"prompts": json.dumps(list(self.index), ensure_ascii=False)})

    @classmethod
    def load(cls, path: Path | str) -> StoredText:
        try:
            with safe_open(regular(path), "pt") as file:
                prompts = parse_json((file.metadata() or {})["prompts"], f"{path}: prompts")
                pooled = file.get_tensor("pooled") if "pooled" in file.keys() else None  # noqa: SIM118
                return cls(prompts, TextEmbedding(file.get_tensor("sequence"), pooled))
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise DwmError(
                f"{path}: no stored embeddings can be read ({error}); write them with StoredText.save"
            ) from None


def _tokens(tokenizer, prompts: list[str], device: torch.device) -> Tensor:
    check_characters(prompts, "prompt", "write it in UTF-8")
    tokens = tokenizer(
        prompts, padding="max_length", max_length=_length(tokenizer), truncation=True, return_tensors="pt"
    )
    return send(tokens["input_ids"], device)


def _device_of(part: nn.Module) -> torch.device:
    return next(part.parameters()).device


def _excerpt(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


def _length(tokenizer) -> int:
    return min(tokenizer.model_max_length, LONGEST)

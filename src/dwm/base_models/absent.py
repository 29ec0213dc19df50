"""Parts of a base model that are in memory only while they work. Knows no file: how a part is read comes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from dwm.base_models.text import TextEmbedding, TextEncoder

REMEMBERED = 1024
"""Prompts whose embeddings are held; of SD 3.5 one is of 1.3 MB."""


class Absent(nn.Module):
    """Stands for a part that is read for each use and gone after it. It has the part's device and dtype, and no weights."""

    mark: torch.Tensor

    def __init__(self, read: Callable[[torch.dtype], nn.Module], dtype: torch.dtype):
        super().__init__()
        self.read = read
        self.register_buffer("mark", torch.empty(0, dtype=dtype), persistent=False)

    @contextmanager
    def present(self) -> Iterator[nn.Module]:
        """The part itself, on its device."""
        yield nn.Module.to(self.read(self.mark.dtype), self.mark.device)


class RememberedText(TextEncoder):
    """An encoder of absent parts: what it encoded once is not encoded again, as each time all parts are read anew."""

    def __init__(self, encoder: TextEncoder):
        super().__init__()
        self.encoder = encoder
        self.rows: dict[str, TextEmbedding] = {}

    def encode(self, prompts: Sequence[str], gradients: bool = False) -> TextEmbedding:
        """As `TextEncoder.encode`, without gradients."""
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.rows]
        if missing:
            if len(self.rows) + len(missing) > REMEMBERED:
                self.rows.clear()
                missing = list(dict.fromkeys(prompts))
            embedding = self.encoder.encode(missing)
            self.rows |= {prompt: embedding[index : index + 1] for index, prompt in enumerate(missing)}
        rows = [self.rows[prompt] for prompt in prompts]
        pooled = [row.pooled for row in rows if row.pooled is not None]
        return TextEmbedding(torch.cat([row.sequence for row in rows]), torch.cat(pooled) if pooled else None)

    @property
    def tokenizers(self) -> dict[str, Any]:
        return self.encoder.tokenizers

    @property
    def length(self) -> int:
        return self.encoder.length

    def _apply(self, *inputs: Any, **keywords: Any) -> Any:
        before = self._held_as()
        super()._apply(*inputs, **keywords)
        if self._held_as() != before:
            self.rows.clear()
        return self

    def _held_as(self) -> tuple[torch.device, torch.dtype]:
        mark = next(self.buffers())
        return mark.device, mark.dtype

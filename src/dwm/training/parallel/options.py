"""Options of several processes. Starts none."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from dwm.errors import DwmError
from dwm.options import Options

Dtype = Literal["float32", "bfloat16", "float16"]


class ParallelOptions(Options):
    """How several processes share a run, and what is done to the network's blocks."""

    mode: Literal["ddp", "fsdp"] = Field(
        "ddp", description="of several processes: ddp, a copy of the network in each; fsdp, a shard in each"
    )
    mesh: tuple[int, int] | None = Field(
        None, description="fsdp: copies and shards of a copy, whose product is the number of processes; null: one copy"
    )
    gather: Dtype | None = Field(
        None, description="fsdp: numbers in which weights travel; null: those of matrix products (autocast)"
    )
    recompute: bool | None = Field(
        None,
        description="compute each block again in the backward pass: less memory, more time; null: where memory is too little",
    )
    compile: bool = Field(False, description="compile each block (torch.compile); the first steps take minutes")

    def shape(self, processes: int) -> tuple[int, int]:
        """The mesh for so many processes. Raises DwmError where it does not fit them."""
        copies, shards = self.mesh or (1, processes)
        if copies * shards != processes or copies < 1:
            raise DwmError(
                f"training.parallel.mesh: [{copies}, {shards}] is {copies * shards} processes, but {processes} were "
                f"started; give copies and shards whose product is {processes}"
            )
        return copies, shards

"""Writes saves in the background: a copy to the processor's memory, then a thread, while the steps go on.

Each process writes its own file into a folder beside; when all have, the first one names it. A save that anything ends
early leaves only that folder, which is swept, and the saves before it.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dwm.devices import mark
from dwm.errors import DwmError
from dwm.training.parallel.ranks import Ranks
from dwm.training.saves.checkpoint import STATE, Training, prune, remove, state_of

if TYPE_CHECKING:
    from dwm.training.saves.shard_files import (
        Piece,  # at run time where it is used: its library takes a second to import
    )


class Saver:
    """The saves of one run. All processes call all methods at the same steps."""

    def __init__(self, folder: Path, training: Training, ranks: Ranks = Ranks(), keep: int = 2, keep_best: int = 1):
        self.folder, self.training, self.ranks = folder, training, ranks
        self.keep, self.keep_best = keep, keep_best
        self._pieces: list[Piece] = []
        self._names: list[str] = []
        self._copies: dict[str, Tensor] = {}
        self._thread: threading.Thread | None = None
        self._named = False
        self._error: OSError | None = None
        self._state: dict[str, object] = {}
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in (*folder.glob(".saving-*"), *folder.glob(".deleting-*")):
                shutil.rmtree(leftover, ignore_errors=True)
        ranks.barrier()

    @property
    def writing(self) -> bool:
        """Whether this process still writes its file."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def failed(self) -> bool:
        return self._error is not None and not self.writing

    def start(self, step: int) -> None:
        """Copies everything and begins to write it; one that is being written is finished first."""
        from dwm.training.saves import shard_files

        self.finish()
        tensors = self.training.tensors()
        if list(tensors) != self._names:
            self._names = list(tensors)
            self._pieces = shard_files.share_out(tensors, self.ranks.rank, self.ranks.gather)
        shard_files.copy(tensors, self._pieces, self._copies)
        copied = mark(next(self.training.module.parameters()).device)
        self._state = state_of(step, self.training, self.ranks.count)
        self._named = False
        beside = self._beside()
        self._thread = threading.Thread(target=self._write, args=(beside, copied), name="saver", daemon=True)
        self._thread.start()

    def settle(self, writing: bool, failed: bool) -> None:
        """Names the save once no process writes any more, as they have told each other."""
        if failed:
            self._give_up()
        if self._thread is not None and not writing:
            self._thread = None
            if not self._named:
                try:
                    self._name()
                except OSError as error:
                    self._error = error
                    self._give_up()

    def finish(self) -> None:
        """Waits until what is being written is a save. Raises DwmError where a process could not write."""
        if self._thread is None:
            return
        self._thread.join()
        (failed,) = self.ranks.any(self._error is not None)
        self.settle(writing=False, failed=failed)
        self.ranks.barrier()

    def _beside(self) -> Path:
        return self.folder / f".saving-{self._state['step']:07d}"

    def _write(self, beside: Path, copied: Any) -> None:
        from dwm.training.saves import shard_files

        try:
            if copied is not None:
                copied.synchronize()
            beside.mkdir(parents=True, exist_ok=True)
            path = beside / f"shard_{self.ranks.rank:05d}.safetensors"
            shard_files.write(path, self._pieces, self._copies)
            _to_disk(path)
            if self.ranks.count == 1:  # no need to wait for others, or for the end of a step
                self._name()
        except OSError as error:
            self._error = error
        except Exception as error:  # safetensors has errors of its own for a full disk
            self._error = OSError(0, str(error))

    def _name(self) -> None:
        self._named = True
        if not self.ranks.first:
            return
        beside, target = self._beside(), self.folder / f"{self._state['step']:07d}"
        (beside / STATE).write_text(json.dumps(self._state, indent=1) + "\n", encoding="utf-8")
        _to_disk(beside / STATE)
        _to_disk(beside)
        if target.exists():
            remove(target)
        os.replace(beside, target)
        _to_disk(self.folder)
        prune(self.folder, self.keep, self.keep_best)

    def _give_up(self) -> None:
        self._thread = None
        beside, target = self._beside(), self.folder / f"{self._state['step']:07d}"
        shutil.rmtree(beside, ignore_errors=True)
        error = self._error
        why = "another process could not write its part" if error is None else error.strerror or error
        raise DwmError(f"{target}: could not be saved ({why}); the saves before it are kept") from error


def save(folder: Path, step: int, training: Training, ranks: Ranks = Ranks(), keep: int = 2) -> Path:
    """Writes `folder/0000500` for step 500, waits for it, and deletes all but the last `keep` saves.

    Raises DwmError on a full disk.
    """
    saver = Saver(folder, training, ranks, keep)
    saver.start(step)
    saver.finish()
    return folder / f"{step:07d}"


def _to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

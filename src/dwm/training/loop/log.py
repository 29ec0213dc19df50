"""What is written of a run while it goes on: one line a log step on the screen, `log.jsonl`, and curves."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from dwm import progress
from dwm.errors import DwmError
from dwm.screen import say
from dwm.training.loop.options import WatchOptions

SHOWN = {
    "gradient_norm": "gradient {:.3g}",
    "lr": "lr {:.3g}",
    "muon_lr": "muon lr {:.3g}",
    "seconds": "{:.3f} s/step",
    "clips_per_second": "{:.3g} clips/s",
    "tokens_per_second": "{:.3g} tokens/s",
    "share_of_peak": "{:.1%} of peak",
    "waiting": "waiting {:.1%}",
    "memory_gb": "{:.2f} GB",
    "left": "{:.0f} s left",
}
"""What a line says after the loss and its parts."""


@runtime_checkable
class Tracker(Protocol):
    """Takes the numbers of a log step and shows them somewhere."""

    def write(self, step: int, values: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class Lines:
    """A line on stderr and one in `log.jsonl`."""

    def __init__(self, folder: Path, steps: int):
        self.path, self.steps = folder / "log.jsonl", steps
        if self.path.exists():
            content = self.path.read_bytes()
            if not content.endswith(b"\n"):  # a killed run's last line
                os.truncate(self.path, content.rfind(b"\n") + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        entry = {name: value if name == "step" else float(f"{value:.7g}") for name, value in values.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if not progress.QUIET:
            say(line(values, self.steps))

    def close(self) -> None:
        """Every line is closed already."""


def _not_installed(library: str) -> DwmError:
    return DwmError(
        f"training.watch.trackers: {library} is not installed; pip install 'dwm[{library}]', or leave it out "
        "(training.watch.trackers=[])"
    )


class TensorBoard:
    """Curves in the run's own folder."""

    def __init__(self, folder: Path, step: int):
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise _not_installed("tensorboard") from None

        self.curves = SummaryWriter(str(folder / "curves"), purge_step=step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if name not in ("step", "left"):
                self.curves.add_scalar(f"train/{name}", value, step)

    def close(self) -> None:
        self.curves.close()


class Service:
    """Weights & Biases or trackio, which share one way of calling. A run that goes on is found again by its folder."""

    def __init__(self, library: str, project: str, name: str | None, folder: Path):
        try:
            self.library: Any = importlib.import_module(library)
        except ImportError:
            raise _not_installed(library) from None
        folder_name = "-".join(folder.resolve().parts[-2:])
        again = {"id": folder_name} if library == "wandb" else {}
        self.library.init(project=project, name=name or folder_name, resume="allow", **again)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.library.log({f"train/{name}": value for name, value in values.items() if name != "step"}, step=step)

    def close(self) -> None:
        self.library.finish()


def trackers(options: WatchOptions, folder: Path, step: int, steps: int) -> Sequence[Tracker]:
    """Everything that the first process writes to. Raises DwmError where a library is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    others: Iterator[Tracker] = (
        TensorBoard(folder, step) if name == "tensorboard" else Service(name, options.project, options.name, folder)
        for name in options.trackers
    )
    return [Lines(folder, steps), *others]


def line(values: Mapping[str, float], steps: int) -> str:
    """`step 20/1000: loss 0.1234 (generation 0.1300, image 0.1100), gradient 0.5, …`"""
    parts = ", ".join(f"{name} {value:.4f}" for name, value in values.items() if name not in ("step", "loss", *SHOWN))
    loss = f"loss {values['loss']:.4f}" + (f" ({parts})" if parts else "")
    rest = [text.format(values[name]) for name, text in SHOWN.items() if name in values]
    return f"step {values['step']:.0f}/{steps}: " + ", ".join([loss, *rest])

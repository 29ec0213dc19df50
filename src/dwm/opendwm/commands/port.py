"""The two training runs of OpenDWM's Ascend port: a run for the loss, and one for the time of a step.

`bash test/train.sh [master address] [KEY=VALUE …]` and `test/train_performance.sh` come here. Starts torchrun, writes its log,
and says the mean time of a step.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path
from typing import Literal

from dwm.devices import ascend
from dwm.errors import DwmError
from dwm.screen import say
from dwm.storage import check_file

Kind = Literal["precision", "performance"]
RECIPE = "sd35-crossview-nuscenes"
STEPS: Mapping[Kind, int] = {"precision": 5000, "performance": 500}
TINY_STEPS: Mapping[Kind, int] = {"precision": 60, "performance": 40}
LOG_EVERY, TINY_LOG_EVERY = 100, 10
PROCESSES, TINY_PROCESSES = 8, 2
PORT = "23500"
LOGS: Mapping[Kind, str] = {"precision": "train.log", "performance": "train_performance.log"}


@dataclass(frozen=True)
class PortRun:
    """What is started: arguments of `dwm train`, how many processes, and where everything goes."""

    kind: Kind
    folder: Path
    processes: int
    arguments: tuple[str, ...]
    address: str | None = None
    nodes: int = 1
    node: int = 0

    @classmethod
    def of(cls, kind: Kind, given: Sequence[str], environment: Mapping[str, str]) -> PortRun:
        """From the scripts' arguments and environment (NPROC, MESH, DEVICE, TINY, OUTPUT; NNODES, NODE_RANK).

        Raises DwmError for a value that is not meant.
        """
        tiny = environment.get("TINY", "0") not in ("", "0")
        nodes = _count(environment, "NNODES", 1)
        each = _count(environment, "NPROC", TINY_PROCESSES if tiny else PROCESSES)
        processes = nodes * each
        copies, shards = _mesh(environment.get("MESH"), processes)
        address = next((text for text in given if "=" not in text), None)
        settings = {
            "training.steps": (TINY_STEPS if tiny else STEPS)[kind],
            "training.log_every": TINY_LOG_EVERY if tiny else LOG_EVERY,
            # One clip a process, as in the port's config.
            "training.accumulate": processes,
            "training.parallel.mode": "fsdp",
            "training.parallel.mesh": f"[{copies},{shards}]",
            "device": environment.get("DEVICE", "auto"),
        }
        if kind == "performance":
            settings |= {"training.save_every": STEPS[kind], "preview.every": 0}
        overrides = [f"{key}={value}" for key, value in settings.items()]
        overrides += [text for text in given if "=" in text]
        output = Path(environment.get("OUTPUT", "output/train_out"))
        folder = _due(output, kind)
        arguments = (RECIPE + "-tiny" * tiny, *overrides, "--resume", "-o", str(folder))
        return cls(kind, folder, each, arguments, address, nodes, _count(environment, "NODE_RANK", 0, least=0))

    @property
    def log(self) -> Path:
        return self.folder.parent / LOGS[self.kind]

    def command(self) -> list[str]:
        """The processes as torchrun starts them; one alone needs no torchrun."""
        module = ["-m", "dwm.cli.main", "train", *self.arguments]
        if self.processes * self.nodes == 1:
            return [sys.executable, *module]
        where = ["--standalone"]
        if self.address is not None or self.nodes > 1:
            where = [
                f"--master_addr={self.address or 'localhost'}",
                f"--master_port={os.environ.get('MASTER_PORT', PORT)}",
            ]
            where += [f"--nnodes={self.nodes}", f"--node_rank={self.node}"]
        launcher = [sys.executable, "-m", "torch.distributed.run", *where, f"--nproc_per_node={self.processes}"]
        return [*launcher, *module]


def main() -> None:
    """`python src/dwm/tools/port_run.py precision|performance [master address] [KEY=VALUE …]`"""
    kind, *given = sys.argv[1:] or ("",)
    if kind not in STEPS:
        raise DwmError(f"expected precision or performance, found {kind!r}")
    run = PortRun.of(kind, given, os.environ)
    start(run)
    say(*summary(run), to_result=True)


def start(run: PortRun) -> None:
    """Runs to the end; what it says goes to the terminal and to the log. Raises DwmError where it failed."""
    check_file(run.log)
    run.log.parent.mkdir(parents=True, exist_ok=True)
    settings = ascend.PRECISION if run.kind == "precision" else ascend.PERFORMANCE
    environment = {**settings, **os.environ}
    with run.log.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            run.command(),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            log.write(line)
            log.flush()
        code = process.wait()
    if code:
        raise DwmError(f"{run.log}: the run ended with status {code}; its last lines say why")


def summary(run: PortRun) -> list[str]:
    """The last loss, and the mean time of a step without the first log interval, in which kernels and files warm up."""
    entries = log_entries(run.folder)
    last = entries[-1]
    lines = [f"step {last['step']}: loss {last['loss']:.4f} (mean since step {_before(entries)})"]
    try:
        mean, first, steps = mean_step(entries)
    except DwmError as error:
        return [*lines, str(error)]
    clips = last["clips_per_second"] * last["seconds"]
    return [
        *lines,
        f"mean time of a step, steps {first + 1} to {steps}: {mean:.3f} s/step, {clips / mean:.2f} clips/s "
        f"on {run.processes * run.nodes} processes",
    ]


def log_entries(folder: Path) -> list[dict[str, float]]:
    """The log steps of the (one) stage below a run's folder, the newest where a step was repeated."""
    files = sorted(folder.glob("*/log.jsonl"))
    if not files:
        raise DwmError(f"{folder}: holds no log.jsonl; the run has logged no step")
    entries = [json.loads(line) for line in files[-1].read_text("utf-8").splitlines()]
    return [entry for _, entry in sorted({int(entry["step"]): entry for entry in entries}.items())]


def mean_step(entries: Sequence[Mapping[str, float]]) -> tuple[float, int, int]:
    """Seconds a step over all log intervals but the first, weighted by their steps; the steps between which that is."""
    if len(entries) < 2:
        raise DwmError("the run has one log interval only, the one that does not count; give more training.steps")
    steps = [int(entry["step"]) for entry in entries]
    spans = [later - earlier for earlier, later in pairwise(steps)]
    total = sum(span * entry["seconds"] for span, entry in zip(spans, entries[1:], strict=True))
    return total / sum(spans), steps[0], steps[-1]


def _before(entries: Sequence[Mapping[str, float]]) -> int:
    return int(entries[-2]["step"]) if len(entries) > 1 else 0


def _due(output: Path, kind: Kind) -> Path:
    """The folder of the run at hand: a precision run that was stopped goes on, everything else is a new one."""
    names = (kind if number == 1 else f"{kind}-{number}" for number in count(1))
    done = "config.json" if kind == "performance" else "weights/dwm.json"
    return next(output / name for name in names if not (output / name / done).exists())


def _mesh(text: str | None, processes: int) -> tuple[int, int]:
    """`2,4` or `[2,4]`: copies and shards. Without it two copies where that goes, as in the port."""
    if text is None:
        copies = 2 if processes % 2 == 0 and processes > 2 else 1
        return copies, processes // copies
    try:
        copies, shards = (int(part) for part in text.strip("[]() ").split(","))
    except ValueError:
        raise DwmError(f"MESH={text}: expected copies and shards, as MESH=2,4") from None
    if copies < 1 or copies * shards != processes:
        raise DwmError(f"MESH={text} is {copies * shards} processes, but NPROC (times NNODES) is {processes}")
    return copies, shards


def _count(environment: Mapping[str, str], name: str, default: int, least: int = 1) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or int(text) < least:
        raise DwmError(f"{name}={text}: expected a whole number from {least} on")
    return int(text)

"""The two training runs of OpenDWM's Ascend port: a run for the loss, and one for the time of a step.

`bash test/train.sh [master address] [KEY=VALUE …]` and `test/train_performance.sh` come here. Looks whether all is there that
the run needs, starts torchrun, writes its log, and says the mean time of a step, or in its last line why the run failed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

from dwm.devices import ascend
from dwm.errors import REASONS, DwmError, first_reason
from dwm.screen import say
from dwm.storage import check_file

if TYPE_CHECKING:
    from dwm.config import Recipe

Kind = Literal["precision", "performance"]
RECIPE = "sd35-crossview-nuscenes"
STEPS: Mapping[Kind, int] = {"precision": 5000, "performance": 500}
TINY_STEPS: Mapping[Kind, int] = {"precision": 60, "performance": 40}
LOG_EVERY, TINY_LOG_EVERY = 100, 10
PROCESSES, TINY_PROCESSES = 8, 2
PORT, MESH = "23500", "training.parallel.mesh"
SCRIPTS: Mapping[Kind, str] = {"precision": "train.sh", "performance": "train_performance.sh"}
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
    tiny: bool = False
    config: Path | None = None
    root: Path | None = None

    @classmethod
    def of(cls, kind: Kind, words: Sequence[str], environment: Mapping[str, str]) -> PortRun:
        """From the scripts' arguments and environment (NPROC, MESH, DEVICE, TINY, CONFIG, ROOT, OUTPUT; NNODES, NODE_RANK).

        Raises DwmError for a value that is not meant.
        """
        tiny = environment.get("TINY", "0") not in ("", "0")
        config = Path(environment["CONFIG"]) if environment.get("CONFIG") else None
        if tiny and config is not None:
            raise DwmError(f"TINY=1 and CONFIG={config}: TINY is of our recipe; give one of them")
        nodes = _count(environment, "NNODES", 1)
        each = _count(environment, "NPROC", TINY_PROCESSES if tiny else PROCESSES)
        processes = nodes * each
        copies, shards = _mesh(environment.get("MESH"), processes)
        address = _address(kind, words)
        micro_batches = 1 if config is None else _of(config).training.accumulate
        settings = {
            "training.steps": (TINY_STEPS if tiny else STEPS)[kind],
            "training.log_every": TINY_LOG_EVERY if tiny else LOG_EVERY,
            # As many a process as the config says; in the port's, and ours, one.
            "training.accumulate": processes * micro_batches,
            "training.parallel.mode": "fsdp",
            MESH: f"[{copies},{shards}]",
            "device": environment.get("DEVICE", "auto"),
        }
        if kind == "performance":
            settings |= {"training.save_every": STEPS[kind], "preview.every": 0}
        overrides = [f"{key}={value}" for key, value in settings.items()]
        overrides += [text for text in words if "=" in text]
        folder = _due(Path(environment.get("OUTPUT", "output/train_out")), kind)
        root = Path(environment["ROOT"]) if environment.get("ROOT") else None
        source = (RECIPE + "-tiny" * tiny,) if config is None else ("-c", str(config))
        below = () if root is None else ("--root", str(root))
        arguments = (*source, *overrides, "--resume", "-o", str(folder), *below)
        node = _count(environment, "NODE_RANK", 0, least=0)
        if node >= nodes:
            raise DwmError(f"NODE_RANK={node}, but NNODES={nodes}: machines count from 0 to {nodes - 1}")
        if nodes > 1 and address is None:
            raise DwmError(f"NNODES={nodes}: give the first machine's address: bash test/{SCRIPTS[kind]} ADDRESS")
        _count(environment, "MASTER_PORT", int(PORT))
        return cls(kind, folder, each, arguments, address, nodes, node, tiny, config, root)

    @property
    def log(self) -> Path:
        return self.folder.parent / LOGS[self.kind]

    @property
    def recipe(self) -> Recipe:
        """What the processes will train. Raises DwmError for a setting that is not known."""
        from dwm.config import find, resolve
        from dwm.opendwm.config.port_paths import with_root

        words = self.arguments[: self.arguments.index("--resume")]
        recipe = find(words[0]) if self.config is None else _of(self.config)
        values = recipe if self.root is None else with_root(recipe, self.root)
        return resolve(values=values, overrides=words[1 if self.config is None else 2 :])

    def with_copies(self) -> PortRun:
        """The same run with a copy of the network in each process in place of shards."""
        ours = ("training.parallel.mode=fsdp", next(text for text in self.arguments if MESH in text))
        words = (
            ours[0].replace("fsdp", "ddp") if text == ours[0] else text for text in self.arguments if text != ours[1]
        )
        return replace(self, arguments=tuple(words))

    def command(self) -> list[str]:
        """The processes as torchrun starts them; one alone needs no torchrun."""
        module = ["-m", "dwm.cli.main", "train", *self.arguments]
        if self.processes * self.nodes == 1:
            return [sys.executable, *module]
        where = ["--standalone"]
        if self.address is not None or self.nodes > 1:
            where = [
                f"--master_addr={self.address}",
                f"--master_port={os.environ.get('MASTER_PORT', PORT)}",
            ]
            where += [f"--nnodes={self.nodes}", f"--node_rank={self.node}"]
        launcher = [sys.executable, "-m", "dwm.opendwm.commands.launch", *where]
        return [*launcher, f"--nproc_per_node={self.processes}", *module]


def main() -> None:
    """`python src/dwm/tools/port_run.py precision|performance [master address] [KEY=VALUE …]`"""
    kind, *words = sys.argv[1:] or ("",)
    if kind not in STEPS:
        raise DwmError(f"expected precision or performance, found {kind!r}")
    run = PortRun.of(kind, words, os.environ)
    run = checked(run)
    start(run)
    say(*summary(run), to_result=True)


def checked(run: PortRun) -> PortRun:
    """The run, when all is there that it needs. Raises DwmError for the first that is not, before any process is started."""
    # Here, since networks take seconds to import and a mistyped word is said at once.
    from dwm.devices import pick_device
    from dwm.opendwm.commands.before_start import check_devices, check_files, check_memory
    from dwm.training.parallel.meeting import check_port
    from dwm.training.parallel.spread import without_shards

    recipe = run.recipe
    device = pick_device(recipe.device)
    script = f"bash test/{SCRIPTS[run.kind]}"
    check_devices(device.type, run.processes, script, alone=run.tiny or recipe.device != "auto")
    if run.node == 0 and (run.address is not None or run.nodes > 1):
        check_port(int(os.environ.get("MASTER_PORT", PORT)))
    check_files(recipe, run.config)
    parallel = recipe.training.parallel
    shards = parallel.shape(run.processes * run.nodes)[1] if parallel.mode == "fsdp" else 1
    check_memory(recipe, device, run.processes, shards)
    if parallel.mode == "fsdp" and (why := without_shards(device.type)):
        say(why.replace("use ddp", "each process holds a copy instead (ddp)"), to_result=True)
        return run.with_copies()
    return run


def start(run: PortRun) -> None:
    """Runs to the end; what it says goes to the terminal and to the log. Raises DwmError with the reason where it failed."""
    check_file(run.log)
    run.log.parent.mkdir(parents=True, exist_ok=True)
    if run.kind == "performance":
        _put_aside(run.folder)
    settings = ascend.PRECISION if run.kind == "precision" else ascend.PERFORMANCE
    with TemporaryDirectory() as reasons, run.log.open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            run.command(),
            env={**settings, **os.environ, REASONS: reasons},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout is not None
        for line in process.stdout:
            for text in (line, *_as_the_port(line)):
                log.write(text)
            sys.stdout.write(line)
            sys.stdout.flush()
            log.flush()
        code = process.wait()
        if code:
            reason = first_reason(Path(reasons)) or f"the run ended with status {code} and no word why"
            log.write(f"dwm: {reason}\n")
            raise DwmError(f"{reason} (log: {run.log})")


LOGGED = re.compile(
    r"step (?P<step>\d+)/\d+: loss (?P<loss>\S+?)(?: \((?P<parts>[^)]*)\))?,.* (?P<seconds>\d[\d.]*) s/step"
)


def _as_the_port(line: str) -> Iterator[str]:
    """A log step's line as OpenDWM's trainer writes it, for the scripts of its users that look for `s/step` and `loss:`."""
    if match := LOGGED.match(line):
        parts = re.sub(r"(\w+) (?=[\d.])", r"\1: ", match["parts"] or "")
        rest = f", {parts}" if parts else ""
        yield f"Step {match['step']} ({float(match['seconds']):.1f} s/step), loss: {match['loss']}{rest}\n"


def _of(config: Path) -> Recipe:
    from dwm.opendwm.runs import load_recipe  # takes seconds, which a word that is mistyped need not wait for

    return load_recipe(config)


def _put_aside(folder: Path) -> None:
    """A run for the time of a step is never continued: what one that failed left makes room, and is kept until the next."""
    if folder.exists():
        aside = folder.with_name(f"{folder.name}-unfinished")
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)


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
    """The folder of the run at hand: the first whose run is not finished."""
    names = (kind if number == 1 else f"{kind}-{number}" for number in count(1))
    return next(output / name for name in names if not (output / name / "weights" / "dwm.json").exists())


def _address(kind: Kind, arguments: Sequence[str]) -> str | None:
    """The one word that is no setting: the first machine's address. Raises DwmError for any other word, and for flags."""
    words = [text for text in arguments if "=" not in text or text.startswith("-")]
    before = "NPROC, MESH, DEVICE, TINY, OUTPUT, NNODES, NODE_RANK before it"
    usage = f"bash test/{SCRIPTS[kind]} [master address] [KEY=VALUE …]; {before}"
    if flags := [text for text in words if text.startswith("-")]:
        raise DwmError(f"{flags[0]}: no flag is known here; {usage}")
    if len(words) > 1:
        raise DwmError(f"{' '.join(words)}: one word at most may be no KEY=VALUE, the master's address; {usage}")
    for word in words:
        try:
            socket.getaddrinfo(word, None)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise DwmError(f"{word}: is no KEY=VALUE and no host that is known here ({why.lower()}); {usage}") from None
    return words[0] if words else None


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

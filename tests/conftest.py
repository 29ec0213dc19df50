"""What all tests share: where the reference data lies, and the skip that says what is missing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jaxtyping import config, install_import_hook

# Every shape that a signature or a field states is checked in every test, unless DWM_SHAPES=0. Before anything of dwm is imported.
if os.environ.get("DWM_SHAPES", "1") != "0":
    install_import_hook("dwm", "shape_checks.checked")

import torch

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
SHARED = Path(os.environ.get("DWM_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()
VECTORS = Path(__file__).parent / "vectors"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: of several processes that take file after file, none then begins a long one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference vectors and genuine key frames; tests that need it are skipped without it."""
    if not (SHARED / "vectors").is_dir():
        pytest.skip(f"no reference data at {SHARED}; set DWM_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def vectors() -> Callable[[str], Path]:
    """Where a recorded case lies, by its group and name: some are kept beside the tests, and are there in every clone."""

    def find(name: str) -> Path:
        places = (SHARED / "vectors" / name, VECTORS / name)
        folder = next((place for place in places if place.exists()), None)
        return folder or pytest.skip(f"no recorded case {name} at {SHARED}; set DWM_SHARED")

    return find


@pytest.fixture(autouse=True, scope="session")
def _threads() -> None:
    """OMP_NUM_THREADS wins: two threads on a busy machine wait for each other at every small operation."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", max(1, min(2, os.cpu_count() or 1)))))


@pytest.fixture
def unchecked_types() -> Iterator[None]:
    """For what users' own code gives wrongly: it is refused by us, not by the checks of our tests."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _not_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that one test runs with --quiet does not silence the next."""
    monkeypatch.setattr("dwm.progress.QUIET", False)

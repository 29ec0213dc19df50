"""The Ascend port's folder on a small scale: its names, archives and files, with clips of the town and tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from port_tree import PortTree, make_port_tree

from made_once import copy_of


@pytest.fixture(scope="session")
def port_tree(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> PortTree:
    return PortTree(copy_of("port", lambda folder: make_port_tree(folder, shared), tmp_path_factory), shared)

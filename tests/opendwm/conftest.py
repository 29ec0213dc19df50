"""The Ascend port's folder on a small scale: its names, archives and files, with clips of the town and tiny networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from lidar_tree import LidarTree, make_lidar_tree
from port_tree import PortTree, make_port_tree


@pytest.fixture(scope="session")
def port_tree(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> PortTree:
    return make_port_tree(tmp_path_factory.mktemp("port"), shared)


@pytest.fixture(scope="session")
def lidar_tree(port_tree: PortTree) -> LidarTree:
    return make_lidar_tree(port_tree)

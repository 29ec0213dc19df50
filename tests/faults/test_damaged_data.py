"""Damaged data sets, for real: each way of damaging one gives one line, or does no harm; nothing gives a trace."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "data"))

from damaged_data import BUG, FAULTS, FORMS, NOTICED, UNNOTICED, named, truncations
from made_up_nuscenes import make_files, make_tables, write

HARMLESS = {"blob archives under each other's names"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    tables = make_tables(scenes=("scene-0103",), samples=1)
    return write(tmp_path_factory.mktemp("set"), make_files(tables))


def test_every_truncation_is_one_line(folder):
    for form, file, left, ended, line in truncations(folder, 20 * len(FORMS), seed=3):
        whole = file.endswith(".bin") and left % 20 == 0  # a shorter sweep, which only an archive can tell
        assert ended == (UNNOTICED if whole else NOTICED), (form, file, left, ended, line)


def test_every_named_fault_is_one_line(folder):
    said = {fault: (ended, line) for fault, ended, line in named(folder)}
    assert set(said) == set(FAULTS)
    for fault, (ended, line) in said.items():
        assert ended != BUG and ended == (UNNOTICED if fault in HARMLESS else NOTICED), (fault, ended, line)


def test_on_the_genuine_key_frame(shared):
    folder = shared / "data" / "nuscenes_keyframe"
    for form, file, left, ended, line in truncations(folder, 4 * len(FORMS), seed=5):
        assert ended == NOTICED or file.endswith(".bin"), (form, file, left, ended, line)

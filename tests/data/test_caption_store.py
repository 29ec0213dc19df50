"""Large caption files kept as tables say what the files say, are mapped by other processes, and follow the files."""

import json
import pickle

import pytest
from made_up_nuscenes import make_files, make_tables, write

from dwm.data import captions, open_dataset
from dwm.errors import DwmError


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "set", make_files(make_tables()))


def said(dataset):
    return [scene.clip(0, 4, 2).captions for scene in dataset]


def test_kept_captions_are_those_of_the_files(folder, monkeypatch):
    plain = open_dataset(folder)
    monkeypatch.setattr(captions, "KEPT_FROM", 0)
    kept = open_dataset(folder)
    assert said(kept) == said(plain)
    (here,), (there,) = plain.tables.caption_files, kept.tables.caption_files
    assert dict(there.times) == here.times and list(there.captions) == sorted(here.captions)
    assert there.at("nothing", "CAM_FRONT", 0) is None
    monkeypatch.setattr(captions, "_object", lambda *_: pytest.fail("read again"))
    assert said(open_dataset(folder)) == said(plain)
    assert said(pickle.loads(pickle.dumps(kept))) == said(plain) and len(pickle.dumps(kept.tables.caption_files)) < 1000


def test_changed_captions_are_read_again(folder, monkeypatch):
    monkeypatch.setattr(captions, "KEPT_FROM", 0)
    open_dataset(folder)
    file = folder / "captions.json"
    file.write_text(json.dumps({key: row | {"weather": "hail"} for key, row in json.loads(file.read_text()).items()}))
    assert said(open_dataset(folder))[0][0][0].weather == "hail"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("captions.json", '{"a', "is no whole JSON file"),
        ("caption_times.json", '{"a|b": "now"}', "is not an object of lists of times"),
    ],
)
def test_what_is_wrong_in_them_is_one_line(folder, monkeypatch, name, content, says):
    monkeypatch.setattr(captions, "KEPT_FROM", 0)
    (folder / name).write_text(content)
    with pytest.raises(DwmError) as error:
        open_dataset(folder)
    assert says in str(error.value) and name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("entry", [3, {"time": 3}])
def test_an_entry_that_is_no_object_of_texts_is_told_when_it_is_asked_for(folder, monkeypatch, entry):
    monkeypatch.setattr(captions, "KEPT_FROM", 0)
    file = folder / "captions.json"
    content = json.loads(file.read_text())
    key = next(iter(content))
    file.write_text(json.dumps(content | {key: entry}))
    with pytest.raises(DwmError, match="is not an object of texts") as error:
        said(open_dataset(folder))
    assert key in str(error.value)

import json
import struct
from itertools import islice
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from tiny_run import InventedClips

from dwm.base_models.base import load_autoencoder, load_text
from dwm.base_models.identity import autoencoder_identity, text_identity
from dwm.base_models.tiny import TinyOptions, create_tiny_base_model
from dwm.clip_batch import as_floats
from dwm.data import CaptionOptions
from dwm.data.digests import picture_keys, text_keys
from dwm.data.readers import Ask, WindowReader
from dwm.errors import DwmError
from dwm.latents.encode import Extent, encode
from dwm.latents.shards import Shards, shard_paths, write_shard
from dwm.latents.store import Store, StoredLatents, StoredTexts
from dwm.training.feed.batches import Feed, Stored
from dwm.training.feed.concatenation import Joined
from dwm.training.feed.plan import Bucket, Plan

SIZE = (32, 32)
WORDS = CaptionOptions(drop_rates={"image_description": 0.5, "weather": 0.2})


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    create_tiny_base_model(
        folder, ("day", "night"), 0, TinyOptions(clip_width=16, t5_width=32, autoencoder_widths=(8,) * 4)
    )
    return folder


@pytest.fixture
def where(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "store")
    system = fsspec.filesystem("memory")
    if system.exists("/store"):
        system.rm("/store", recursive=True)
    return "memory://store"


def everywhere(test):
    return pytest.mark.parametrize("where", ["folder", "memory"], indirect=True)(test)


def reader(count=3):
    return WindowReader(InventedClips(count), 3, 2, words=WORDS)


def filled(where, base, readers, text=True, **options):
    store = Store.of(where, base)
    encoder = load_text(base) if text else None
    return store, encode(readers, Extent([SIZE]), store, load_autoencoder(base), encoder, **options)


@everywhere
def test_rows_come_back_by_key_in_any_order(where):
    numbers = np.random.default_rng(0)
    keys = numbers.integers(-(2**62), 2**62, (40, 2))
    values = torch.arange(40, dtype=torch.float16)[:, None].expand(40, 3).contiguous()
    for start in (0, 25):
        stop = 25 if start == 0 else 40
        write_shard(where, keys[start:stop], {"value": values[start:stop]})
    shards = Shards(where)
    order = numbers.permutation(40)
    assert np.array_equal(shards.read("value", keys[order])[:, 0], order)
    assert shards.has(np.concatenate([keys[:2], keys[:2] + 1])).tolist() == [True, True, False, False]
    assert [path.rpartition("/")[2].startswith(".") for path in shard_paths(where)] == [False, False]


@everywhere
def test_the_store_gives_the_autoencoders_moments_and_every_text_that_may_be_said(where, base):
    store, made = filled(where, base, [reader()])
    assert (made.latents, made.latents_before) == (3 * 3 * 2, 0)
    stored, vae = StoredLatents(store, [SIZE]), load_autoencoder(base)
    part = reader().read(Ask(1, SIZE))
    found = stored.moments(part.keys.reshape(-1, 2), SIZE, part.where)
    with torch.no_grad():
        wanted = vae.moments(as_floats(part.clips.frames))
    for got, exact in ((found.mean, wanted.mean), (found.std, wanted.std)):
        assert torch.allclose(got.float(), exact.flatten(0, 2), rtol=2e-3, atol=1e-3)
    texts = StoredTexts(store)
    said = ["", "night. street", "night", "day", *reader().read(Ask(0, SIZE, 3)).clips.captions[0][0]]
    assert torch.allclose(
        texts.of(said).encode(said).sequence.float(), load_text(base).encode(said).sequence, atol=2e-3
    )


@everywhere
def test_what_is_stored_is_not_encoded_again(where, base):
    filled(where, base, [reader(2)])
    before = shard_paths(where + "/latents/" + autoencoder_identity(base) + "/32x32")
    _, made = filled(where, base, [reader(3)])
    assert (made.latents, made.latents_before, made.texts) == (6, 12, 0)
    assert set(before) < set(shard_paths(where + "/latents/" + autoencoder_identity(base) + "/32x32"))


def test_parts_and_workers_make_the_same_store(tmp_path, base):
    one, _ = filled(tmp_path / "one", base, [reader(5)])
    for k in range(3):
        many, _ = filled(tmp_path / "many", base, [reader(5)], part=(k, 3), workers=k)
    keys = np.concatenate([picture_keys(clip).reshape(-1, 2) for clip in map(InventedClips(5).__getitem__, range(5))])
    found = [StoredLatents(store, [SIZE]).moments(keys, SIZE, "all") for store in (one, many)]
    assert torch.allclose(found[0].mean.float(), found[1].mean.float(), atol=2e-3)
    assert len(Shards(many.latents_at(SIZE))) == 30


def test_an_interrupted_run_keeps_what_it_made(tmp_path, base):
    class Stops(InventedClips):
        def __getitem__(self, index):
            if index == 2:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path, base, [WindowReader(Stops(4), 3, 2, words=WORDS)])
    _, made = filled(tmp_path, base, [reader(4)])
    assert (made.latents_before, made.latents) == (12, 12)
    assert not list(tmp_path.rglob("*.part"))


def feed(store, count=3, words=WORDS, sample=True):
    readers = [WindowReader(InventedClips(count), 3, 2, words=words)]
    plan = Plan([(np.arange(count), [Bucket(SIZE, 2, 2)])], 1, seed=0)
    return Feed(
        readers, Joined.of([count]), plan, 0, stored=Stored(StoredLatents(store, [SIZE], sample), StoredTexts(store))
    )


def test_a_feed_from_the_store_brings_no_pictures(tmp_path, base):
    store, _ = filled(tmp_path, base, [reader()])
    batch = feed(store).batch(0)
    assert batch.clips.frames is None and batch.clips.layout_boxes is not None
    assert batch.latents.mean.shape == batch.latents.std.shape == (2, 2, 2, 8, 4, 4)
    assert batch.latents.mean.dtype == torch.float16
    assert "" in batch.text.index
    draws = [batch.latents.sample(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert feed(store, sample=False).batch(0).latents.std is None
    assert len(list(islice(feed(store).batches(0), 5))) == 5


def test_faults_of_a_store_are_told(tmp_path, base):
    with pytest.raises(DwmError, match=r"32x32: holds no latents of 32×32; encode with the run that is trained"):
        StoredLatents(Store.of(tmp_path, base), [SIZE])
    store, _ = filled(tmp_path, base, [reader(2)])
    with pytest.raises(DwmError, match="holds no latents of scene-000"):
        list(islice(feed(store, count=3).batches(0), 3))
    with pytest.raises(DwmError, match="holds no embedding of 'rain'"):
        StoredTexts(store).of(["day", "rain"])
    with pytest.raises(DwmError, match="random order are too many"):
        reorder = CaptionOptions(reorder=True)
        encode([WindowReader(InventedClips(1), 3, 2, words=reorder)], Extent([SIZE]), store, None, load_text(base))


def test_latents_of_other_pictures_are_found_out(tmp_path, base):
    class Darker(InventedClips):
        def __getitem__(self, index):
            clip = super().__getitem__(index)
            clip.pictures.frames[:] //= 2
            return clip

    store, _ = filled(tmp_path, base, [reader()])
    plan = Plan([(np.arange(3), [Bucket(SIZE, 2, 2)])], 1, seed=0)
    with pytest.raises(DwmError, match="latents are of other pictures than scene-0000 at 0 shows now"):
        Feed([WindowReader(Darker(3), 3, 2)], Joined.of([3]), plan, 0, stored=Stored(StoredLatents(store, [SIZE])))


@pytest.mark.parametrize("kept", [0, 7, 60, -40, -1])
def test_a_shard_that_was_cut_short_is_told(tmp_path, kept):
    path = Path(write_shard(str(tmp_path), text_keys(["a", "b"]), {"value": torch.zeros(2, 4)}))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DwmError, match=r"is no whole safetensors file .*encode again"):
        Shards(str(tmp_path))


@pytest.mark.parametrize(
    "entry",
    [{"shape": [2**40, 2]}, {"shape": [-2, 2]}, {"data_offsets": [0, 1 << 50]}, {"dtype": "PICKLE"}, {"shape": []}],
)
def test_a_shard_that_lies_is_refused(tmp_path, entry):
    header = {"keys": {"dtype": "I64", "shape": [2, 2], "data_offsets": [0, 32], **entry}}
    text = json.dumps(header).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(32))
    with pytest.raises(DwmError, match="is no whole safetensors file"):
        Shards(str(tmp_path))


def test_another_base_model_has_another_digest(tmp_path, base):
    other = tmp_path / "other"
    create_tiny_base_model(
        other, ("day", "night"), 1, TinyOptions(clip_width=16, t5_width=32, autoencoder_widths=(8,) * 4)
    )
    assert autoencoder_identity(base) != autoencoder_identity(other)
    assert text_identity(base) != text_identity(other) != text_identity(other, t5=False)
    config = other / "vae" / "config.json"
    before = autoencoder_identity(other)
    config.write_text(config.read_text().replace('"scaling_factor": 1.0', '"scaling_factor": 0.5'))
    assert autoencoder_identity(other) != before


def test_the_only_model_of_a_store_serves_where_its_folder_is_not(tmp_path, base):
    store, _ = filled(tmp_path, base, [reader(1)])
    assert Store.of(tmp_path, tmp_path / "elsewhere") == store
    with pytest.raises(DwmError, match="is of 0 base models"):
        Store.of(tmp_path / "empty", tmp_path / "elsewhere")

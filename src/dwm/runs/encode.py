"""Fills the store of a run: all latents and embeddings that its training will ask for."""

from __future__ import annotations

from dwm.config.recipe import Recipe
from dwm.devices import pick_device, use_free_cores
from dwm.errors import DwmError
from dwm.latents.encode import Encoded, Extent, encode
from dwm.runs.base import base_folder, load_base
from dwm.runs.clips import training_readers
from dwm.runs.feed import buckets, check_storable, store_of
from dwm.storage import check_folder


def encode_run(run: Recipe, part: tuple[int, int] = (0, 1)) -> Encoded:
    """Encodes what `run.data.store` lacks; `part` (k, n) takes only part k of n, so that n machines can share the work.

    Raises DwmError for settings that cannot be stored, and for what is missing.
    """
    if run.data.store is None:
        raise DwmError("data.store is not set; say where the store shall lie")
    check_storable(run)
    if "://" not in run.data.store:
        check_folder(run.data.store)
    base = load_base(run, text=run.conditions.text and run.data.stored_text)
    store, readers = store_of(run, base_folder(run)), training_readers(run.data)
    assert base.autoencoder is not None
    windows = base.autoencoder.frames_per_latent > 1
    extent = Extent(
        sorted({bucket.size for bucket in buckets(run.data, run.training.batch)}),
        references=run.training.references_alone if windows else 0,
        texts=base.text is not None,
    )
    device = pick_device(run.device)
    use_free_cores()
    return encode(readers, extent, store, base.autoencoder, base.text, run.data.workers, part, device)

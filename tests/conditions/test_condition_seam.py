"""A condition from outside the package: one object, named in the table, and nothing else touched."""

from typing import ClassVar

import pytest
import torch
from test_build import OPTIONS, Letters, make_batch

from dwm.conditions import CONDITIONS, build_conditions, drawn_names, dropped_together
from dwm.conditions.condition import doubled
from dwm.training.objectives.draws import draw
from dwm.training.objectives.driving import ObjectiveOptions, noised

SHAPE = (2, 3, 2, 4, 2, 2)


class Minute:
    """The minute of the hour at which a picture was taken, behind the camera's numbers."""

    name = "minute"
    dropped_with_all = True
    fields: ClassVar = {"added_ids": -1}

    def is_used(self, options):
        return options.added_time_ids is not None

    def is_drawn(self, options):
        return True

    def encode(self, request):
        minutes = (request.batch.times // 60_000_000 % 60).float()[..., None]
        if (keep := request.keep.get(self.name)) is not None:
            minutes = torch.where(keep[:, None, None, None], minutes, -1)
        return {"added_ids": doubled(request.at_latents(minutes), -1, request)}


@pytest.fixture
def minute(monkeypatch):
    monkeypatch.setattr("dwm.conditions.build.CONDITIONS", [*CONDITIONS, Minute()])


def test_an_invented_condition_is_encoded_doubled_and_dropped(minute):
    batch = make_batch()
    plain = build_conditions(batch, OPTIONS, Letters())
    guided = build_conditions(batch, OPTIONS, Letters(), guidance=True)
    assert plain.added_ids.shape[-1] == OPTIONS.id_count + 1
    assert (guided.added_ids[:2, ..., -1] == -1).all() and (guided.added_ids[2:, ..., -1] >= 0).all()
    dropped = build_conditions(batch, OPTIONS, Letters(), keep={"minute": torch.tensor([True, False])})
    assert (dropped.added_ids[1, ..., -1] == -1).all() and (dropped.added_ids[0, ..., -1] >= 0).all()


def test_training_draws_it_after_the_others_and_drops_it_with_them(minute):
    assert drawn_names(OPTIONS)[-1] == "minute" and "minute" in dropped_together()
    options = ObjectiveOptions(drop_all=1.0)
    draws = draw(SHAPE, options, torch.Generator().manual_seed(0), OPTIONS)
    assert list(draws.keep) == list(drawn_names(OPTIONS))
    assert not noised(torch.zeros(SHAPE), draws, options).keep["minute"].any()


def test_the_order_of_draws_is_that_of_the_table():
    assert drawn_names(OPTIONS) == ("text", "boxes", "map", "action")
    assert drawn_names(OPTIONS.with_(explicit_view_modeling=True))[-1] == "explicit_view"

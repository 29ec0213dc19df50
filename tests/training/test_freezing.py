import pytest
import torch
from torch import nn

from dwm.config import find, recipes
from dwm.errors import DwmError
from dwm.networks import CrossviewTemporalDiT, CrossviewTemporalUNet
from dwm.training.stages.freezing import freeze


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.blocks_beside = nn.Linear(2, 3)
        self.out = nn.Linear(2, 1)


def test_a_match_from_the_start_of_a_name_is_frozen_with_all_in_it():
    network = Small()
    frozen = freeze(network, "blocks$|blocks_b")
    assert frozen.modules == {"blocks": 12, "blocks_beside": 9} and (frozen.trained, frozen.total) == (3, 24)
    assert {name for name, p in network.named_parameters() if p.requires_grad} == {"out.weight", "out.bias"}
    assert frozen.lines()[0] == "blocks is frozen: 0.00 M parameters"


def test_without_a_pattern_everything_learns():
    assert freeze(Small(), None).trained == 24


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("^nothing$", "matches no module of the network, whose parts are blocks"),
        ("", "whole network"),
        ("(", "regular"),
    ],
)
def test_a_pattern_that_freezes_nothing_or_all_is_refused(pattern: str, told: str):
    with pytest.raises(DwmError, match=told):
        freeze(Small(), pattern)


FREEZING = [name for name in recipes() if find(name).training.freeze]


@pytest.mark.parametrize("name", FREEZING)
def test_patterns_of_recipes_fit_their_networks_and_leave_what_was_added(name: str):
    run = find(name)
    with torch.device("meta"):
        network = (
            CrossviewTemporalUNet(run.network)
            if name.startswith("sd21")
            else CrossviewTemporalDiT(run.driving_network())
        )
    frozen = freeze(network, run.training.freeze)
    learning = {key.split(".")[0] for key, p in network.named_parameters() if p.requires_grad}
    assert 0.1 < frozen.trained / frozen.total < 0.9
    assert not learning & {"transformer_blocks", "time_text_embed"}

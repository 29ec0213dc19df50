"""A training run's folder: one run at a time, nothing in the way after a start that failed, and settings named that differ."""

import json

import pytest
from made_up_nuscenes import write

from dwm.errors import DwmError
from dwm.recipes import find
from dwm.recipes.claim import claimed, data_digests, differences
from dwm.recipes.data import SourceOptions

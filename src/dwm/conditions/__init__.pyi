from .build import Kept as Kept
from .build import build_conditions as build_conditions
from .build import latent_times as latent_times
from .options import ConditionOptions as ConditionOptions

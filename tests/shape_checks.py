"""How types and shapes are checked at run time in tests: an int serves where a float is asked, as in Python's typing (PEP 484), and
numpy's scalars serve as numbers."""

import numpy as np
from beartype import BeartypeConf, BeartypeHintOverrides, beartype

NUMBERS = BeartypeHintOverrides({int: int | np.integer, float: float | int | np.integer | np.floating})
checked = beartype(conf=BeartypeConf(hint_overrides=NUMBERS))

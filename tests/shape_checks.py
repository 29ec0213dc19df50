"""How types and shapes are checked at run time in tests: an int serves where a float is asked, as in Python's typing (PEP 484), and
numpy's scalars serve as numbers. Typer gives functions the class of Click that its own `Context` comes from."""

import numpy as np
import typer
from beartype import BeartypeConf, BeartypeHintOverrides, beartype

SERVES = BeartypeHintOverrides(
    {
        int: int | np.integer,
        float: float | int | np.integer | np.floating,
        typer.Context: typer.Context.__mro__[1],
    }
)
checked = beartype(conf=BeartypeConf(hint_overrides=SERVES))

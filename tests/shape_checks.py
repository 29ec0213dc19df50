"""How types and shapes are checked at run time in tests: an int serves where a float is asked, as in Python's typing (PEP 484)."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))

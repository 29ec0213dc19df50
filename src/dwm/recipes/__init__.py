"""The catalogue: named runs, each stating its difference from its parent; tiny twins; campaigns. Importing it registers them.

The order of the modules is the order in which `dwm show recipes` lists them.
"""

from dwm.recipes import town, sd35_nuscenes, sd35_mixed, unimlvg, sd21, campaigns, tiny  # noqa: I001

__all__ = ["campaigns", "sd21", "sd35_mixed", "sd35_nuscenes", "tiny", "town", "unimlvg"]

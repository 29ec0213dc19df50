"""The catalogue: named runs, each stating its difference from its parent; tiny twins; campaigns. Importing it registers them.

The order of the modules is the order in which `dwm show recipes` lists them.
"""

from dwm.recipes import town, sd35_nuscenes, sd35_mixed, unimlvg, sd21, lidar, tiny_lidar, town_lidar, campaigns, tiny  # noqa: I001

__all__ = [
    "campaigns",
    "lidar",
    "sd21",
    "sd35_mixed",
    "sd35_nuscenes",
    "tiny",
    "tiny_lidar",
    "town",
    "town_lidar",
    "unimlvg",
]

"""Names and their orders that all rooms share. Holds nothing else, so that reading a recipe costs no numbers' library."""

from __future__ import annotations

MAP_LAYERS = ("lane", "drivable_area", "ped_crossing")
"""The map's layers in the order in which the layout draws them."""

CAPTION_KEYS = ("time", "weather", "environment", "objects", "image_description")

NUSCENES_VIEWS = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")
"""The six cameras in the order in which published weights expect them: clockwise from the front left."""

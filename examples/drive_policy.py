"""A policy that only looks, in what the town shows and in what a network draws of it: python examples/drive_policy.py [SECONDS]

It keeps the yellow line on its left and brakes where something stands ahead. The town scores both drives by what is there.
"""

import sys

import numpy as np

from dwm import DrivingPipeline
from dwm.drive import Action, DrivingWorld, town_source

FRONT, CRUISE = "CAM_FRONT", 5.0  # metres a second
LINE = -0.42  # where the middle line lies in a front picture, from -1 (left) to 1, when the car is in its lane


def policy(picture: np.ndarray, speed: float) -> Action:
    """What to do about one front picture (h, w, 3) at a speed in metres a second: the yellow middle line is kept on the left."""
    height, width = picture.shape[:2]
    near = picture[int(0.68 * height) : int(0.88 * height), : int(0.6 * width)].astype(float)
    red, green, blue = np.moveaxis(near, 2, 0)
    yellow = np.where((red > green) & (green > 0.55 * red), np.clip(red - blue - 40, 0, None), 0.0)
    columns = np.linspace(-1, 1, width)[: near.shape[1]]
    line = float((yellow * columns).sum() / (yellow.sum() + 1e-6))
    aside = line - LINE if yellow.sum() > 0.3 * yellow.size else 0.0
    ahead = picture[int(0.58 * height) : int(0.72 * height), int(0.45 * width) : int(0.55 * width)].astype(float)
    coloured = np.ptp(ahead, axis=2) > 50  # roads and their marks are grey, but for the yellow line
    blocked = float((coloured & (ahead[..., 0] < ahead[..., 2] + 60)).mean())
    throttle = 0.0 if blocked > 0.2 else float(np.clip(0.4 * (CRUISE - speed), 0, 1))
    brake = 0.7 if blocked > 0.2 or speed > CRUISE + 1 else 0.0
    return Action(throttle, brake, float(np.clip(0.5 * aside, -0.3, 0.3)))


def drive(world: DrivingWorld, seconds: float, sees: str) -> dict[str, float]:
    """Drives by the pictures `views` (what the network drew) or `real` (what the town shows); what the town thinks of it."""
    moment = world.reset(3)
    seen, crashes, off = None, 0, 0
    ticks = round(seconds * world.source.fps)
    for _ in range(ticks):
        action = Action(autopilot=True) if seen is None else policy(seen, moment.speed)
        if sees == "real":
            moment = world.source.step(action)
            seen = world.source.picture(FRONT, world.size)
        else:
            pictures, moment = world.step(action)
            seen = pictures[-1].views[world.views.index(FRONT)] if pictures else seen
        crashes, off = crashes + bool(moment.crash), off + moment.off_road
    return {"metres": moment.travelled, "crashes": crashes, "seconds off the road": off / world.source.fps}


def main(seconds: float = 30.0, weights: str = "town") -> dict[str, dict[str, float]]:
    world = DrivingWorld(
        DrivingPipeline.from_pretrained(weights), town_source(seed=7, scene=1, time="day", weather="clear"), steps=4
    )
    scores = {}
    for name, sees in (("in the town's own pictures", "real"), ("in what the network draws", "views")):
        scores[name] = drive(world, seconds, sees)
        score = scores[name]["metres"] - 20 * scores[name]["crashes"] - 2 * scores[name]["seconds off the road"]
        facts = ", ".join(f"{value:.1f} {fact}" for fact, value in scores[name].items())
        print(f"{name}: {facts}; score {score:.1f}", flush=True)
    return scores


if __name__ == "__main__":
    given = sys.argv[1:]
    main(float(given[0]) if given else 30.0, given[1] if len(given) > 1 else "town")

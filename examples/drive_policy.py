"""A policy that only looks, in what the town shows and in what a network draws of it: python examples/drive_policy.py [SECONDS]

It steers towards the grey of the road in the front camera and brakes where something stands on it. The town scores both drives.
"""

import sys

import numpy as np

from dwm import DrivingPipeline
from dwm.drive import Action, DrivingWorld, town_source

FRONT, CRUISE = 1, 5.0  # the number of CAM_FRONT; metres a second


def policy(picture: np.ndarray, speed: float) -> Action:
    """What to do about one front picture (h, w, 3) at a speed in metres a second."""
    height, width = picture.shape[:2]
    near = picture[int(0.66 * height) : int(0.9 * height)].astype(float)
    road = near[-3:, width // 3 : -width // 3].reshape(-1, 3).mean(0)  # the colour right before the car
    weight = np.exp(-np.abs(near - road).sum(2) / 40) ** 2
    columns = np.linspace(-1, 1, width)
    aside = float((weight * columns).sum() / (weight.sum() + 1e-6))
    ahead = picture[int(0.56 * height) : int(0.66 * height), int(0.42 * width) : int(0.58 * width)].astype(float)
    blocked = float((np.abs(ahead - road).sum(2) > 130).mean())
    throttle = 0.0 if blocked > 0.45 else float(np.clip(0.4 * (CRUISE - speed), 0, 1))
    brake = 0.6 if blocked > 0.6 and speed > 1 else 0.0
    return Action(throttle, brake, float(np.clip(1.2 * aside, -0.5, 0.5)))


def drive(world: DrivingWorld, seconds: float, sees: str) -> dict[str, float]:
    """Drives by the pictures `views` (what the network drew) or `real` (what the town shows); what the town thinks of it."""
    moment = world.reset(3)
    seen, crashes, off = None, 0, 0
    ticks = round(seconds * world.source.fps)
    for _ in range(ticks):
        action = Action(autopilot=True) if seen is None else policy(seen[FRONT], moment.speed)
        if sees == "real":
            moment = world.source.step(action)
            pictures = [world.source.picture(view, world.size) for view in world.views]
            seen = np.stack([picture for picture in pictures if picture is not None])
        else:
            pictures, moment = world.step(action)
            seen = pictures[-1].views if pictures else seen
        crashes, off = crashes + bool(moment.crash), off + moment.off_road
    return {"metres": moment.travelled, "crashes": crashes, "seconds off the road": off / world.source.fps}


def main(seconds: float = 30.0, weights: str = "town") -> dict[str, dict[str, float]]:
    world = DrivingWorld(DrivingPipeline.from_pretrained(weights), town_source(seed=7, scene=1), steps=4)
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

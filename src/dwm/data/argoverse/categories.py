"""Argoverse's classes by the names of nuScenes, as layouts are coloured by these. Names that have no counterpart are not drawn."""

from __future__ import annotations

CATEGORIES = {
    "ANIMAL": "animal",
    "ARTICULATED_BUS": "vehicle.bus.bendy",
    "BICYCLE": "vehicle.bicycle",
    "BICYCLIST": "human.pedestrian.cyclist",
    "BOLLARD": "static_object.bollard",
    "BOX_TRUCK": "vehicle.truck",
    "BUS": "vehicle.bus.rigid",
    "CONSTRUCTION_BARREL": "movable_object.trafficcone.barrel",
    "CONSTRUCTION_CONE": "movable_object.trafficcone",
    "DOG": "animal.dog",
    "LARGE_VEHICLE": "vehicle.car.large",
    "MESSAGE_BOARD_TRAILER": "movable_object.message_board",
    "MOBILE_PEDESTRIAN_CROSSING_SIGN": "movable_object.crossing_sign",
    "MOBILE_PEDESTRIAN_SIGN": "movable_object.crossing_sign",
    "MOTORCYCLE": "vehicle.motorcycle",
    "MOTORCYCLIST": "human.pedestrian.motorcyclist",
    "OFFICIAL_SIGNALER": "human.pedestrian.signaler",
    "PEDESTRIAN": "human.pedestrian.adult",
    "RAILED_VEHICLE": "vehicle.railed",
    "REGULAR_VEHICLE": "vehicle.car",
    "SCHOOL_BUS": "vehicle.bus.school",
    "SIGN": "static_object.sign",
    "STOP_SIGN": "static_object.stop_sign",
    "STROLLER": "human.pedestrian.stroller",
    "TRAFFIC_LIGHT_TRAILER": "movable_object.traffic_light",
    "TRUCK": "vehicle.truck",
    "TRUCK_CAB": "vehicle.truck.cab",
    "VEHICULAR_TRAILER": "vehicle.trailer",
    "WHEELCHAIR": "human.pedestrian.wheelchair",
    "WHEELED_DEVICE": "movable_object.wheeled_device",
    "WHEELED_RIDER": "human.pedestrian.personal_mobility",
}
UNKNOWN = "unknown"
"""Stands before the name of a class that is not in the table."""

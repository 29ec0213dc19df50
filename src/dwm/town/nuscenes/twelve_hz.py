"""The annotated 12 Hz tables (`interp_12Hz_trainval`) of one scene, from the town's truth at each instant.

Five samples stand between two key samples; each channel gives the sweep nearest in time; an instance has boxes between two
keys if both keys have it, with the size, attributes, visibility and counts of the earlier one. Draws and reads no file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dwm.clip import Boxes
from dwm.data.nuscenes.write.names import Row, link
from dwm.town.nuscenes.boxes import box_row

STEPS = 6
CHANGED = ("instance", "sample", "sample_annotation", "sample_data", "scene")
"""The tables that differ from those of the key frames."""


def twelve_hz(
    tables: dict[str, list[Row]],
    chains: Sequence[Sequence[Row]],
    boxes_at: Callable[[float], Boxes],
    instance_tokens: Callable[[str], str],
) -> dict[str, list[Row]]:
    """The changed tables of one scene. chains are the sample_data rows of each channel in time; boxes_at takes a stamp in µs."""
    keys = tables["sample"]
    samples = [row for now, then in zip(keys, [*keys[1:], None], strict=True) for row in _samples(now, then)]
    link(samples)
    annotations = _annotations(tables, samples, boxes_at, instance_tokens)
    counts: dict[str, int] = {}
    for row in annotations:
        counts[row["instance_token"]] = counts.get(row["instance_token"], 0) + 1
    return {
        "scene": [{**row, "nbr_samples": len(samples)} for row in tables["scene"]],
        "sample": samples,
        "sample_data": [row for chain in chains for row in _sample_data(chain, samples)],
        "sample_annotation": annotations,
        "instance": [{**row, "nbr_annotations": counts[row["token"]]} for row in tables["instance"]],
    }


def _samples(now: Row, then: Row | None) -> list[Row]:
    rows = [dict(now)]
    if then is not None:
        for k in range(1, STEPS):
            stamp = now["timestamp"] + k / STEPS * (then["timestamp"] - now["timestamp"])
            rows.append({**now, "token": f"{now['token']}{k}", "timestamp": stamp})
    return rows


def _sample_data(chain: Sequence[Row], samples: Sequence[Row]) -> list[Row]:
    """One row for each sample: of the rows from a key row to the next, the nearest to its share of the gap."""
    stamps = np.array([row["timestamp"] for row in chain])
    keys = [i for i, row in enumerate(chain) if row["is_key_frame"]]
    rows = []
    for position, sample in enumerate(samples):
        gap, k = divmod(position, STEPS)
        key = chain[keys[gap]]
        source = key
        if k:
            span = slice(keys[gap], keys[gap + 1] + 1)
            target = key["timestamp"] + k / STEPS * (chain[keys[gap + 1]]["timestamp"] - key["timestamp"])
            source = chain[keys[gap] + int(np.abs(stamps[span] - target).argmin())]
        suffix = str(k) if k else ""
        rows.append({**source, "token": key["token"] + suffix, "sample_token": sample["token"], "is_key_frame": True})
    link(rows)
    return rows


def _annotations(
    tables: dict[str, list[Row]],
    samples: Sequence[Row],
    boxes_at: Callable[[float], Boxes],
    instance_tokens: Callable[[str], str],
) -> list[Row]:
    at_key: dict[str, dict[str, Row]] = {row["token"]: {} for row in tables["sample"]}
    for row in tables["sample_annotation"]:
        at_key[row["sample_token"]][row["instance_token"]] = row
    tokens = [row["token"] for row in tables["sample"]]
    rows: list[Row] = []
    for position, sample in enumerate(samples):
        gap, k = divmod(position, STEPS)
        before = at_key[tokens[gap]]
        if not k:
            rows += [dict(row) for row in before.values()]
            continue
        after = at_key[tokens[gap + 1]]
        boxes = boxes_at(sample["timestamp"])
        for i, name in enumerate(boxes.instance):
            instance = instance_tokens(name)
            if instance in before and instance in after:
                row = before[instance]
                pose = box_row(boxes, i)
                rows.append(
                    {**row, **pose, "size": row["size"], "token": f"{row['token']}{k}", "sample_token": sample["token"]}
                )
    chains: dict[str, list[Row]] = {}
    for row in rows:
        chains.setdefault(row["instance_token"], []).append(row)
    for chain in chains.values():
        link(chain)
    return rows

"""OpenDWM's published weights by the beginnings of their file names: the recipe that made each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dwm.config import Recipe, find
from dwm.errors import DwmError

KNOWN: Mapping[str, str] = {
    "ctsd_35_tirda_nwao": "sd35-text-nwao",
    "ctsd_35_tirda_bm_nusc_a": "sd35-layout-nuscenes",
    "ctsd_35_tirda_bm_nwao": "sd35-layout-nwao",
    "ctsd_35_df16_tirda_bm_nwao": "sd35-forcing-nwao",
    "ctsd_35_tvae_f17_tirda_bm_nwao": "sd35-videolatents-nwao",
    "ctsd_35_crossview_tirda_bm_nusc_a": "sd35-crossview-nuscenes",
    "ctsd_35_xs_df6v3_tirda_bm_nwao": "sd35-xs-forcing-nwao",
    "ctsd_unimlvg_stage1": "unimlvg-stage1",
    "ctsd_unimlvg_stage2": "unimlvg-stage2",
    "ctsd_unimlvg_stage3": "unimlvg-stage3",
    "ctsd_unimlvg_tirda": "unimlvg-stage3",
    "ctsd_21_tirda_nwao": "sd21-text-nwao",
    "ctsd_21_tirda_bm_nwa": "sd21-layout-nwa",
    "ctsd_21_tirda_bm_nusc_a": "sd21-layout-nuscenes",
    "ctsd_21_crossview_tirda_bm_nusc_a": "sd21-crossview-nuscenes",
    "ctsd_21_crossview_tirda_bm_waymo": "sd21-crossview-waymo",
    "ctsd_21_crossview_tirda_bm_argo": "sd21-crossview-argoverse",
}
"""Beginnings of names → recipes."""


def known_run(path: Path, name: str | None = None) -> Recipe:
    """The run whose weights these are: by the file's name, or by `name`, which may be a recipe's. OpenDWM's oddities are kept.

    Raises DwmError where neither says which network it is.
    """
    stem = name or path.stem
    start = next((start for start in sorted(KNOWN, key=len, reverse=True) if stem.startswith(start)), None)
    if start is None and name is None:
        raise DwmError(
            f"{path}: which network is it of? Its file does not say; give the run's config with -c, or with --as a recipe or "
            f"the name of published weights ({', '.join(KNOWN)})"
        )
    run = find(stem if start is None else KNOWN[start])
    return run.with_(
        name=path.stem,
        compatibility="reference",
        weights=str(path),
        network=run.network.with_compatibility("reference"),
    )

"""The nuScenes devkit's own detection evaluation of one result file. Run by the devkit's Python, never imported by ours:

    python detection_judge.py DATAROOT VERSION SPLIT RESULT.json FOLDER

Prints one line of JSON: mAP, NDS, the mean errors of true positives, and the mean AP of each class.
"""

from __future__ import annotations

import json
import sys


def main(root: str, version: str, split: str, result: str, folder: str) -> None:
    from nuscenes import NuScenes
    from nuscenes.eval.common.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval

    tables = NuScenes(version, root, verbose=False)
    config = config_factory("detection_cvpr_2019")
    judge = DetectionEval(tables, config, result, split, folder, verbose=False)
    metrics, _ = judge.evaluate()
    summary = metrics.serialize()
    print(
        json.dumps(
            {
                "mAP": summary["mean_ap"],
                "NDS": summary["nd_score"],
                "errors": summary["tp_errors"],
                "classes": summary["mean_dist_aps"],
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:6])

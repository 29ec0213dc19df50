"""Where weights and base models lie: a path, or "town" for those of the package. Reads nothing of them."""

from __future__ import annotations

from pathlib import Path

from dwm.errors import DwmError

TOWN = Path(__file__).parents[1] / "weights" / "town"
"""The weights that come with the package, their base model beside them."""

TOWN_LIDAR = "town_lidar"
"""The name of the package's own LiDAR weights, which lie beside."""

CARD = "dwm.json"
NETWORK, FAST = "transformer", "transformer_fast"
"""Where in a folder of weights the network lies, and the one that was distilled from it for few steps."""
AUTOENCODER = "vae/config.json"
"""What makes a folder one of weights, or of a base model."""


def is_town(name: str | Path | None, holds: str = CARD) -> bool:
    """Whether the name means the package's own: a folder called town in the working directory counts only if it holds that file."""
    return str(name) == "town" and not (Path("town") / holds).is_file()


def resolve(name: str | Path) -> Path:
    """The folder of weights of that name. Raises DwmError for a folder without, naming the one that was probably meant."""
    if "://" in str(name):
        raise DwmError(f"{name}: weights are read from folders of this machine; fetch them first")
    folder = TOWN if is_town(name) else Path(name)
    if not (folder / CARD).is_file():
        advice = "no weights come with this installation" if folder == TOWN else 'give a folder with one, or "town"'
        raise DwmError(f"{folder}: holds no {CARD}; {_deeper(folder) or advice}")
    return folder


def base_model_folder(name: str | Path) -> Path:
    """The folder of a base model of that name, which may not be there."""
    return TOWN if is_town(name, AUTOENCODER) else Path(name)


def _deeper(folder: Path) -> str:
    """Where weights lie in the folder of a run or of a campaign, or around the one given, as advice; empty where nowhere."""
    inside = [path.parent for pattern in ("*", "*/*") for path in sorted(folder.glob(f"{pattern}/{CARD}"))]
    if inside:
        more = f" (or {', '.join(map(str, inside[:-1][:3]))})" if len(inside) > 1 else ""
        return f"weights lie in {inside[-1]}{more}: give that folder"
    if (folder / "state.json").is_file():
        return f"this is a save of training: dwm convert weights {folder} -o weights/mine"
    around = next((parent for parent in (folder.parent, folder.parent.parent) if (parent / CARD).is_file()), None)
    return "" if around is None else f"weights lie in {around}: give that folder"

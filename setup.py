"""What pyproject.toml cannot say: dependencies, which depend on the PyTorch that is installed already."""

import runpy
import sysconfig
from importlib import metadata
from pathlib import Path

from setuptools import setup

NEEDED = [
    "torch>=2.5",
    "diffusers>=0.31",
    "transformers>=4.50",
    "safetensors>=0.4.5",
    "numpy>=1.26",
    "pydantic>=2.7",
    "typer>=0.12",
    "rich>=13",
    "einops>=0.8",
    "jaxtyping>=0.2.36",
    "av>=14",
    "jinja2>=3.1",
    "pillow>=10.4",
    "pyarrow>=16",
    "fsspec>=2024.6",
    "shapely>=2.0.4",
    "packaging>=23",
    "lazy_loader>=0.4",
    "platformdirs>=4",
]


def beside_torch():
    """Bounds for the PyTorch of the environment that this is installed into, which pip's isolated builds do not import from."""
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    torch = next((found.version for found in metadata.distributions(name="torch", path=folders)), None)
    bounds = runpy.run_path(str(Path(__file__).with_name("src") / "dwm" / "versions.py"))["bounds"]
    return [] if torch is None else list(bounds(torch))


if __name__ == "__main__":
    setup(install_requires=[*NEEDED, *beside_torch()])

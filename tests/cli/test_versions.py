"""Libraries that do not run together are one line that says what to install, for pip beforehand and for people afterwards."""

from __future__ import annotations

import os
import subprocess
import venv
from pathlib import Path

import pytest

import dwm
from dwm import versions

ROOT = Path(__file__).parents[2]


def test_old_releases_of_pytorch_bound_what_pip_takes_and_new_ones_do_not():
    assert versions.bounds("2.5.1+cu124") == ("diffusers<0.41", "transformers<5.17")
    assert versions.bounds("2.6.0") == versions.bounds("2.13.0+cpu") == versions.bounds("3.0") == ()


@pytest.mark.parametrize(
    ("releases", "line"),
    [
        (
            {"torch": "2.5.1", "diffusers": "0.42.1", "transformers": "5.23.0"},
            "diffusers 0.42.1 and transformers 5.23.0 cannot run with PyTorch 2.5.1: pip install 'diffusers<0.41' "
            "'transformers<5.17', or PyTorch 2.6 or newer",
        ),
        ({"torch": "2.5.1", "diffusers": "0.40.0", "transformers": "5.16.1"}, None),
        ({"torch": "2.5.1", "diffusers": "0.35.2", "transformers": "4.57.3"}, None),
        ({"torch": "2.6.0+cpu", "diffusers": "0.42.1", "transformers": "5.24.0"}, None),
        ({"torch": "2.4.1"}, "PyTorch 2.5 or newer is needed, this is 2.4.1: pip install 'torch>=2.5'"),
        ({}, "PyTorch is not installed here: pip install torch, then pip install . in dwm's folder"),
    ],
)
def test_what_cannot_run_together_is_named_with_what_can(monkeypatch, releases, line):
    monkeypatch.setattr(versions, "installed", releases.get)
    assert versions.misfit() == line


def failing(code: str, name: str) -> BaseException:
    """What this code raises, as if it stood in the file `name`."""
    try:
        exec(compile(code, name, "exec"), {})
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_only_errors_from_inside_other_packages_are_laid_to_them(monkeypatch):
    inside, ours = "/site/diffusers/utils.py", str(Path(dwm.__file__).parent / "networks" / "dit.py")
    assert versions.explanation(failing("1 / 0", inside)) is None
    monkeypatch.setattr(versions, "misfit", lambda: "diffusers cannot run")
    assert versions.explanation(failing("1 / 0", inside)) == "diffusers cannot run"
    assert versions.explanation(failing("1 / 0", ours)) is None


def test_a_library_that_is_missing_is_named_with_the_command(monkeypatch):
    monkeypatch.setattr(versions, "misfit", lambda: None)
    monkeypatch.setattr(versions, "_needed", lambda: {"einops"})
    assert versions.explanation(ModuleNotFoundError("no", name="einops")).startswith(
        "einops is not installed: pip install ."
    )


def test_a_python_that_is_too_old_is_one_line():
    old = next((path for path in sorted(Path.home().glob(".pyenv/versions/3.[6-9].*/bin/python"))[-1:]), None)
    if old is None:
        pytest.skip("no Python before 3.10 here")
    environment = {"PATH": os.environ["PATH"]}
    found = subprocess.run(
        [str(old), str(ROOT / "src" / "dwm" / "train.py"), "-c", "x"], env=environment, capture_output=True, text=True
    )
    assert found.returncode == 1 and "Traceback" not in found.stderr
    assert found.stderr.startswith("dwm: Python 3.10 or newer is needed, this is 3.")


def test_the_build_looks_for_the_pytorch_of_the_environment_that_it_installs_into(tmp_path):
    venv.create(tmp_path / "user", with_pip=False)
    python = tmp_path / "user" / "bin" / "python"
    (site,) = (tmp_path / "user" / "lib").glob("python*/site-packages")
    torch = site / "torch-2.5.1.dist-info"
    torch.mkdir()
    (torch / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.5.1\n")
    (tmp_path / "setuptools.py").write_text("def setup(install_requires): print('\\n'.join(install_requires))\n")
    asked = [str(python), "-c", "import runpy; runpy.run_path('setup.py', run_name='__main__')"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = subprocess.run(asked, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert found[0] == "torch>=2.5" and found[-2:] == ["diffusers<0.41", "transformers<5.17"]

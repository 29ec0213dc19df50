"""The house as CONTRIBUTING.md tells it: what it names is there, and no module imports itself by way of others.

`python tests/test_house.py` counts the rooms and the imports between them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "dwm"
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
RECIPES = PAGE[PAGE.index("## To add") : PAGE.index("### What an addition touches")]
INVENTED = {"NAME", "keep_NAME", "data/NAME/"}
"""What whoever adds something calls it."""


def quoted(text: str) -> list[str]:
    return [word for word in re.findall(r"`([^`\n]+)`", text) if word not in INVENTED and not word.startswith("..")]


def imports() -> dict[str, set[str]]:
    """Each module of the package with those that it imports, for type checkers alone too."""
    graph = pytest.importorskip("grimp", reason="import-linter is not installed").build_graph("dwm", cache_dir=None)
    return {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}


def defined(path: Path) -> Iterator[str]:
    """Names that a file gives to classes, functions, fields and values."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_files_and_folders_of_the_page_are_there() -> None:
    paths = [word for word in quoted(PAGE) if re.fullmatch(r"[\w.*]+(/[\w.*]*)+|[\w*]+\.(py|md|toml)", word)]
    places = [
        ROOT,
        PACKAGE,
        *(folder for folder in PACKAGE.rglob("*") if folder.is_dir()),
    ]  # rooms are named with what they hold
    absent = [path for path in paths if not any(any(place.glob(path.rstrip("/"))) for place in places)]
    assert len(paths) > 60 and absent == []


def test_names_that_the_recipes_place_in_a_file_are_there() -> None:
    placed = re.findall(r"`(\w+)` (?:of|in|\()[ ]?`([\w/]+\.py)`", RECIPES)
    assert len(placed) > 10
    assert [(name, path) for name, path in placed if name not in set(defined(PACKAGE / path))] == []


def test_words_of_the_recipes_are_words_of_the_code() -> None:
    code = set(re.findall(r"\w+", "".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))))
    words = [word for word in quoted(RECIPES) if re.fullmatch(r"\w+", word) and not word[0].isdigit()]
    assert len(words) > 40 and [word for word in words if word not in code] == []


def test_each_recipe_has_a_test_from_outside() -> None:
    tests = re.findall(r"`(tests/[\w/]+\.py)`", RECIPES)
    assert len(tests) == len(set(tests)) == 7
    assert all("outside" in (ROOT / test).read_text(encoding="utf-8").split('"""')[1] for test in tests)


def test_no_module_imports_itself_by_way_of_others() -> None:
    TopologicalSorter(imports()).prepare()  # raises with the circle


def main() -> None:
    found = {
        tuple(name.split(".")): {tuple(other.split(".")) for other in others} for name, others in imports().items()
    }
    rooms = {name[1] for name in found if len(name) > 1}
    arrows = {(a[1], b[1]) for a, others in found.items() for b in others if len(a) > 1 < len(b) and a[1] != b[1]}
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py"))
    print(f"{len(rooms)} rooms, {len(arrows)} arrows between them, {len(found)} modules, {lines} lines")


if __name__ == "__main__":
    main()

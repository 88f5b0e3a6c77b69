"""The project file declares what the code imports, and nothing besides."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.source_tree import FLOOR, ROOT, imported, package_of, parse, plant, sources

# Import name -> name at the index, where the two differ.
DISTRIBUTION = {
    "cv2": "opencv-python", "PIL": "pillow", "serial": "pyserial", "shapefile": "pyshp",
    "mathutils": "bpy", "bmesh": "bpy", "google": "protobuf",
    "foxglove_schemas_protobuf": "foxglove-schemas-protobuf", "mcap_protobuf": "mcap-protobuf-support",
    "psycopg_pool": "psycopg-pool",
}  # fmt: skip


def third_party(root: Path) -> dict[str, str]:
    """Distribution -> first file that imports it, over all rooms and depths."""
    found: dict[str, str] = {}
    for path in sources(root):
        for node in ast.walk(parse(path)):
            for name in imported(node, package_of(path, root)):
                top = name.split(".")[0]
                if top and top not in FLOOR and top not in sys.stdlib_module_names:
                    found.setdefault(DISTRIBUTION.get(top, top), path.relative_to(root).as_posix())
    return found


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=!~;\[ ]", requirement, maxsplit=1)[0] for requirement in requirements}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_everything_imported_is_declared() -> None:
    table = project()["project"]
    extras = names([r for name, group in table["optional-dependencies"].items() if name != "dev" for r in group])
    declared = names(table["dependencies"]) | extras
    assert {name: file for name, file in third_party(ROOT).items() if name not in declared} == {}


def test_everything_declared_is_imported() -> None:
    assert names(project()["project"]["dependencies"]) - third_party(ROOT).keys() == set()


def test_the_six_packages_are_the_floors() -> None:
    assert set(project()["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == FLOOR.keys()


def test_a_planted_import_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "gnss/a.py", "import os\n\n\ndef f():\n    import cv2, nowhere.inside\n")
    assert third_party(tmp_path) == {"opencv-python": "gnss/a.py", "nowhere": "gnss/a.py"}

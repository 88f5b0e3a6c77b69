"""Imports point down only, and the runtime never loads a training library."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_tree import FLOOR, ROOT, dotted, imported, package_of, parse, plant, sources

TRAINING = frozenset({"torch", "torchvision", "ultralytics", "onnx", "onnxslim", "bpy"})
RUNTIME_FREE_OF = ("torch", "torchvision", "ultralytics", "bpy")
# Who may name a training library at all; the rest of the code may not, not even inside a function.
TRAINING_ROOMS = {"bpy": ("replays/render/",)}
TRAINING_ROOM_OF_OTHERS = ("models/",)


def upward_imports(root: Path) -> list[str]:
    """`file:line imports name` for each import, at any depth, that points up or to a sibling."""
    wrong = []
    for path in sources(root):
        room = path.relative_to(root).parts[0]
        for node in ast.walk(parse(path)):
            for name in imported(node, package_of(path, root)):
                other = name.split(".")[0]
                if other in ("tests", "scripts") or (other in FLOOR and other != room and FLOOR[other] >= FLOOR[room]):
                    wrong.append(f"{path.relative_to(root)}:{getattr(node, 'lineno', 0)} imports {other}")
    return sorted(set(wrong))


def strays(root: Path) -> list[str]:
    """`file:line name` for each training library imported, at any depth, outside its room."""
    wrong = []
    for path in sources(root):
        where = path.relative_to(root).as_posix()
        for node in ast.walk(parse(path)):
            for name in {name.split(".")[0] for name in imported(node, package_of(path, root))} & TRAINING:
                if not where.startswith(TRAINING_ROOMS.get(name, TRAINING_ROOM_OF_OTHERS)):
                    wrong.append(f"{where}:{getattr(node, 'lineno', 0)} {name}")
    return wrong


def at_import(tree: ast.Module) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: all but the bodies of functions and of `if TYPE_CHECKING`."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        yield node
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            todo.extend(node.orelse)
            continue
        todo.extend(ast.iter_child_nodes(node))


def loads_training(root: Path) -> list[str]:
    """Chains `vehicle.x -> models.y -> torch` by which importing the runtime would load a training library."""
    modules = {dotted(path, root): path for path in sources(root)}
    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        names = {name for node in at_import(parse(path)) for name in imported(node, package_of(path, root))}
        ours = {name for name in names if name in modules}
        parents = {name.rsplit(".", n)[0] for name in ours for n in range(1, name.count(".") + 1)} & modules.keys()
        edges[module] = ours | parents | ({name.split(".")[0] for name in names} & set(RUNTIME_FREE_OF))
    wrong = []
    for start in sorted(modules):
        if start.split(".")[0] == "models" or start.startswith("replays.render"):
            continue  # rooms where training and rendering live; they count when the runtime reaches them
        chains, seen = [[start]], {start}
        while chains:
            chain = chains.pop()
            for after in sorted(edges.get(chain[-1], set()) - seen):
                seen.add(after)
                chains.append([*chain, after])
                if after in RUNTIME_FREE_OF:
                    wrong.append(" -> ".join([*chain, after]))
    return wrong


def test_imports_point_down_only() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in sources(ROOT)} == FLOOR.keys()
    assert upward_imports(ROOT) == []


@pytest.mark.parametrize(
    ("where", "text", "finding"),
    [
        ("gnss/a.py", "import perception\n", "gnss/a.py:1 imports perception"),
        ("perception/a.py", "def f():\n    from vehicle.b import c\n", "perception/a.py:2 imports vehicle"),
        ("uplink/a.py", "from replays import drive\n", "uplink/a.py:1 imports replays"),
        ("models/a/b.py", "import importlib\nimportlib.import_module('uplink.x')\n", "models/a/b.py:2 imports uplink"),
        ("replays/a.py", "from tests.x import y\n", "replays/a.py:1 imports tests"),
    ],
)
def test_a_planted_upward_import_is_found(tmp_path: Path, where: str, text: str, finding: str) -> None:
    plant(tmp_path, where, text)
    plant(tmp_path, "vehicle/fine.py", "import uplink, replays, models, perception, gnss\nfrom vehicle import x\n")
    assert upward_imports(tmp_path) == [finding]


def test_training_libraries_stay_in_their_rooms() -> None:
    assert strays(ROOT) == []
    assert loads_training(ROOT) == []


def test_a_planted_training_library_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "vehicle/a.py", "def f():\n    import ultralytics\n")
    plant(tmp_path, "vehicle/b.py", "from models import train\n")
    plant(tmp_path, "models/train.py", "try:\n    import torch\nexcept ImportError:\n    torch = None\n")
    plant(tmp_path, "vehicle/lazy.py", "def f():\n    from models import train\n")
    assert strays(tmp_path) == ["vehicle/a.py:2 ultralytics"]
    assert loads_training(tmp_path) == ["vehicle.b -> models.train -> torch"]


def test_the_command_line_asks_for_no_training_library() -> None:
    """Importing the program is watched by a finder, so that a guarded import counts even where nothing is installed."""
    code = f"""
import importlib.abc, sys
class Watch(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {sorted(RUNTIME_FREE_OF)!r}:
            asked.append(name)
asked = []
sys.meta_path.insert(0, Watch())
import vehicle.__main__
sys.exit(f"asked for {{asked}}" if asked else 0)
"""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr

"""The five protocols of the design, and no other plug-in machinery."""

from __future__ import annotations

import ast

from tests.source_tree import FLOOR, ROOT, parse


def test_there_are_five_protocols_and_no_abstract_base() -> None:
    found = {}
    for room in FLOOR:
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(parse(file)):
                if isinstance(node, ast.ClassDef):
                    bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
                    assert not bases & {"ABC", "ABCMeta"}, f"{file}: {node.name} is an abstract base"
                    if "Protocol" in bases:
                        found[node.name] = file.relative_to(ROOT).as_posix()
    assert found == {
        "Clock": "gnss/clock.py",
        "Detector": "perception/detector.py",
        "CaseStore": "perception/store.py",
        "Transport": "uplink/transport.py",
        "Source": "vehicle/live.py",
    }

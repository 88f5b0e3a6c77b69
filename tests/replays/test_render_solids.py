"""Meshes: closed shapes, placement, and the road's holes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from replays.render import ground
from replays.render.layout import MODELS, Thing, mesh_of, placed
from replays.render.solids import Mesh, Paint, Sculptor, turn_z

GREY = Paint("plastic", (0.5, 0.5, 0.5))


def _area(mesh: Mesh) -> float:
    """Summed polygon areas (fan triangulation)."""
    total = 0.0
    for face in mesh.faces:
        p = mesh.vertices[list(face)]
        total += sum(0.5 * float(np.linalg.norm(np.cross(p[i] - p[0], p[i + 1] - p[0]))) for i in range(1, len(p) - 1))
    return total


def test_box_has_its_size_and_area() -> None:
    s = Sculptor()
    s.box((1.0, 2.0, 3.0), (2.0, 4.0, 6.0), GREY)
    mesh = s.build()
    assert mesh.vertices.min(axis=0).tolist() == [0.0, 0.0, 0.0]
    assert mesh.vertices.max(axis=0).tolist() == [2.0, 4.0, 6.0]
    assert _area(mesh) == pytest.approx(2 * (2 * 4 + 4 * 6 + 2 * 6))
    assert not mesh.vertices.flags.writeable


def test_turn_is_counter_clockwise() -> None:
    assert turn_z(np.array([[1.0, 0.0, 5.0]]), math.pi / 2)[0] == pytest.approx([0.0, 1.0, 5.0], abs=1e-12)


def test_put_keeps_faces_and_paints_together() -> None:
    inner = Sculptor()
    inner.box((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), Paint("metal", (0.1, 0.1, 0.1)))
    outer = Sculptor()
    outer.quad((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), GREY)
    outer.put(inner.build(), (10.0, 0.0, 0.0))
    mesh = outer.build()
    assert [mesh.paints[i].kind for i in mesh.paint_of] == ["plastic"] + ["metal"] * 6
    assert mesh.vertices[list(mesh.faces[-1])][:, 0].mean() > 9.0


@pytest.mark.parametrize("model", [*sorted(MODELS), "sedan", "hatch", "suv", "van"])
def test_every_model_is_a_sound_mesh_and_repeats(model: str) -> None:
    thing = Thing("a", None, model, 0.0, 0.0, seed=5, colour=(0.2, 0.3, 0.4))
    mesh, again = mesh_of(thing), mesh_of(thing)
    assert mesh.vertices.tobytes() == again.vertices.tobytes()
    assert mesh.faces == again.faces
    assert np.isfinite(mesh.vertices).all()
    assert len(mesh.faces) == len(mesh.paint_of) == len(mesh.smooth)
    assert max(i for f in mesh.faces for i in f) < len(mesh.vertices)
    assert min(len(f) for f in mesh.faces) >= 3


@pytest.mark.parametrize(("model", "length"), [("sedan", 4.75), ("hatch", 4.05), ("suv", 4.65), ("van", 4.95)])
def test_cars_have_the_size_of_cars_and_stand_on_the_ground(model: str, length: float) -> None:
    mesh = mesh_of(Thing("a", "car", model, 0.0, 0.0, seed=1))
    size = np.ptp(mesh.vertices, axis=0)
    assert size[0] == pytest.approx(length, rel=0.07)
    assert 1.7 < size[1] < 2.4
    assert 1.3 < size[2] < 2.0
    assert mesh.vertices[:, 2].min() == pytest.approx(0.0, abs=0.06)


def test_road_loses_exactly_the_area_of_its_hole() -> None:
    radius = ground.rim_radius("manhole_open", 0)
    whole = _area(ground.road(0.0, 20.0, -4.0, 4.0, [], GREY))
    cut = _area(ground.road(0.0, 20.0, -4.0, 4.0, [(10.0, 1.0, radius)], GREY))
    n = ground.RIM_POINTS
    polygon = 0.5 * n * ground.COVER_RADIUS**2 * math.sin(2 * math.pi / n)
    assert whole == pytest.approx(160.0)
    assert whole - cut == pytest.approx(polygon, rel=1e-9)


def test_road_refuses_overlapping_holes_and_holes_off_the_road() -> None:
    radius = ground.rim_radius("pothole", 3)
    with pytest.raises(ValueError, match="overlaps"):
        ground.road(0.0, 20.0, -4.0, 4.0, [(10.0, 1.0, radius), (10.3, -1.0, radius)], GREY)
    with pytest.raises(ValueError, match="leaves the road"):
        ground.road(0.0, 20.0, -4.0, 4.0, [(10.0, 3.9, radius)], GREY)


def test_placed_turns_then_moves_and_follows_the_track() -> None:
    thing = Thing("a", None, "tree", 5.0, 1.0, 0.15, 90.0, track=((0.0, 5.0, 1.0), (2.0, 9.0, 1.0)))
    point = np.array([[1.0, 0.0, 2.0]])
    assert placed(thing, point, 0.0)[0] == pytest.approx([5.0, 2.0, 2.15])
    assert placed(thing, point, 1.0)[0] == pytest.approx([7.0, 2.0, 2.15])
    assert thing.at(-1.0) == (5.0, 1.0)
    assert thing.at(99.0) == (9.0, 1.0)

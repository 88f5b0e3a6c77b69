"""A street as a Blender scene; `bpy` is imported only here and only when a scene is made."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from perception.errors import SetupError
from replays.render import ground
from replays.render.houses import house
from replays.render.layout import HOLES, Street, mesh_of
from replays.render.materials import material
from replays.render.solids import Floats, Mesh, Paint, Sculptor
from replays.render.truth import Camera, Place, camera_pose

SENSOR_MM = 36.0


def load_bpy() -> Any:
    """The bpy module; raises SetupError that names the extra when it is not installed."""
    try:
        return importlib.import_module("bpy")
    except ImportError as error:
        raise SetupError(
            "rendering needs Blender's Python module: pip install 'qiji[synth]' (bpy is not installed)"
        ) from error


def fixed_meshes(street: Street) -> list[tuple[str, Mesh]]:
    """Road, pavements, kerbs, markings and houses as named meshes in street coordinates."""
    holes = [(t.x_m, t.y_m, ground.rim_radius(t.model, t.seed)) for t in street.things if t.model in HOLES]
    right, left, far = street.kerb_right, street.kerb_left, 60.0
    road = ground.road(street.x0 - far, street.x1 + far, right, left, holes, Paint("asphalt", street.asphalt))
    s = Sculptor()
    paving, kerb = Paint("paving", street.paving), Paint("concrete", (0.34, 0.34, 0.33))
    length, mid, p = street.x1 - street.x0 + 2 * far, (street.x0 + street.x1) / 2, street.pavement_m
    for edge, side in ((right, -1.0), (left, 1.0)):
        s.box((mid, edge + side * (0.15 + p / 2), 0.07), (length, p, 0.16), paving)
        s.box((mid, edge + side * 0.08, 0.075), (length, 0.16, 0.17), kerb)
        s.box((mid, edge + side * (p + 6.0), -0.02), (length, 12.0, 0.1), Paint("grass", (0.06, 0.09, 0.03)))
    made = [("road", road), ("pavement", s.build()), ("stripes", ground.stripes(street.stripes))]
    made += [(f"house{i}", house(h)) for i, h in enumerate(street.houses)]
    return made


class Scene:
    """One street, ready to be rendered from any place. Use one at a time: Blender has one process-wide scene."""

    def __init__(self, street: Street, width: int, height: int, samples: int = 4, threads: int = 2) -> None:
        self.bpy = load_bpy()
        self.bpy.ops.wm.read_factory_settings(use_empty=True)
        self.street = street
        self._objects: dict[str, Any] = {}
        self._cache: dict[tuple[str, int, tuple[float, float, float]], Any] = {}
        for name, mesh in fixed_meshes(street):
            self._link(name, self._mesh(name, mesh))
        for thing in street.things:
            key = (thing.model, thing.seed, thing.colour)
            if key not in self._cache:
                self._cache[key] = self._mesh(thing.id, mesh_of(thing))
            made = self._link(thing.id, self._cache[key])
            made.rotation_euler = (0.0, 0.0, math.radians(thing.yaw_deg))
            made.location = (thing.x_m, thing.y_m, thing.z_m)
            self._objects[thing.id] = made
        self._camera = self._link("camera", self.bpy.data.cameras.new("camera"))
        self.bpy.context.scene.camera = self._camera
        self._light()
        self._settings(width, height, samples, threads)

    def render(self, camera: Camera, place: Place, path: Path) -> None:
        """Render one picture (PNG or JPEG by the suffix of `path`)."""
        scene = self.bpy.context.scene
        for thing in self.street.things:
            if thing.track:
                self._objects[thing.id].location = (*thing.at(place.t_s), thing.z_m)
        self._aim(camera, place)
        jpeg = path.suffix == ".jpg"
        scene.render.image_settings.file_format = "JPEG" if jpeg else "PNG"
        scene.render.image_settings.quality = 92
        scene.render.image_settings.compression = 15
        scene.render.filepath = str(path)
        self.bpy.ops.render.render(write_still=True)

    def _mesh(self, name: str, mesh: Mesh) -> Any:
        made = self.bpy.data.meshes.new(name)
        made.from_pydata(mesh.vertices.tolist(), [], [list(f) for f in mesh.faces])
        for paint in mesh.paints:
            made.materials.append(material(self.bpy, paint))
        made.polygons.foreach_set("material_index", np.array(mesh.paint_of, dtype=np.int32))
        made.polygons.foreach_set("use_smooth", np.array(mesh.smooth, dtype=bool))
        made.set_sharp_from_angle(angle=math.radians(38.0))
        made.update()
        return made

    def _link(self, name: str, data: Any) -> Any:
        made = self.bpy.data.objects.new(name, data)
        self.bpy.context.scene.collection.objects.link(made)
        return made

    def _aim(self, camera: Camera, place: Place) -> None:
        rotation, position = camera_pose(camera, place)
        data = self._camera.data
        data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_MM
        data.lens = camera.fx * SENSOR_MM / camera.width
        data.clip_start, data.clip_end = 0.1, 600.0
        # Pixel centres at integers: the image's middle is at (width - 1) / 2.
        data.shift_x = -(camera.cx - (camera.width - 1) / 2) / camera.width
        data.shift_y = (camera.cy - (camera.height - 1) / 2) / camera.width
        self._camera.matrix_world = _matrix(rotation, position)

    def _light(self) -> None:
        weather, bpy = self.street.weather, self.bpy
        sun = bpy.data.lights.new("sun", "SUN")
        sun.energy = 4.2 * (1.0 - 0.93 * weather.overcast)
        sun.angle = math.radians(0.6 + 12.0 * weather.overcast)
        sun.color = (1.0, 0.94, 0.86)
        made = self._link("sun", sun)
        made.rotation_euler = (
            0.0,
            math.radians(90.0 - weather.sun_elevation_deg),
            math.radians(weather.sun_azimuth_deg),
        )
        world = bpy.data.worlds.new("sky")
        bpy.context.scene.world = world
        world.use_nodes = True
        _sky(world.node_tree, weather.overcast)
        world.cycles.sampling_method, world.cycles.sample_map_resolution = "MANUAL", 256

    def _settings(self, width: int, height: int, samples: int, threads: int) -> None:
        scene = self.bpy.context.scene
        scene.render.engine = "CYCLES"
        scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
        scene.render.use_persistent_data = True
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
        cycles = scene.cycles
        cycles.device, cycles.samples, cycles.seed = "CPU", samples, 7
        cycles.use_adaptive_sampling = False
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_prefilter = "FAST"
        cycles.denoising_quality = "FAST"
        cycles.use_light_tree = False
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 3, 2, 2
        cycles.transmission_bounces, cycles.transparent_max_bounces = 1, 2
        cycles.caustics_reflective = cycles.caustics_refractive = False
        scene.view_settings.view_transform = "AgX"
        scene.view_settings.look = "AgX - Medium High Contrast"
        scene.view_settings.exposure = self.street.weather.exposure


def _matrix(rotation: Floats, position: Floats) -> Any:
    """Blender's camera looks along -z with y up: right = -left, up = up, back = -forward."""
    matrix = np.eye(4)
    matrix[:3, 0], matrix[:3, 1], matrix[:3, 2], matrix[:3, 3] = (
        -rotation[:, 1],
        rotation[:, 2],
        -rotation[:, 0],
        position,
    )
    return importlib.import_module("mathutils").Matrix(matrix.tolist())


def _sky(tree: Any, overcast: float) -> None:
    """A gradient from a pale horizon to a blue (or grey) zenith with soft clouds."""
    nodes, links = tree.nodes, tree.links
    back = nodes["Background"]
    coord, split, ramp = (
        nodes.new("ShaderNodeTexCoord"),
        nodes.new("ShaderNodeSeparateXYZ"),
        nodes.new("ShaderNodeValToRGB"),
    )
    links.new(coord.outputs["Generated"], split.inputs["Vector"])
    links.new(split.outputs["Z"], ramp.inputs["Fac"])
    grey, blue = np.array([0.62, 0.64, 0.67]), np.array([0.13, 0.28, 0.62])
    zenith = blue + (grey - blue) * overcast
    horizon = np.array([0.62, 0.72, 0.85]) * (1 - overcast) + np.array([0.75, 0.76, 0.78]) * overcast
    ramp.color_ramp.elements[0].color = (*horizon, 1.0)
    ramp.color_ramp.elements[1].position, ramp.color_ramp.elements[1].color = 0.7, (*zenith, 1.0)
    noise, cover, mix = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeMapRange"), nodes.new("ShaderNodeMix")
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 2.2, 2.0
    cover.inputs["From Min"].default_value, cover.inputs["From Max"].default_value = 0.52, 0.80
    cover.inputs["To Max"].default_value = 0.8
    links.new(coord.outputs["Generated"], noise.inputs["Vector"])
    links.new(noise.outputs["Fac"], cover.inputs["Value"])
    mix.data_type = "RGBA"
    links.new(cover.outputs["Result"], mix.inputs[0])
    links.new(ramp.outputs["Color"], mix.inputs[6])  # A and B of the colour mode are inputs 6 and 7
    mix.inputs[7].default_value = (0.8, 0.82, 0.85, 1.0)
    links.new(mix.outputs[2], back.inputs["Color"])
    path, strength = nodes.new("ShaderNodeLightPath"), nodes.new("ShaderNodeMapRange")
    light = 1.5 + 0.3 * overcast
    strength.inputs["To Min"].default_value, strength.inputs["To Max"].default_value = (
        light,
        0.6 * light,
    )  # seen directly: not burnt out
    links.new(path.outputs["Is Camera Ray"], strength.inputs["Value"])
    links.new(strength.outputs["Result"], back.inputs["Strength"])

"""Procedural Cycles materials, one recipe per paint kind."""

from __future__ import annotations

from typing import Any

from replays.render.solids import Paint

GLOSS: dict[str, tuple[float, float]] = {  # kind -> (roughness, metallic)
    "carpaint": (0.28, 0.15),
    "glass": (0.06, 0.0),
    "window": (0.10, 0.0),
    "rubber": (0.8, 0.0),
    "trim": (0.55, 0.0),
    "metal": (0.38, 0.85),
    "lamp": (0.15, 0.0),
    "tail": (0.2, 0.0),
    "plastic": (0.42, 0.0),
    "bag": (0.28, 0.0),
    "cloth": (0.85, 0.0),
    "leaf": (0.7, 0.0),
    "bark": (0.9, 0.0),
    "iron": (0.55, 0.4),
    "concrete": (0.9, 0.0),
    "rubble": (0.95, 0.0),
    "facade": (0.85, 0.0),
    "shutter": (0.5, 0.3),
    "asphalt": (0.88, 0.0),
    "paving": (0.8, 0.0),
    "marking": (0.7, 0.0),
    "grass": (0.95, 0.0),
}
NOISE: dict[str, tuple[tuple[float, float], ...]] = {  # kind -> (scale per metre, strength), ...
    "asphalt": ((0.35, 0.5), (9.0, 0.35), (160.0, 0.8)),
    "concrete": ((1.2, 0.4), (40.0, 0.3)),
    "facade": ((0.4, 0.25), (12.0, 0.15)),
    "rubble": ((14.0, 0.9), (90.0, 0.8)),
    "iron": ((9.0, 0.6),),
    "paving": ((0.6, 0.4), (60.0, 0.3)),
    "marking": ((3.0, 0.5), (50.0, 0.5)),
    "bag": ((6.0, 0.3),),
    "leaf": ((1.5, 0.6),),
    "bark": ((20.0, 0.6),),
    "grass": ((3.0, 0.6),),
    "cloth": ((14.0, 0.3),),
    "plastic": ((5.0, 0.15),),
}
BUMP: dict[str, tuple[float, float]] = {
    "asphalt": (120.0, 0.25),
    "rubble": (45.0, 0.9),
    "bag": (16.0, 0.6),
    "concrete": (40.0, 0.2),
    "cloth": (18.0, 0.3),
}


def material(bpy: Any, paint: Paint) -> Any:
    """The Blender material of a paint, made on first use."""
    name = f"{paint.kind}:" + ",".join(f"{c:.4f}" for c in paint.rgb)
    found = bpy.data.materials.get(name)
    if found is not None:
        return found
    made = bpy.data.materials.new(name)
    made.use_nodes = True
    nodes, links = made.node_tree.nodes, made.node_tree.links
    surface = nodes["Principled BSDF"]
    rough, metallic = GLOSS[paint.kind]
    surface.inputs["Roughness"].default_value = rough
    surface.inputs["Metallic"].default_value = metallic
    surface.inputs["Base Color"].default_value = (*paint.rgb, 1.0)
    if paint.kind == "carpaint":
        surface.inputs["Coat Weight"].default_value = 0.6
        surface.inputs["Coat Roughness"].default_value = 0.04
    position = (
        nodes.new("ShaderNodeNewGeometry")
        if paint.kind in ("asphalt", "paving", "facade", "marking", "concrete", "grass")
        else None
    )
    vector = position.outputs["Position"] if position else nodes.new("ShaderNodeTexCoord").outputs["Object"]
    colour = _mottled(nodes, links, vector, paint)
    if paint.kind == "paving":
        colour = _tiled(nodes, links, vector, colour)
    if colour is not None:
        links.new(colour, surface.inputs["Base Color"])
    if paint.kind in BUMP:
        scale, strength = BUMP[paint.kind]
        noise, bump = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeBump")
        noise.inputs["Scale"].default_value = scale
        noise.inputs["Detail"].default_value = 1.0
        bump.inputs["Strength"].default_value = strength
        bump.inputs["Distance"].default_value = 0.02
        links.new(vector, noise.inputs["Vector"])
        links.new(noise.outputs["Fac"], bump.inputs["Height"])
        links.new(bump.outputs["Normal"], surface.inputs["Normal"])
    return made


def _mottled(nodes: Any, links: Any, vector: Any, paint: Paint) -> Any:
    """Base colour times one factor per noise layer; None when the kind is plain."""
    colour: Any = None
    for scale, strength in NOISE.get(paint.kind, ()):
        noise, span, mix = (
            nodes.new("ShaderNodeTexNoise"),
            nodes.new("ShaderNodeMapRange"),
            nodes.new("ShaderNodeVectorMath"),
        )
        noise.inputs["Scale"].default_value = scale
        noise.inputs["Detail"].default_value = 1.0
        span.inputs["From Min"].default_value, span.inputs["From Max"].default_value = 0.3, 0.7
        span.inputs["To Min"].default_value, span.inputs["To Max"].default_value = (
            1.0 - strength / 2,
            1.0 + strength / 2,
        )
        mix.operation = "MULTIPLY"
        links.new(vector, noise.inputs["Vector"])
        links.new(noise.outputs["Fac"], span.inputs["Value"])
        links.new(span.outputs["Result"], mix.inputs[0])
        if colour is None:
            mix.inputs[1].default_value = paint.rgb
        else:
            links.new(colour, mix.inputs[1])
        colour = mix.outputs["Vector"]
    return colour


def _tiled(nodes: Any, links: Any, vector: Any, colour: Any) -> Any:
    brick, mix = nodes.new("ShaderNodeTexBrick"), nodes.new("ShaderNodeVectorMath")
    brick.inputs["Scale"].default_value = 1.7
    brick.inputs["Mortar Size"].default_value = 0.012
    brick.inputs["Color1"].default_value = (1.05, 1.0, 0.95, 1.0)
    brick.inputs["Color2"].default_value = (0.85, 0.85, 0.85, 1.0)
    brick.inputs["Mortar"].default_value = (0.4, 0.4, 0.4, 1.0)
    links.new(vector, brick.inputs["Vector"])
    mix.operation = "MULTIPLY"
    links.new(colour, mix.inputs[0])
    links.new(brick.outputs["Color"], mix.inputs[1])
    return mix.outputs["Vector"]

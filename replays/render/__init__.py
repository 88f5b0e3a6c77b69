"""Rendered streets: a seeded layout, exact truth, and pictures made with Blender (extra ``synth``)."""

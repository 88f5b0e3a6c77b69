"""Geometric world simulator: streets of typed solids, rides through them, and what sensors make of it, with truth."""

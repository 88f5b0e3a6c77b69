"""GeoJSON members, read with an eye on broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from perception.errors import DriveError


def read_features(file: Path) -> list[dict[str, Any]]:
    """Features of a FeatureCollection, each with a geometry and properties; raises DriveError naming the file."""
    try:
        collection = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise DriveError(
            f"cannot be read: {error.strerror}", file=file, remedy="name the right folder or file"
        ) from error
    except ValueError as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise DriveError(f"is not JSON: {error}", file=file, line=line, remedy="mend or restore it") from error
    features = collection.get("features") if isinstance(collection, dict) else None
    if not isinstance(features, list):
        raise DriveError("is no GeoJSON FeatureCollection", file=file, remedy="mend or restore it")
    for nth, feature in enumerate(features):
        if not isinstance(feature, dict) or not all(
            isinstance(feature.get(k), dict) for k in ("geometry", "properties")
        ):
            raise DriveError(f"feature {nth} lacks geometry or properties", file=file, remedy="mend or delete it")
    return list(features)

"""Setup errors of the trainer's commands."""

from __future__ import annotations

from perception.errors import SetupError


class TrainingSetupError(SetupError):
    """A recipe, data set, checkpoint or extra is missing or wrong; the message names file, key and remedy."""

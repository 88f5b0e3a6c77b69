"""The published benchmark of cases (`qiji bench cases`): simulated streets through the car's own pipeline."""

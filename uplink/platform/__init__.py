"""Reference platform: a receiver that keeps the delivery contract, and its map console."""

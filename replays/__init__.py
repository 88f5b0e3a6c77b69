"""The engineer's room: drives, runs, scoring, comparison, simulation and rendering."""

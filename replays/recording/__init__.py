"""Drives as MCAP files: what a recording holds, the recorder, and the reader that takes torn and foreign files too."""

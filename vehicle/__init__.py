"""The car: configuration, sources, live run and the `qiji` command line; everything is wired here."""

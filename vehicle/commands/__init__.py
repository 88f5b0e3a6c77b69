"""The `qiji` commands, one module each: `add(subparsers)` declares it, its function returns the exit code."""

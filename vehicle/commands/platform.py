"""`qiji platform serve`: the reference platform with its console."""

from __future__ import annotations

import argparse
from pathlib import Path

from uplink.platform.serve import serve


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    p = commands.add_parser("platform", help="the reference platform that receives cases")
    verbs = p.add_subparsers(dest="verb", required=True)
    v = verbs.add_parser("serve", help="serve the intake and the console")
    v.add_argument("--data", type=Path, default=Path("platform-data"), help="folder of its database and pictures")
    v.add_argument("--host", default="127.0.0.1")
    v.add_argument("--port", type=int, default=8600)
    v.set_defaults(handle=handle)


def handle(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    print(f"console: http://{arguments.host}:{arguments.port}/")
    serve(arguments.host, arguments.port, arguments.data)
    return 0

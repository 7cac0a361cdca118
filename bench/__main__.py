"""``python -m bench`` lists the benchmarks; ``python -m bench NAME [--json] [--seconds N] …`` runs one."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from types import ModuleType

from bench.rig import BenchError, Rig

NAMES = ("claim", "connections", "fanout", "latency", "match", "offer", "relay", "restart", "resume", "slow", "wave")


def _question(module: ModuleType) -> str:
    return (module.__doc__ or "").split("\n", 1)[0]


def _parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=_question(module))
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are given (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of what is timed by the clock (default: 1)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="Callout alone")
    module.options(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run what ``argv`` names. 0 when it ran (whether or not a goal was reached), 1 when it could not, 2 if unknown."""
    if not argv or argv[0] not in NAMES:
        for name in NAMES:
            print(f"{name:12} {_question(import_module(f'bench.questions.{name}'))}")
        return 2 if argv and not argv[0].startswith("-") else 0
    module = import_module(f"bench.questions.{argv[0]}")
    asked = _parser(argv[0], module).parse_args(argv[1:])
    with Rig() as rig:
        try:
            module.run(rig, asked).show(as_json=asked.json)
        except BenchError as error:
            print(f"bench {argv[0]}: {error}", *rig.complaints(), sep="\n", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

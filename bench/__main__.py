"""``python -m bench`` lists the benchmarks; ``python -m bench NAME [--json] [--seconds N] …`` runs one."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module
from types import ModuleType

from bench.rig import BenchError, Rig

NAMES = (
    "archive",
    "chat",
    "claim",
    "connections",
    "fanout",
    "jobs",
    "latency",
    "levels",
    "location",
    "map",
    "match",
    "matching",
    "offer",
    "plan",
    "quote",
    "rebuild",
    "relay",
    "restart",
    "resume",
    "slow",
    "soak",
    "upload",
    "wave",
    "wide",
)


def _read_question(module: ModuleType) -> str:
    return (module.__doc__ or "").split("\n", 1)[0]


def _build_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m bench {name}", description=_read_question(module))
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of the table")
    parser.add_argument("--rounds", type=int, default=3, help="rounds; medians are given (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of what is timed by the clock (default: 1)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="Callout alone")
    module.add_options(parser)
    return parser


def main(argv: list[str]) -> int:
    """Run the benchmark that ``argv`` names, or list all benchmarks if it names none.

    Return the exit code: 0 when the benchmark ran (whether or not a goal was reached), 1 when the benchmark could not
    run, 2 for an unknown name.
    """
    if not argv or argv[0] not in NAMES:
        for name in NAMES:
            print(f"{name:12} {_read_question(import_module(f'bench.questions.{name}'))}")
        return 2 if argv and not argv[0].startswith("-") else 0
    module = import_module(f"bench.questions.{argv[0]}")
    arguments = _build_parser(argv[0], module).parse_args(argv[1:])
    with Rig() as rig:
        try:
            module.run(rig, arguments).print(as_json=arguments.json)
        except BenchError as error:
            print(f"bench {argv[0]}: {error}", *rig.error_logs(), sep="\n", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

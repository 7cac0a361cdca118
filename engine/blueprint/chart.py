"""A blueprint as a Mermaid state diagram: its states and commands."""

from __future__ import annotations

from collections.abc import Iterator

from engine.blueprint.schema import Blueprint, Effect

EFFECTS_WITHOUT_MOVE: frozenset[Effect] = frozenset({"refuse", "bid", "withdraw", "reissue"})
"""Effects that, without ``to``, concern only an offer, a bid or a code and do not change the job."""


def mermaid_chart(blueprint: Blueprint) -> str:
    """Return the diagram's text. States and commands have the order in which the file declares them."""
    return "\n".join(["stateDiagram-v2", *(f"    {line}" for line in _arrow_lines(blueprint))]) + "\n"


def _arrow_lines(blueprint: Blueprint) -> Iterator[str]:
    """Yield the arrows. Commands from one state to the same state share an arrow."""
    yield f"[*] --> {blueprint.initial_state}"
    if blueprint.named and blueprint.named != blueprint.initial_state:
        yield f"[*] --> {blueprint.named}: technician named"
    for name, state in blueprint.states.items():
        arrows: dict[str, list[str]] = {}
        for word, command in blueprint.commands.items():
            if name in command.from_ and (command.to or command.effect not in EFFECTS_WITHOUT_MOVE):
                arrows.setdefault(command.to or name, []).append(word)
        yield from (f"{name} --> {to}: {', '.join(words)}" for to, words in arrows.items())
        if state.next_state:
            yield f"{name} --> {state.next_state}: at once"
    yield from (f"{name} --> [*]" for name, state in blueprint.states.items() if state.is_terminal)

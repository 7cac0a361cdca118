"""Write one test for many values that are cheap to check. One test for each value would take longer than the checks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeVar

T = TypeVar("T")


def for_each(values: Collection[T], name: Callable[[T], str]) -> Callable[[Callable[[T], None]], Callable[[], None]]:
    """Turn a function that checks one value into a test that checks all ``values``. It fails with the name and the
    error of each value that is wrong.
    """

    def decorate(check: Callable[[T], None]) -> Callable[[], None]:
        def test() -> None:
            errors = []
            for value in values:
                try:
                    check(value)
                except AssertionError as error:
                    errors.append(f"{name(value)}: {error}")
            assert not errors, "\n".join(errors)
            assert values, "nothing was checked"

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate

"""What a check says when an invariant does not hold."""

from __future__ import annotations


class CheckFailed(Exception):  # noqa: N818 - it is no error of the program's
    """An invariant does not hold; the text says what was found and where."""


def require(holds: bool, found: str) -> None:
    """Raise `CheckFailed` with what was found, unless the invariant holds."""
    if not holds:
        raise CheckFailed(found)

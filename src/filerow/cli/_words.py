"""How each command calls what it does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Words:
    """How a command calls what it does.

    Attributes:
        verb: ``delete``.
        done: ``deleted``.
        too_young: What it passes over because the time has not come; empty if it never does.
        nothing: What it says when there was nothing to say.
    """

    verb: str = ""
    done: str = ""
    too_young: str = ""
    nothing: str = "nothing to do"


_WORDS = {
    "check": Words("repair", "repaired", nothing="nothing found"),
    "sweep": Words("delete", "deleted", "too young", nothing="nothing found"),
    "drain": Words("delete", "deleted", "not due yet"),
    "migrate": Words("move", "moved"),
    "adopt": Words("adopt", "adopted"),
    "doctor": Words(nothing="nothing found"),
    "undelete": Words("restore", "restored"),
    "variants": Words("make", "made"),
    "prune": Words("delete", "deleted"),
}


def words_of(command: str) -> Words:
    """Return the words of a command."""
    return _WORDS.get(command, Words())

"""The conformance kit as a class with a test method for every case and side."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

from filerow.testing._case import Case, check
from filerow.testing._harness import Harness
from filerow.testing.cases import CASES

F = TypeVar("F", bound=Callable[..., Any])

_REASON = "__filerow_overrides__"


def overrides_case(reason: str) -> Callable[[F], F]:
    """Mark a method of a :class:`Conformance` that replaces a case on purpose.

    Args:
        reason: Why this backend is tried differently; it stands in the report.

    Raises:
        ValueError: There is no reason.
    """
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError('say why: @overrides_case("the store answers … instead")')

    def mark(function: F) -> F:
        setattr(function, _REASON, reason)
        return function

    return mark


class Conformance(Harness):
    """Tests that a backend must pass: subclass it as ``Test…`` and make a backend.

    Each case is a method for each side: ``test_a_small_object_goes_round_sync`` and ``…_async``. They need no fixture and no
    plugin; ``pytest_plugins = ["filerow.testing.plugin"]`` shows at the end what did not apply.

    Attributes:
        overridden: The cases that a subclass tries differently, by name of the method, each with the reason.
    """

    overridden: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a class that has lost a case by accident.

        Raises:
            TypeError: A name hides a case without :func:`overrides_case`, marks what overrides nothing, or ``known_faults`` names
                what is not a case.
        """
        super().__init_subclass__(**options)
        found: dict[str, str] = {}
        # a class beside this one may come first in the order of resolution, and hide cases just as well
        for owner in cls.__mro__:
            if owner is Conformance or owner in Conformance.__mro__:
                continue
            for name, value in vars(owner).items():
                reason = getattr(value, _REASON, None)
                if reason is not None and name not in _METHODS:
                    raise TypeError(f"{owner.__name__}.{name} overrides no case; is its name right?")
                if reason is None and name in _METHODS:
                    raise TypeError(
                        f"{owner.__name__}.{name} hides the case {_METHODS[name].name}, so it would never run; choose another "
                        'name, or decorate it with @overrides_case("why")'
                    )
                if reason is not None:
                    found.setdefault(name, reason)
        unknown = [name for name in cls.known_faults if name not in CASES and f"test_{name}" not in _METHODS]
        if unknown:
            raise TypeError(f"{cls.__name__}.known_faults names what is not a case: {', '.join(unknown)}")
        cls.overridden = found


_METHODS: dict[str, Case] = {f"test_{case.name}_{side}": case for case in CASES.values() for side in case.sides}


def _method(name: str, case: Case, side: str) -> Callable[[Conformance], None]:
    def test(self: Conformance) -> None:
        __tracebackhide__ = True
        check(self, case, side)

    test.__name__ = name
    test.__qualname__ = f"Conformance.{name}"
    test.__doc__ = case.check.__doc__
    return test


for _name, _case in _METHODS.items():
    setattr(Conformance, _name, _method(_name, _case, _name.rpartition("_")[2]))

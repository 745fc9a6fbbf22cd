"""Find out what an S3-compatible store makes of ``If-None-Match: *``.

The store is asked once, with objects of Filerow's own, before anything relies on it.

Amazon's S3 refuses a path that is taken. Of the stores that speak its language some overwrite anyway, some answer with
an error, and some honour the condition for uploads and not for copies. So a store behind its own endpoint is asked when a
condition is needed for the first time. The objects it is asked with lie where a sweep looks for what nobody owns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Protocol

from filerow._execution.steps import Call, Steps
from filerow._log import extras, logger
from filerow.backends._foreign import staging_path
from filerow.exceptions import ObjectHiddenError, UnsupportedOperationError


class Worth(Enum):
    """What a condition is worth."""

    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"
    OFF = "switched off"


class WriteReply(Enum):
    """The result of one conditional write.

    ``UNCLEAR`` is a refusal for any reason, ``LATER`` a busy store.
    """

    DONE = "done"
    TAKEN = "taken"
    REFUSED = "refused"
    UNCLEAR = "unclear"
    LATER = "later"


class Writer(Protocol):
    """How one client writes to a store."""

    def put(self, path: str) -> Call:
        """Return the call that stores a small object, whatever is at its path."""
        ...

    def put_new(self, path: str, *, patient: bool) -> Call:
        """Return the call that stores one if its path is free; ``patient`` retries."""
        ...

    def copy_new(self, source: str, target: str, *, patient: bool) -> Call:
        """Return the call that copies one on condition that the target is free."""
        ...

    def copy(self, source: str, target: str) -> Call:
        """Return the call that copies one, whatever is at the target."""
        ...

    def delete(self, paths: Sequence[str]) -> Call:
        """Return the call that removes them."""
        ...

    def reply_in(self, error: BaseException) -> WriteReply | None:
        """Return what a conditional write's error means; ``None`` ends the matter."""
        ...


class Conditions:
    """Finds out what the conditions of one store are worth.

    Args:
        backend: Key of the backend, for errors.
        writer: How to write to the store; ``None`` where it need not be asked.
        put: What the condition of an upload is worth; ``None`` if that must be found out.
        copy: The same of a copy.
    """

    def __init__(self, backend: str, writer: Writer | None, put: Worth | None, copy: Worth | None) -> None:
        self._backend = backend
        self._writer = writer
        self._put = put
        self._copy = copy

    @property
    def is_off(self) -> bool:
        """Return True if the application switched conditions off.

        It accepts that two writers at once may both succeed.
        """
        return self._put is Worth.OFF

    def put_steps(self) -> Steps[Worth]:
        """Return what the condition of an upload is worth."""
        if self._put is None and self._writer is not None:
            self._put = yield from _ask_put(self._writer)
        return self._put or Worth.HONOURED

    def copy_steps(self) -> Steps[Worth]:
        """Return what the condition of a copy is worth."""
        if self._copy is None and self._writer is not None:
            self._copy = yield from _ask_copy(self._writer)
        return self._copy or Worth.HONOURED

    def reason_steps(self) -> Steps[str]:
        """Return why no path can be kept free; empty where one can."""
        put = yield from self.put_steps()
        if put is Worth.HONOURED:
            return ""
        copy = yield from self.copy_steps()
        if copy is Worth.HONOURED:
            return ""
        if put is Worth.OFF:
            return (
                "conditional writes are switched off, so a path is looked at, then written: two writers at once may both succeed"
            )
        made = "answers conditional writes with an error" if put is Worth.REFUSED else "takes 'If-None-Match: *' and overwrites"
        return f"this store {made}, so nothing keeps a second writer from a path that somebody chose"

    def check_steps(self, operation: str, path: str) -> Steps[None]:
        """Refuse a write that must not overwrite where nothing can promise that.

        Raises:
            UnsupportedOperationError: The store honours no condition, and the application has not switched them off.
        """
        reason = yield from self.reason_steps()
        if reason and not self.is_off:
            msg = (
                f"{reason}; let Filerow make the path (no to_filename=, and a path= that holds its token), or give the backend "
                "conditional_put='disabled' (aws_conditional_put= of ObstoreBackend), which looks first and lets two writers at "
                "once pass"
            )
            raise UnsupportedOperationError(msg, operation=operation, backend=self._backend, path=path)


def honoured(backend: str, *, off: bool = False) -> Conditions:
    """Return the conditions of a store that honours all of them, or needs none."""
    worth = Worth.OFF if off else Worth.HONOURED
    return Conditions(backend, None, worth, worth)


def _ask_put(writer: Writer) -> Steps[Worth]:
    paths = probe_path(), probe_path()
    try:
        for path in paths:
            reply = yield from _attempt(writer, partial(writer.put_new, path))
            if reply is WriteReply.DONE:
                return _WORTH[(yield from _attempt(writer, partial(writer.put_new, path)))]
            yield writer.put(path)  # raises where it is not the condition that is refused
            if reply is WriteReply.REFUSED:
                break
            # a free path is taken only where the answer to an earlier attempt was lost, or where every condition gets that answer
    finally:
        yield from _remove(writer, *paths)
    return Worth.REFUSED


def _ask_copy(writer: Writer) -> Steps[Worth]:
    source, target, free = probe_path(), probe_path(), probe_path()
    try:
        yield writer.put(source)
        yield writer.put(target)
        reply = yield from _attempt(writer, partial(writer.copy_new, source, target))
        if reply is WriteReply.UNCLEAR:
            yield writer.copy(source, target)  # raises where it is not the condition that is refused
        elif reply is WriteReply.TAKEN:  # some take the condition for one that the source must meet
            reply = yield from _attempt(writer, partial(writer.copy_new, source, free))
            return Worth.HONOURED if reply is WriteReply.DONE else Worth.REFUSED
    finally:
        yield from _remove(writer, source, target, free)
    return _WORTH[reply]


def _attempt(writer: Writer, build: Callable[..., Call]) -> Steps[WriteReply]:
    """Write once, for a refusal needs no retries; ask a store that is busy again."""
    for patient in (False, True):
        try:
            yield build(patient=patient)
        except Exception as error:
            reply = writer.reply_in(error)
            if reply is None or (reply is WriteReply.LATER and patient):
                raise
            if reply is not WriteReply.LATER:
                return reply
        else:
            break
    return WriteReply.DONE


def _remove(writer: Writer, *paths: str) -> Steps[None]:
    with suppress(Exception):  # a sweep finds them
        yield writer.delete(paths)


_WORTH = {
    WriteReply.DONE: Worth.IGNORED,
    WriteReply.TAKEN: Worth.HONOURED,
    WriteReply.REFUSED: Worth.REFUSED,
    WriteReply.UNCLEAR: Worth.REFUSED,
}


def probe_path() -> str:
    """Return a path to try something with, where a sweep looks if it is left behind."""
    return staging_path("staged/probes/")


# -- what backends on S3 report of their stores, with any client -------------------------------------------------------------

AT_ONCE = 10
"""How many objects are deleted at a time where each takes a request of its own."""

NO_BULK_DELETE = "it has no DeleteObjects, so each object is deleted by a request of its own"

VERSIONS = (
    "its bucket keeps versions, so what is deleted stays in it, readable by its version, and is paid for, until a lifecycle rule "
    "removes noncurrent versions"
)


def note_single_deletes(backend: str, how: str = "") -> None:
    """Log that a store has no bulk deletes."""
    logger.warning(
        "backend %r: this store has no DeleteObjects, so each object is now deleted by a request of its own, %s at a time%s",
        backend,
        AT_ONCE,
        how,
        extra=extras("delete", backend),
    )


def hidden(operation: str, backend: str, path: str, *, google: bool = False) -> ObjectHiddenError:
    """Return the error of a read that was forbidden because nothing may be listed."""
    may_list, may_read = ("storage.objects.list", "storage.objects.get") if google else ("s3:ListBucket", "s3:GetObject")
    msg = (
        f"the object is missing, or the credentials may not read it ({may_read}): the store says which only to credentials that "
        f"may list ({may_list})"
    )
    return ObjectHiddenError(msg, operation=operation, backend=backend, path=path)

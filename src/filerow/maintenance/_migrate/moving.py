"""Moves one file to another backend, checked; nothing is left if it differs."""

from __future__ import annotations

from filerow._content import Meter, is_sha256
from filerow._document import Facts
from filerow._execution.batch import StepsJob
from filerow._execution.steps import Call, Steps
from filerow._file.transfer import Copy
from filerow._file.variant_objects import copy_variants
from filerow._recipes import Variants
from filerow._registry import may_differ
from filerow.backends._stored_with import StoredWith
from filerow.backends._types import ObjectInfo
from filerow.backends.base import StorageBackend
from filerow.exceptions import IntegrityError, InvalidPathError, ObjectExistsError, ObjectNotFoundError
from filerow.maintenance._examine import Reading
from filerow.maintenance._migrate.one_bucket import OneBucket


class Moving(StepsJob):
    """Copies one file, and records what is wrong if that is the file's own fault.

    Args:
        source: The row's facts.
        origin: The backend it is in.
        target: The backend to copy to.
        path: The path there.
        generated: The path is new, so nothing can be there. Otherwise a killed run may have left the same bytes there.
        bucket: The bucket that both backends are in, if any.
        stored_with: How the column's objects are stored.
        variants: Those that the column declares: of these, the ones that ``source`` lists are copied too.

    Attributes:
        source: As given.
        path: As given.
        facts: The copy's facts; ``None`` if there is no copy.
        flaw: Why there is none: a finding's code and a message.
        made: True if this made a copy.
    """

    def __init__(
        self,
        source: Facts,
        origin: StorageBackend,
        target: StorageBackend,
        path: str,
        *,
        generated: bool = True,
        bucket: OneBucket | None = None,
        stored_with: StoredWith | None = None,
        variants: Variants = (),
    ) -> None:
        self.source = source
        self.path = path
        self.facts: Facts | None = None
        self.flaw: tuple[str, str] | None = None
        self.made = False
        self._variants = variants
        self._stored_with = stored_with
        self._origin = origin
        self._target = target
        self._bucket = bucket if generated and stored_with is None and not may_differ(target.key) else None
        self._reading: Reading | None = None
        self._meter = Meter()
        self._copy = Copy(source, origin, target, path, generated=generated, stored_with=stored_with, meter=self._meter)

    @property
    def transferred(self) -> int:
        """The number of bytes read so far."""
        return self._meter.size + (0 if self._reading is None else self._reading.meter.size)

    def stop(self) -> None:
        """Stop at the next chunk."""
        self._copy.stop()

    def _steps(self) -> Steps[None]:
        yield from self._move()
        if self.facts is not None and self.source.variants:
            options = self._stored_with
            copied = yield from copy_variants(self._origin, self.source, self._target, self.facts, self._variants, options)
            self.facts = self.facts._replace(variants=copied)

    def _move(self) -> Steps[None]:
        try:
            if self._bucket is not None:
                yield from self._copy_inside(self._bucket)
                return
            yield self._copy.call
        except ObjectNotFoundError as error:
            if (error.backend, error.path) != (self._origin.key, self.source.path):
                raise
            self.flaw = ("missing", f"there is no object {self.source.path!r} in {self._origin.key!r}")
        except InvalidPathError as error:
            if (error.backend, error.path) != (self._origin.key, self.source.path):
                raise
            self.flaw = ("unreadable", error.message)
        except IntegrityError as error:
            self.flaw = ("size" if self.source.size not in {None, self._meter.size} else "checksum", error.message)
        except ObjectExistsError:
            yield from self._compare()
        else:
            self.made = True
            copied = self._copy.facts
            assert copied is not None  # noqa: S101 - it has succeeded
            info: ObjectInfo = yield Call(self._target.head, self._target.head_async, (self.path,))
            if info.size != copied.size:
                msg = f"{copied.size} bytes were copied, but the new object has {info.size}"
                raise IntegrityError(msg, operation="put", backend=self._target.key, path=self.path)
            self.facts = _as_stored(copied, info)

    def _copy_inside(self, bucket: OneBucket) -> Steps[None]:
        """Let the store copy; read the copy unless tags prove that it is right."""
        source = self.source
        here: ObjectInfo = yield Call(self._origin.head, self._origin.head_async, (source.path,))
        if source.size not in {None, here.size}:
            self.flaw = ("size", f"the row says {source.size} bytes, the object has {here.size}")
            return
        self.made = True  # unless the answer was lost; it is deleted in any case
        names = (bucket.source + source.path, bucket.target + self.path)
        yield Call(bucket.whole.copy, bucket.whole.copy_async, names, {"create_only": False})
        there: ObjectInfo = yield Call(self._target.head, self._target.head_async, (self.path,))
        facts = source._replace(backend=self._target.key, path=self.path, size=there.size)
        if not is_sha256(source.checksum) or source.etag is None or {source.etag, here.etag, there.etag} != {source.etag}:
            self._reading = reading = Reading(self._target, self.path)
            yield reading.call
            if is_sha256(source.checksum) and source.checksum != reading.meter.checksum:
                self.flaw = ("checksum", f"the row says {source.checksum}, the object has {reading.meter.checksum}")
                return
            facts = facts._replace(checksum=reading.meter.checksum)
        self.facts = _as_stored(facts, there)

    def _compare(self) -> Steps[None]:
        """Find out whether the object at the path is already this file."""
        there = Reading(self._target, self.path)
        info: ObjectInfo = yield Call(self._target.head, self._target.head_async, (self.path,))
        yield there.call
        checksum = self.source.checksum
        if not is_sha256(checksum):
            here = Reading(self._origin, self.source.path)
            yield here.call
            checksum = here.meter.checksum
        if checksum != there.meter.checksum:
            self.flaw = ("taken", f"another object is already at {self.path!r} in {self._target.key!r}")
            return
        known = self.source._replace(backend=self._target.key, path=self.path, size=there.meter.size, checksum=checksum)
        self.facts = _as_stored(known, info)


def _as_stored(facts: Facts, info: ObjectInfo) -> Facts:
    """Return a file's facts with those of the object in the store."""
    return facts._replace(
        etag=info.etag or facts.etag, version_id=info.version_id, last_modified=info.last_modified or facts.last_modified
    )

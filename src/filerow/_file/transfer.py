"""The transfers of a row's file: upload, copy, delete; each cleans up on failure."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import aclosing, suppress
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from filerow._buffers import Buffer
from filerow._content import (
    Body,
    BytesContent,
    Claimed,
    Content,
    Meter,
    Prepared,
    expect_facts,
    expect_length,
    is_sha256,
    prepare,
    prepare_async,
)
from filerow._document import Facts
from filerow._execution.batch import Job, StepsJob, run_all
from filerow._execution.steps import Call, Steps, run, run_async, threaded
from filerow._execution.threads import in_thread, until_ended
from filerow._file.read_ahead import Ranges
from filerow._file.reader import read_through
from filerow._file.variant_objects import copy_variants, delete_variants
from filerow._log import cause_of, extras, logger, named, objects
from filerow._media_types import OCTET_STREAM
from filerow._paths import is_generated, uuid7_hex
from filerow._presentation import present
from filerow._recipes import Variants
from filerow._registry import may_differ, storages
from filerow._validation.checks import Checks
from filerow._validation.rules import NO_RULES, Rules
from filerow.backends._rewrite import rewrite_call
from filerow.backends._stored_with import StoredWith, with_options
from filerow.backends._types import ObjectInfo, PutOptions, Rewritten
from filerow.backends.base import StorageBackend
from filerow.exceptions import (
    ClaimError,
    FileTooSmallError,
    IntegrityError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StorageTimeoutError,
    UnsupportedOperationError,
)

T = TypeVar("T")

_QUICK_BYTES = 64 << 10

_IN_ONE_REQUEST = 1 << 20
"""Up to this many bytes are read at once for a copy from one backend to another: 16 such copies may be under way."""


class Upload(Job):
    """Stores one file's content under one path.

    Args:
        content: The bytes.
        wanted: What the caller said of the file; a size or ``sha256:`` checksum among it must turn out true.
        backend: Where to.
        path: Under which path.
        rules: What the column demands.
        generated: The path is ours and unused, so it need not be checked, and may be deleted when anything fails.
        stored_with: What to store the object with besides; the backend keeps it.

    Attributes:
        facts: What was stored; set when the upload has succeeded.
    """

    def __init__(
        self,
        content: Content,
        wanted: Facts,
        backend: StorageBackend,
        path: str,
        rules: Rules = NO_RULES,
        *,
        generated: bool = True,
        stored_with: StoredWith | None = None,
    ) -> None:
        self.facts: Facts | None = None
        self._stored_with = stored_with
        self._wanted = wanted
        self._backend = backend
        self._path = path
        self._rules = rules
        self._generated = generated
        self._meter = Meter(rules, wanted.filename)
        self._content = content
        self._checks = Checks(content, wanted, rules, self._meter)

    @property
    def quick(self) -> bool:
        """True for a few bytes into memory or a local directory: quicker than a thread."""
        return self._backend._quick and self._is_small() and not self._rules.validators

    @property
    def crowd(self) -> int:
        """How many such uploads threads do sooner: those whose bytes are in memory."""
        backend = self._backend
        if not isinstance(self._checks.content, BytesContent) or self._rules.validators:
            return 0
        if not backend.capabilities.native_async:
            return 2
        return backend._crowd if self._is_small() else 0

    def _is_small(self) -> bool:
        content = self._checks.content
        return isinstance(content, BytesContent) and (content.size or 0) <= _QUICK_BYTES

    def stop(self) -> None:
        """Make a streamed upload fail at its next chunk."""
        self._meter.stop()

    def run(self) -> None:
        """Upload, blocking."""
        if self._content.claimed is not None and run(self._rewrite_steps()):
            return
        started = False
        try:
            self._checks.whole()
            prepared = prepare(self._checks.content, self._meter)
            self._checks.opened(prepared)
            options = self._options()
            started = True
            self.facts = self._stored(self._backend.put(self._path, prepared.body, options))  # type: ignore[arg-type]
        except BaseException as error:
            self._content.put_back()
            if started and _may_exist(error, generated=self._generated):
                Delete(self._backend, [self._path], certain=isinstance(error, _STORED)).run()
            raise

    async def run_async(self) -> None:
        """Upload without blocking the event loop."""
        if self._content.claimed is not None and await run_async(self._rewrite_steps()):
            return
        started = False
        try:
            await self._checks.whole_async()
            prepared = await prepare_async(self._checks.content, self._meter)
            await self._checks.opened_async(prepared)
            options = self._options()
            started = True
            self.facts = self._stored(await self._backend.put_async(self._path, prepared.body, options))
        except BaseException as error:
            self._content.put_back()
            if started and _may_exist(error, generated=self._generated):
                await Delete(self._backend, [self._path], certain=isinstance(error, _STORED)).run_async()
            raise

    def _rewrite_steps(self) -> Steps[bool]:
        """Let the store copy a client's upload, and check it; return False if it cannot."""
        wanted, backend = self._wanted, self._backend
        shown = present(wanted.content_type, wanted.filename)
        options = with_options(PutOptions(*shown, create_only=False), self._stored_with)
        call = self._content.rewrite(backend.key, self._path, options) if self._generated else None
        if call is None:
            return False
        try:
            found: Rewritten | None = yield call
            if found is None:
                return False
            info = ObjectInfo(self._path, etag=found.etag, version_id=found.version)
            proven = found.checksum is not None and found.checksum == wanted.checksum and not self._rules.validators
            content = Placed(backend, self._path, wanted.size, peekable=proven)
            self._checks = Checks(content, wanted, self._rules, self._meter)
            if proven:  # the store has computed it, so its type, width and height are all that is left to look at
                yield threaded(self._checks.beforehand)
                self.facts = self._placed(info, content_type=self._checks.content_type, checksum=found.checksum)
            else:
                yield from self._look_over()
                self.facts = self._stored(info)
            if present(self._checks.content_type, wanted.filename) != shown:
                raise changed_since(self._rules.field)  # noqa: TRY301 - one place deletes the copy
        except BaseException as error:
            if isinstance(error, ClaimError):
                error.field = error.field or self._rules.field
            yield Delete(backend, [self._path]).call
            raise
        return True

    def _look_over(self) -> Steps[None]:
        """Check all that is stored."""
        checks = self._checks
        yield Call(checks.whole, checks.whole_async)
        prepared: Prepared = yield Call(prepare, prepare_async, (checks.content, self._meter))
        yield Call(checks.opened, checks.opened_async, (prepared,))
        yield Call(_use_up, _use_up_async, (prepared.body,))

    def _options(self) -> PutOptions:
        return _options(self._checks.content_type, self._wanted.filename, self._stored_with, generated=self._generated)

    def _stored(self, info: ObjectInfo) -> Facts:
        wanted, meter = self._wanted, self._meter
        if info.size not in {None, meter.size}:
            expect_length(self._backend.key, self._path, meter.size, info.size or 0, operation="put")
        self._expect("size", wanted.size, meter.size)
        self._rules.check_least(meter.size, wanted.filename)
        if wanted.checksum and is_sha256(wanted.checksum):
            self._expect("checksum", wanted.checksum.lower(), meter.checksum)
        checks = self._checks
        return self._placed(
            info, content_type=checks.content_type, metadata=checks.metadata, size=meter.size, checksum=meter.checksum
        )

    def _placed(self, info: ObjectInfo, **found: Any) -> Facts:
        width, height = self._checks.sides or (None, None)  # another column's check may have found some
        return self._wanted._replace(
            **found,
            width=width,
            height=height,
            backend=self._backend.key,
            path=self._path,
            etag=info.etag,
            version_id=info.version_id,
            last_modified=info.last_modified or time.time(),
        )

    def _expect(self, what: str, expected: object, actual: object) -> None:
        if expected is not None and expected != actual:
            msg = f"the file was announced with {what} {expected}, but its content has {actual}"
            if self._content.claimed is not None:
                raise ClaimError(msg, code="upload-differs", field=self._rules.field, limit=expected, actual=actual)
            raise IntegrityError(msg, operation="put", backend=self._backend.key, path=self._path)


def _use_up(body: Body) -> None:
    if isinstance(body, Iterator):
        deque(body, 0)


async def _use_up_async(body: Body) -> None:
    if isinstance(body, AsyncIterator):
        async for _ in body:
            pass
    elif isinstance(body, Iterator):
        await in_thread(_use_up, body)


class Placed(Content):
    """An object in a store, as content to be checked.

    Args:
        backend: Where it is.
        path: Its path.
        size: Its length in bytes.
        peekable: Only parts of it are to be looked at.
    """

    ranged = True

    def __init__(self, backend: StorageBackend, path: str, size: int | None, *, peekable: bool) -> None:
        self.size = size
        self.peekable = peekable
        self._backend = backend
        self._path = path
        self._ranges = Ranges(backend, path)

    def peek_late(self, offset: int, size: int) -> bytes:
        return self._ranges.peek(offset, size)

    def peek(self, offset: int, size: int) -> bytes:
        return self._ranges.peek(offset, size)

    def chunks(self) -> Iterator[Buffer]:
        return self._backend.stream(self._path)

    def chunks_async(self) -> AsyncIterator[Buffer]:
        return self._backend.stream_async(self._path)


class Copy(StepsJob):
    """Copies an object to a new path; within a backend, the store copies it.

    Args:
        source: The facts of the file to copy.
        origin: The backend it is in.
        backend: The backend to copy to.
        path: The new path.
        generated: The path is ours and unused.
        stored_with: What to store the copy with besides; the backend keeps it.
        meter: Counts and hashes what is streamed from one backend to another, which must turn out to be what ``source`` says.
        variants: Those that the copy's column declares: of these, the ones that ``source`` lists are copied too.

    Attributes:
        facts: What the copy is; set when it has succeeded.
    """

    def __init__(
        self,
        source: Facts,
        origin: StorageBackend,
        backend: StorageBackend,
        path: str,
        *,
        generated: bool = True,
        stored_with: StoredWith | None = None,
        meter: Meter | None = None,
        variants: Variants = (),
    ) -> None:
        self._stored_with = stored_with
        self._variants = variants if source.variants else ()
        self.facts: Facts | None = None
        self._source = source
        self._origin = origin
        self._backend = backend
        self._path = path
        self._generated = generated
        # the store's own copy has what its source has, which another column may have wanted
        self._differs = origin is backend and backend.capabilities.keeps_metadata and _may_differ(stored_with, backend)
        self._streams = origin is not backend or self._differs
        self._meter = meter = meter or (Meter(NO_RULES, source.filename) if self._streams else None)
        self._in_one = meter is not None and source.size is not None and source.size <= _IN_ONE_REQUEST

    def stop(self) -> None:
        """Stop a metered stream at its next chunk; any other copy is finished."""
        if self._meter is not None:
            self._meter.stop()

    def _steps(self) -> Steps[None]:
        backend, path = self._backend, self._path
        try:
            facts = yield from self._copy_steps()
            if self._variants:
                origin, options, differs = self._origin, self._stored_with, self._differs
                copied = yield from copy_variants(origin, self._source, backend, facts, self._variants, options, differs=differs)
                facts = facts._replace(variants=copied)
            self.facts = facts
        except BaseException as error:
            if _may_exist(error, generated=self._generated):
                variants = {path: self._variants} if self._variants else {}
                yield Delete(backend, [path], certain=isinstance(error, _STORED), variants=variants).call
            raise

    def _copy_steps(self) -> Steps[Facts]:
        backend = self._backend
        rewritten = (yield from self._rewrite_steps()) if self._differs else None
        if rewritten is not None:
            return rewritten
        if self._streams:
            info = yield Call(self._stream, self._stream_async)
        else:
            options = {"create_only": not self._generated}
            info = yield Call(backend.copy, backend.copy_async, (self._source.path, self._path), options)
        return self._copied(info)

    def _rewrite_steps(self) -> Steps[Facts | None]:
        """Let the store copy with the column's own options; return None if it cannot."""
        source, backend = self._source, self._backend
        if self._in_one or not self._generated or source.etag is None:
            return None
        there = ObjectInfo(source.path, source.size, source.etag, source.version_id)
        call = rewrite_call(backend, there, self._path, self._stored_options())
        try:
            found: Rewritten | None = (yield call) if call is not None else None
        except ClaimError:  # it is not what its row says, or gone: reading it finds out which
            return None
        if found is None:
            return None
        return self._placed(source, ObjectInfo(self._path, etag=found.etag, version_id=found.version))

    def _stream(self) -> ObjectInfo:
        """Pass the bytes on; a few of them at once, in two requests without a thread."""
        content: Buffer | Iterator[Buffer] = (
            self._metered(self._origin.read(self._source.path, 0, self._most))
            if self._in_one
            else map(self._metered, self._origin.stream(self._source.path))
        )
        return self._backend.put(self._path, content, self._stored_options())

    async def _stream_async(self) -> ObjectInfo:
        if self._in_one:
            whole = self._metered(await self._origin.read_async(self._source.path, 0, self._most))
            return await self._backend.put_async(self._path, whole, self._stored_options())
        async with aclosing(self._chunks_async()) as chunks:
            return await self._backend.put_async(self._path, chunks, self._stored_options())

    async def _chunks_async(self) -> AsyncGenerator[Buffer]:
        async for chunk in self._origin.stream_async(self._source.path):
            yield await in_thread(self._metered, chunk)

    @property
    def _most(self) -> int | None:
        """Where a read in one request ends: one byte late, to notice a longer object."""
        return self._source.size + 1 if self._source.size else None

    def _metered(self, chunk: Buffer) -> Buffer:
        return chunk if self._meter is None else self._meter.feed(chunk)

    def _stored_options(self) -> PutOptions:
        return _options(self._source.content_type, self._source.filename, self._stored_with, generated=self._generated)

    def _copied(self, info: ObjectInfo) -> Facts:
        source, meter = self._source, self._meter
        if info.size is not None:
            expect_length(self._backend.key, self._path, meter.size if meter else source.size, info.size, operation="copy")
        if meter is not None and self._streams:
            expect_facts(source._replace(backend=self._origin.key), meter, "read")
            source = source._replace(size=meter.size, checksum=meter.checksum)
        return self._placed(source, info)

    def _placed(self, source: Facts, info: ObjectInfo) -> Facts:
        return source._replace(
            backend=self._backend.key,
            path=self._path,
            etag=info.etag,
            version_id=info.version_id,
            last_modified=info.last_modified or time.time(),
            variants=(),
        )


def _may_differ(stored_with: StoredWith | None, backend: StorageBackend) -> bool:
    """Return True if a copy in a backend may need other options than its source."""
    return stored_with is not None or may_differ(backend.key)


_TRIES = 3
"""How often to take a path that was free again when its object was to be read."""


class UseClaim(StepsJob):
    """Records the use of a claim by an object; see :class:`filerow._content.Claimed`.

    Args:
        claimed: The upload that the claim is for.
        backend: Where it is.

    Raises:
        ClaimError: It was used before.
        UnsupportedOperationError: The store cannot keep a path free.
    """

    def __init__(self, claimed: Claimed, backend: StorageBackend) -> None:
        self.claimed = claimed
        self._backend = backend
        self._path = claimed.marker
        self._mark = uuid7_hex().encode()

    def _steps(self) -> Steps[None]:
        backend, there = self._backend, b""
        if not backend.capabilities.exclusive:
            raise not_once(backend)
        for _ in range(_TRIES):
            try:
                yield Call(backend.put, backend.put_async, (self._path, self._mark))
            except ObjectExistsError:  # which may be by an attempt of ours, whose answer was lost
                there = yield from self._read()
                if there:
                    break
            except BaseException:
                with suppress(StorageError):
                    if (yield from self._read()) == self._mark:
                        yield Call(backend.delete, backend.delete_async, (self._path,))
                raise
            else:
                return
        if there != self._mark:
            raise used_before(self.claimed.field)

    def _read(self) -> Steps[bytes]:
        """Return the content of the object; empty if its maker was rolled back."""
        try:
            return (yield Call(self._backend.read, self._backend.read_async, (self._path,)))  # type: ignore[no-any-return]
        except ObjectNotFoundError:
            return b""


def not_once(backend: StorageBackend) -> UnsupportedOperationError:
    """Return the error of a store where two requests could use one claim."""
    msg = (
        "a claim works once, and here two requests at the same moment could both use it: the store honours no conditions, or "
        "conditional_put='disabled' says that they are not to be used; give the models an outbox, Outbox(Base.metadata), "
        "which keeps claims in the database, or upload through the application"
    )
    return UnsupportedOperationError(msg, operation="claim", backend=backend.key)


def changed_since(field: str) -> ClaimError:
    """Return the error of an upload that is not what was looked at any more."""
    msg = "something else was uploaded since this claim was looked at; look again"
    return ClaimError(msg, code="upload-differs", field=field)


def used_before(field: str) -> ClaimError:
    """Return the error of a claim that has made a file already."""
    return ClaimError("this claim was used before; a claim makes one file", code="claim-used", field=field)


def wrong_column(claimed: str, own: str) -> ClaimError:
    """Return the error of a claim that is for another column."""
    return ClaimError(f"this claim is for {claimed}, not for {own}", code="claim-misplaced")


class Inspect(StepsJob):
    """Completes the facts of an existing object: by HEAD, and by reading it.

    Attributes:
        facts: The facts, complete; set when the object was found.
    """

    def __init__(self, known: Facts, backend: StorageBackend, rules: Rules = NO_RULES) -> None:
        self.facts: Facts | None = None
        self._known = known
        self._backend = backend
        self._meter = Meter(rules, known.filename)

    def stop(self) -> None:
        """Stop reading at the next chunk."""
        self._meter.stop()

    def _steps(self) -> Steps[None]:
        path = self._known.path
        info: ObjectInfo = yield Call(self._backend.head, self._backend.head_async, (path,))
        if self._known.checksum is None:
            yield read_through(self._backend, path, self._meter.feed)
        self.facts = self._found(info)

    def _found(self, info: ObjectInfo) -> Facts:
        known = self._known
        if info.size is not None:
            expect_length(self._backend.key, known.path, known.size, info.size, operation="head")
        return known._replace(
            backend=self._backend.key,
            content_type=known.content_type or info.content_type or OCTET_STREAM,
            size=known.size if info.size is None else info.size,
            checksum=known.checksum or self._meter.checksum,
            etag=info.etag or known.etag,
            version_id=info.version_id or known.version_id,
            last_modified=info.last_modified or known.last_modified,
        )


def _options(content_type: str, filename: str, stored_with: StoredWith | None, *, generated: bool) -> PutOptions:
    """Return how to store a file: its store's own URLs are as safe as our route."""
    shown = present(content_type, filename)
    return with_options(PutOptions(shown.content_type, shown.content_disposition, create_only=not generated), stored_with)


_STORED = (ClaimError, FileTooSmallError, IntegrityError)


def _may_exist(error: BaseException, *, generated: bool) -> bool:
    """Return True if a failed write may have left an object that is ours to delete.

    A backend leaves nothing when it refuses, or when the content fails. Only a lost answer or a cancellation leaves us in doubt,
    and then only a path that we generated is certain not to be somebody else's.
    """
    if isinstance(error, _STORED):  # but not what was announced, or too little
        return True
    return generated and (not isinstance(error, Exception) or type(error) in {StorageError, StorageTimeoutError})


# -- deletes, in bulk, of what has lost its row or never got one ----------------------------------------------------------


Outcomes: TypeAlias = dict[tuple[str, str], Exception | None]
"""Of each object that was to be deleted, by backend and path, the reason why it was not; ``None`` if it was."""


class Delete(Job):
    """Deletes objects of one backend in one bulk call, with versions if given.

    Then it deletes the variants of those that are gone. A failure is logged and counted, never raised: it must not make a
    successful commit look failed, and a sweep finds the objects again.

    Args:
        backend: The backend.
        paths: The objects.
        certain: They are there. An upload that failed may have left an object or not.
        variants: What the columns of some of them declare.

    Attributes:
        failed: What could not be deleted, with the reasons; ``None`` until that is known.
    """

    def __init__(
        self,
        backend: StorageBackend,
        paths: Iterable[str] | Mapping[str, str | None],
        *,
        certain: bool = True,
        variants: Mapping[str, Variants] = MappingProxyType({}),
    ) -> None:
        self.failed: Mapping[str, StorageError] | None = None
        self._backend = backend
        self._versions = dict(paths) if isinstance(paths, Mapping) else None
        self._paths = list(paths)
        self._certain = certain
        self._variants = variants

    def run(self) -> None:
        """Delete, blocking."""
        run(self._steps())

    async def run_async(self) -> None:
        """Delete without blocking the event loop; a cancellation waits for the end."""
        task = asyncio.ensure_future(run_async(self._steps()))
        try:
            await until_ended(task)
        finally:
            task.result()

    def _steps(self) -> Steps[None]:
        backend, versions = self._backend, self._versions
        if versions is None:
            failed = yield Call(backend.delete, backend.delete_async, (self._paths,))
        else:
            failed = yield Call(backend.purge, backend.purge_async, (versions,))
        self._report(failed)
        if self._variants:
            yield from delete_variants(backend, {path: one for path, one in self._variants.items() if path not in failed})

    @property
    def outcomes(self) -> Outcomes:
        """What was deleted, and what could not be, by backend and path."""
        failed = self.failed
        return {} if failed is None else {(self._backend.key, path): failed.get(path) for path in self._paths}

    def _report(self, failed: Mapping[str, StorageError]) -> None:
        """Log what could not be deleted: one message for each cause."""
        self.failed = failed
        storages.failed_deletes += len(failed)
        alike: dict[tuple[str, bool], list[str]] = {}
        for path, error in failed.items():
            alike.setdefault((cause_of(error.message, path), is_generated(path)), []).append(path)
        for (cause, generated), paths in alike.items():
            where = (named(paths), self._backend.key, cause)
            fields = extras("delete", self._backend.key, objects=len(paths), error=cause)
            if self._certain:
                advice = "filerow sweep --full --delete removes them" if generated else _BY_HAND
                logger.error(
                    "%s without a row could not be deleted: %s on backend %r: %s; %s",
                    objects(len(paths)),
                    *where,
                    advice,
                    extra=fields,
                )
            else:
                advice = "filerow sweep --delete removes it" if generated else _BY_HAND
                logger.warning(
                    "a write failed that may have left an object, and that could not be deleted: %s on backend %r: %s; "
                    "if there is one, %s",
                    *where,
                    advice,
                    extra=fields,
                )


_BY_HAND = "the application chose its path, which no sweep knows: delete it by hand"


def delete_all(
    refs: Mapping[Any, Variants],
    uploads: Mapping[Any, str | None] = MappingProxyType({}),
    outcomes: Outcomes | None = None,
    declared: Mapping[Any, Variants] = MappingProxyType({}),
) -> BaseException | None:
    """Delete objects in any case; return a cancellation that arrived meanwhile.

    Args:
        refs: The objects, each with the variants that its columns declare.
        uploads: What clients have uploaded, with their versions, of which a bucket that keeps versions is to keep none.
        outcomes: Gets what was deleted, and what could not be; that is logged anyway.
        declared: The variants that the columns of the uploads declare.
    """
    by_backend = _by_backend(refs, refs)
    jobs = []
    known: Outcomes = {} if outcomes is None else outcomes
    for key, (objects_there, variants) in by_backend.items():
        paths = list(objects_there)
        try:
            jobs.append(Delete(storages.get_backend(key), paths, variants=variants))
        except LookupError as error:
            known.update(dict.fromkeys(((key, path) for path in paths), error))
            storages.failed_deletes += len(paths)
            logger.error(
                "%s without a row could not be deleted: %s: %s; register the backend and run filerow sweep --full --delete",
                objects(len(paths)),
                named(paths),
                error,
                extra=extras("delete", key, objects=len(paths), error=type(error).__name__),
            )
    for key, (versions, variants) in _by_backend(uploads, declared).items():
        jobs.append(Delete(storages.get_backend(key), versions, variants=variants))
    interrupted = run_all(jobs, storages.max_concurrency).error if jobs else None
    for job in jobs if outcomes is not None else ():
        known.update(job.outcomes)
    return interrupted


def _by_backend(refs: Mapping[Any, T], declared: Mapping[Any, Variants]) -> dict[str, tuple[dict[str, T], dict[str, Variants]]]:
    """Return paths by backend, and those of them whose columns declare variants."""
    found: dict[str, tuple[dict[str, T], dict[str, Variants]]] = {}
    for (key, path), value in refs.items():
        group = found.get(key)
        if group is None:
            group = found[key] = {}, {}
        group[0][path] = value
    for (key, path), variants in declared.items() if any(declared.values()) else ():
        if variants and key in found and path in found[key][0]:
            found[key][1][path] = variants
    return found

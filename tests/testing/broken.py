"""Backends that are broken in one way each, as their authors could have written them, and the case that must catch each."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from filerow.backends.base import Capabilities, ObjectInfo, PutOptions, SignRequest
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import StorageError

SECRET = "6eCm2wFPrp-RDgdtIEudJKmH0zOwNXXT"
_lock = threading.Lock()
BUFFERS = (bytes, bytearray, memoryview)
BROKEN: list[tuple[type[MemoryBackend], str]] = []
"""Each broken backend with a case that catches it."""


def caught_by(case: str) -> Any:
    def register(kind: type[MemoryBackend]) -> type[MemoryBackend]:
        BROKEN.append((kind, case))
        return kind

    return register


class Sound(MemoryBackend):
    """Not broken; asynchronous through threads, so that one broken hook breaks both sides."""

    capabilities = Capabilities(ordered_list=True, keeps_content_type=True)
    _looked: tuple[str, threading.Event] = "", threading.Event()

    def __init__(self) -> None:
        super().__init__("broken", base_url="/files", secret=SECRET)

    def wait_for_another(self, path: str) -> None:
        """Let a second writer look, too, before the first one writes; a busy machine would run one after the other."""
        with _lock:
            known, event = self._looked
            if known == path:
                event.set()
                return
            event = threading.Event()
            self._looked = path, event
        event.wait(2)

    async def _put_async(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        return await super(MemoryBackend, self)._put_async(path, content, options)

    async def _copy_async(self, source: str, target: str) -> ObjectInfo:
        return await super(MemoryBackend, self)._copy_async(source, target)

    def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        return super(MemoryBackend, self)._stream_async(path, start, end, chunk_size)

    def _list_async(self, prefix: str, start_after: str) -> AsyncIterator[ObjectInfo]:
        return super(MemoryBackend, self)._list_async(prefix, start_after)


@caught_by("a_prefix_is_a_folder")
class PrefixIsNotFolder(Sound):
    """Lists ``a/bc`` below ``a/b``."""

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        return (info for info in super()._list("", start_after) if info.path.startswith(prefix))


@caught_by("deleting_is_idempotent")
class DeleteComplains(Sound):
    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        failed = {path: FileNotFoundError(path) for path in paths if path not in self._objects}
        super()._delete(paths)
        return failed


@caught_by("deleting_is_idempotent")
class DeleteStopsAtTheFirst(Sound):
    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return super()._delete(paths[:1])


@caught_by("deleting_a_folder_deletes_nothing")
class DeleteTakesFolders(Sound):
    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return super()._delete([known for known in list(self._objects) for path in paths if f"{known}/".startswith(f"{path}/")])


@caught_by("deleting_one_object_leaves_those_with_a_longer_name")
class DeleteTakesPrefixes(Sound):
    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return super()._delete([known for known in list(self._objects) for path in paths if known.startswith(path)])


@caught_by("many_objects_are_deleted_in_one_call")
class DeleteTakesAHundred(Sound):
    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        return super()._delete(paths[:100])


@caught_by("a_taken_path_is_refused_and_keeps_its_bytes")
class Overwrites(Sound):
    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        return super()._put(path, content, options._replace(create_only=False))


@caught_by("a_race_to_create_has_exactly_one_winner")
class LooksThenWrites(Sound):
    """Create-only by a look, as a store without conditional writes has it."""

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if options.create_only and path in self._objects:
            raise FileExistsError(path)
        self.wait_for_another(path)
        return super()._put(path, content, options._replace(create_only=False))


@caught_by("a_race_of_copies_has_exactly_one_winner")
class LooksThenCopies(Sound):
    def _copy(self, source: str, target: str) -> ObjectInfo:
        if target in self._objects:
            raise FileExistsError(target)
        self.wait_for_another(target)
        stored = self._get(source)
        return self._keep(target, stored.data, stored.info.content_type, create_only=False)


@caught_by("a_race_of_large_iterators_has_exactly_one_winner")
class LooksThenStreams(Sound):
    """It has conditional writes for what it can hold in memory."""

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if isinstance(content, BUFFERS) or not options.create_only:
            return super()._put(path, content, options)
        if path in self._objects:
            raise FileExistsError(path)
        self.wait_for_another(path)
        return super()._put(path, content, options._replace(create_only=False))


@caught_by("a_path_can_be_overwritten_on_request")
class NeverOverwrites(Sound):
    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        return super()._put(path, content, options._replace(create_only=True))


@caught_by("a_failing_source_leaves_the_old_object")
class WritesInPlace(Sound):
    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if isinstance(content, BUFFERS):
            return super()._put(path, content, options)
        data = b""
        for chunk in content:
            data += bytes(chunk)
            super()._put(path, data, options._replace(create_only=False))
        return super()._put(path, data, options._replace(create_only=False))


@caught_by("the_callers_own_exception_comes_back_and_nothing_stays")
class SwallowsTheSource(Sound):
    """Stores what came before the source failed."""

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if isinstance(content, BUFFERS):
            return super()._put(path, content, options)
        data = b""
        try:
            for chunk in content:
                data += bytes(chunk)
        except Exception:
            super()._put(path, data, options)
            raise
        return super()._put(path, data, options)


@caught_by("an_iterator_may_fill_one_buffer_again_and_again")
class KeepsViews(Sound):
    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        return super()._put(path, content if isinstance(content, BUFFERS) else b"".join(list(content)), options)


@caught_by("a_range_past_the_end_is_cut_short")
class RangesPastTheEnd(Sound):
    def _read(self, path: str, start: int, end: int | None) -> bytes:
        data = super()._read(path, 0, None)
        if start > len(data):
            raise OSError(path)
        return data[start:end]


@caught_by("ranges_are_slices")
class InclusiveRanges(Sound):
    """Takes ``end`` for the last byte, as HTTP does."""

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        return super()._read(path, start, None if end is None else end + 1)


@caught_by("a_range_of_a_large_object_is_streamed_in_chunks")
class StreamsInOnePiece(Sound):
    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        yield self._read(path, start, end)


@caught_by("a_missing_object_is_a_file_not_found")
class MissingIsAnyError(Sound):
    def _head(self, path: str) -> ObjectInfo:
        if path not in self._objects:
            raise RuntimeError(path)
        return super()._head(path)


@caught_by("an_error_keeps_the_store_s_own_as_its_cause")
class LosesTheCause(Sound):
    def _read(self, path: str, start: int, end: int | None) -> bytes:
        from filerow.exceptions import ObjectNotFoundError

        if path not in self._objects:
            raise ObjectNotFoundError("gone", operation="read", backend=self.key, path=path) from None
        return super()._read(path, start, end)


@caught_by("a_copy_never_overwrites")
class CopyOverwrites(Sound):
    def _copy(self, source: str, target: str) -> ObjectInfo:
        stored = self._get(source)
        return self._keep(target, stored.data, stored.info.content_type, create_only=False)


@caught_by("a_copy_is_an_object_of_its_own")
class CopyIsALink(Sound):
    """A copy reads what its source holds now."""

    def __init__(self) -> None:
        super().__init__()
        self._links: dict[str, str] = {}

    def _copy(self, source: str, target: str) -> ObjectInfo:
        self._links[target] = source
        return super()._copy(source, target)

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        return super()._read(self._links.get(path, path), start, end)


@caught_by("a_listing_goes_on_after_any_path")
class ListsFromThePath(Sound):
    """``start_after`` itself is listed, too."""

    def _below(self, prefix: str, start_after: str) -> list[str]:
        folder = f"{prefix}/" if prefix else ""
        return sorted(path for path in list(self._objects) if path.startswith(folder) and path >= start_after)


@caught_by("a_listing_goes_on_after_any_path")
class ListsUnordered(Sound):
    def _below(self, prefix: str, start_after: str) -> list[str]:
        return super()._below(prefix, start_after)[::-1]


@caught_by("unusual_paths_are_kept_as_they_are")
class FoldsCase(Sound):
    """As the filesystems of two systems do."""

    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        return super()._put(path.lower(), content, options)._replace(path=path)

    def _get(self, path: str) -> Any:
        return super()._get(path.lower())


@caught_by("the_content_type_is_kept_where_promised")
class ForgetsTheType(Sound):
    def _head(self, path: str) -> ObjectInfo:
        return super()._head(path)._replace(content_type=None)


@caught_by("an_empty_object_goes_round")
class EmptyIsMissing(Sound):
    def _put(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        info = super()._put(path, content, options)
        if not info.size:
            self._objects.pop(path)
        return info


@caught_by("a_large_object_goes_round")
class LosesTheEnd(Sound):
    """Of what is more than a part."""

    def _keep(self, path: str, data: bytes, content_type: str | None, *, create_only: bool) -> ObjectInfo:
        return super()._keep(path, data[: 5 << 20], content_type, create_only=create_only)


@caught_by("capabilities_are_honest_about_signing")
class PromisesToSign(Sound):
    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        raise StorageError("no key", operation="sign", backend=self.key)


@caught_by("a_signed_url_expires")
class SignsForever(Sound):
    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return super()._sign(paths, request._replace(expires_in=10**6))


@caught_by("an_upload_is_of_the_type_that_was_signed")
class BindsNoType(Sound):
    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return super()._sign(paths, request._replace(content_type=None))


@caught_by("an_upload_is_of_the_length_that_was_signed")
class BindsNoLength(Sound):
    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return super()._sign(paths, request._replace(content_length=None))


@caught_by("a_url_to_read_answers_with_the_headers_it_was_signed_for")
class BindsNoDisposition(Sound):
    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return super()._sign(paths, request._replace(content_disposition=None))


@caught_by("asynchronous_calls_do_not_block_the_event_loop")
class BlocksTheLoop(Sound):
    async def _put_async(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if isinstance(content, AsyncIterator):
            return await super()._put_async(path, content, options)
        return self._put(path, content, options)


@caught_by("a_put_waiting_for_its_source_can_be_cancelled")
class KeepsWhatWasCancelled(Sound):
    async def _put_async(self, path: str, content: Any, options: PutOptions) -> ObjectInfo:
        if not isinstance(content, AsyncIterator):
            return await super()._put_async(path, content, options)
        data = b""
        try:
            async for chunk in content:
                data += bytes(chunk)
        finally:
            info = self._put(path, data, options)
        return info

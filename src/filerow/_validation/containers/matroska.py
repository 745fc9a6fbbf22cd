"""Recognises Matroska and WebM (RFC 8794, RFC 9559) by their kind and tracks."""

from __future__ import annotations

from collections.abc import Iterator

from filerow._validation.window import ReadAt, Window

SIGNATURE = b"\x1a\x45\xdf\xa3"

TYPES = frozenset({"audio/webm", "video/webm", "audio/matroska", "video/matroska"})

_DOC_TYPE = 0x4282
_SEGMENT = 0x18538067
_TRACKS = 0x1654AE6B
_TRACK = 0xAE
_TRACK_TYPE = 0x83
_CLUSTER = 0x1F43B675
_VIDEO, _AUDIO = 1, 2
_MOST_ELEMENTS = 500
_UNKNOWN = 1 << 62


def matroska_type(read_at: ReadAt, size: int | None) -> str | None:
    """Return the type of an EBML file; ``None`` if not Matroska or WebM.

    Where no track can be seen it is a film, for that is what these files mostly are.
    """
    window = Window(read_at, size, most_bytes=64 << 10, most_blocks=10)
    kind = ""
    tracks: set[int] = set()
    try:
        for element, start, length in _elements(window, 0, _UNKNOWN):
            if element == int.from_bytes(SIGNATURE):
                kind = _doc_type(window, start, length)
            elif element == _SEGMENT and kind:
                tracks = _tracks(window, start, length)
                break
    except ValueError:
        pass
    if kind not in {"webm", "matroska"}:
        return None
    return f"{'audio' if _AUDIO in tracks and _VIDEO not in tracks else 'video'}/{kind}"


def _doc_type(window: Window, start: int, length: int) -> str:
    for element, place, size in _elements(window, start, length):
        if element == _DOC_TYPE:
            return window.read_from(place, min(size, 16)).rstrip(b"\0").decode("ascii", "replace")
    return ""


def _tracks(window: Window, start: int, length: int) -> set[int]:
    for element, place, size in _elements(window, start, length):
        if element == _TRACKS:
            tracks = (_type(window, at, most) for track, at, most in _elements(window, place, size) if track == _TRACK)
            return {kind for kinds in tracks for kind in kinds}
        if element == _CLUSTER:
            break
    return set()


def _type(window: Window, start: int, length: int) -> Iterator[int]:
    """Yield the type of a track."""
    for element, place, size in _elements(window, start, length):
        if element == _TRACK_TYPE:
            yield int.from_bytes(window.read_from(place, min(size, 8)))


def _elements(window: Window, start: int, length: int) -> Iterator[tuple[int, int, int]]:
    """Yield the elements inside one: identifier, start of the content, length."""
    end = start + length
    place = start
    for _ in range(_MOST_ELEMENTS):
        head = window.read_from(place, 12)
        identifier_length = 9 - head[0].bit_length() if head and head[0] else 9
        if place >= end or identifier_length > 4 or len(head) <= identifier_length:
            return
        first = head[identifier_length]
        size_length = 9 - first.bit_length() if first else 9
        if size_length > 8 or len(head) < identifier_length + size_length:
            return
        size = int.from_bytes(head[identifier_length : identifier_length + size_length]) & (1 << 7 * size_length) - 1
        if size == (1 << 7 * size_length) - 1:  # unknown, as of what is recorded live
            size = _UNKNOWN
        content = place + identifier_length + size_length
        yield int.from_bytes(head[:identifier_length]), content, size
        place = content + size

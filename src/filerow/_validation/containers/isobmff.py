"""Recognises files of boxes (ISO/IEC 14496-12) by their brand and their tracks."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from filerow._validation.window import ReadAt, Window

_IMAGES = {
    b"avif": "image/avif", b"avis": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"heim": "image/heic",
    b"heis": "image/heic", b"hevc": "image/heic-sequence", b"hevx": "image/heic-sequence", b"hevm": "image/heic-sequence",
    b"hevs": "image/heic-sequence", b"mif1": "image/heif", b"msf1": "image/heif-sequence", b"crx ": "image/x-canon-cr3",
    b"jp2 ": "image/jp2", b"jpx ": "image/jpx", b"jpm ": "image/jpm",
}  # fmt: skip
_FILMS = frozenset({
    b"isom", b"iso2", b"iso3", b"iso4", b"iso5", b"iso6", b"iso7", b"iso8", b"iso9", b"isoa", b"isob", b"isoc",
    b"mp41", b"mp42", b"mp71", b"avc1", b"hvc1", b"av01", b"M4V ", b"M4VH", b"M4VP", b"M4A ", b"M4B ", b"M4P ",
    b"F4V ", b"F4P ", b"F4A ", b"F4B ", b"MSNV", b"NDAS", b"NDSC", b"NDSH", b"NDSM", b"NDSP", b"NDSS", b"NDXC", b"NDXH",
    b"NDXM", b"NDXP", b"NDXS", b"dash", b"msdh", b"cmfc", b"cmf2", b"mmp4", b"XAVC", b"dby1",
})  # fmt: skip
_SOUND = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
TYPES = frozenset({
    *_IMAGES.values(), "audio/mp4", "video/mp4", "audio/quicktime", "video/quicktime",
    "audio/3gpp", "video/3gpp", "audio/3gpp2", "video/3gpp2",
})  # fmt: skip
_WITHOUT_BRAND = frozenset({b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
_MOST_BOXES = 400
_MOST_TRACKS = 32


def isobmff_type(head: bytes, read_at: ReadAt, size: int | None) -> str | None:
    """Return the type of a file that begins with ``ftyp``; ``None`` if unknown.

    That box is short, so the first bytes are zero; a text with these four letters begins otherwise.

    See :func:`filerow._validation.containers.zip.zip_type` for the arguments.
    """
    if head[:2] != b"\0\0":
        return None
    brand = head[8:12]
    others = [head[place : place + 4] for place in range(16, min(struct.unpack_from(">I", head)[0], 256, len(head)), 4)]
    if brand in _IMAGES:
        if brand in {b"mif1", b"msf1"}:  # any picture: the others say which
            brand = next((other for other in others if other in _IMAGES and other not in {b"mif1", b"msf1"}), brand)
        return _IMAGES[brand]
    kinds = _kinds_of_tracks(read_at, size)
    only_sound = b"soun" in kinds and b"vide" not in kinds
    if brand == b"qt  ":
        return f"{'audio' if only_sound else 'video'}/quicktime"
    if brand.startswith((b"3gp", b"3g2", b"3ge", b"3gg", b"3gr", b"3gs")):
        return f"{'audio' if only_sound else 'video'}/{'3gpp2' if brand.startswith(b'3g2') else '3gpp'}"
    if brand in _FILMS or any(other in _FILMS for other in others) or kinds & {b"soun", b"vide"}:
        return "audio/mp4" if only_sound or (brand in _SOUND and b"vide" not in kinds) else "video/mp4"
    return None


def quicktime_type(head: bytes, read_at: ReadAt, size: int | None) -> str | None:
    """Return the type of a QuickTime film without ``ftyp``; it must have a track."""
    if head[4:8] not in _WITHOUT_BRAND:
        return None
    kinds = _kinds_of_tracks(read_at, size)
    if b"vide" in kinds:
        return "video/quicktime"
    return "audio/quicktime" if b"soun" in kinds else None


def _kinds_of_tracks(read_at: ReadAt, size: int | None) -> set[bytes]:
    """Return the handlers of the visible tracks: ``vide``, ``soun`` and others."""
    window = Window(read_at, size, most_bytes=64 << 10, most_blocks=12)
    kinds: set[bytes] = set()
    try:
        for kind, start, end in boxes(window, 0, None):
            if kind == b"moov":
                for number, (_, track, track_end) in enumerate(_named(window, b"trak", start, end)):
                    if number == _MOST_TRACKS:
                        break
                    kinds |= _handlers(window, track, track_end)
                break
    except ValueError:
        pass
    return kinds


def _handlers(window: Window, start: int, end: int | None) -> set[bytes]:
    found: set[bytes] = set()
    for _, media, media_end in _named(window, b"mdia", start, end):
        found |= {window.read_from(handler + 8, 4) for _, handler, _ in _named(window, b"hdlr", media, media_end)}
    return found


def _named(window: Window, name: bytes, start: int, end: int | None) -> Iterator[tuple[bytes, int, int | None]]:
    return (box for box in boxes(window, start, end) if box[0] == name)


def boxes(window: Window, start: int, end: int | None) -> Iterator[tuple[bytes, int, int | None]]:
    """Yield the boxes between two offsets: name, start and end of the content."""
    place = start
    for _ in range(_MOST_BOXES):
        if end is not None and place >= end:
            return
        head = window.read_from(place, 16)
        if len(head) < 8:
            return
        length, name = struct.unpack_from(">I4s", head)
        content = place + 8
        if length == 1 and len(head) == 16:
            length, content = struct.unpack_from(">Q", head, 8)[0], place + 16
        if length == 0:  # up to the end of the file
            yield name, content, end
            return
        if length < content - place:
            return
        yield name, content, place + length
        place += length

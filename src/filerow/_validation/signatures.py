"""Recognises files by their first bytes: a table of signatures and a few tests."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import TypeAlias

from filerow._validation.window import ReadAt

TAG = b"ID3"
"""What sound with a tag of ID3 begins with."""

_Test: TypeAlias = Callable[[bytes], bool | str]

# Type: the bytes that its files start with. Text formats are left out: any text can begin with their marks.
_STARTS: dict[str, tuple[bytes, ...]] = {
    "image/jpeg": (b"\xff\xd8\xff",),
    "image/gif": (b"GIF87a", b"GIF89a"),
    "image/x-jp2-codestream": (b"\xff\x4f\xff\x51\0",),
    "image/jxl": (b"\0\0\0\x0cJXL \r\n\x87\n", b"\xff\x0a"),
    "image/vnd.ms-photo": (b"II\xbc",),
    "image/tiff": (b"II*\0", b"MM\0*", b"II+\0\x08\0", b"MM\0+\0\x08"),
    "image/vnd.adobe.photoshop": (b"8BPS\0\1", b"8BPS\0\2"),
    "image/x-xcf": (b"gimp xcf ",),
    "image/vnd-ms.dds": (b"DDS \x7c\0\0\0",),
    "image/x-exr": (b"\x76\x2f\x31\x01",),
    "image/qoi": (b"qoif\0",),
    "image/vnd.djvu": (b"AT&TFORM",),
    "image/bpg": (b"BPG\xfb",),
    "image/x-sun-raster": (b"\x59\xa6\x6a\x95",),
    "image/x-sgi": (b"\x01\xda\0\1\0", b"\x01\xda\1\1\0", b"\x01\xda\0\2\0", b"\x01\xda\1\2\0"),
    "image/ktx": (b"\xabKTX 11\xbb\r\n\x1a\n",),
    "image/ktx2": (b"\xabKTX 20\xbb\r\n\x1a\n",),
    "image/wmf": (b"\xd7\xcd\xc6\x9a\0\0",),
    "audio/flac": (b"fLaC",),
    "audio/vnd.dts": (b"\x7f\xfe\x80\x01",),
    "audio/amr": (b"#!AMR\n", b"#!AMR_MC1.0\n"),
    "audio/amr-wb": (b"#!AMR-WB\n", b"#!AMR-WB_MC1.0\n"),
    "audio/midi": (b"MThd\0\0\0\x06",),
    "audio/x-ape": (b"MAC ",),
    "audio/x-wavpack": (b"wvpk",),
    "audio/x-musepack": (b"MPCK", b"MP+"),
    "audio/x-tta": (b"TTA1", b"TTA2"),
    "audio/basic": (b".snd\0\0\0",),
    "audio/x-caf": (b"caff\0\1\0\0",),
    "audio/x-voc": (b"Creative Voice File\x1a",),
    "audio/x-dsf": (b"DSD \x1c\0\0\0",),
    "audio/x-w64": (bytes.fromhex("726966662e91cf11a5d628db04c10000"),),
    "video/x-flv": (b"FLV\x01",),
    "video/mpeg": (b"\0\0\1\xba", b"\0\0\1\xb3"),
    "video/x-ivf": (b"DKIF\0\0\x20\0",),
    "application/mxf": (b"\x06\x0e\x2b\x34\x02\x05\x01\x01",),
    "application/vnd.rn-realmedia": (b".RMF\0\0\0",),
    "font/woff": (b"wOFF\0\1\0\0", b"wOFFOTTO", b"wOFFtrue"),
    "font/woff2": (b"wOF2\0\1\0\0", b"wOF2OTTO", b"wOF2true", b"wOF2ttcf"),
    "font/otf": (b"OTTO\0",),
    "font/collection": (b"ttcf\0\1\0\0", b"ttcf\0\2\0\0"),
    "application/pdf": (b"%PDF",),
    "application/rtf": (b"{\\rtf",),
    "application/postscript": (b"%!PS", b"\xc5\xd0\xd3\xc6"),
    "application/gzip": (b"\x1f\x8b\x08",),
    "application/x-7z-compressed": (b"7z\xbc\xaf\x27\x1c",),
    "application/vnd.rar": (b"Rar!\x1a\x07",),
    "application/x-xz": (b"\xfd7zXZ\0",),
    "application/zstd": (b"\x28\xb5\x2f\xfd",),
    "application/x-lz4": (b"\x04\x22\x4d\x18",),
    "application/x-lzip": (b"LZIP\1",),
    "application/x-lzop": (b"\x89LZO\0\r\n\x1a\n",),
    "application/x-brotli": (b"\xce\xb2\xcf\x81",),
    "application/x-compress": (b"\x1f\x9d", b"\x1f\xa0"),
    "application/x-snappy-framed": (b"\xff\x06\0\0sNaPpY",),
    "application/vnd.ms-cab-compressed": (b"MSCF\0\0\0\0",),
    "application/vnd.debian.binary-package": (b"!<arch>\ndebian-binary",),
    "application/x-rpm": (b"\xed\xab\xee\xdb",),
    "application/x-unix-archive": (b"!<arch>\n",),
    "application/x-xar": (b"xar!\0\x1c",),
    "application/x-google-chrome-extension": (b"Cr24",),
    "application/x-executable": (b"\x7fELF",),
    "application/x-mach-binary": (
        b"\xfe\xed\xfa\xce", b"\xfe\xed\xfa\xcf", b"\xce\xfa\xed\xfe", b"\xcf\xfa\xed\xfe",
    ),
    "application/vnd.sqlite3": (b"SQLite format 3\0",),
    "application/wasm": (b"\0asm",),
    "application/x-nintendo-nes-rom": (b"NES\x1a",),
    "application/vnd.apache.parquet": (b"PAR1",),
    "application/vnd.apache.arrow.file": (b"ARROW1\0\0",),
    "application/vnd.apache.avro": (b"Obj\1",),
    "application/x-hdf5": (b"\x89HDF\r\n\x1a\n",),
    "application/x-netcdf": (b"CDF\1", b"CDF\2"),
    "application/x-npy": (b"\x93NUMPY",),
    "application/fits": (b"SIMPLE  =                    T",),
    "application/vnd.tcpdump.pcap": (
        b"\xd4\xc3\xb2\xa1\2\0\4\0", b"\xa1\xb2\xc3\xd4\0\2\0\4", b"\x4d\x3c\xb2\xa1\2\0\4\0", b"\x0a\x0d\x0d\x0a",
    ),
    "application/x-msaccess": (b"\0\1\0\0Standard Jet DB", b"\0\1\0\0Standard ACE DB"),
    "application/vnd.ms-outlook-pst": (b"!BDN",),
    "application/onenote": (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3",),
    "application/x-ms-shortcut": (b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0",),
    "application/vnd.ms-htmlhelp": (b"ITSF\3\0\0\0",),
    "application/x-keepass2": (b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5",),
    "application/x-bplist": (b"bplist0",),
    "application/x-gettext-translation": (b"\xde\x12\x04\x95\0\0", b"\x95\x04\x12\xde\0\0"),
    "model/gltf-binary": (b"glTF\1\0\0\0", b"glTF\2\0\0\0"),
    "application/x-java-keystore": (b"\xfe\xed\xfe\xed\0\0\0",),
}  # fmt: skip

# A signature further in, and what the file must have besides.
_INSIDE: tuple[tuple[int, bytes, str], ...] = (
    (257, b"ustar", "application/x-tar"),
    (128, b"DICM", "application/dicom"),
    (60, b"BOOKMOBI", "application/x-mobipocket-ebook"),
    (2, b"-lh5-", "application/x-lzh-compressed"),
    (40, b" EMF\0\0\1\0", "image/emf"),
)

# Signatures of plain letters that no other text format begins with.
_TEXTUAL = frozenset({"image/gif", "application/pdf", "application/rtf", "application/postscript", "application/fits"})

_TEXT = re.compile(rb"[^\0-\x08\x0e-\x1a\x1c-\x1f]*+\Z")
_CONTROLS = re.compile(r"[\0-\x08\x0e-\x1a\x1c-\x1f]")
_NETPBM = re.compile(rb"P([1-6])(?:\s|#[^\n]*+\n)++(\d{1,7})(?:\s|#[^\n]*+\n)++(\d{1,7})\s")
_NETPBM_TYPES = {b"1": "bitmap", b"2": "graymap", b"3": "pixmap", b"4": "bitmap", b"5": "graymap", b"6": "pixmap"}
_BITMAP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_TAR_BLOCK = 512
_OCTAL = re.compile(rb" *([0-7]{1,7})[ \0]*")
_CLASS_VERSIONS = range(45, 100)
_MP3_BITRATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # MPEG-1, layer III
_MP2_BITRATES = (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)  # MPEG-1, layer II
_LOW_BITRATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_MP3_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
# A start code before each unit: perhaps a delimiter, then a set of parameters with one of H.264's profiles, or H.265's, and after
# that another set, without which no picture can be shown.
_BARE_VIDEO = re.compile(
    rb"(?:\0?\0\0\x01(?:\x09.|\x46\x01.))?\0?\0\0\x01"
    rb"(?:(?P<h264>[\x27\x47\x67][\x2c\x42\x4d\x53\x56\x58\x64\x6e\x76\x7a\x80\x86\x8a\x8b\x90\xf4])|\x40\x01\x0c)",
    re.DOTALL,
)
_SECOND_SET = (re.compile(rb"\0\0\x01[\x28\x48\x68]"), re.compile(rb"\0\0\x01\x42\x01"))
_PARAMETERS_WITHIN = 1024
_PDF_WITHIN = 1024
# No script begins with these control characters, nor with "%"; and none does anything without one of the marks that are left out.
_NO_SCRIPT = re.compile(rb"[\s\xef\xbb\xbf]*+(?:[\0-\x08\x0e-\x1f%].*+|(?:[^()\[\]{};=`\"'\\#/]|/(?![/*]))*+)", re.DOTALL)
_MARKUP = re.compile(rb"<[a-zA-Z!/?]")


def by_first_bytes() -> frozenset[str]:
    """Return all types that :func:`by_signature` may return."""
    tested = (media_type for tests in _TESTS.values() for _, media_type in tests)
    return frozenset({*_STARTS, *(media_type for _, _, media_type in _INSIDE), *tested, *_BY_SECOND_LOOK, "video/mp2t"}) - {""}


def is_text(head: bytes) -> bool:
    """Return True if bytes have only text's control characters, or a UTF-16 mark."""
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or _TEXT.match(head) is not None


def is_unmarked_utf_16(head: bytes) -> bool:
    """Return True for UTF-16 text without a mark, mostly of Latin-1 characters."""
    pairs = head[: len(head) // 2 * 2]
    for encoding, upper in (("utf-16-le", pairs[1::2]), ("utf-16-be", pairs[::2])):
        if upper.count(0) * 2 > len(upper):
            return _CONTROLS.search(pairs.decode(encoding, "replace")) is None
    return False


def by_signature(head: bytes) -> str | None:
    """Return the type whose signature the first bytes have, or ``None``."""
    for test, media_type in _TESTS.get(head[:1], ()):
        found = test(head)
        if found:
            return found if isinstance(found, str) else media_type
    for start, media_type in _starts().get(head[:1], ()):
        if head.startswith(start) and (media_type in _TEXTUAL or not _may_be_text(start, head)):
            return media_type
    for offset, signature, media_type in _INSIDE:
        if head.startswith(signature, offset):
            return media_type
    if head[4:5] == b"G" and _mpeg_ts(head):
        return "video/mp2t"
    if _eot(head):
        return "application/vnd.ms-fontobject"
    if _old_tar(head):
        return "application/x-tar"
    return "application/pdf" if _is_late_pdf(head) else None


def _may_be_text(start: bytes, head: bytes) -> bool:
    """Return True for a signature of letters that a text happens to begin with."""
    return start.isascii() and is_text(start) and is_text(head)


@cache
def _starts() -> dict[bytes, list[tuple[bytes, str]]]:
    """Return all signatures by their first byte, longer ones first."""
    found: dict[bytes, list[tuple[bytes, str]]] = {}
    for media_type, starts in _STARTS.items():
        for start in starts:
            found.setdefault(start[:1], []).append((start, media_type))
    for candidates in found.values():
        candidates.sort(key=lambda candidate: -len(candidate[0]))
    return found


# -- formats whose signature is short, or shared ----------------------------------------------------------------------------


def _png(head: bytes) -> bool | str:
    """Return the type of a PNG: an animation if it says so before its first pixels."""
    if not head.startswith(b"\x89PNG\r\n\x1a\n"):
        return False
    place = 8
    while len(chunk := head[place : place + 8]) == 8:
        length, kind = struct.unpack(">I4s", chunk)
        if kind in {b"IDAT", b"acTL"}:
            return "image/apng" if kind == b"acTL" else "image/png"
        place += length + 12
    return "image/png"


def _riff(head: bytes) -> bool | str:
    kinds = {b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo", b"WEBP": "image/webp", b"RMID": "audio/midi"}
    kinds |= {b"ACON": "application/x-navi-animation"}
    return head.startswith((b"RIFF", b"RF64", b"RIFX", b"BW64")) and not is_text(head) and kinds.get(head[8:12], False)


def _form(head: bytes) -> bool | str:
    kinds = {b"AIFF": "audio/aiff", b"AIFC": "audio/aiff", b"8SVX": "audio/x-8svx", b"ILBM": "image/x-ilbm"}
    return head.startswith(b"FORM") and not is_text(head) and kinds.get(head[8:12], False)


def _bmp(head: bytes) -> bool:
    """Two letters are not enough: many a text begins with BM."""
    if head[:2] != b"BM" or len(head) < 18:
        return False
    return head[6:10] == bytes(4) and struct.unpack_from("<I", head, 14)[0] in _BITMAP_HEADERS


def _ico(head: bytes) -> bool | str:
    """Return the type of a list of icons or cursors, by its first entry."""
    if len(head) < 22 or head[:2] != b"\0\0" or head[2:4] not in {b"\1\0", b"\2\0"}:
        return False
    count, size, offset = struct.unpack_from("<H", head, 4)[0], *struct.unpack_from("<II", head, 14)
    if not count or head[9] or not size or offset < 6 + 16 * count:
        return False
    return "image/x-icon" if head[2] == 1 else "image/x-win-bitmap"


def _pcx(head: bytes) -> bool:
    return len(head) >= 128 and head[1] in {0, 2, 3, 4, 5} and head[2] <= 1 and head[3] in {1, 2, 4, 8} and head[64] == 0


def _icns(head: bytes) -> bool:
    return (
        head.startswith(b"icns")
        and len(head) > 16
        and struct.unpack_from(">I", head, 4)[0] > struct.unpack_from(">I", head, 12)[0]
    )


def _netpbm(head: bytes) -> bool | str:
    """Return the type of a Netpbm picture; a page that begins like one is not one."""
    if is_text(head) and _MARKUP.search(head):
        return False
    match = _NETPBM.match(head)
    if match:
        return f"image/x-portable-{_NETPBM_TYPES[match[1]]}"
    if head.startswith(b"P7\n") and b"\nENDHDR\n" in head and b"WIDTH " in head and b"DEPTH " in head:
        return "image/x-portable-arbitrarymap"
    return False


def _truetype(head: bytes) -> bool:
    """Return True for a font: a version, then at most 100 tables with valid names."""
    if not head.startswith((b"\0\1\0\0\0", b"true\0", b"typ1\0")) or len(head) < 28:
        return False
    return 0 < head[5] <= 100 and all(0x20 <= letter < 0x7F for letter in head[12:16])


def _eot(head: bytes) -> bool:
    """Return True for Embedded OpenType, whose marker comes late."""
    return head[34:36] == b"LP" and head[8:12] in {b"\0\0\1\0", b"\1\0\2\0", b"\2\0\2\0"}


def _old_tar(head: bytes) -> bool:
    """Return True for a tar of Unix V7, which has no signature, by its first sum."""
    if len(head) < _TAR_BLOCK or not head[0] or head[99]:
        return False
    written = _OCTAL.fullmatch(head, 148, 156)
    return written is not None and int(written[1], 8) == sum(head[:148]) + 8 * ord(" ") + sum(head[156:_TAR_BLOCK])


def _jpeg_2000(head: bytes) -> bool | str:
    if not head.startswith(b"\0\0\0\x0cjP  \r\n\x87\n"):
        return False
    return {b"jp2 ": "image/jp2", b"jpx ": "image/jpx", b"jpm ": "image/jpm"}.get(head[20:24], "image/jp2")


def _mpeg_audio(head: bytes) -> bool | str:
    """Return the type of bare MPEG audio or AAC, by its first two frames."""
    if head[:2] in {b"\xff\xf1", b"\xff\xf9"}:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if len(head) > 6 else 0
        return "audio/aac" if length > 6 and head[length : length + 2] in {head[:2], b""} else False
    length = _frame_length(head)
    following = head[length : length + 4]
    return "audio/mpeg" if length and (len(following) < 4 or _frame_length(following)) else False


def tagged_sound(head: bytes, read_at: ReadAt) -> str | None:
    """Return the type of sound behind an ID3 tag; MP3 unless it is clearly another."""
    if len(head) <= 10 or head[3] > 4 or any(byte & 0x80 for byte in head[6:10]):
        return None
    end = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    after = read_at(end, 8)
    if after.startswith(b"fLaC"):
        return "audio/flac"
    return "audio/aac" if after[:2] in {b"\xff\xf1", b"\xff\xf9"} else "audio/mpeg"


def _frame_length(head: bytes) -> int:
    """Return the length of an MPEG audio frame, layer II or III; 0 if it is not one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 not in {0xE2, 0xE4}:
        return 0
    layer_2 = head[1] & 6 == 4
    version, rate = head[1] >> 3 & 3, head[2] >> 2 & 3
    bitrate = head[2] >> 4
    if version == 1 or rate == 3 or bitrate in {0, 15}:
        return 0
    kilobits = (_LOW_BITRATES if version != 3 else _MP2_BITRATES if layer_2 else _MP3_BITRATES)[bitrate]
    samples = 144 if version == 3 or layer_2 else 72
    length: int = samples * 1000 * kilobits // _MP3_RATES[version][rate] + (head[2] >> 1 & 1)
    return length


def _loas(head: bytes) -> bool:
    """Return True for AAC in LOAS (ISO/IEC 14496-3, section 1.7.2), as broadcast."""
    place = frames = 0
    while head[place : place + 1] == b"V" and len(head) > place + 2 and head[place + 1] & 0xE0 == 0xE0:
        place += 3 + ((head[place + 1] & 0x1F) << 8 | head[place + 2])
        frames += 1
    return frames > 1 and place >= len(head) - 2 and not is_text(head)


def _ac3(head: bytes) -> bool | str:
    if head[:2] != b"\x0b\x77" or len(head) < 6:
        return False
    return "audio/eac3" if head[5] >> 3 > 10 else "audio/vnd.dolby.dd-raw"


def _ogg(head: bytes) -> bool | str:
    """Return the type of an Ogg file by its first pages (RFC 3533, RFC 5334)."""
    if not head.startswith(b"OggS\0\2"):
        return False
    codecs = list(_first_packets(head))
    if any(packet.startswith((b"\x80theora", b"BBCD\0", b"OVP80")) for packet in codecs):
        return "video/ogg"
    known = (b"OpusHead", b"\1vorbis", b"Speex   ", b"\x7fFLAC", b"PCM     ", b"CELT    ")
    return "audio/ogg" if any(packet.startswith(known) for packet in codecs) else "application/ogg"


def _first_packets(head: bytes) -> Iterator[bytes]:
    place = 0
    while head.startswith(b"OggS\0", place) and len(head) > place + 27 and head[place + 5] & 2:
        segments = head[place + 27 : place + 27 + head[place + 26]]
        place += 27 + len(segments)
        yield head[place : place + 8]
        place += sum(segments)


def _mpeg_ts(head: bytes) -> bool:
    """Return True for an MPEG transport stream: a sync byte per packet, and a table."""
    for step, first in ((188, 0), (192, 4)):
        starts = range(first, len(head) - 4, step)
        if len(starts) >= 3 and all(head[start] == 0x47 for start in starts):
            return any(head[start + 1 : start + 3] == b"\x40\0" and not head[start + 3] & 0xC0 for start in starts)
    return False


def _bare_video(head: bytes) -> bool | str:
    """Return the type of bare H.264 or H.265, whose parameters come first."""
    found = _BARE_VIDEO.match(head)
    if found is None or not (_SECOND_SET[0] if found["h264"] else _SECOND_SET[1]).search(head, found.end(), _PARAMETERS_WITHIN):
        return False
    return "video/h264" if found["h264"] else "video/h265"


def _exe(head: bytes) -> bool:
    return head[:2] == b"MZ" and not is_text(head)


def _flash(head: bytes) -> bool:
    return head[1:3] == b"WS" and len(head) > 8 and head[3] < 64 and not is_text(head)


def _java_class(head: bytes) -> bool | str:
    """Return the type of a Java class or a universal Mach-O file: both begin alike."""
    if not head.startswith(b"\xca\xfe\xba\xbe") or len(head) < 8:
        return False
    return "application/java-vm" if struct.unpack_from(">H", head, 6)[0] in _CLASS_VERSIONS else "application/x-mach-binary"


def _like(pattern: bytes) -> _Test:
    begins = re.compile(pattern, re.DOTALL)
    return lambda head: begins.match(head) is not None


_cpio = _like(rb"07070[127][0-9A-Fa-f]{40}|\xc7\x71|\x71\xc7")


def _is_late_pdf(head: bytes) -> bool:
    """Return True for a PDF after other bytes, which are not markup or a script."""
    place = head.find(b"%PDF-", 0, _PDF_WITHIN + 5)
    return place > 0 and not _MARKUP.search(head, 0, place) and _NO_SCRIPT.fullmatch(head, 0, place) is not None


_BY_SECOND_LOOK = frozenset({
    "image/apng", "image/webp", "image/x-ilbm", "image/x-icon", "image/x-win-bitmap", "image/jp2", "image/jpx", "image/jpm",
    "image/x-portable-bitmap", "image/x-portable-graymap", "image/x-portable-pixmap", "image/x-portable-arbitrarymap",
    "audio/wav", "audio/midi", "audio/aiff", "audio/x-8svx", "audio/aac", "audio/mpeg", "audio/flac", "audio/eac3",
    "audio/vnd.dolby.dd-raw", "audio/ogg", "video/x-msvideo", "video/ogg", "video/h264", "video/h265",
    "application/x-navi-animation", "application/ogg", "application/java-vm", "application/x-mach-binary",
})  # fmt: skip
"""What the tests return themselves."""

_TESTS: dict[bytes, tuple[tuple[_Test, str], ...]] = {
    b"\x89": ((_png, "image/png"),),
    b"R": ((_riff, ""),),
    b"F": ((_form, ""), (_flash, "application/x-shockwave-flash")),
    b"C": ((_flash, "application/x-shockwave-flash"),),
    b"Z": ((_flash, "application/x-shockwave-flash"),),
    b"B": ((_riff, ""), (_bmp, "image/bmp"), (_like(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"), "application/x-bzip2")),
    b"\0": ((_ico, ""), (_jpeg_2000, ""), (_truetype, "font/ttf"), (_bare_video, "")),
    b"\x1f": ((_like(rb"\x1f\x07\0[\x3f\xbf].{76}\x3f\x07\0"), "video/dv"),),  # IEC 61834-2: a header block, one of subcodes
    b"V": ((_loas, "audio/x-loas"),),
    b"t": ((_truetype, "font/ttf"),),
    b"\x0a": ((_pcx, "image/x-pcx"),),
    b"i": ((_icns, "image/icns"),),
    b"P": ((_netpbm, ""),),
    b"\xff": ((_mpeg_audio, ""),),
    b"I": ((_like(rb"II\*\0.{4}CR"), "image/x-canon-cr2"),),
    b"\x0b": ((_ac3, ""),),
    b"\x30": ((_cpio, "application/x-cpio"),),
    b"O": ((_ogg, ""),),
    b"G": ((_mpeg_ts, "video/mp2t"),),
    b"M": ((_exe, "application/vnd.microsoft.portable-executable"),),
    b"\xca": ((_java_class, ""),),
    b"\xc7": ((_cpio, "application/x-cpio"),),
    b"q": ((_cpio, "application/x-cpio"),),
    b"A": ((_like(rb"AC10\d\d\0"), "image/vnd.dwg"),),
}

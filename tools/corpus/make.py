"""Makes the files of the corpus with real programs, and the manifest that says what each is and which rules it must match.

    python -m tools.corpus.make            # all that this machine has the programs for; the others keep their files

It needs, besides the dev group, of Debian's packages ffmpeg, sox, imagemagick, libreoffice, p7zip-full, zip, cpio, lz4, lzip, gcc
and a JDK, and from PyPI pillow-heif, pillow-jxl-plugin, python-docx, python-pptx, openpyxl, XlsxWriter, xlwt, fonttools[woff],
zstandard, py7zr, msoffcrypto-tool, reportlab, pypdf, odfpy, ebooklib, tifffile and numpy. What a file is, is written here by
hand: no recogniser is asked.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.corpus import FILES, HERE

OOXML = "application/vnd.openxmlformats-officedocument."
DOCX, XLSX, PPTX = (
    f"{OOXML}wordprocessingml.document",
    f"{OOXML}spreadsheetml.sheet",
    f"{OOXML}presentationml.presentation",
)
ODF = "application/vnd.oasis.opendocument."
LARGEST = 26 << 10

# By hand: which types each rule of tests.corpus.RULES must match. Whatever is not named here must not.
EXPECTED: dict[str, Callable[[str], bool]] = {
    "image": lambda kind: kind.startswith("image/") and kind != "image/svg+xml",
    "audio": lambda kind: kind.startswith("audio/"),
    "video": lambda kind: kind.startswith("video/"),
    "font": lambda kind: kind.startswith("font/"),
    "text": lambda kind: kind.startswith("text/"),
    "jpg": {"image/jpeg"}.__contains__,
    "png": {"image/png", "image/apng"}.__contains__,
    "photo": {"image/jpeg", "image/png", "image/webp", "image/heic", "image/heif", "image/avif"}.__contains__,
    "svg": {"image/svg+xml"}.__contains__,
    "wav": {"audio/wav"}.__contains__,
    "mp3": {"audio/mpeg"}.__contains__,
    "flac": {"audio/flac"}.__contains__,
    "recording": {"audio/webm", "audio/mp4", "audio/ogg"}.__contains__,
    "clip": {"video/webm", "video/mp4", "video/quicktime"}.__contains__,
    "csv": {"text/csv"}.__contains__,
    "pdf": {"application/pdf"}.__contains__,
    "docx": {DOCX}.__contains__,
    "xlsx": {XLSX}.__contains__,
    "pptx": {PPTX}.__contains__,
    "odf": lambda kind: kind.startswith(ODF),
    "office97": {"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"}.__contains__,
    "rtf": {"application/rtf"}.__contains__,
    "epub": {"application/epub+zip"}.__contains__,
    "jar": {"application/java-archive", "application/vnd.android.package-archive"}.__contains__,
    "zip": {"application/zip"}.__contains__,
    "gzip": {"application/gzip"}.__contains__,
    "any": lambda _: True,
    "i": lambda kind: kind.startswith("image/") and kind != "image/svg+xml",
    "xml": lambda kind: kind.endswith("+xml"),
}

ROWS: dict[str, dict[str, Any]] = {}
WORK = Path(tempfile.mkdtemp(prefix="corpus-"))


def add(
    name: str,
    program: str,
    kind: str,
    content: bytes | Path,
    announced: str | None = None,
    *,
    packed: bool = False,
    poses: bool = False,
) -> None:
    """Keep one file."""
    data = content if isinstance(content, bytes) else content.read_bytes()
    kept = gzip.compress(data, mtime=0) if packed else data
    if len(kept) > LARGEST:
        print(f"{name}: {len(kept)} bytes, left out")
        return
    (FILES / (f"{name}.gz" if packed else name)).write_bytes(kept)
    row: dict[str, Any] = {"name": name, "program": program, "type": kind, "announced": kind if announced is None else announced}
    flags = {flag: True for flag, given in (("packed", packed), ("poses", poses)) if given}
    ROWS[name] = {**row, "matches": matching(kind), **flags}


def matching(kind: str) -> list[str]:
    """Return the rules that a type must match."""
    return [rule for rule, expected in EXPECTED.items() if expected(kind)]


def run(*command: object, cwd: Path = WORK, stdin: bytes | None = None, timeout: float = 120) -> bytes:
    """Run a program and return what it prints."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, input=stdin, capture_output=True, timeout=timeout, check=False
    )
    if done.returncode:
        msg = f"{command[0]}: {done.stderr.decode(errors='replace')[-300:]}"
        raise RuntimeError(msg)
    return done.stdout


def version_of(command: str, *arguments: str) -> str:
    """Return a program's name with its version."""
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    found = re.search(r"\d+(?:\.\d+)+", done.stdout + done.stderr)
    return f"{command} {found[0] if found else '?'}"


# -- sound and films -------------------------------------------------------------------------------------------------------

PICTURE = ("-f", "lavfi", "-i", "testsrc=size=48x32:rate=5:duration=0.6")
SOUND = ("-f", "lavfi", "-i", "sine=frequency=440:duration=0.3")


def films() -> None:  # noqa: PLR0915 - one line a file
    """Make sound and films with FFmpeg."""
    program = version_of("ffmpeg", "-version")

    def make(
        name: str, kind: str, *arguments: str, announced: str | None = None, inputs: tuple[str, ...] = PICTURE + SOUND
    ) -> None:
        target = WORK / name
        try:
            run("ffmpeg", "-y", "-loglevel", "error", *inputs, "-shortest", *arguments, target)
        except RuntimeError as error:
            print(name, error)
        else:
            add(name, program, kind, target, announced)

    h264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "32k")
    make("film.mp4", "video/mp4", *h264)
    make("film-moov-first.mp4", "video/mp4", *h264, "-movflags", "+faststart")
    make("film-fragments.mp4", "video/mp4", *h264, "-movflags", "+frag_keyframe+empty_moov+default_base_moof")
    make("film-silent.mp4", "video/mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", inputs=PICTURE)
    make("film-hevc.mp4", "video/mp4", "-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1", inputs=PICTURE)
    make("film-av1.mp4", "video/mp4", "-c:v", "libaom-av1", "-cpu-used", "8", inputs=PICTURE)
    make("film.m4v", "video/mp4", *h264, "-f", "ipod", announced="video/x-m4v")
    make("film.mov", "video/quicktime", *h264)
    make("film-mjpeg.mov", "video/quicktime", "-c:v", "mjpeg", "-c:a", "pcm_s16le", "-ar", "8000")
    make("film.3gp", "video/3gpp", "-c:v", "mpeg4", "-c:a", "aac", "-ar", "8000", "-ac", "1")
    make("film.3g2", "video/3gpp2", "-c:v", "mpeg4", "-c:a", "aac", "-ar", "8000", "-ac", "1")
    make("film-vp8.webm", "video/webm", "-c:v", "libvpx", "-c:a", "libvorbis")
    make("film-vp9.webm", "video/webm", "-c:v", "libvpx-vp9", "-c:a", "libopus")
    make("film-silent.webm", "video/webm", "-c:v", "libvpx", inputs=PICTURE)
    make("film-live.webm", "video/webm", "-c:v", "libvpx", "-c:a", "libopus", "-live", "1")
    make("film.mkv", "video/matroska", *h264, announced="video/x-matroska")
    make("film.avi", "video/x-msvideo", "-c:v", "mpeg4", "-c:a", "mp3", announced="video/avi")
    make("film.wmv", "video/x-ms-wmv", "-c:v", "wmv2", "-c:a", "wmav2")
    make("film.flv", "video/x-flv", "-c:v", "flv1", "-c:a", "mp3", "-ar", "22050")
    make("film.mpg", "video/mpeg", "-c:v", "mpeg1video", "-r", "25", "-c:a", "mp2")
    make("film.vob", "video/mpeg", "-c:v", "mpeg2video", "-r", "25", "-c:a", "ac3", announced="")
    make("film.ts", "video/mp2t", *h264)
    make("film.m2ts", "video/mp2t", *h264, "-mpegts_m2ts_mode", "1", announced="")
    make("film.ogv", "video/ogg", "-c:v", "libtheora", "-c:a", "libvorbis")
    make("film.mxf", "application/mxf", "-c:v", "mpeg2video", "-r", "25", inputs=PICTURE)
    make("film.ivf", "video/x-ivf", "-c:v", "libvpx", announced="", inputs=PICTURE)
    make("frame.exr", "image/x-exr", "-frames:v", "1", announced="", inputs=PICTURE)
    make("film.rm", "application/vnd.rn-realmedia", "-c:v", "rv20", "-s", "176x144", inputs=PICTURE)

    def sound(name: str, kind: str, *arguments: str, announced: str | None = None) -> None:
        make(name, kind, *arguments, announced=announced, inputs=SOUND)

    sound("sound.wav", "audio/wav", "-ar", "8000", announced="audio/wav")
    sound("sound-float.wav", "audio/wav", "-ar", "8000", "-c:a", "pcm_f32le", announced="audio/x-wav")
    sound("sound-rf64.wav", "audio/wav", "-ar", "8000", "-rf64", "always", announced="audio/wave")
    sound("sound.mp3", "audio/mpeg", announced="audio/mpeg")
    sound("sound-untagged.mp3", "audio/mpeg", "-id3v2_version", "0", "-write_xing", "0", announced="audio/mp3")
    sound("sound-low.mp3", "audio/mpeg", "-ar", "22050", "-id3v2_version", "0", "-b:a", "32k", announced="audio/mpeg")
    sound("sound.flac", "audio/flac", "-ar", "8000", announced="audio/x-flac")
    sound("sound.aac", "audio/aac", "-c:a", "aac", announced="audio/vnd.dlna.adts")
    sound("sound.m4a", "audio/mp4", "-c:a", "aac", announced="audio/x-m4a")
    sound("sound-alac.m4a", "audio/mp4", "-c:a", "alac", "-ar", "8000", announced="audio/m4a")
    sound("sound-moov-last.mp4", "audio/mp4", "-c:a", "aac", announced="video/mp4")
    sound("sound-fragments.mp4", "audio/mp4", "-c:a", "aac", "-movflags", "+frag_keyframe+empty_moov", announced="audio/mp4")
    sound("sound.3gp", "audio/3gpp", "-c:a", "aac", "-ar", "8000", announced="video/3gpp")
    sound("sound.webm", "audio/webm", "-c:a", "libopus", announced="video/webm")
    sound("sound-vorbis.webm", "audio/webm", "-c:a", "libvorbis", announced="audio/webm")
    sound("sound.mka", "audio/matroska", "-c:a", "libopus", announced="audio/x-matroska")
    sound("sound.ogg", "audio/ogg", "-c:a", "libvorbis", announced="audio/ogg")
    sound("sound.opus", "audio/ogg", "-c:a", "libopus", announced="audio/ogg")
    sound("sound.spx", "audio/ogg", "-c:a", "libspeex", "-ar", "8000", announced="audio/ogg")
    sound("sound-flac.oga", "audio/ogg", "-c:a", "flac", "-ar", "8000", announced="audio/ogg")
    sound("sound.aiff", "audio/aiff", "-ar", "8000", announced="audio/x-aiff")
    sound("sound.wma", "audio/x-ms-wma", "-c:a", "wmav2")
    sound("sound.ac3", "audio/vnd.dolby.dd-raw", announced="audio/ac3")
    sound("sound.eac3", "audio/eac3", "-c:a", "eac3", announced="")
    sound("sound.au", "audio/basic", "-ar", "8000")
    sound("sound.caf", "audio/x-caf", "-ar", "8000")
    sound("sound.tta", "audio/x-tta", "-ar", "8000", announced="")
    sound("sound.wv", "audio/x-wavpack", "-ar", "8000")
    sound("sound.voc", "audio/x-voc", "-ar", "8000", announced="")

    # what old cameras write: no ftyp, the index behind or before the pictures
    source = (FILES / "film-mjpeg.mov").read_bytes()
    length = int.from_bytes(source[:4])
    moved = source[length:]
    add("film-without-ftyp.mov", f"{program}, ftyp cut off", "video/quicktime", moved)


def sox() -> None:
    """Make sound with SoX."""
    program = version_of("sox", "--version")
    for name, kind, announced, more in (
        ("sox.wav", "audio/wav", "audio/wav", ()),
        ("sox-ulaw.wav", "audio/wav", "audio/x-wav", ("-e", "u-law")),
        ("sox.flac", "audio/flac", "audio/flac", ()),
        ("sox.ogg", "audio/ogg", "audio/ogg", ()),
        ("sox.mp3", "audio/mpeg", "audio/mpeg", ()),
        ("sox.aifc", "audio/aiff", "audio/x-aiff", ()),
        ("sox.amr-nb", "audio/amr", "audio/amr", ()),
        ("sox.8svx", "audio/x-8svx", "", ()),
        ("sox.au", "audio/basic", "audio/basic", ()),
    ):
        try:
            run("sox", "-n", "-r", "8000", "-c", "1", *more, WORK / name, "synth", "0.3", "sine", "440")
        except RuntimeError as error:
            print(name, error)
        else:
            add(name, program, kind, WORK / name, announced)


# -- pictures --------------------------------------------------------------------------------------------------------------


def pictures() -> None:  # noqa: PLR0915 - one line a file
    """Make pictures with Pillow and its plugins."""
    import pillow_heif
    import pillow_jxl  # noqa: F401 - registers itself
    from PIL import Image

    pillow_heif.register_heif_opener()
    program = f"Pillow {version('pillow')}"
    image = Image.linear_gradient("L").resize((60, 40)).convert("RGB")

    def lying() -> Any:  # new each time, for some writers take the orientation out of it
        exif = Image.Exif()
        exif[0x0112] = 6
        return exif

    def save(
        name: str, kind: str, form: str, announced: str | None = None, of: Any = image, by: str = program, **options: Any
    ) -> None:
        target = io.BytesIO()
        try:
            of.save(target, form, **options)
        except Exception as error:  # noqa: BLE001 - a writer that this build lacks
            print(name, error)
        else:
            add(name, by, kind, target.getvalue(), announced)

    frames: dict[str, Any] = {
        "save_all": True,
        "append_images": [image.rotate(90, expand=False), image.rotate(180)],
        "duration": 50,
    }
    save("picture.jpg", "image/jpeg", "JPEG")
    save("picture-turned.jpg", "image/jpeg", "JPEG", "image/jpg", exif=lying())
    save("picture-progressive.jpeg", "image/jpeg", "JPEG", "image/pjpeg", progressive=True)
    save("picture-cmyk.jpg", "image/jpeg", "JPEG", of=image.convert("CMYK"))
    save("picture.png", "image/png", "PNG")
    save("picture-turned.png", "image/png", "PNG", "image/x-png", exif=lying())
    save("picture-1bit.png", "image/png", "PNG", of=image.convert("1"))
    save("animation.png", "image/apng", "PNG", "image/png", **frames)
    save("picture.gif", "image/gif", "GIF")
    save("animation.gif", "image/gif", "GIF", **frames)
    save("picture.webp", "image/webp", "WEBP")
    save("picture-lossless.webp", "image/webp", "WEBP", lossless=True)
    save("picture-turned.webp", "image/webp", "WEBP", exif=lying())
    save("animation.webp", "image/webp", "WEBP", **frames)
    save("picture.avif", "image/avif", "AVIF")
    save("picture-turned.avif", "image/avif", "AVIF", exif=lying())
    save("animation.avif", "image/avif", "AVIF", **frames)
    save("picture.tiff", "image/tiff", "TIFF", compression="tiff_lzw")
    save("picture-turned.tif", "image/tiff", "TIFF", exif=lying())
    save("picture-big.tif", "image/tiff", "TIFF", big_tiff=True, compression="tiff_lzw")
    save("picture.bmp", "image/bmp", "BMP", "image/x-ms-bmp")
    save("picture.ico", "image/x-icon", "ICO", "image/vnd.microsoft.icon", sizes=[(16, 16), (32, 32)])
    save("picture.icns", "image/icns", "ICNS", "", of=image.resize((32, 32)))
    save("picture.jp2", "image/jp2", "JPEG2000")
    save("picture.j2k", "image/x-jp2-codestream", "JPEG2000", "", no_jp2=True)
    save("picture.dds", "image/vnd-ms.dds", "DDS", "")
    save("picture.pcx", "image/x-pcx", "PCX", "image/vnd.zbrush.pcx")
    save("picture.ppm", "image/x-portable-pixmap", "PPM")
    save("picture.pgm", "image/x-portable-graymap", "PPM", of=image.convert("L"))
    save("picture.pbm", "image/x-portable-bitmap", "PPM", of=image.convert("1"))
    save("picture.sgi", "image/x-sgi", "SGI", "")
    save("picture.qoi", "image/qoi", "QOI", "")
    save("picture.eps", "application/postscript", "EPS", of=image.resize((12, 8)))
    save("picture-pillow.pdf", "application/pdf", "PDF")
    heif = f"pillow-heif {version('pillow-heif')}"
    save("picture.heic", "image/heic", "HEIF", by=heif)
    save("picture-turned.heic", "image/heic", "HEIF", "image/heif", by=heif, exif=lying().tobytes())
    save("pictures.heic", "image/heic", "HEIF", by=heif, save_all=True, append_images=[image.rotate(90)])
    save("picture.jxl", "image/jxl", "JXL", by=f"pillow-jxl-plugin {version('pillow-jxl-plugin')}")
    save(
        "picture-lossless.jxl",
        "image/jxl",
        "JXL",
        by=f"pillow-jxl-plugin {version('pillow-jxl-plugin')}",
        lossless=True,
        use_container=True,
    )

    import numpy as np
    import tifffile

    tifffile.imwrite(WORK / "science.tif", np.zeros((30, 40), "uint16"), byteorder=">")
    add("science.tif", f"tifffile {version('tifffile')}", "image/tiff", WORK / "science.tif")


def magick() -> None:
    """Make pictures with ImageMagick."""
    program = version_of("convert", "-version").replace("convert", "ImageMagick")
    run("convert", "-size", "60x40", "gradient:red-blue", WORK / "m.png")
    for name, kind, announced, more in (
        ("magick.jpg", "image/jpeg", "image/jpeg", ()),
        ("magick.gif", "image/gif", "image/gif", ()),
        ("magick.bmp", "image/bmp", "image/bmp", ()),
        ("magick-os2.bmp", "image/bmp", "image/bmp", ("-define", "bmp:format=bmp3")),
        ("magick.tiff", "image/tiff", "image/tiff", ()),
        ("magick-big-endian.tif", "image/tiff", "image/tiff", ("-endian", "MSB")),
        ("magick.psd", "image/vnd.adobe.photoshop", "application/x-photoshop", ()),
        ("magick.ico", "image/x-icon", "image/x-icon", ()),
        ("magick.pam", "image/x-portable-arbitrarymap", "", ()),
        ("magick.sun", "image/x-sun-raster", "", ()),
        ("magick.fits", "application/fits", "application/fits", ()),
    ):
        try:
            run("convert", WORK / "m.png", *more, WORK / name)
        except RuntimeError as error:
            print(name, error)
        else:
            add(name, program, kind, WORK / name, announced)


# -- fonts -----------------------------------------------------------------------------------------------------------------


def fonts() -> None:
    """Make fonts with fonttools."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.t2CharStringPen import T2CharStringPen
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from fontTools.ttLib import TTCollection

    program = f"fonttools {version('fonttools')}"

    def built(*, is_ttf: bool) -> FontBuilder:
        font = FontBuilder(1000, isTTF=is_ttf)
        font.setupGlyphOrder([".notdef", "A"])
        font.setupCharacterMap({65: "A"})
        metrics = {".notdef": (500, 0), "A": (500, 0)}
        if is_ttf:
            pen = TTGlyphPen(None)
            pen.moveTo((0, 0))
            pen.lineTo((250, 700))
            pen.lineTo((500, 0))
            pen.closePath()
            glyph = pen.glyph()
            font.setupGlyf({".notdef": glyph, "A": glyph})
        else:
            outline = T2CharStringPen(500, None)
            outline.moveTo((0, 0))
            outline.lineTo((250, 700))
            outline.lineTo((500, 0))
            outline.closePath()
            strings = {name: outline.getCharString() for name in (".notdef", "A")}
            font.setupCFF("Corpus", {"FullName": "Corpus"}, strings, {})
        font.setupHorizontalMetrics(metrics)
        font.setupHorizontalHeader(ascent=800, descent=-200)
        font.setupNameTable({"familyName": "Corpus", "styleName": "Regular"})
        font.setupOS2()
        font.setupPost()
        return font

    for is_ttf, name, kind, other in (
        (True, "ttf", "font/ttf", "application/x-font-ttf"),
        (False, "otf", "font/otf", "application/x-font-otf"),
    ):
        for flavor, suffix, web, announced in (
            (None, name, kind, other),
            ("woff", f"{name}.woff", "font/woff", "application/font-woff"),
            ("woff2", f"{name}.woff2", "font/woff2", "font/woff2"),
        ):
            font = built(is_ttf=is_ttf).font
            font.flavor = flavor
            target = io.BytesIO()
            font.save(target)
            add(f"font.{suffix}", program, web, target.getvalue(), announced)
    collection = TTCollection()
    collection.fonts = [built(is_ttf=True).font, built(is_ttf=True).font]
    target = io.BytesIO()
    collection.save(target)
    add("fonts.ttc", program, "font/collection", target.getvalue())


# -- documents -------------------------------------------------------------------------------------------------------------


def repacked(data: bytes, first: dict[str, bytes]) -> bytes:
    """Return a ZIP with other members before its own, as some programs write them."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in first.items():
            archive.writestr(name, content)
        for name in source.namelist():
            if name not in first:
                archive.writestr(name, source.read(name))
    return target.getvalue()


def documents() -> None:  # noqa: PLR0915 - one line a file
    """Make documents with libraries of Python."""
    import docx
    import openpyxl
    import pptx
    import xlsxwriter
    import xlwt
    from ebooklib import epub
    from odf.opendocument import OpenDocumentPresentation, OpenDocumentSpreadsheet, OpenDocumentText
    from pypdf import PdfWriter
    from reportlab.pdfgen.canvas import Canvas

    document = docx.Document()
    document.add_paragraph("corpus")
    document.save(WORK / "d.docx")
    # python-docx's own template is large, for its styles and its thumbnail
    with_thumbnail = (WORK / "d.docx").read_bytes()
    slim = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(with_thumbnail)) as source, zipfile.ZipFile(slim, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in source.namelist():
            archive.writestr(name, source.read(name), compresslevel=9)
    data = slim.getvalue()
    by = f"python-docx {version('python-docx')}"
    if len(data) > LARGEST:
        data = without(data, "docProps/thumbnail.jpeg", "word/theme/theme1.xml", "word/stylesWithEffects.xml")
    add("document.docx", by, DOCX, data)
    with zipfile.ZipFile(io.BytesIO(data)) as source:
        types = source.read("[Content_Types].xml")
    thumbnail = (FILES / "picture.jpg").read_bytes()
    add("document-thumbnail.docx", f"{by}, thumbnail first", DOCX, repacked(data, {"docProps/thumbnail.jpeg": thumbnail}))
    custom = {f"customXml/item{n}.xml": b"<x>" + b"0" * 3000 + b"</x>" for n in range(3)}
    add("document-custom-xml.docx", f"{by}, customXml first", DOCX, repacked(data, {"[Content_Types].xml": types, **custom}))
    macros = types.replace(f"{DOCX}.main+xml".encode(), b"application/vnd.ms-word.document.macroEnabled.main+xml")
    vba = {"[Content_Types].xml": macros, "word/vbaProject.bin": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)}
    add("document.docm", f"{by}, with a macro part", "application/vnd.ms-word.document.macroenabled.12", repacked(data, vba))
    hidden = {"word/vbaProject.bin": vba["word/vbaProject.bin"]}
    add(
        "macros-called.docx",
        f"{by}, with a macro part",
        "application/vnd.ms-word.document.macroenabled.12",
        repacked(data, hidden),
        DOCX,
    )
    template = types.replace(f"{DOCX}.main+xml".encode(), f"{OOXML}wordprocessingml.template.main+xml".encode())
    add(
        "document.dotx",
        f"{by}, as a template",
        f"{OOXML}wordprocessingml.template",
        repacked(data, {"[Content_Types].xml": template}),
    )

    slides = pptx.Presentation()
    slides.save(WORK / "s.pptx")
    data = without((WORK / "s.pptx").read_bytes(), "docProps/thumbnail.jpeg", "ppt/printerSettings/printerSettings1.bin")
    add("slides.pptx", f"python-pptx {version('python-pptx')}", PPTX, data)

    book = openpyxl.Workbook()
    book.active["A1"] = "corpus"
    book.save(WORK / "b.xlsx")
    add("book.xlsx", f"openpyxl {version('openpyxl')}", XLSX, WORK / "b.xlsx")
    with xlsxwriter.Workbook(WORK / "x.xlsx") as writer:
        writer.add_worksheet().write("A1", "corpus")
    add("book-xlsxwriter.xlsx", f"XlsxWriter {version('XlsxWriter')}", XLSX, WORK / "x.xlsx")
    old = xlwt.Workbook()
    old.add_sheet("corpus").write(0, 0, "corpus")
    old.save(str(WORK / "b.xls"))
    add("book-xlwt.xls", f"xlwt {version('xlwt')}", "application/vnd.ms-excel", WORK / "b.xls")
    encrypted()

    for make, name, kind in (
        (OpenDocumentText, "odfpy.odt", "text"),
        (OpenDocumentSpreadsheet, "odfpy.ods", "spreadsheet"),
        (OpenDocumentPresentation, "odfpy.odp", "presentation"),
    ):
        make().save(str(WORK / name))
        add(name, f"odfpy {version('odfpy')}", f"{ODF}{kind}", WORK / name)
    novel = epub.EpubBook()
    chapter = epub.EpubHtml(title="One", file_name="one.xhtml", content="<p>corpus</p>")
    novel.add_item(chapter)
    novel.toc, novel.spine = (chapter,), [chapter]
    novel.add_item(epub.EpubNcx())
    novel.add_item(epub.EpubNav())
    epub.write_epub(str(WORK / "novel.epub"), novel)
    add("novel.epub", f"ebooklib {version('ebooklib')}", "application/epub+zip", WORK / "novel.epub")

    canvas = Canvas(str(WORK / "r.pdf"))
    canvas.drawString(10, 10, "corpus")
    canvas.save()
    by = f"reportlab {version('reportlab')}"
    pdf = (WORK / "r.pdf").read_bytes()
    add("page.pdf", by, "application/pdf", pdf)
    add("page-after-newlines.pdf", f"{by}, blank lines before it", "application/pdf", b"\r\n\r\n" + pdf)
    job = b"\x1b%-12345X@PJL SET JOBNAME=corpus\r\n@PJL ENTER LANGUAGE=PDF\r\n"
    add("page-printer-job.pdf", f"{by}, a printer's job before it", "application/pdf", job + pdf)
    writer_of = PdfWriter()
    writer_of.add_blank_page(100, 100)
    writer_of.encrypt("secret")
    writer_of.write(WORK / "e.pdf")
    add("page-encrypted.pdf", f"pypdf {version('pypdf')}", "application/pdf", WORK / "e.pdf", "application/x-pdf")


def without(data: bytes, *names: str) -> bytes:
    """Return a ZIP without some of its members, packed tightly."""
    target = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
    ):
        for name in source.namelist():
            if name not in names:
                archive.writestr(name, source.read(name))
    return target.getvalue()


def encrypted() -> None:
    """Make documents with a password."""
    from msoffcrypto.format.ooxml import OOXMLFile

    by = f"msoffcrypto-tool {version('msoffcrypto-tool')}"
    for source, name, kind in (("document.docx", "document-encrypted.docx", DOCX), ("book.xlsx", "book-encrypted.xlsx", XLSX)):
        if not (FILES / source).exists():
            continue
        target = io.BytesIO()
        with (FILES / source).open("rb") as file:
            OOXMLFile(file).encrypt("secret", target)
        add(name, by, kind, target.getvalue())


def libreoffice() -> None:
    """Make documents with LibreOffice."""
    by = version_of("soffice", "--version").replace("soffice", "LibreOffice")
    profile = f"-env:UserInstallation=file://{WORK}/profile"
    (WORK / "text.html").write_text("<p>corpus <b>of</b> files</p>", "utf-8")
    (WORK / "table.csv").write_text("name,size\ncorpus,1\n", "utf-8")
    shutil.copy(FILES / "picture.png", WORK / "drawing.png")
    slides = WORK / "slides.odp"
    shutil.copy(FILES / "odfpy.odp", slides)
    text, sheet, draw, show = WORK / "text.html", WORK / "table.csv", WORK / "drawing.png", slides
    for source, form, name, kind, announced, reading in (
        (text, "docx:MS Word 2007 XML", "libre.docx", DOCX, DOCX, "HTML (StarWriter)"),
        (text, "odt:writer8", "libre.odt", f"{ODF}text", f"{ODF}text", "HTML (StarWriter)"),
        (text, "doc:MS Word 97", "libre.doc", "application/msword", "application/msword", "HTML (StarWriter)"),
        (text, "rtf:Rich Text Format", "libre.rtf", "application/rtf", "text/rtf", "HTML (StarWriter)"),
        (text, "rtf:Rich Text Format", "rtf-called.doc", "application/rtf", "application/msword", "HTML (StarWriter)"),
        (text, "ott:writer8_template", "libre.ott", f"{ODF}text-template", f"{ODF}text-template", "HTML (StarWriter)"),
        (text, "pdf:writer_pdf_Export", "libre.pdf", "application/pdf", "application/pdf", "HTML (StarWriter)"),
        (text, "epub:EPUB", "libre.epub", "application/epub+zip", "application/epub+zip", "HTML (StarWriter)"),
        (sheet, "xlsx:Calc MS Excel 2007 XML", "libre.xlsx", XLSX, XLSX, ""),
        (sheet, "xls:MS Excel 97", "libre.xls", "application/vnd.ms-excel", "application/vnd.ms-excel", ""),
        (sheet, "ods:calc8", "libre.ods", f"{ODF}spreadsheet", f"{ODF}spreadsheet", ""),
        (sheet, "csv:Text - txt - csv (StarCalc)", "libre.csv", "text/csv", "text/csv", ""),
        (show, "pptx:Impress MS PowerPoint 2007 XML", "libre.pptx", PPTX, PPTX, ""),
        (show, "odp:impress8", "libre.odp", f"{ODF}presentation", f"{ODF}presentation", ""),
        (draw, "odg:draw8", "libre.odg", f"{ODF}graphics", f"{ODF}graphics", ""),
        (draw, "svg:draw_svg_Export", "libre.svg", "image/svg+xml", "image/svg+xml", ""),
        (draw, "wmf:draw_wmf_Export", "libre.wmf", "image/wmf", "image/x-wmf", ""),
        (draw, "emf:draw_emf_Export", "libre.emf", "image/emf", "image/x-emf", ""),
        (draw, "eps:draw_eps_Export", "libre.eps", "application/postscript", "application/postscript", ""),
    ):
        folder = WORK / "out"
        shutil.rmtree(folder, ignore_errors=True)
        reader = [f"--infilter={reading}"] if reading else []
        try:
            run("soffice", profile, "--headless", *reader, "--convert-to", form, "--outdir", folder, source)
            made = next(folder.iterdir())
        except (RuntimeError, StopIteration, FileNotFoundError) as error:
            print(name, error)
        else:
            data = made.read_bytes()
            if len(data) > LARGEST and data.startswith(b"PK"):
                data = without(data, "Thumbnails/thumbnail.png", "docProps/thumbnail.jpeg")
            add(name, by, kind, data, announced)


# -- archives and programs --------------------------------------------------------------------------------------------------


def archives() -> None:
    """Make archives."""
    import py7zr
    import zstandard

    member = WORK / "member.txt"
    member.write_text("corpus\n" * 20, "utf-8")
    data = member.read_bytes()
    gnu = version_of("tar", "--version")
    run("zip", "-q", WORK / "a.zip", "member.txt")
    add(
        "archive.zip",
        version_of("zip", "-v").replace("zip ", "Info-ZIP "),
        "application/zip",
        WORK / "a.zip",
        "application/x-zip-compressed",
    )
    (WORK / "s.zip").write_bytes(run("zip", "-q", "-", "-", stdin=data))
    add("archive-streamed.zip", version_of("zip", "-v").replace("zip ", "Info-ZIP "), "application/zip", WORK / "s.zip")
    python = f"Python {sys.version.split()[0]}"
    for name, method in (("stored.zip", zipfile.ZIP_STORED), ("bzip2.zip", zipfile.ZIP_BZIP2)):
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", method) as archive:
            archive.writestr("word/not-a-document.txt", "corpus")
            archive.comment = b"a comment"
        add(f"archive-{name}", python, "application/zip", target.getvalue(), "application/zip")
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w"):
        pass
    add("archive-empty.zip", python, "application/zip", target.getvalue())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(FILES / "document.docx", "document.docx")
    add("archive-of-docx.zip", python, "application/zip", target.getvalue())
    run("7z", "a", "-bd", WORK / "a.7z", member)
    seven = version_of("7z", "i").replace("7z", "p7zip")
    add("archive.7z", seven, "application/x-7z-compressed", WORK / "a.7z")
    run("7z", "a", "-bd", "-tzip", "-psecret", WORK / "e.zip", member)
    add("archive-encrypted.zip", seven, "application/zip", WORK / "e.zip", "application/x-zip-compressed")
    run("7z", "a", "-bd", "-tgzip", WORK / "b.gz", member)
    add("archive-7z.gz", seven, "application/gzip", WORK / "b.gz", "application/x-gzip")
    with py7zr.SevenZipFile(WORK / "p.7z", "w") as packed:
        packed.write(member, "member.txt")
    add("archive-py7zr.7z", f"py7zr {version('py7zr')}", "application/x-7z-compressed", WORK / "p.7z", "application/x-compressed")
    for form in ("ustar", "gnu", "pax"):
        run("tar", f"--format={form}", "-cf", WORK / "a.tar", "member.txt")
        add(f"archive-{form}.tar", gnu, "application/x-tar", WORK / "a.tar")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive_of:
        archive_of.add(member, "member.txt")
    add("archive.tar.gz", python, "application/gzip", buffer.getvalue(), "application/x-gzip")
    for command, suffix, kind, announced in (
        (("gzip", "-c"), "gz", "application/gzip", "application/x-gzip"),
        (("bzip2", "-c"), "bz2", "application/x-bzip2", "application/x-bzip"),
        (("xz", "-c"), "xz", "application/x-xz", "application/x-xz"),
        (("zstd", "-c"), "zst", "application/zstd", "application/zstd"),
        (("lz4", "-c"), "lz4", "application/x-lz4", ""),
        (("lzip", "-c"), "lz", "application/x-lzip", "application/x-lzip"),
    ):
        add(f"member.txt.{suffix}", version_of(command[0], "--version"), kind, run(*command, stdin=data), announced)
    add("member-python.zst", f"zstandard {version('zstandard')}", "application/zstd", zstandard.compress(data), "")
    add(
        "archive.cpio",
        version_of("cpio", "--version"),
        "application/x-cpio",
        run("cpio", "-o", "-H", "newc", "--quiet", stdin=b"member.txt\n"),
    )
    programs(member, python)


def programs(member: Path, python: str) -> None:
    """Make programs, data and texts."""
    import sqlite3

    (WORK / "m.c").write_text("void _start(void) { for (;;) {} }", "utf-8")
    run("gcc", "-nostdlib", "-static", "-s", "-Wl,--build-id=none", "-Wl,-z,noseparate-code", "-o", WORK / "m", WORK / "m.c")
    gcc = version_of("gcc", "--version")
    add("program", gcc, "application/x-executable", WORK / "m", "")
    run("gcc", "-c", "-o", WORK / "m.o", WORK / "m.c")
    run("ar", "rcs", WORK / "m.a", "m.o")
    add("library.a", version_of("ar", "--version"), "application/x-unix-archive", WORK / "m.a", "")
    (WORK / "Main.java").write_text("class Main { public static void main(String[] a) {} }", "utf-8")
    run("javac", "Main.java")
    add("Main.class", version_of("javac", "-version"), "application/java-vm", WORK / "Main.class", "")
    run("jar", "cf", WORK / "m.jar", "Main.class")
    add("program.jar", version_of("jar", "--version"), "application/java-archive", WORK / "m.jar", "application/java-archive")
    with zipfile.ZipFile(WORK / "m.jar", "a") as archive:
        archive.writestr("AndroidManifest.xml", b"\x03\0\x08\0")
        archive.writestr("classes.dex", b"dex\n035\0")
    add("program.apk", f"{python}, the members of an APK", "application/vnd.android.package-archive", WORK / "m.jar")
    package = WORK / "package" / "DEBIAN"
    package.mkdir(parents=True)
    (package / "control").write_text(
        "Package: corpus\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.c>\nDescription: x\n", "utf-8"
    )
    run("dpkg-deb", "--build", WORK / "package", WORK / "p.deb")
    add(
        "package.deb",
        version_of("dpkg-deb", "--version"),
        "application/vnd.debian.binary-package",
        WORK / "p.deb",
        "application/x-debian-package",
    )
    connection = sqlite3.connect(WORK / "d.sqlite")
    connection.execute("create table t (a)")
    connection.commit()
    connection.close()
    add("data.sqlite", f"SQLite {sqlite3.sqlite_version}", "application/vnd.sqlite3", WORK / "d.sqlite", "application/x-sqlite3")

    import numpy as np

    np.save(WORK / "n.npy", np.zeros(3))
    add("array.npy", f"numpy {version('numpy')}", "application/x-npy", WORK / "n.npy", "")
    text = "name,size\r\nMüller,1\r\n"
    add("windows.csv", f"{python}, as Excel saves it", "text/csv", text.encode("cp1252"), "application/vnd.ms-excel")
    add("windows-utf8.csv", f"{python}, as Excel saves it", "text/csv", text.encode("utf-8-sig"), "application/vnd.ms-excel")
    add("plain.csv", python, "text/csv", text.encode(), "text/csv")
    add("plain.txt", python, "text/plain", text.encode(), "text/plain")
    add("bm.txt", python, "text/plain", b"BM25 ranks documents; MZ, P6 and PK are letters too.\n", "text/plain")
    add("data.json", python, "application/json", b'{"a": 1}', "application/json")
    add("page.html", python, "text/html", b"<!doctype html><p>corpus", "text/html")
    add("data.xml", python, "text/xml", b"<?xml version='1.0'?><a/>", "application/xml")
    add("notes.md", python, "text/markdown", b"# Corpus\n", "text/markdown")


# -- a browser --------------------------------------------------------------------------------------------------------------

RECORD = """
(async (kind, constraints, milliseconds) => {
    const stream = await navigator.mediaDevices.getUserMedia(constraints);
    const recorder = new MediaRecorder(stream, {mimeType: kind, audioBitsPerSecond: 16000, videoBitsPerSecond: 60000});
    const parts = [];
    recorder.ondataavailable = event => parts.push(event.data);
    const ended = new Promise(done => { recorder.onstop = done; });
    recorder.start();
    await new Promise(done => setTimeout(done, milliseconds));
    recorder.stop();
    await ended;
    stream.getTracks().forEach(track => track.stop());
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
    let text = '';
    for (const byte of bytes) text += String.fromCharCode(byte);
    return btoa(text);
})"""
DRAW = """
(async kind => {
    const canvas = document.createElement('canvas');
    canvas.width = 60; canvas.height = 40;
    canvas.getContext('2d').fillRect(5, 5, 20, 20);
    const blob = await new Promise(done => canvas.toBlob(done, kind));
    let text = '';
    for (const byte of new Uint8Array(await blob.arrayBuffer())) text += String.fromCharCode(byte);
    return btoa(text);
})"""


def browser() -> None:
    """Record, draw and print in Chromium."""
    import base64
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    from tests.servers import chromium

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Empty)
    Thread(target=server.serve_forever, daemon=True).start()
    by = version_of("chromium", "--version")
    with chromium.start() as running, running.page() as page:
        page.open(f"http://127.0.0.1:{server.server_port}/")
        sound, film = "{audio: true}", "{audio: true, video: {width: 64, height: 48, frameRate: 5}}"
        for name, kind, recorded, of in (
            ("recorded-sound.webm", "audio/webm", "audio/webm;codecs=opus", sound),
            ("recorded-sound.mp4", "audio/mp4", "audio/mp4", sound),
            ("recorded-film.webm", "video/webm", "video/webm;codecs=vp8,opus", film),
            ("recorded-film-vp9.webm", "video/webm", "video/webm;codecs=vp9,opus", film),
            ("recorded-film.mkv", "video/matroska", "video/x-matroska;codecs=avc1", film),
            ("recorded-film.mp4", "video/mp4", "video/mp4", film),
        ):
            try:
                add(name, by, kind, base64.b64decode(page.evaluate(f"{RECORD}({recorded!r}, {of}, 700)")), recorded)
            except AssertionError as error:
                print(name, str(error)[:100])
        for name, kind in (("canvas.png", "image/png"), ("canvas.jpg", "image/jpeg"), ("canvas.webp", "image/webp")):
            add(name, by, kind, base64.b64decode(page.evaluate(f"{DRAW}({kind!r})")))
        add("printed.pdf", by, "application/pdf", base64.b64decode(page.call("Page.printToPDF")["data"]))
    server.shutdown()


# -- what an attack on recognition has made --------------------------------------------------------------------------------

MARKUP = b"<!doctype html><script>alert(1)</script>"
POSING = {
    # text that begins as the format that it is announced as, and is a script or a page
    "posing.webp": ("image/webp", b"RIFF/*aaWEBP*/=1;alert(1)"),
    "posing.heic": ("image/heic", b"<!--ftypheic--><script>alert(1)</script>"),
    "posing.mp4": ("video/mp4", b"/*aaftypisom*/alert(1)"),
    "posing.aiff": ("audio/aiff", b"FORM/*aaAIFF*/=1;alert(1)"),
    "posing.amr": ("audio/amr", b"#!AMR\n" + MARKUP),
    "posing.djvu": ("image/vnd.djvu", b"AT&TFORM" + MARKUP),
    "posing.pbm": ("image/x-portable-bitmap", b"P1 1 1 " + MARKUP),
    "posing.pam": ("image/x-portable-arbitrarymap", b"P7\nWIDTH 1\nDEPTH 1\n# " + MARKUP + b"\nENDHDR\n"),
    "posing.bmp": ("image/bmp", b"BM25=1;alert(1)" + MARKUP),
    "posing.png": ("image/png", MARKUP),
    "posing.dv": ("video/dv", b"\x1f\x07\0" + MARKUP),
    "posing.h264": ("video/h264", b"\0\0\0\1" + MARKUP),
    "posing.w64": ("audio/x-w64", b"riff.=1;alert(1)//" + MARKUP),
    "posing.latm": ("audio/x-loas", b"V\xe0 la plage" + MARKUP),
    "script-before.pdf": ("application/pdf", b"alert(1)//%PDF-1.7\n"),
    "shell-before.pdf": ("application/pdf", b"#!/bin/sh\n%PDF-1.7\n"),
    "page-before.pdf": ("application/pdf", MARKUP + b"%PDF-1.7\n"),
    "nul-and-script-before.pdf": ("application/pdf", b"/*\0*/alert(1)//%PDF-1.7\n"),
}
CALLED = ("application/vnd.ms-excel", "text/csv", "text/plain", "application/csv", "text/x-csv", "application/octet-stream", "")


def attacked() -> None:
    """Make what an attack on recognition has made: text posing as media, text and containers that few programs make."""
    python = f"Python {sys.version.split()[0]}"
    for name, (announced, data) in POSING.items():
        add(name, f"{python}, by hand", "application/octet-stream", data, announced, poses=True)
    pdf = (FILES / "page.pdf").read_bytes()
    add("mail-before.pdf", f"{python}, a header before it", "application/pdf", b"Content-Type: application/pdf\r\n\r\n" + pdf)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    add("scripted.svg", f"{python}, by hand", "image/svg+xml", svg)
    add("scripted-utf-16.svg", f"{python}, by hand", "image/svg+xml", svg.decode().encode("utf-16"))
    for number, announced in enumerate(CALLED):
        text = f"name,size\r\nMüller,{number}\r\n"
        add(f"called-{number}.csv", python, "text/csv", text.encode("cp1252" if number % 2 else "utf-8-sig"), announced)
    text = "name;size\r\nMüller;1\r\nGrüße;2\r\n"
    for order in ("le", "be"):
        for number, announced in enumerate(CALLED[:3]):
            add(f"utf-16-{order}-{number}.csv", f"{python}, no BOM", "text/csv", text.encode(f"utf-16-{order}"), announced)
    add("utf-16.txt", f"{python}, no BOM", "text/plain", text.encode("utf-16-le"))
    rare_films()
    long_archives(python)


def rare_films() -> None:
    """Make sound and films that browsers do not show, of which cameras and recorders make some."""
    program = version_of("ffmpeg", "-version")
    h264, aac = ("-c:v", "libx264", "-pix_fmt", "yuv420p"), ("-c:a", "aac", "-b:a", "32k")
    dv = ("-c:v", "dvvideo", "-f", "dv", "-frames:v", "1")
    pal, ntsc = ("-s", "720x576", "-r", "25", "-pix_fmt", "yuv420p"), ("-s", "720x480", "-r", "30000/1001", "-pix_fmt", "yuv411p")
    for name, kind, announced, inputs, more in (
        ("sound-only.mov", "audio/quicktime", "video/quicktime", SOUND, aac),
        ("sound-only.asf", "audio/x-ms-wma", "video/x-ms-asf", SOUND, ("-c:a", "wmav2")),
        ("film.asf", "video/x-ms-wmv", "video/x-ms-asf", PICTURE + SOUND, ("-c:v", "wmv2", "-c:a", "wmav2", "-shortest")),
        ("sound.latm", "audio/x-loas", "", SOUND, (*aac, "-f", "latm")),
        ("sound.w64", "audio/x-w64", "", SOUND, ("-ar", "8000")),
        ("film.h264", "video/h264", "", PICTURE, h264),
        ("film-delimited.264", "video/h264", "", PICTURE, (*h264, "-bsf:v", "h264_metadata=aud=insert", "-f", "h264")),
        ("film.h265", "video/h265", "", PICTURE, ("-c:v", "libx265", "-x265-params", "log-level=none", "-f", "hevc")),
        ("film-pal.dv", "video/dv", "video/dv", PICTURE, (*pal, *dv)),
        ("film-ntsc.dv", "video/dv", "video/dv", PICTURE, (*ntsc, *dv)),
    ):
        target = WORK / name
        run("ffmpeg", "-y", "-loglevel", "error", *inputs, *more, target)
        cut = name.endswith(".dv")  # a picture has 120 kB and more
        add(name, f"{program}, cut off" if cut else program, kind, target.read_bytes()[:8192] if cut else target, announced)

    from PIL import Image

    image = Image.linear_gradient("L").resize((60, 40)).convert("RGB")
    for name, options in (("picture.tga", {}), ("picture-packed.tga", {"compression": "tga_rle"})):
        target = WORK / name
        image.save(target, "TGA", **options)
        add(name, f"Pillow {version('pillow')}", "application/octet-stream", target, "image/x-tga")


def long_archives(python: str) -> None:
    """Make ZIPs of more than 5 MiB whose first member has most of it, from a file and from a pipe."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.written = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: Any) -> int:
            self.written += data
            return len(data)

    for name, kind, members in (("large-member", "application/zip", {}), ("large-picture", DOCX, zip_members("document.docx"))):
        for way, target in (("", io.BytesIO()), ("-streamed", Pipe())):
            with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("word/media/image1.bmp", bytes(6 << 20), zipfile.ZIP_STORED)
                for member, data in members.items():
                    archive.writestr(member, data)
            written = bytes(target.written) if isinstance(target, Pipe) else target.getvalue()
            add(f"{name}{way}.{'docx' if members else 'zip'}", python, kind, written, packed=True)


def zip_members(name: str) -> dict[str, bytes]:
    """Return the members of a ZIP of the corpus."""
    with zipfile.ZipFile(FILES / name) as archive:
        return {member: archive.read(member) for member in archive.namelist()}


GROUPS: tuple[Callable[[], None], ...] = (
    pictures, magick, fonts, documents, films, sox, archives, libreoffice, browser, attacked,
)  # fmt: skip


def kept_at(row: dict[str, Any]) -> Path:
    """Return where a file is kept."""
    return FILES / (f"{row['name']}.gz" if row.get("packed") else row["name"])


def main() -> None:
    """Make what can be made, and keep of the manifest what could not."""
    FILES.mkdir(exist_ok=True)
    known = HERE / "manifest.json"
    if known.exists():
        ROWS.update({row["name"]: {**row, "matches": matching(row["type"])} for row in json.loads(known.read_text("utf-8"))})
    wanted = set(sys.argv[1:])
    for group in GROUPS:
        if not wanted or group.__name__ in wanted:
            try:
                group()
            except Exception:  # noqa: BLE001 - a program that is not installed
                traceback.print_exc()
    rows = [ROWS[name] for name in sorted(ROWS) if kept_at(ROWS[name]).exists()]
    known.write_text("[\n" + ",\n".join(f"  {json.dumps(row, ensure_ascii=False)}" for row in rows) + "\n]\n", "utf-8")
    size = sum(kept_at(row).stat().st_size for row in rows)
    print(f"{len(rows)} files of {len({row['type'] for row in rows})} types, {size:,} bytes")
    shutil.rmtree(WORK, ignore_errors=True)


if __name__ == "__main__":
    main()

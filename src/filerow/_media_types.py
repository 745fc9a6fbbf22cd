"""The names of media types: canonical names, aliases, families, extensions.

Rules, claims, serving and the public view ask this table, so that ``audio/x-wav`` is ``audio/wav`` for all of them. The
canonical name is the registered one, except where it is not used (``audio/wav``, ``image/x-icon``).
"""

from __future__ import annotations

import re
from functools import cache, lru_cache

from filerow._paths import safe_extension

OCTET_STREAM = "application/octet-stream"
SVG = "image/svg+xml"
CSV = "text/csv"
TSV = "text/tab-separated-values"
EXCEL = "application/vnd.ms-excel"
ENCRYPTED_OFFICE = "application/x-ooxml-protected"
"""A .docx, .xlsx or .pptx with a password, of which no name says which."""

_AN_EXTENSION = re.compile(r"(?<=.)\.[a-z0-9]{1,10}\Z")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}\Z")  # RFC 6838, section 4.2
LONGEST_TYPE = 512
"""Number of characters of a media type that are looked at."""

_OOXML = "application/vnd.openxmlformats-officedocument."
_DOCX, _XLSX, _PPTX = f"{_OOXML}wordprocessingml.document", f"{_OOXML}spreadsheetml.sheet", f"{_OOXML}presentationml.presentation"
_DOTX, _XLTX = f"{_OOXML}wordprocessingml.template", f"{_OOXML}spreadsheetml.template"
_POTX, _PPSX = f"{_OOXML}presentationml.template", f"{_OOXML}presentationml.slideshow"
_ODF = "application/vnd.oasis.opendocument."
_DOCM, _DOTM = "application/vnd.ms-word.document.macroenabled.12", "application/vnd.ms-word.template.macroenabled.12"
_XLSM, _XLTM = "application/vnd.ms-excel.sheet.macroenabled.12", "application/vnd.ms-excel.template.macroenabled.12"
_XLSB, _XLAM = "application/vnd.ms-excel.sheet.binary.macroenabled.12", "application/vnd.ms-excel.addin.macroenabled.12"
_PPTM = "application/vnd.ms-powerpoint.presentation.macroenabled.12"
_POTM = "application/vnd.ms-powerpoint.template.macroenabled.12"
_PPSM = "application/vnd.ms-powerpoint.slideshow.macroenabled.12"

# Canonical name: its aliases. `canonical` knows an "x-" before any of these names without a line here.
_ALIASES: dict[str, str] = {
    # images
    "image/gif": "",
    "image/avif": "image/avif-sequence",
    "image/jpeg": "image/jpg image/pjpeg image/pipeg image/jfif image/x-citrix-jpeg",
    "image/png": "image/x-png image/x-citrix-png",
    "image/apng": "image/vnd.mozilla.apng",
    "image/bmp": "image/x-bmp image/x-ms-bmp image/x-windows-bmp",
    "image/tiff": "image/tif image/x-tif image/x-tiff",
    "image/x-icon": "image/vnd.microsoft.icon image/ico image/icon application/ico",
    "image/vnd.adobe.photoshop": "image/psd image/x-psd image/photoshop application/x-photoshop application/photoshop",
    "image/jp2": "image/jpeg2000 image/jpeg2000-image image/x-jpeg2000-image",
    "image/vnd.ms-photo": "image/jxr",
    "image/vnd.dwg": "image/x-dwg application/acad application/x-acad application/dwg application/x-dwg",
    "image/vnd.djvu": "image/x-djvu image/djvu image/vnd.djvu+multipage",
    "image/vnd-ms.dds": "image/x-dds image/vnd.ms-dds",
    "image/x-exr": "image/aces image/exr",
    "image/x-canon-cr2": "image/x-dcraw image/cr2",
    "image/x-canon-cr3": "image/cr3",
    "image/x-adobe-dng": "image/dng",
    "image/x-nikon-nef": "image/nef",
    "image/x-sony-arw": "image/arw",
    "image/x-pentax-pef": "image/pef",
    "image/x-sun-raster": "image/x-cmu-raster",
    "image/wmf": "image/x-wmf application/x-msmetafile application/wmf",
    "image/emf": "image/x-emf application/x-emf application/emf",
    "image/x-portable-bitmap": "image/pbm",
    "image/x-portable-graymap": "image/pgm",
    "image/x-portable-pixmap": "image/ppm",
    "image/x-portable-anymap": "image/pnm",
    "image/x-pcx": "image/vnd.zbrush.pcx image/pcx",
    "image/icns": "image/x-icns",
    SVG: "image/svg",
    # sound and films
    "audio/wav": "audio/x-wav audio/wave audio/vnd.wave audio/x-pn-wav",
    "audio/flac": "audio/x-flac",
    "audio/mpeg": "audio/mp3 audio/x-mp3 audio/x-mpeg audio/mpeg3 audio/x-mpeg-3 audio/mpg audio/mp2",
    "audio/mp4": "audio/x-m4a audio/m4a audio/mp4a-latm audio/x-mp4 audio/m4b audio/m4p audio/m4r",
    "audio/aac": "audio/x-aac audio/aacp audio/x-hx-aac-adts audio/vnd.dlna.adts",
    "audio/ogg": "audio/x-ogg audio/vorbis audio/x-vorbis audio/x-vorbis+ogg audio/opus audio/speex audio/x-speex "
    "audio/x-opus+ogg audio/x-flac+ogg audio/x-speex+ogg",
    "audio/aiff": "audio/x-aiff audio/aifc",
    "audio/midi": "audio/mid audio/x-midi application/x-midi audio/x-mid audio/sp-midi",
    "audio/amr": "audio/x-amr audio/amr-nb",
    "audio/basic": "audio/au audio/x-au audio/snd",
    "audio/x-caf": "audio/caf",
    "audio/x-ape": "audio/ape audio/x-monkeys-audio",
    "audio/x-wavpack": "audio/wavpack",
    "audio/vnd.dolby.dd-raw": "audio/ac3 audio/x-ac3",
    "audio/x-ms-wma": "audio/wma",
    "audio/matroska": "audio/x-matroska audio/mka",
    "audio/x-w64": "audio/w64",
    "audio/x-loas": "audio/loas audio/latm audio/x-latm",
    "audio/3gpp": "audio/3gp",
    "audio/3gpp2": "audio/3g2",
    "video/mp4": "video/x-m4v video/m4v video/x-mp4 video/mpeg4 application/mp4",
    "video/quicktime": "video/mov video/x-quicktime",
    "video/matroska": "video/x-matroska video/mkv",
    "video/x-msvideo": "video/avi video/msvideo video/vnd.avi video/x-avi",
    "video/x-ms-wmv": "video/wmv",
    "video/x-ms-asf": "application/vnd.ms-asf video/asf",
    "video/x-flv": "video/flv",
    "video/mpeg": "video/x-mpeg video/mpg video/mp1s video/mp2p video/x-mpeg2 video/mpeg2",
    "video/mp2t": "video/vnd.dlna.mpeg-tts video/m2ts video/mpeg-ts video/x-mpegts",
    "video/ogg": "video/x-ogg video/theora video/x-theora video/x-theora+ogg",
    "video/dv": "",
    "video/h264": "video/avc",
    "video/h265": "video/hevc",
    "video/3gpp": "video/3gp",
    "video/3gpp2": "video/3g2",
    # fonts
    "font/woff": "application/font-woff application/x-font-woff font/x-woff",
    "font/woff2": "application/font-woff2 application/x-font-woff2",
    "font/ttf": "application/x-font-ttf application/font-ttf font/truetype application/x-font-truetype font/x-ttf",
    "font/otf": "application/x-font-otf application/font-otf font/opentype application/x-font-opentype "
    "application/vnd.ms-opentype",
    "font/sfnt": "application/font-sfnt",
    "font/collection": "application/x-font-ttc font/ttc",
    # documents
    "application/pdf": "application/x-pdf application/acrobat applications/vnd.pdf text/pdf text/x-pdf "
    "application/wps-office.pdf",
    "application/rtf": "text/rtf text/richtext application/x-rtf",
    "application/postscript": "application/eps application/x-eps image/eps image/x-eps",
    "application/msword": "application/doc application/x-msword application/vnd.msword application/word application/ms-word "
    "application/kswps application/wps-office.doc",
    EXCEL: "application/msexcel application/x-msexcel application/x-excel application/xls application/x-xls application/excel "
    "application/ms-excel application/vnd.excel application/vnd.msexcel application/kset application/wps-office.xls",
    # WPS Office's own names
    _DOCX: "application/wps-office.docx",
    _XLSX: "application/wps-office.xlsx",
    _PPTX: "application/wps-office.pptx",
    "application/vnd.ms-powerpoint": "application/mspowerpoint application/powerpoint application/x-mspowerpoint "
    "application/ms-powerpoint application/vnd.powerpoint application/vnd.mspowerpoint application/ppt application/x-ppt "
    "application/kswpp application/wps-office.ppt",
    # archives
    "application/zip": "application/x-zip application/x-zip-compressed application/zip-compressed multipart/x-zip",
    "application/gzip": "application/x-gzip application/gz application/x-gz application/gzip-compressed application/x-gunzip "
    "application/tgz application/x-tgz application/x-compressed-tar application/x-gtar-compressed",
    "application/x-7z-compressed": "application/7z application/x-7zip application/x-7z",
    "application/vnd.rar": "application/x-rar application/x-rar-compressed application/rar",
    "application/x-tar": "application/tar application/x-gtar application/x-ustar",
    "application/x-bzip2": "application/x-bzip application/bzip2 application/x-bz2 application/x-bzip-compressed-tar "
    "application/x-bzip2-compressed-tar",
    "application/x-xz": "application/xz application/x-xz-compressed-tar",
    "application/zstd": "application/x-zstd application/x-zstd-compressed application/x-zstd-compressed-tar",
    "application/x-lz4": "application/lz4 application/x-lz4-compressed-tar",
    "application/x-lzip": "application/lzip application/x-lzip-compressed-tar",
    "application/x-unix-archive": "application/x-archive",
    "application/vnd.ms-cab-compressed": "application/x-cab application/x-cab-compressed application/x-ms-cab",
    "application/vnd.debian.binary-package": "application/x-deb application/x-debian-package application/debian-package",
    "application/x-rpm": "application/x-redhat-package-manager application/x-rpm-package",
    "application/java-archive": "application/x-java-archive application/x-jar application/jar",
    "application/x-iso9660-image": "application/x-cd-image application/vnd.efi.iso",
    OCTET_STREAM: "binary/octet-stream application/x-octet-stream application/unknown application/x-download "
    "application/download application/force-download application/x-force-download",
    "application/x-apple-diskimage": "application/x-diskcopy",
    # the rest
    "application/vnd.microsoft.portable-executable": "application/x-msdownload application/x-dosexec application/x-exe "
    "application/x-ms-dos-executable application/exe application/dos-exe application/x-winexe application/x-msdos-program",
    "application/vnd.sqlite3": "application/x-sqlite3 application/sqlite3 application/sqlite application/x-sqlite",
    "application/x-executable": "application/x-elf application/x-sharedlib application/x-pie-executable application/x-object",
    "application/java-vm": "application/x-java-applet application/x-java-class application/x-java",
    "application/vnd.apache.parquet": "application/x-parquet application/parquet",
    "application/x-hdf5": "application/x-hdf application/vnd.hdf5 application/hdf5",
    "application/fits": "image/fits",
    "application/x-shockwave-flash": "application/vnd.adobe.flash.movie",
    "application/x-ole-storage": "application/x-cfb application/cdfv2 application/cdfv2-corrupt application/x-cdf",
    "application/wasm": "application/x-wasm",
    "application/x-msaccess": "application/msaccess application/vnd.ms-access",
    "application/onenote": "application/msonenote",
    "application/x-mobipocket-ebook": "application/vnd.amazon.mobi8-ebook application/vnd.amazon.ebook",
    "application/vnd.rn-realmedia": "application/vnd.rn-realmedia-vbr",
    "application/vnd.apple.pages": "application/x-iwork-pages-sffpages",
    "application/vnd.apple.numbers": "application/x-iwork-numbers-sffnumbers",
    "application/vnd.apple.keynote": "application/x-iwork-keynote-sffkey",
    "application/vnd.oasis.opendocument.base": "application/vnd.oasis.opendocument.database",
    # types that no first bytes prove
    TSV: "text/tsv application/tsv",
    CSV: "text/x-csv application/csv application/x-csv text/comma-separated-values text/x-comma-separated-values",
    "text/xml": "application/xml",
    "text/javascript": "application/javascript application/x-javascript text/x-javascript application/ecmascript text/ecmascript",
    "text/markdown": "text/x-markdown text/x-web-markdown",
    "text/vcard": "text/x-vcard",
    "application/json": "application/x-json text/json",
    "text/html": "",
    "text/css": "",
    "text/plain": "",
    "application/yaml": "application/x-yaml text/yaml text/x-yaml",
    "application/toml": "application/x-toml text/toml text/x-toml",
    "application/sql": "application/x-sql text/sql text/x-sql",
    "application/x-ndjson": "application/ndjson application/jsonl application/jsonlines application/json-lines text/jsonl",
    "application/x-subrip": "application/srt text/srt text/x-srt",
    "text/x-ssa": "text/x-ass",
    "application/x-tex": "text/x-tex text/tex",
    "text/x-rst": "text/prs.fallenstein.rst text/rst",
    "text/x-diff": "text/diff text/x-patch text/patch",
    "application/x-pkcs12": "application/pkcs12",
    "model/stl": "application/sla application/vnd.ms-pki.stl application/stl",
    "model/step": "application/step",
    "model/iges": "application/iges",
}
_CANONICAL = {alias: name for name, aliases in _ALIASES.items() for alias in aliases.split()}

_EXTENSIONS: dict[str, str] = {
    # What `mimetypes` does not know, or knows otherwise on each machine.
    ".264": "video/h264", ".265": "video/h265", ".w64": "audio/x-w64",
    ".3g2": "video/3gpp2", ".3gp": "video/3gpp", ".7z": "application/x-7z-compressed", ".8svx": "audio/x-8svx",
    ".a": "application/x-unix-archive", ".aac": "audio/aac", ".ac3": "audio/vnd.dolby.dd-raw", ".amr": "audio/amr",
    ".ape": "audio/x-ape", ".apk": "application/vnd.android.package-archive", ".avif": "image/avif", ".awb": "audio/amr-wb",
    ".caf": "audio/x-caf", ".cr2": "image/x-canon-cr2", ".cr3": "image/x-canon-cr3", ".csv": CSV, ".cur": "image/x-win-bitmap",
    ".dds": "image/vnd-ms.dds", ".djvu": "image/vnd.djvu", ".dng": "image/x-adobe-dng", ".docm": _DOCM, ".docx": _DOCX,
    ".dotm": _DOTM, ".dotx": _DOTX, ".dsf": "audio/x-dsf", ".dv": "video/dv", ".eac3": "audio/eac3", ".emf": "image/emf",
    ".epub": "application/epub+zip", ".exr": "image/x-exr", ".flac": "audio/flac", ".heic": "image/heic", ".heif": "image/heif",
    ".h264": "video/h264", ".h265": "video/h265", ".hevc": "video/h265", ".latm": "audio/x-loas", ".loas": "audio/x-loas",
    ".geojson": "application/geo+json", ".ics": "text/calendar", ".json": "application/json", ".log": "text/plain",
    ".icns": "image/icns", ".ivf": "video/x-ivf", ".j2k": "image/x-jp2-codestream", ".jar": "application/java-archive",
    ".jp2": "image/jp2", ".jpx": "image/jpx", ".jxl": "image/jxl", ".jxr": "image/vnd.ms-photo", ".m2ts": "video/mp2t",
    ".m4a": "audio/mp4", ".m4b": "audio/mp4", ".m4v": "video/mp4",
    ".markdown": "text/markdown", ".md": "text/markdown", ".mka": "audio/matroska",
    ".mkv": "video/matroska", ".mov": "video/quicktime", ".mts": "video/mp2t",
    ".qta": "audio/quicktime", ".oga": "audio/ogg", ".ogg": "audio/ogg",
    ".ogv": "video/ogg", ".opus": "audio/ogg", ".otf": "font/otf", ".pam": "image/x-portable-arbitrarymap",
    ".pcx": "image/x-pcx", ".potm": _POTM, ".potx": _POTX, ".ppsm": _PPSM, ".ppsx": _PPSX, ".pptm": _PPTM, ".pptx": _PPTX,
    ".psd": "image/vnd.adobe.photoshop", ".qoi": "image/qoi", ".rar": "application/vnd.rar", ".rtf": "application/rtf",
    ".sgi": "image/x-sgi", ".sun": "image/x-sun-raster", ".tta": "audio/x-tta", ".tab": TSV, ".tsv": TSV, ".txt": "text/plain",
    ".vcf": "text/vcard", ".vtt": "text/vtt", ".ttc": "font/collection", ".ttf": "font/ttf",
    ".vob": "video/mpeg", ".voc": "audio/x-voc", ".weba": "audio/webm", ".webm": "video/webm", ".webp": "image/webp",
    ".wma": "audio/x-ms-wma", ".wmf": "image/wmf", ".wmv": "video/x-ms-wmv", ".woff": "font/woff", ".woff2": "font/woff2",
    ".wv": "audio/x-wavpack", ".xcf": "image/x-xcf", ".xlam": _XLAM, ".xlsb": _XLSB, ".xlsm": _XLSM, ".xlsx": _XLSX,
    ".xltm": _XLTM, ".xltx": _XLTX, ".yaml": "application/yaml", ".yml": "application/yaml", ".zst": "application/zstd",
    ".aif": "audio/aiff", ".aifc": "audio/aiff", ".aiff": "audio/aiff", ".arrow": "application/vnd.apache.arrow.file",
    ".avro": "application/vnd.apache.avro", ".bz2": "application/x-bzip2", ".cab": "application/vnd.ms-cab-compressed",
    ".class": "application/java-vm", ".dcm": "application/dicom", ".deb": "application/vnd.debian.binary-package",
    ".doc": "application/msword", ".eot": "application/vnd.ms-fontobject",
    ".exe": "application/vnd.microsoft.portable-executable", ".jpe": "image/jpeg", ".mpe": "video/mpeg", ".qt": "video/quicktime",
    ".glb": "model/gltf-binary", ".gz": "application/gzip", ".h5": "application/x-hdf5", ".hdf5": "application/x-hdf5",
    ".kmz": "application/vnd.google-earth.kmz", ".ktx": "image/ktx", ".ktx2": "image/ktx2",
    ".mobi": "application/x-mobipocket-ebook", ".mpp": "application/vnd.ms-project", ".msg": "application/vnd.ms-outlook",
    ".nc": "application/x-netcdf", ".npy": "application/x-npy", ".odg": _ODF + "graphics", ".odp": _ODF + "presentation",
    ".ods": _ODF + "spreadsheet", ".odt": _ODF + "text", ".otg": _ODF + "graphics-template",
    ".otp": _ODF + "presentation-template", ".ots": _ODF + "spreadsheet-template", ".ott": _ODF + "text-template",
    ".parquet": "application/vnd.apache.parquet", ".pcap": "application/vnd.tcpdump.pcap",
    ".pps": "application/vnd.ms-powerpoint", ".ppt": "application/vnd.ms-powerpoint", ".xlt": EXCEL,
    ".ps": "application/postscript", ".rpm": "application/x-rpm", ".sqlite": "application/vnd.sqlite3",
    ".sqlite3": "application/vnd.sqlite3", ".swf": "application/x-shockwave-flash", ".tar": "application/x-tar",
    ".usdz": "model/vnd.usdz+zip", ".vsd": "application/vnd.visio", ".wasm": "application/wasm", ".xls": EXCEL,
    ".xz": "application/x-xz", ".zip": "application/zip",
    # text, and other files that no bytes prove
    ".ass": "text/x-ssa", ".atom": "application/atom+xml", ".bib": "text/x-bibtex", ".cfg": "text/plain", ".conf": "text/plain",
    ".css": "text/css", ".diff": "text/x-diff", ".eml": "message/rfc822", ".gltf": "model/gltf+json",
    ".gpx": "application/gpx+xml", ".htm": "text/html", ".html": "text/html", ".iges": "model/iges", ".igs": "model/iges",
    ".ini": "text/plain",
    ".ipynb": "application/x-ipynb+json", ".iso": "application/x-iso9660-image", ".js": "text/javascript",
    ".json5": "application/json5", ".jsonl": "application/x-ndjson", ".jsonld": "application/ld+json",
    ".key": "application/vnd.apple.keynote", ".numbers": "application/vnd.apple.numbers", ".pages": "application/vnd.apple.pages",
    ".kml": "application/vnd.google-earth.kml+xml", ".lzma": "application/x-lzma",
    ".m3u8": "application/vnd.apple.mpegurl", ".mbox": "application/mbox",
    ".mjs": "text/javascript", ".mtl": "model/mtl", ".ndjson": "application/x-ndjson", ".obj": "model/obj",
    ".p12": "application/x-pkcs12", ".p7m": "application/pkcs7-mime", ".p7s": "application/pkcs7-signature",
    ".patch": "text/x-diff", ".pfx": "application/x-pkcs12", ".py": "text/x-python", ".rss": "application/rss+xml",
    ".rst": "text/x-rst", ".sql": "application/sql", ".srt": "application/x-subrip", ".ssa": "text/x-ssa", ".step": "model/step",
    ".stl": "model/stl", ".stp": "model/step", ".tex": "application/x-tex", ".toml": "application/toml",
    ".torrent": "application/x-bittorrent", ".ts": "video/mp2t", ".xhtml": "application/xhtml+xml", ".xml": "text/xml",
}  # fmt: skip

_OLE = "application/x-ole-storage"
_IWORK = "application/x-iwork"
_WITH_MACROS = frozenset({_DOCM, _DOTM, _XLSM, _XLTM, _XLSB, _PPTM, _POTM, _PPSM})
REFINED: dict[str, frozenset[str]] = {
    ENCRYPTED_OFFICE: frozenset({_DOCX, _DOTX, _XLSX, _XLTX, _PPTX, _POTX, _PPSX}) | _WITH_MACROS,
    _DOCX: frozenset({_DOTX}),
    _XLSX: frozenset({_XLTX}),
    _PPTX: frozenset({_POTX, _PPSX}),
    _DOCM: frozenset({_DOTM}),
    _XLSM: frozenset({_XLTM, _XLAM}),
    _PPTM: frozenset({_POTM, _PPSM}),
    _OLE: frozenset({"application/vnd.visio", "application/vnd.ms-publisher", "application/vnd.ms-project"}),
    _IWORK: frozenset({"application/vnd.apple.pages", "application/vnd.apple.numbers", "application/vnd.apple.keynote"}),
    "application/x-hdf5": frozenset({"application/x-netcdf"}),
    "image/tiff": frozenset({"image/x-adobe-dng", "image/x-nikon-nef", "image/x-sony-arw", "image/x-pentax-pef"}),
}
"""By the type that the bytes prove: its subtypes that only a name or a claim distinguishes, none of them more dangerous."""

_OFFICE = frozenset({
    "application/msword", EXCEL, "application/vnd.ms-powerpoint", "application/rtf", CSV, _XLAM,
    "application/vnd.ms-visio.drawing",
    *REFINED, *REFINED[ENCRYPTED_OFFICE], *REFINED[_OLE],
}) - {"image/tiff", "application/x-hdf5", _IWORK}  # fmt: skip
_MP4 = (
    "audio/mp4",
    "audio/quicktime",
    "video/mp4",
    "video/quicktime",
    "audio/3gpp",
    "video/3gpp",
    "audio/3gpp2",
    "video/3gpp2",
    "audio/aac",
)
_LOOKED_INTO = (
    frozenset({"audio/webm", "video/webm", "audio/matroska", "video/matroska"}),
    frozenset(_MP4),
    frozenset({"audio/ogg", "video/ogg", "application/ogg"}),
    frozenset({"audio/x-ms-wma", "video/x-ms-wmv", "video/x-ms-asf"}),
    frozenset({"image/heic", "image/heif", "image/heic-sequence", "image/heif-sequence", "image/avif"}),
    frozenset({"image/png", "image/apng"}),
    frozenset({"audio/mpeg", "video/mpeg"}),
    frozenset({"application/x-netcdf", "application/x-hdf5"}),
    # extensions that Linux knows two types of
    frozenset({"font/otf", "application/vnd.oasis.opendocument.formula-template"}),
    frozenset({"audio/x-wavpack", "application/vnd.wv.csp+wbxml"}),
    frozenset({"image/jpx", "application/x-jbuilder-project"}),
    frozenset({"application/msword", "application/rtf"}),
)
"""Containers whose names say less than what is in them: browsers call them by their extensions."""

_FAMILIES = (
    *_LOOKED_INTO,
    _OFFICE,
    frozenset({"image/jp2", "image/jpx", "image/jpm"}),
    frozenset({"image/tiff", "image/x-canon-cr2", *REFINED["image/tiff"]}),
    frozenset({"image/x-icon", "image/x-win-bitmap"}),
    frozenset({"font/ttf", "font/otf", "font/sfnt", "font/collection", "font/woff", "font/woff2"}),
    frozenset({"application/java-archive", "application/vnd.android.package-archive", "application/x-xpinstall"}),
    # what browsers call TypeScript, and what Debian calls a film
    frozenset({"video/mp2t", OCTET_STREAM, "text/vnd.trolltech.linguist", "text/vnd.qt.linguist", "model/vnd.mts"}),
    frozenset({"application/pdf", "application/postscript"}),  # a drawing of Illustrator is either
    frozenset({"application/vnd.rn-realmedia", "audio/vnd.rn-realaudio", "audio/x-pn-realaudio", "video/vnd.rn-realvideo"}),
    frozenset({
        "image/x-portable-bitmap", "image/x-portable-graymap", "image/x-portable-pixmap", "image/x-portable-anymap",
        "image/x-portable-arbitrarymap",
    }),
)  # fmt: skip
_ZIP = "application/zip"
IN_ZIP = REFINED[ENCRYPTED_OFFICE] | {
    "application/vnd.ms-visio.drawing", "application/epub+zip", "application/java-archive",
    "application/vnd.android.package-archive", "application/vnd.google-earth.kmz", "image/openraster",
    "model/3mf", "model/vnd.usdz+zip", _IWORK, *REFINED[_IWORK],
    *(f"{_ODF}{kind}{template}" for kind in ("text", "spreadsheet", "presentation", "graphics")
      for template in ("", "-template")),
}  # fmt: skip
"""What browsers call a ZIP where no program for it is installed."""

_GENERIC = frozenset({"application/gzip", "application/zip", _OLE})
"""What the bytes of many application types prove to be."""

_ZIPPED = frozenset({SVG, "image/svg+xml-compressed"})
"""What browsers call a ``.svgz``."""

_TABLES = {".csv": CSV, ".tsv": TSV, ".tab": TSV}
_OF_TABLES = frozenset({EXCEL, "text/plain"})
"""What machines call them: where Excel is installed, or no program for them is."""

_VAGUE = frozenset({OCTET_STREAM, "application/x-compressed"})
"""What browsers say when they know no better: of archives on Windows, the second."""

# Types whose files start with a signature: claiming one without it is not believed.
_SIGNED = re.compile(
    r"^(image/|audio/|video/|font/|application/(pdf$|zip$|gzip$|x-7z|vnd\.rar$|rtf$|epub\+zip$|java-archive$|x-tar$|x-bzip2$|x-xz$|zstd$"
    r"|vnd\.apple\.(?:pages|numbers|keynote)$|vnd\.android\.package|vnd\.openxml|.*macroenabled\.12$|vnd\.oasis\.opendocument\.(?!.*flat)))"
)


def canonical(media_type: str) -> str:
    """Return the one name of a media type, given in lower case and bare.

    An ``x-`` before the name of a type that we know changes nothing: ``image/x-gif`` is ``image/gif``.
    """
    known = _CANONICAL.get(media_type)
    if known is None and "/x-" in media_type and media_type not in known_names():
        registered = media_type.replace("/x-", "/", 1)
        return _CANONICAL.get(registered, registered) if registered in known_names() else media_type
    return known or media_type


def bare_type(media_type: str | None) -> str:
    """Return a media type in lower case, without parameters; empty if invalid."""
    bare = (media_type or "")[:LONGEST_TYPE].partition(";")[0].strip().lower()
    return bare if _MEDIA_TYPE.match(bare) else ""


def essence(media_type: str | None) -> str:
    """Return the canonical name of a media type; an empty text if invalid."""
    return canonical(bare_type(media_type))


def claimed_type(claimed: str | None, filename: str) -> str:
    """Return the type that a client calls a file, or else its extension.

    Windows calls a ``.csv`` an Excel file where Excel is installed, other machines plain text; it is ``text/csv``. A ``.tsv`` may
    fare the same.
    """
    hint = essence(claimed)
    if not hint or hint in _VAGUE:
        extension = _AN_EXTENSION.search(filename[-12:].lower())
        found = known_extension(extension[0] if extension else "") or by_extension(safe_extension(filename))
        return hint if hint and found == OCTET_STREAM else found
    return _TABLES.get(safe_extension(filename), hint) if hint in _OF_TABLES else hint


@lru_cache(maxsize=256)
def by_extension(extension: str) -> str:
    """Return the type of an extension such as ``.png``, or the generic one."""
    import mimetypes  # not needed to import the package

    known = _EXTENSIONS.get(extension)
    return known or canonical(mimetypes.guess_type(f"file{extension}", strict=False)[0] or OCTET_STREAM)


def known_extension(extension: str) -> str | None:
    """Return the type that this table gives an extension, on every machine the same."""
    return _EXTENSIONS.get(extension)


def is_signed(media_type: str) -> bool:
    """Return True if all files of a type start with a signature."""
    return _SIGNED.match(media_type) is not None


def may_be_called(announced: str, actual: str) -> bool:
    """Return True if a file of one type may honestly be announced as another."""
    announced, actual = canonical(announced), canonical(actual)
    if announced in {actual, OCTET_STREAM} or (actual in _GENERIC and announced.startswith("application/")):
        return True
    if announced == _ZIP and (actual in IN_ZIP or actual.startswith(_ODF)):
        return True
    if actual == "application/gzip" and announced in _ZIPPED:
        return True
    return any(announced in family and actual in family for family in _FAMILIES)


def may_turn_out(announced: str) -> frozenset[str]:
    """Return what an honest upload of a type may turn out to be."""
    announced = canonical(announced)
    inside = IN_ZIP if announced == _ZIP else frozenset[str]()
    return inside.union({announced}, *(family for family in _LOOKED_INTO if announced in family))


@cache
def known_names() -> frozenset[str]:
    """Return every name of the table, aliases included."""
    return frozenset({*_ALIASES, *_CANONICAL, *_EXTENSIONS.values(), *(name for family in _FAMILIES for name in family)})

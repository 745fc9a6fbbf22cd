"""Name the data file, and the modules that are imported by name."""

from __future__ import annotations

from PyInstaller.utils.hooks import collect_data_files, collect_submodules  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

datas = collect_data_files("filerow", subdir="static")
# Backends are imported when a URL asks for one. Frameworks and extras are the program's to import.
hiddenimports = collect_submodules("filerow.backends", filter=lambda name: "fsspec" not in name and "cloudfront" not in name)

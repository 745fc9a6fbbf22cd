"""Marks the tables of a page, so that the style sheet can fit them to a telephone.

A column of short cells, such as yes and no, needs little room. A table with three columns of sentences or more does not fit at
all: there each row becomes a block, whose cells say which column they are.
"""

from __future__ import annotations

import html
import re

TABLE = re.compile(r'<table class="docutils .*?</table>', re.DOTALL)
ROW = re.compile(r"<tr\b.*?</tr>", re.DOTALL)
CELL = re.compile(r"<(?P<tag>t[dh])(?P<attributes>[^>]*)>(?P<content>.*?)</(?P=tag)>", re.DOTALL)
SHORT = 20
"""The most characters of a cell that needs little room."""
MOST_COLUMNS = 2
"""Of sentences, side by side on a telephone."""


def marked(body: str) -> str:
    """Return a page whose tables say how wide their columns are."""
    return TABLE.sub(lambda found: _marked(found[0]), body)


def _marked(table: str) -> str:
    head, *rows = [[_plain(cell["content"]) for cell in CELL.finditer(row)] for row in ROW.findall(table)]
    short = [all(len(row[column]) <= SHORT for row in rows) for column in range(len(head))]
    stacked = short.count(False) > MOST_COLUMNS
    if stacked:
        table = table.replace('<table class="docutils ', '<table class="docutils stacked ', 1)

    def cells(row: re.Match[str]) -> str:
        columns = iter(range(len(head)))
        return CELL.sub(lambda cell: _cell(cell, head, short, next(columns), stacked=stacked), row[0])

    return ROW.sub(cells, table)


def _cell(cell: re.Match[str], head: list[str], short: list[bool], column: int, *, stacked: bool) -> str:
    attributes = cell["attributes"]
    if stacked and cell["tag"] == "td" and column and head[column] and _plain(cell["content"]):
        attributes += f' data-column="{html.escape(head[column])}"'
    elif short[column] and not stacked:
        attributes = f'{attributes[:-1]} short"' if 'class="' in attributes else f'{attributes} class="short"'
    return f"<{cell['tag']}{attributes}>{cell['content']}</{cell['tag']}>"


def _plain(content: str) -> str:
    return html.unescape(" ".join(re.sub(r"<[^>]+>", "", content).split()))

"""One page that needs nothing but itself."""

import base64
import html
import re
from pathlib import Path

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse;font-size:12px;display:block;overflow-x:auto}
td,th{border:1px solid #ccc;padding:3px 6px;white-space:nowrap;text-align:left}
img{max-width:100%}"""


def write_page(tables: Path, figures: list[Path], path: Path) -> Path:
    """The figures, then the tables, in one HTML file without a link to anything."""
    pictures = "".join(
        f'<h2>{html.escape(figure.stem)}</h2><img alt="{html.escape(figure.stem)}" '
        f'src="data:image/png;base64,{base64.b64encode(figure.read_bytes()).decode()}">'
        for figure in figures
    )
    body = f"<h1>Forgetting, measured</h1>{pictures}{_html(tables.read_text())}"
    path.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Forgetting, measured</title>'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )
    return path


def _html(markdown: str) -> str:
    """Headings and tables, which is all that the tables' file has."""
    parts = []
    for block in markdown.strip().split("\n\n"):
        if block.startswith("## "):
            parts.append(f"<h2>{html.escape(block[3:])}</h2>")
            continue
        lines = [line.strip("| ").split(" | ") for line in block.splitlines()]
        cells = [[_cell(text) for text in line] for line in lines if set("".join(line)) - set("- ")]
        rows = "".join(f"<tr>{''.join(f'<td>{text}</td>' for text in line)}</tr>" for line in cells)
        parts.append(f"<table>{rows}</table>")
    return "".join(parts)


def _cell(text: str) -> str:
    return re.sub(r"\*\*(.*?)\*\*", r"<b>\1</b>", html.escape(text.strip()))

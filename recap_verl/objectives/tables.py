"""TEDS, the similarity of two tables by their tree edit distance (arXiv 1911.10683), of HTML, Markdown and charts.

Read as OCRBench v2 reads them (its repository's `eval_scripts/TEDS_metric.py`). Its edit distances come from the
package apted, which is not always minimal; ours are, so a score here is now and then a little higher.
"""

import ast
import re
from collections.abc import Iterator

import numpy as np
from lxml import etree, html
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from recap_verl.objectives.events import count_event
from recap_verl.objectives.tree_edit import Node, TreeTooLarge, tree_distance

_FENCED = re.compile(r"```(?:python|json)?\n(.*?)\n```", re.DOTALL | re.IGNORECASE)
_ASSIGNED = re.compile(r"\s*+\w++\s*+=\s*+")
_COMMENT = re.compile(r"#.*+")
_LONGEST_CHART = 20_000  # characters of a Python literal
_DEEPEST_CHART = 50  # brackets
# Tags inside a cell count as one character each, out of Unicode's private ones.
_PRIVATE_USE = range(0xE000, 0xF900)


def teds(given: str, truth: str) -> float:
    """1 - edit distance / number of nodes of the larger table, in [0, 1], of two HTML pages whose body is a table.

    A cell's change costs the normalised Levenshtein distance of its contents; a change of tag or span costs 1. Below 0
    is 0. Event `tree_too_large`, and 0, where the comparison would take more than about two seconds.
    """
    tables = [_table(page) for page in (given, truth)]
    if None in tables:
        return 0.0
    size = max(sum(1 for _ in table.iterdescendants()) for table in tables)
    try:
        tags: dict[str, str] = {}
        distance = tree_distance(*(_tree(table, tags) for table in tables), _cell_costs)
    except TreeTooLarge:
        count_event("tree_too_large")
        return 0.0
    except ValueError:  # a span that is no number
        return 0.0
    return max(0.0, 1 - distance / size) if size else 0.0


def html_table_score(answer: str, truth: str) -> float:
    """TEDS of an HTML table somewhere in an answer."""
    answer = answer.replace("\n", "")
    start = next((at for tag in ("<body", "<table") if (at := answer.find(tag)) >= 0), None)
    return 0.0 if start is None else teds(_page(answer[start:]), _page(truth))


def markdown_table_score(answer: str, truth: str) -> float:
    """TEDS of two Markdown tables, the line below the header left out."""
    return teds(_of_markdown(answer), _of_markdown(truth))


def chart_score(answer: str, truth: dict) -> float:
    """TEDS of two tables of keys and values; the answer holds a Python dictionary."""
    chart = _read_chart(answer)
    return teds(_of_chart(chart), _of_chart(truth)) if chart else 0.0


def _table(page: str):
    try:
        root = html.fromstring(page, parser=html.HTMLParser(remove_comments=True, remove_pis=True, encoding="utf-8"))
    except (etree.LxmlError, ValueError):  # nothing but white space, or characters that no page may have
        return None
    found = root.xpath("body/table")
    return found[0] if found else None


def _tree(element, tags: dict[str, str]) -> Node:
    """An element with all below it; `tags` collects the character of each tag that occurs inside a cell."""
    if element.tag != "td":
        return Node((element.tag, 1, 1, None), [_tree(child, tags) for child in element])
    spans = (int(element.get(name, "1")) for name in ("colspan", "rowspan"))
    return Node((element.tag, *spans, "".join(_contents(element, tags))))


def _contents(element, tags: dict[str, str]) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        yield _character(f"<{child.tag}>", tags)
        yield from _contents(child, tags)
        yield _character(f"</{child.tag}>", tags)
        yield child.tail or "" if child.tag != "td" else ""


def _character(tag: str, tags: dict[str, str]) -> str:
    # Beyond the private characters all tags are the same one.
    return tags.setdefault(tag, chr(_PRIVATE_USE[min(len(tags), len(_PRIVATE_USE) - 1)]))


def _cell_costs(first, second) -> np.ndarray:
    shapes = {label[:3]: index for index, label in enumerate([*first, *second])}
    kinds = [np.array([shapes[label[:3]] for label in labels]) for labels in (first, second)]
    texts = [[label[3] or "" for label in labels] for labels in (first, second)]
    changed = process.cdist(*texts, scorer=Levenshtein.normalized_distance, dtype=np.float64)
    return np.where(kinds[0][:, None] == kinds[1][None], changed, 1.0)


def _page(table: str) -> str:
    table = table.replace("\n", "")
    if "<table" not in table:
        table = f"<table>{table}"
    if "</table>" not in table:
        table = f"{table}</table>"
    if "<body>" not in table:
        table = f"<body>{table}</body>"
    return table if "<html>" in table else f"<html>{table}</html>"


def _of_markdown(text: str) -> str:
    lines = text.strip("`markdown").strip("`").strip().split("\n")
    rows = [line.strip().split("|")[1:-1] for line in [lines[0], *lines[2:]]]
    return _of_rows([[cell.strip() if set(cell) != {" "} else " " for cell in row] for row in rows])


def _of_chart(chart: dict) -> str:
    rows = []
    for key, value in chart.items():
        try:
            rows.append([str(key), " ".join(value if isinstance(value, str) else str(value))])
        except ValueError:  # an integer of thousands of digits
            rows.append([str(key), ""])
    return _of_rows(rows)


def _of_rows(rows: list[list[str]]) -> str:
    lines = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<html><body><table>{lines}</table></body></html>".replace("\n", "")


def _read_chart(text: str) -> dict:
    blocks = _FENCED.findall(text)
    text = (max(blocks, key=len) if blocks else text).strip()
    name = _ASSIGNED.match(text)
    text = _COMMENT.sub("", text[name.end() :] if name else text)
    end = text.rfind("}")
    text = text[: end + 1] if end >= 0 else text
    if len(text) > _LONGEST_CHART or _depth(text) > _DEEPEST_CHART:
        return {}
    try:
        # Literals alone: nothing is looked up or called.
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _depth(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest

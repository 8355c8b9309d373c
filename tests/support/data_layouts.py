"""The data sets and layouts that there are fixtures for."""

import ast
from collections.abc import Iterator
from pathlib import Path

FIXTURES = Path(__file__).parent.parent / "data_prep" / "fixtures"


def layouts() -> Iterator[tuple[str, str]]:
    """(data set, layout) of all fixtures: each public function of fixtures/<name>.py is a layout."""
    for file in sorted(FIXTURES.glob("*.py")):
        functions = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
        yield from ((file.stem, node.name) for node in functions if not node.name.startswith("_"))

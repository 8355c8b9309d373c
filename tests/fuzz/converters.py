"""Every converter on its fixtures' rows, with a text of anything in place of each text of the row.

A converter may refuse a row (`Skip`, or one of the errors that the conversion counts as one); anything else it raises
is a finding.
"""

import copy
import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

from data_prep.dataset import Dataset, Example, SourceRow, all_datasets
from data_prep.errors import Skip
from data_prep.source import open_source

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS / "support"))
from data_layouts import layouts  # noqa: E402

ROWS = 3
REFUSALS = (Skip, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def converter_targets() -> list[tuple[str, Callable[[str], None]]]:
    """(data set and layout, function of a text)."""
    kit = _load(TESTS / "data_prep" / "kit.py")
    return [
        (f"{name} {layout}", _target(all_datasets()[name.replace("_", "-")], list(_rows(kit, name, layout))))
        for name, layout in layouts()
    ]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fuzz_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _rows(kit: ModuleType, name: str, layout: str) -> Iterator[SourceRow]:
    dataset = all_datasets()[name.replace("_", "-")]
    with tempfile.TemporaryDirectory() as folder:
        made = getattr(_load(TESTS / "data_prep" / "fixtures" / f"{name}.py"), layout)(kit, Path(folder)) or {}
        split = next(iter(made.get("splits", dataset.splits)))
        source = open_source(dataset, split, str(made.get("source", folder)), images=made.get("images"))
        for row, _ in zip(source.rows(0), range(ROWS), strict=False):
            yield row


def _target(dataset: Dataset, rows: list[SourceRow]) -> Callable[[str], None]:
    places = [(row, place) for row in rows for place in _texts(row)]

    def run(text: str) -> None:
        # The text chooses the place: another for each input, the same for the same.
        row, place = places[sum(text.encode("utf-8", "surrogatepass")) % len(places)]
        row = copy.deepcopy(row)
        inner = row
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = text
        try:
            results = dataset.convert(row)
            for result in [results] if isinstance(results, Example | Skip) else results:
                assert isinstance(result, Example | Skip), f"{dataset.name} gave {result!r}"
        except REFUSALS:
            pass

    return run


def _texts(value: object, place: tuple = ()) -> Iterator[tuple]:
    """Where texts stand in a row."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, entry in entries:
        if isinstance(entry, str):
            yield (*place, key)
        else:
            yield from _texts(entry, (*place, key))

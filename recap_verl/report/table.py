"""The tables that a report prints."""

from rich.table import Table

from recap_verl.report.load import Metrics
from recap_verl.report.validation import Change

WEIGHT = "recap/weight/"


def change_table(changes: list[Change]) -> Table:
    """Data source, score before, score after, change."""
    table = Table(title="Validation scores")
    table.add_column("data source")
    for column in ("before", "after", "change"):
        table.add_column(column, justify="right")
    for change in changes:
        difference = "-" if change.before is None or change.after is None else f"{change.after - change.before:+.3f}"
        table.add_row(change.data_source, _score(change.before), _score(change.after), difference)
    return table


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def weight_table(metrics: Metrics) -> Table | None:
    """The last weight of each objective; None for a run without RECAP."""
    names = metrics.names(WEIGHT)
    if not names:
        return None
    table = Table(title="Final weights")
    table.add_column("objective")
    table.add_column("weight", justify="right")
    for name in names:
        table.add_row(name.removeprefix(WEIGHT), f"{metrics.last(name):.3f}")
    return table

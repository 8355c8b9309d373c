"""The toy problem in one command: python -m recap_verl.lab.toy --out DIR."""

import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from recap_verl.lab.toy import pareto
from recap_verl.lab.toy.cost import microseconds
from recap_verl.lab.toy.figure import write_figure
from recap_verl.lab.toy.methods import COMPARED, parse_methods
from recap_verl.lab.toy.problem import PROBLEMS, STARTS
from recap_verl.lab.toy.report import report
from recap_verl.lab.toy.runs import Runs
from recap_verl.lab.toy.study import run_methods


def main(
    out: Annotated[Path, typer.Option(help="Folder for toy.csv, toy.md and toy.png.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps of Adam.")] = 10_000,
    seeds: Annotated[int, typer.Option(min=1, help="Runs from each of the five starts.")] = 20,
    methods: Annotated[str, typer.Option(help="Names with commas between them; all where empty.")] = "",
    problem: Annotated[str, typer.Option(help="printed (as in the papers) or coded (as in the code before them).")] = (
        "printed"
    ),
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Run every method from the five starts, and write a table of runs, a report and a figure."""
    begin = time.perf_counter()
    if problem not in PROBLEMS:
        raise typer.BadParameter(f"--problem must be one of {', '.join(PROBLEMS)}, but is {problem!r}")
    try:
        names = parse_methods(methods)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)

    # Before the workers start: they would share the cores with the clock.
    cost = {name: microseconds(name) for name in names}
    front, runs = pareto.front(PROBLEMS[problem]), Runs(seeds)
    tables, drawn = [], []
    for outcome in run_methods(problem, names, runs, steps, front, workers):
        tables.append(outcome.table.assign(microseconds=cost[outcome.method]))
        if outcome.method in COMPARED:
            drawn.append(outcome)
        typer.echo(f"{outcome.method}: {time.perf_counter() - begin:.0f} s")
    table = pd.concat(tables, ignore_index=True)
    table.to_csv(out / "toy.csv", index=False, float_format="%.6g")
    facts = (
        f"Problem as {problem}, {steps:,} steps of Adam at 1e-2, {len(STARTS)} starts x {seeds} seeds; the front is "
        f"known to {pareto.resolution(front):.3f}."
    )
    text = report(table, cost, facts)
    (out / "toy.md").write_text(text, encoding="utf-8")
    if drawn:
        write_figure(PROBLEMS[problem], front, drawn, len(STARTS), out / "toy.png")
    typer.echo(text)
    typer.echo(f"{out}: toy.csv, toy.md, toy.png after {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    typer.run(main)

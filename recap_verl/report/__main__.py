"""Report of a finished or running training: python -m recap_verl.report RUN_DIR."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recap_verl.report.load import load_metrics
from recap_verl.report.plots import write_plots
from recap_verl.report.table import change_table, weight_table
from recap_verl.report.validation import changes


def main(run_dir: Annotated[Path, typer.Argument(help="Folder with the run's metrics.jsonl.")]) -> None:
    """Print the scores before and after and the final weights, and write RUN_DIR/report.png."""
    try:
        metrics = load_metrics(run_dir)
        rows = changes(metrics)
    except (FileNotFoundError, ValueError) as error:
        typer.echo(f"recap_verl.report: {error}", err=True)
        raise typer.Exit(1) from error

    console = Console()
    console.print(change_table(rows))
    weights = weight_table(metrics)
    if weights is not None:
        console.print(weights)
    if metrics.truncated_lines:
        console.print(f"{metrics.truncated_lines} unfinished last line left out (the run was interrupted)")
    picture = run_dir / "report.png"
    write_plots(metrics, picture)
    console.print(f"Curves: {picture}", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)

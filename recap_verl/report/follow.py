"""Progress of a run, read from its metrics file while another process writes it.

    python -m recap_verl.report.follow RUN_DIR --pid PID --steps N

ends when the process PID does. It shows one line a step: verl itself prints a thousand lines of configuration first.
"""

import json
import os
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

POLL_SECONDS = 0.5
METRICS = "metrics.jsonl"


def is_running(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    except OSError:
        # No /proc on this system.
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def complete_records(text: str) -> list[dict]:
    """The records of all finished lines; the last line may still be in the making."""
    return [json.loads(line) for line in text.split("\n")[:-1] if line]


def summary(record: dict) -> str:
    """One line: the mean of the rewards or the next-token loss by domain, and the spread of the weights."""
    data = record["data"]
    rewards: dict[str, list[float]] = {}
    for name, value in data.items():
        if name.startswith("recap/reward/"):
            rewards.setdefault(name.split("/")[2], []).append(value)
    parts = [f"{domain} {sum(values) / len(values):.2f}" for domain, values in rewards.items()]
    parts += [f"{name.split('/')[2]} nll {value:.2f}" for name, value in data.items() if name.startswith("recap/loss/")]
    weights = [value for name, value in data.items() if name.startswith("recap/weight/")]
    if weights:
        parts.append(f"weights {min(weights):.2f}-{max(weights):.2f}")
    if "timing_s/step" in data:
        parts.append(f"{data['timing_s/step']:.1f} s")
    return "  ".join(parts) if parts else "validation before training"


def main(
    run_dir: Annotated[Path, typer.Argument(help="Folder with the run's metrics.jsonl.")],
    pid: Annotated[int, typer.Option(help="Process to follow; the command ends with it.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps the run is going to take.")],
) -> None:
    """Show a progress bar and one line a step until the process ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("starting Ray and vLLM (a minute or two)", total=steps)
        shown = 0
        while True:
            running = is_running(pid)
            path = run_dir / METRICS
            records = complete_records(path.read_text()) if path.exists() else []
            for record in records[shown:]:
                progress.console.print(f"step {record['step']:>4}  {summary(record)}", highlight=False)
                progress.update(task, description="training", completed=record["step"])
            shown = len(records)
            if not running:
                return
            time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    typer.run(main)

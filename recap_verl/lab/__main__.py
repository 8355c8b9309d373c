"""python -m recap_verl.lab run | sweep | report | compare: the study of forgetting (docs/lab.md)."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError

from recap_verl.lab import results
from recap_verl.lab.arms import ARMS, find_arm
from recap_verl.lab.study import ENGINES, STUDIES
from recap_verl.lab.sweeps import SWEEPS

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)

Work = Annotated[Path, typer.Option(help="Folder of data, base and verl's runs.")]
Table = Annotated[Path, typer.Option(help="Table that results are appended to; runs it has are not run again.")]
Engine = Annotated[Literal[ENGINES], typer.Option(help="fast: plain torch; verl: verl's trainer with vLLM.")]
Seeds = Annotated[str, typer.Option(help="How many, from 0; or first:last.")]
Name = Annotated[Literal[tuple(STUDIES)], typer.Option("--study", help="What is trained.")]
Processes = Annotated[int, typer.Option(min=1, help="Runs of the fast engine side by side.")]
Options = Annotated[
    list[str] | None, typer.Option("--study-option", help="A field of Study, learning_rate=1e-3 or steps=50.")
]

WORK = Path(".lab")
TABLE = Path("docs/lab/results.csv")


@app.command()
def run(
    arms: Annotated[str, typer.Option(help="Names with commas between them.")] = ",".join(ARMS),
    seeds: Seeds = "1",
    engine: Engine = "fast",
    study: Name = "vl",
    work: Work = WORK,
    table: Table = TABLE,
    processes: Processes = 2,
    study_option: Options = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="A key of the section recap, scheduler.temperature=0.2.")
    ] = None,
) -> None:
    """Run arms with seeds, each from the base to the last step, and append what they logged to the table."""
    changes = OmegaConf.to_container(OmegaConf.from_dotlist(setting or []))
    names = [name.strip() for name in arms.split(",")]
    for name in names:
        _checked(find_arm, name)
    _run_all([(name, changes) for name in names], seeds, engine, study, work, table, processes, study_option)


@app.command()
def sweep(
    name: Annotated[Literal[tuple(SWEEPS)], typer.Argument(help="Which settings are tried.")],
    seeds: Seeds = "3",
    study: Name = "vl",
    work: Work = WORK,
    table: Table = TABLE,
    processes: Processes = 2,
    study_option: Options = None,
) -> None:
    """Run one setting after the other, by the fast engine."""
    _run_all(SWEEPS[name], seeds, "fast", study, work, table, processes, study_option)


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder of figures, tables and page.")] = Path("docs/lab"),
    table: Table = TABLE,
    study: Name = "vl",
) -> None:
    """Tables, figures and one page of everything in the table."""
    # matplotlib is slow to import and runs need none.
    from recap_verl.lab.report import write_report

    started = time.perf_counter()
    for path in _checked(write_report, table, out, study):
        print(path)
    print(f"{time.perf_counter() - started:.1f} s")


@app.command()
def compare(
    ours: Annotated[str, typer.Argument(help='An arm and what differs from it: "recap scheduler.temperature=0.2".')],
    theirs: Annotated[str, typer.Argument(help="What it is compared with, likewise.")],
    engine: Engine = "fast",
    table: Table = TABLE,
    study: Name = "vl",
) -> None:
    """Differences between two arms or variants over the bases and seeds that both have."""
    from recap_verl.lab.report import compare as compared

    print(_checked(compared, table, study, engine, ours, theirs))


def _checked(call, *arguments):
    """A mistake of the user's as one sentence."""
    try:
        return call(*arguments)
    except (ValueError, FileNotFoundError, ConfigKeyError) as error:
        raise typer.BadParameter(str(error)) from error


def _seeds(text: str) -> list[int]:
    first, colon, last = text.partition(":")
    try:
        return list(range(int(first), int(last))) if colon else list(range(int(first)))
    except ValueError:
        raise typer.BadParameter(f"--seeds is {text!r}: write a number, or first:last") from None


def _run_all(
    pairs: Sequence[tuple[str, Mapping[str, Any]]],
    seeds: str,
    engine: str,
    name: str,
    work: Path,
    table: Path,
    processes: int,
    options: list[str] | None,
) -> None:
    # Whoever draws the report need not wait for torch and transformers.
    from recap_verl.lab.laboratories import open_laboratory
    from recap_verl.lab.pool import run_pool
    from recap_verl.lab.run import Trial, run_key, write_self_replay

    study = STUDIES[name]
    changes = OmegaConf.to_container(OmegaConf.from_dotlist(options or []))
    if unknown := set(changes) - set(vars(study)):
        raise typer.BadParameter(f"--study-option {unknown.pop()}: choose among {', '.join(vars(study))}")
    own = {key: value for key, value in changes.items() if value != getattr(study, key)}
    study = _checked(lambda: replace(study, **own))
    # A seed at a time, so that pairs are complete early.
    trials = [Trial(arm, seed, settings, own) for seed in _seeds(seeds) for arm, settings in pairs]
    _checked(lambda: [trial.variant for trial in trials])
    laboratory = open_laboratory(name, work)
    done = results.finished(table)
    left = [trial for trial in trials if run_key(laboratory, trial, engine) not in done]
    print(f"{len(trials) - len(left)} of {len(trials)} runs are in {table}")
    if any(ARMS[trial.arm].self_replay for trial in left):
        write_self_replay(laboratory, study)
    try:
        run_pool(laboratory, left, study, engine, work, table, 1 if engine == "verl" else processes)
    except RuntimeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


if __name__ == "__main__":
    app()

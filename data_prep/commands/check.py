"""`python -m data_prep check FILE...`."""

from pathlib import Path
from typing import Annotated

import typer

from data_prep.check import KINDS, check_files
from data_prep.check.lengths import PromptLength
from data_prep.commands.ending import one_sentence_errors

FOUND = 1


def check_command(
    files: Annotated[list[Path], typer.Argument(help="Parquet files that a run would use together.")],
    tokenizer: Annotated[str | None, typer.Option(help="Folder of a tokenizer, to measure prompts.")] = None,
    max_prompt_length: Annotated[int | None, typer.Option(min=1, help="Tokens, as data.max_prompt_length.")] = None,
    max_pixels: Annotated[int | None, typer.Option(min=1, help="Limit of the run's image processor.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Kind of finding that is no failure.")] = None,
) -> None:
    """Find what would fail or vanish in training: broken rows, duplicates, evaluation data among the training data.

    Status 0 if nothing is found, 1 if something is, 2 if a file cannot be read.
    """
    if max_prompt_length and not tokenizer:
        raise typer.BadParameter("--max-prompt-length counts tokens: give --tokenizer too")
    if unknown := set(allow or ()) - set(KINDS):
        raise typer.BadParameter(f"--allow {unknown.pop()}: kinds are {', '.join(KINDS)}")
    with one_sentence_errors(resumes=False):
        length = PromptLength(tokenizer, max_pixels) if tokenizer else None
        report = check_files(files, length=length, max_prompt_length=max_prompt_length, allowed=frozenset(allow or ()))
        print(report)
    if not report.ok:
        raise typer.Exit(FOUND)

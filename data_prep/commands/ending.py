"""How a command ends: with what it did, or with one sentence and a status that tells scripts the same."""

import contextlib
import sys
from collections.abc import Iterator

import typer

from data_prep.errors import DataError

MISTAKE, INTERRUPTED = 2, 130


@contextlib.contextmanager
def one_sentence_errors() -> Iterator[None]:
    """Status 2 for what the user can mend, 130 for Ctrl-C; any other error is ours and keeps its traceback."""
    try:
        yield
    except (DataError, ModuleNotFoundError) as error:
        print(f"data_prep: {error}", file=sys.stderr)
        raise typer.Exit(MISTAKE) from error
    except KeyboardInterrupt:
        print("data_prep: interrupted; run the same command again, it goes on from here", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None

"""How a command ends: with what it did, or with one sentence and a status that tells scripts the same."""

import contextlib
import sys
from collections.abc import Iterator

import typer

from data_prep.errors import DataError

MISTAKE, INTERRUPTED = 2, 130


@contextlib.contextmanager
def one_sentence_errors(resumes: bool = True) -> Iterator[None]:
    """Status 2 for what the user can mend, 130 for Ctrl-C; any other error is ours and keeps its traceback.

    Args:
        resumes: whether the same command would go on from here.
    """
    try:
        yield
    except (DataError, ModuleNotFoundError) as error:
        print(f"data_prep: {error}", file=sys.stderr)
        raise typer.Exit(MISTAKE) from error
    except KeyboardInterrupt:
        again = "; run the same command again, it goes on from here" if resumes else ""
        print(f"data_prep: interrupted{again}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None

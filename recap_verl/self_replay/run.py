"""A run from prompts to file, with whatever answers the prompts handed in."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from recap_verl.self_replay.domain_file import Summary, domain_schema, read_provenance, write_domain
from recap_verl.self_replay.errors import SelfReplayError
from recap_verl.self_replay.parts import Answer, Parts
from recap_verl.self_replay.prompt_file import PromptFile
from recap_verl.self_replay.settings import Settings


class Rollout(Protocol):
    """Asks the model; rows are those of the prompt file."""

    def check(self, rows: range) -> None:
        """Raise SelfReplayError for a row that cannot be asked, before the engine starts."""

    def answer(self, rows: range) -> list[Answer]:
        """n answers to each row, in order; one without tokens where the prompt is too long."""


def replay(
    prompts: PromptFile,
    settings: Settings,
    out: Path,
    open_rollout: Callable[[], Rollout],
    report: Callable[[str], None] = print,
) -> Summary | None:
    """Answer what no earlier run has answered, then write `out`; None when `out` was there already.

    Args:
        open_rollout: called only if there is something left to ask.

    Raises SelfReplayError: see its places; an existing `out` of other settings is one.
    """
    folder = out.with_name(f"{out.name}.parts")
    if out.suffix != ".parquet":
        raise SelfReplayError(f"--out must end in .parquet, which verl goes by, but is {out}")
    if out.exists():
        _check_same(out, settings)
        return None
    domain_schema(prompts.schema, settings)
    parts = Parts(folder, settings.generation, prompts.rows)
    if parts.answered_rows:
        report(f"{parts.answered_rows} of {prompts.rows} prompts were answered before")
    if parts.answered_rows < prompts.rows:
        rollout = open_rollout()
        rollout.check(range(parts.answered_rows, prompts.rows))
        for rows in parts.missing():
            parts.write(rows, rollout.answer(rows))
            report(f"{rows.stop} of {prompts.rows} prompts answered")
    summary = write_domain(prompts, parts.answers(), settings, out)
    parts.remove()
    return summary


def _check_same(out: Path, settings: Settings) -> None:
    try:
        found = read_provenance(out)
    except (pa.ArrowInvalid, OSError) as error:
        raise SelfReplayError(f"{out} exists and is no parquet file: remove it or name another --out") from error
    if found is None:
        raise SelfReplayError(f"{out} exists and was not made by self-replay: name another --out")
    asked = settings.provenance()
    differing = [key for key in {**found, **asked} if found.get(key) != asked.get(key)]
    if differing:
        raise SelfReplayError(
            f"{out} exists and was made with other settings ({', '.join(sorted(differing))}): "
            f"remove it or name another --out"
        )

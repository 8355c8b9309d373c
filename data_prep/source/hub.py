"""Rows of a data set on the Hugging Face hub, streamed: nothing is stored on the way."""

import itertools
from collections.abc import Iterator
from pathlib import Path

from data_prep.dataset import SourceRow
from data_prep.errors import DataError

# Seconds. The hub's libraries ask a silent hub again and again, for many minutes, before they say so.
_PATIENCE = 20


class HubSource:
    """Rows of one split, configuration after configuration.

    Args:
        hub_id: `owner/name`; `datasets` takes a local folder too.
        configs: names of configurations; none means the default one.
        images: local folder that paths of images are relative to, for data sets that come without their pixels.
        rows_per_config: rows of each, at most.
    """

    # The hub refuses to open one that it does not have.
    missing: tuple[str, ...] = ()

    def __init__(
        self,
        hub_id: str,
        split: str,
        *,
        configs: tuple[str, ...] = (),
        revision: str | None = None,
        images: Path | None = None,
        rows_per_config: int | None = None,
    ):
        self.name = hub_id
        self.folders = (images,) if images else ()
        self.split = split
        self.configs = configs
        self.revision = revision
        self.rows_per_config = rows_per_config

    def fingerprint(self) -> list:
        return [self.name, self.split, list(self.configs), self.revision, self.rows_per_config]

    def count(self) -> int | None:
        """Not asked: a card's numbers are not always those of its files."""
        return None

    def rows(self, start: int = 0) -> Iterator[SourceRow]:
        parts = (itertools.islice(self._config_rows(config), self.rows_per_config) for config in self.configs or ("",))
        return itertools.islice(itertools.chain.from_iterable(parts), start, None)

    def _config_rows(self, config: str) -> Iterator[SourceRow]:
        # Heavy, and local sources need nothing of it.
        import datasets
        import httpx
        from datasets.exceptions import DatasetNotFoundError
        from huggingface_hub.utils.logging import set_verbosity_error

        # No data set here has sound, and where torchcodec cannot be loaded, looking for it ends the stream.
        datasets.config.TORCHCODEC_AVAILABLE = False
        # It tells of each of its attempts; the last one is told below.
        set_verbosity_error()
        asked = f"{self.name}{f' ({config})' if config else ''}, split {self.split}"
        try:
            _wait_for_hub()
            stream = datasets.load_dataset(
                self.name, config or None, split=self.split, revision=self.revision, streaming=True
            )
            # Encoded bytes as they are: decoding happens once, in the worker that checks them.
            for values in stream.decode(False):
                yield SourceRow({name: _fetched(value) for name, value in values.items()}, self.name, config)
        except DatasetNotFoundError as error:
            raise DataError(
                f"the hub knows no data set {self.name}, or not without a login (hf auth login): check --source"
            ) from error
        except (ConnectionError, TimeoutError, httpx.HTTPError) as error:
            raise DataError(
                f"the hub does not answer for {asked} ({_first_line(error)}): try again, it goes on from here, or give "
                f"a local copy with --source"
            ) from error
        except (ValueError, OSError) as error:
            raise DataError(f"{asked} cannot be read from the hub: {_first_line(error)}") from error


def _wait_for_hub() -> None:
    """Raise one of the errors above if there is no answer of any kind; offline, `datasets` looks into its cache."""
    from huggingface_hub import constants, get_session

    if not constants.is_offline_mode():
        get_session().head(constants.ENDPOINT, timeout=_PATIENCE)


def _fetched(value: object) -> object:
    """Images that lie beside the rows come as a path that only `datasets` can open."""
    if isinstance(value, list):
        return [_fetched(entry) for entry in value]
    if isinstance(value, dict) and value.keys() == {"bytes", "path"} and value["bytes"] is None and value["path"]:
        from datasets.utils.file_utils import xopen

        with xopen(value["path"], "rb") as file:
            return {"bytes": file.read(), "path": None}
    return value


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__

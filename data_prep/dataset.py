"""What a data set is to `data_prep`: facts about it, and how one source row becomes verl rows.

A file `data_prep/sets/<name>.py` holds one `DATASET = Dataset(...)`; that is all it takes to be listed, converted,
checked and put into the paper's settings. See the package's docstring for an example.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from data_prep.errors import DataError, Skip
from data_prep.prompts import FORMAT_OBJECTIVES
from data_prep.rows import SPLITS

ROLES = ("target", "general", "probe")
SETTINGS = ("rlvr_only", "hybrid")


class MissingColumn(Exception):
    """The source has no such column: it is another data set, or another copy of it."""


class SourceRow(dict):
    """A row as the source has it; asking for a column it lacks tells the user which ones there are.

    Attributes:
        source: hub id, or path of the local file or folder.
        config: name of the hub configuration or local folder it comes from, "" without one.
        file: name of the local file it comes from, "" on the hub.
    """

    def __init__(self, values: Mapping[str, Any], source: str = "", config: str = "", file: str = ""):
        super().__init__(values)
        self.source = source
        self.config = config
        self.file = file

    def __missing__(self, column: str) -> None:
        raise MissingColumn(column)

    def __reduce__(self):
        return SourceRow, (dict(self), self.source, self.config, self.file)


@dataclass
class Example:
    """One verl row, as far as a converter has to say.

    Attributes:
        text: the user's turn with one `<image>` for each image, without instructions how to answer.
        images: encoded bytes, `{"bytes", "path"}` structs, or paths in the source.
        answer: what counts as right, any JSON value.
        boxes: whether the answer is a box [x1, y1, x2, y2], or a list of them, in pixels of the first image as the
            source has it; it then follows the image when that is resized.
        unit_boxes: whether such a box is in shares of width and height instead.
        reply: the kind of answer asked for, a key of `prompts.REPLIES`.
        question: the bare question for `extra_info`; default `text` without marks.
        metadata: what else the objectives need, by the names they ask for (`choices`, `precision`, `type`, …).
        data_source: default the data set's only one.
    """

    text: str
    answer: Any
    images: list = field(default_factory=list)
    boxes: bool = False
    unit_boxes: bool = False
    reply: str = "free"
    question: str | None = None
    metadata: dict | None = None
    data_source: str | None = None


Converted = Example | Iterable[Example | Skip]


@dataclass(frozen=True)
class Use:
    """The part of a data set that a setting of the paper takes.

    Attributes:
        splits: of ours, such as ("train", "test").
        role, style, objectives: instead of the data set's own.
        limit: training rows, at most.
    """

    splits: tuple[str, ...]
    role: str | None = None
    style: str | None = None
    objectives: Mapping[str, Mapping] | None = None
    limit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set.

    Attributes:
        name: on the command line; its file has `_` for `-`.
        summary: one line for the list.
        role: its domain's role in RECAP: "target", "general" or "probe".
        licence: as far as known, with its conflicts.
        trainable: whether the licence admits training.
        hub: the default of `--source`, "" where it must be given.
        configs: hub configurations (or local folders) that are converted, one after the other.
        rows_per_config: source rows of each configuration, at most.
        splits: our split -> the source's.
        sizes: our split -> rows, as published.
        objectives: name -> options, the first one the main score; the style's format objective is added.
        convert: a source row -> an `Example`, or several and `Skip`s. Raises `Skip`; any error on a row's values skips
            the row too, a column that is not there at all ends the conversion.
        style: key of `prompts.STYLES`.
        kind: "rl", or "sft" for next-token loss on the answer.
        data_sources: values of that column; default the name alone.
        files: pattern that local files' names must contain, where a source's folder holds other data sets too.
        max_side: default of `--max-side`.
        drop_small: whether images with a side under 28 pixels drop their row; otherwise they are enlarged.
        settings: setting -> what it takes of this data set.
    """

    name: str
    summary: str
    role: str
    licence: str
    convert: Callable[[SourceRow], Converted]
    objectives: Mapping[str, Mapping]
    splits: Mapping[str, str]
    sizes: Mapping[str, int] = field(default_factory=dict)
    ability: str = "vision"
    trainable: bool = True
    hub: str = ""
    configs: tuple[str, ...] = ()
    rows_per_config: int | None = None
    style: str = "think"
    kind: str = "rl"
    data_sources: tuple[str, ...] = ()
    files: str = ""
    max_side: int | None = None
    drop_small: bool = False
    settings: Mapping[str, Use] = field(default_factory=dict)

    def __post_init__(self):
        if not self.data_sources:
            object.__setattr__(self, "data_sources", (self.name,))
        if self.role not in ROLES or not set(self.splits) <= set(SPLITS) or not set(self.settings) <= set(SETTINGS):
            raise DataError(f"data set '{self.name}': role, splits and settings must be among those data_prep knows")
        if not self.trainable and "train" in self.splits:
            raise DataError(f"data set '{self.name}': its licence forbids training, so it cannot have a split train")

    def domain(self, use: Use | None = None, style: str | None = None, role: str | None = None) -> dict:
        """Its entry in `recap.domains`."""
        use = use or Use(())
        objectives = self.objectives if use.objectives is None else use.objectives
        style = self.prompt_style(use, style)
        form = {} if self.kind == "sft" else FORMAT_OBJECTIVES[style]
        domain = {
            "role": role or use.role or self.role,
            "data_sources": list(self.data_sources),
            "objectives": {name: dict(options) for name, options in {**objectives, **form}.items()},
        }
        if self.kind == "sft" and domain["role"] != "probe":
            domain |= {"kind": "sft"} if style == "plain" else {"kind": "sft", "template": "<answer>{}</answer>"}
        return domain

    def prompt_style(self, use: Use | None = None, style: str | None = None) -> str:
        """The key of `prompts.STYLES` that its prompts are written in."""
        return style or (use and use.style) or self.style


@functools.cache
def all_datasets() -> dict[str, Dataset]:
    """Name -> data set, of every file in `data_prep/sets`, by name."""
    package = importlib.import_module("data_prep.sets")
    found = {}
    for module in pkgutil.iter_modules(package.__path__):
        dataset = importlib.import_module(f"data_prep.sets.{module.name}").DATASET
        if dataset.name.replace("-", "_") != module.name:
            raise DataError(f"data_prep/sets/{module.name}.py calls its data set '{dataset.name}': use one name")
        found[dataset.name] = dataset
    return dict(sorted(found.items()))


def of_data_source(data_source: str) -> Dataset | None:
    """The data set whose rows carry `data_source`, None for text tasks and foreign rows."""
    return next((each for each in all_datasets().values() if data_source in each.data_sources), None)

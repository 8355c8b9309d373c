'''Data sets as verl parquet files: converters, the one writer, and a checker; see `python -m data_prep list`.

A data set is a file `data_prep/sets/<name>.py` that says how one row of the source becomes one verl row:

    """Example VQA (arXiv 0000.00000)."""

    from data_prep.dataset import Dataset, Example, SourceRow
    from data_prep.errors import Skip
    from data_prep.options import letter_at, lettered, parse_list
    from data_prep.rows import MARK


    def convert(row: SourceRow) -> Example:
        if row["image"] is None:
            raise Skip("no image")
        choices = parse_list(row["options"])
        return Example(
            text=f"{MARK}{row['question']}\\n{lettered(choices)}",
            images=[row["image"]],
            answer=letter_at(row["answer"], choices),
            reply="letter",
            question=row["question"],
            metadata={"choices": choices},
        )


    DATASET = Dataset(
        name="example",
        summary="questions about pictures",
        role="general",
        licence="CC BY 4.0",
        hub="owner/example",
        splits={"train": "train", "val": "validation"},
        objectives={"accuracy": {}},
        convert=convert,
    )

Everything else is shared: where rows come from (`source`), images, prompts, processes, the file (`conversion`).
A converter that makes several rows of one returns or yields them, and `Skip`s among them. `row["x"]` is a column the
source must have, `row.get("x")` one it may have. A row whose values cannot be used is skipped, counted by reason and
listed beside the output; nothing is lost silently. Values of a source are data: no converter evaluates them or opens
the files they name.
'''

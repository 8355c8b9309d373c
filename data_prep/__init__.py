"""Converters from data sets to verl parquet files; see `python -m data_prep list`.

A converter is one module with `DEFAULT_TASKS`, `OBJECTIVES` (of each task's domain), `data_source(task)` and
`rows(split, tasks, seed, limit)`, named in `CONVERTERS`. The first line of its docstring is what the list shows.
"""

CONVERTERS = {
    "quickstart": "data_prep.text_tasks",
    "reasoning-gym": "data_prep.reasoning_gym",
}

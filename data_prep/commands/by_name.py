"""Options that are given for each data set: `--source sat=FOLDER --source refcoco=FOLDER`."""

from collections.abc import Collection, Iterable

from data_prep.errors import DataError


def by_name(option: str, given: Iterable[str] | None, names: Collection[str], values: Collection[str] = ()) -> dict:
    """Data set -> value, of `NAME=VALUE` as often as the option was given.

    Args:
        names: the data sets that there are.
        values: the values that there are; any without them.

    Raises:
        DataError: another form, name or value.
    """
    found = {}
    for pair in given or ():
        name, _, value = pair.partition("=")
        if not value:
            raise DataError(f"{option} {pair}: write it as NAME={'|'.join(values) or 'VALUE'}")
        if name not in names:
            raise DataError(f"{option} {pair}: no data set {name!r} is asked for, but {', '.join(names)}")
        if values and value not in values:
            raise DataError(f"{option} {pair}: choose from {', '.join(values)}")
        found[name] = value
    return found

"""What can go wrong with data, each in one sentence that names the place and the mend."""

import errno


class DataError(ValueError):
    """The conversion or the check cannot go on. Its text is the whole message a user sees."""


class Skip(Exception):
    """One row cannot be used; raised or yielded by a converter, counted by `reason`.

    Args:
        reason: the same text for all rows with this flaw; they are counted by it.
        detail: what is particular to this row.
    """

    def __init__(self, reason: str, detail: object = ""):
        super().__init__(reason)
        self.reason = reason
        self.detail = str(detail)[:200]

    def __reduce__(self):
        return Skip, (self.reason, self.detail)


def explain_os_error(error: OSError, doing: str) -> DataError:
    """The sentence for a file system that refuses."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return DataError(f"no space left while {doing}: free some and run the same command again, it goes on from here")
    return DataError(f"{doing} failed ({error.strerror or error}): choose a folder that can be written to")

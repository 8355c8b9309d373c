"""The one kind of error that the command answers with a sentence instead of a traceback."""


class SelfReplayError(Exception):
    """A mistake in the options, the files or the model: one sentence that names it and the mend."""

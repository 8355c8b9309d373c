"""Objectives that a random model scores on at once, and one that fails, for the end-to-end tests."""


def letters(response: str, ground_truth, extra_info: dict) -> float:
    """Share of lower-case letters."""
    return sum(c.islower() for c in response) / max(1, len(response))


def faulty(response: str, ground_truth, extra_info: dict) -> float:
    """Raises on every third row, is not a number on every other third."""
    if extra_info["index"] % 3 == 0:
        raise RuntimeError("this objective is broken")
    return float("nan") if extra_info["index"] % 3 == 1 else 0.5

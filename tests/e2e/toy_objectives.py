"""Objectives that a random model scores on at once, and one that fails, for the end-to-end tests."""


def letters(response: str, ground_truth, extra_info: dict) -> float:
    """Share of lower-case letters."""
    return sum(c.islower() for c in response) / max(1, len(response))


def faulty(response: str, ground_truth, extra_info: dict) -> float:
    """Raises on a quarter of its domain's rows, is not a number on another quarter."""
    case = extra_info["index"] // 3 % 4
    if case == 0:
        raise RuntimeError("this objective is broken")
    return float("nan") if case == 1 else 0.5

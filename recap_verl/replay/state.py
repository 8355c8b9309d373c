"""Is a saved sampler state whole, and does it belong to this data and these settings?"""

from collections.abc import Mapping


def check_follows(state, follows: bool) -> None:
    """Raise ValueError if the state is that of the other kind of sampler, whose shares can (or cannot) change."""
    if isinstance(state, Mapping) and ("next_shares" in state) != follows:
        raise ValueError(
            f"sampler state was saved with recap.mixture_follows_weights={str(not follows).lower()}; resume with that."
        )


def check_keys(state, expected: set[str]) -> None:
    """Raise TypeError or ValueError unless ``state`` is a mapping with exactly the expected keys."""
    if not isinstance(state, Mapping):
        raise TypeError(f"sampler state must be a dict, not {type(state).__name__}.")
    missing, unknown = sorted(expected - state.keys()), sorted(state.keys() - expected)
    if missing or unknown:
        raise ValueError(f"sampler state has the wrong keys: missing {missing}, unknown {unknown}.")


def check_identity(state: Mapping, identity: Mapping) -> None:
    """Raise ValueError naming every setting and domain in which a state differs from this run."""
    settings = [key for key in identity if key not in ("rows", "digest")]
    differences = [
        f"{key} was {state[key]!r} and is {identity[key]!r}" for key in settings if state[key] != identity[key]
    ]
    was, now = state["rows"], identity["rows"]
    if not isinstance(was, Mapping):
        raise ValueError(f"sampler state is damaged: rows must map domain names to counts, not {was!r}.")
    differences += [
        f"domain {name!r} had {was.get(name, 0)} rows and has {now.get(name, 0)}"
        for name in sorted(was.keys() | now.keys())
        if was.get(name, 0) != now.get(name, 0)
    ]
    if was == now and state["digest"] != identity["digest"]:
        differences.append("the domains' rows are in another order")
    if differences:
        raise ValueError(
            f"sampler state does not fit this run: {'; '.join(differences)}; resume with the data and settings it was "
            "saved with."
        )


def check_count(state: Mapping, key: str, low: int, high: int | None) -> None:
    """Raise ValueError unless ``low <= state[key] <= high`` is an int."""
    value = state[key]
    if type(value) is not int or value < low or (high is not None and value > high):
        allowed = f"at least {low}" if high is None else f"{low} to {high}"
        raise ValueError(f"sampler state is damaged: {key} must be an int, {allowed}, not {value!r}.")


def check_counts(state: Mapping, key: str, length: int, total: int) -> None:
    """Raise ValueError unless ``state[key]`` is a list of that many counts with that sum."""
    counts = state[key]
    whole = isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts)
    if not whole or len(counts) != length or sum(counts) != total:
        raise ValueError(f"sampler state is damaged: {key} must hold {length} counts with the sum {total}.")

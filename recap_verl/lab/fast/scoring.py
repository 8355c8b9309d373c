"""Responses to objective values, and their means."""

from collections import defaultdict
from collections.abc import Iterable

from recap_verl.domains import Domains
from recap_verl.objectives import ObjectiveError


def score(domains: Domains, row: dict, response: str) -> dict[str, float]:
    """Objective -> value; one that failed on the row is left out, as `recap`'s reward manager does."""
    values = {}
    for name, objective in domains.of_data_source(row["data_source"]).objectives.items():
        try:
            values[name] = objective(response, row["reward_model"]["ground_truth"], row.get("extra_info") or {})
        except ObjectiveError:
            continue
    return values


def mean_by_source(sources: Iterable[str], scores: Iterable[dict[str, float]]) -> dict[tuple[str, str], float]:
    """(data source, objective) -> mean."""
    values = defaultdict(list)
    for source, of_row in zip(sources, scores, strict=True):
        for name, value in of_row.items():
            values[source, name].append(value)
    return {key: sum(of_key) / len(of_key) for key, of_key in values.items()}

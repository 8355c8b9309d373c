"""Responses to objective values, and their means."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch

from recap_verl.domains import Domains
from recap_verl.lab.fast.policy import Policy
from recap_verl.objectives import ObjectiveError

GREEDY, SAMPLED = "greedy", "sampled"


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


@torch.no_grad()
def validate(
    policy: Policy, rows: Sequence[dict], domains: Domains, generator: torch.Generator, max_new_tokens: int
) -> dict[tuple[str, str, str], float]:
    """(data source, decoding, objective) -> mean over the rows, greedy and at temperature 1.

    Probes of kind sft are texts to be predicted, not questions: see `token_probability`.
    """
    texts = [row for row in rows if _is_text(domains, row)]
    rows = [row for row in rows if not _is_text(domains, row)]
    sources = [row["data_source"] for row in rows]
    found = {}
    for decoding, temperature in ((GREEDY, 0.0), (SAMPLED, 1.0)):
        responses = policy.sample(rows, temperature, generator, max_new_tokens)
        scores = [score(domains, row, policy.decode(response)) for row, response in zip(rows, responses, strict=True)]
        for (source, objective), value in mean_by_source(sources, scores).items():
            found[source, decoding, objective] = value
    for source in dict.fromkeys(row["data_source"] for row in texts):
        value = token_probability(policy, [row for row in texts if row["data_source"] == source], domains)
        found.update({(source, decoding, "token_probability"): value for decoding in (GREEDY, SAMPLED)})
    return found


@torch.no_grad()
def token_probability(policy: Policy, rows: Sequence[dict], domains: Domains) -> float:
    """Geometric mean of the probabilities of the reference answers' tokens, which is 1 / perplexity."""
    references = [
        domains.of_data_source(row["data_source"]).reference_answer(row["reward_model"]["ground_truth"]) for row in rows
    ]
    responses = [policy.encode(reference) for reference in references]
    log_probs = policy.log_probs(rows, responses)
    return math.exp(float(log_probs.double().sum()) / sum(map(len, responses)))


def _is_text(domains: Domains, row: dict) -> bool:
    domain = domains.of_data_source(row["data_source"])
    return domain.is_sft and not domain.trained

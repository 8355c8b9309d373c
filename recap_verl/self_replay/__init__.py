"""Self-replay: the base model's own answers to prompts, as a domain of next-token loss (docs/self-replay.md).

``settings``      what the answers depend on, and which of them are kept
``prompt_file``   the parquet file with the prompts, checked
``parts``         answers on disk while a run goes on: killed at any moment, it continues
``filters``       which answers are worth imitating
``domain_file``   answers and prompts to the parquet file of an sft domain
``run``           the above in order; the model is asked through ``verl_adapter/offline_rollout.py``
"""

from recap_verl.self_replay.domain_file import read_provenance

__all__ = ["read_provenance"]

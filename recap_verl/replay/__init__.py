"""Replay: which rows make the next batch. Free of verl and torch."""

from recap_verl.replay.following import FollowingSampler
from recap_verl.replay.mixture import Coreset, Mixture, mixture_from_config
from recap_verl.replay.sampler import ReplaySampler

__all__ = ["Coreset", "FollowingSampler", "Mixture", "ReplaySampler", "mixture_from_config"]

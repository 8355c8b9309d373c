"""Online objective weights from short-horizon signals (RECAP, arXiv 2510.21978). Needs numpy alone."""

from recap_verl.scheduler.presets import PRESETS
from recap_verl.scheduler.scheduler import RecapScheduler
from recap_verl.scheduler.signals import Signals

__all__ = ["PRESETS", "RecapScheduler", "Signals"]

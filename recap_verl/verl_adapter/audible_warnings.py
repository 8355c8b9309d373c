"""Warnings stay audible beside vLLM.

Servers of vLLM 0.30 import `model_hosting_container_standards`, whose `logging_config.py` raises the root logger and
its handlers to ERROR unless a variable names another level. The trainer, its workers and the agent loops of a verl run
import it too and lose every warning from then on: of verl, of RECAP, and of reward functions that agent loops call.
"""

import os

LEVEL = "SAGEMAKER_CONTAINER_LOG_LEVEL"
# What the package goes by where LEVEL is not set.
GENERAL_LEVEL = "LOG_LEVEL"


def keep_warnings() -> None:
    """Name verl's own level, WARNING (``verl/__init__.py``), where the user has named none."""
    if GENERAL_LEVEL not in os.environ:
        os.environ.setdefault(LEVEL, "WARNING")

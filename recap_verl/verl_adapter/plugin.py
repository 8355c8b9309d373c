"""Entry point ``verl.plugins``: what ``import verl`` learns about RECAP.

verl 0.9.1 imports this module at the end of its own ``__init__`` and swallows any exception with a DEBUG line, so a
failure is reported here, in full, before it is passed on.
"""

import sys
import traceback

try:
    from recap_verl.verl_adapter.cpu import compat, platform

    if platform.is_selected():
        compat.install()

    # Importing them registers the estimator and the reward manager, both named "recap", and the agent loop
    # "recap_teacher_forced".
    from recap_verl.verl_adapter import estimators, reward_manager, teacher_forced  # noqa: F401
except Exception:
    print("recap_verl: the verl plugin failed to load, and verl would go on without RECAP:", file=sys.stderr)
    traceback.print_exc()
    raise

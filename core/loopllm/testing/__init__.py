"""Contract suites for what you plug into loopllm; subclass one in your own tests.

Needs pytest and hypothesis: `pip install 'loopllm[testing]'`. Nothing else in loopllm imports this package.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from loopllm.errors import MissingExtraError

if TYPE_CHECKING:
    from loopllm.testing.prior_store import InProcessPriorStoreContract, PriorStoreContract

__all__ = ["InProcessPriorStoreContract", "PriorStoreContract"]


def __getattr__(name: str) -> Any:
    """Import pytest only once a suite is asked for: the writer processes of a suite do without."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import pytest

        if f"{__name__}.prior_store" not in sys.modules:
            pytest.register_assert_rewrite(f"{__name__}.prior_store")  # a failure shows the values compared
        from loopllm.testing import prior_store
    except ModuleNotFoundError as error:
        raise MissingExtraError("testing", error.name or "pytest") from error
    return getattr(prior_store, name)

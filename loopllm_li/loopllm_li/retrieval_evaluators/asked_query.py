"""What did the caller ask? Read from the context that a query loop gives to retrieval evaluators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_index.core.schema import QueryBundle

from loopllm.errors import EvaluatorError


def asked_bundle(context: Mapping[str, Any] | None, name: str) -> QueryBundle:
    """Return the caller's own bundle.

    Raises:
        EvaluatorError: The context holds none.
    """
    query = (context or {}).get("query")
    if isinstance(query, str):
        return QueryBundle(query)
    if not isinstance(query, QueryBundle):
        raise EvaluatorError(
            f'{name} scores nodes against context["query"], a QueryBundle or a string; there is none'
        )
    return query


def asked_words(context: Mapping[str, Any] | None, name: str) -> str:
    """Return the caller's own words.

    Raises:
        EvaluatorError: The context holds no query, or the query no letter or digit.
    """
    words = asked_bundle(context, name).query_str
    if not any(character.isalnum() for character in words):
        raise EvaluatorError(f"{name} cannot score against a query without words: {words!r}")
    return words

"""The query as a value: what is handed to a retriever, and what a transform returns.

Rule: a bundle is never shared between rounds and never carries another query's embedding: retrievers write their
embedding into the bundle they are given, and would use the one they find there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.schema import QueryBundle

from loopllm.results import ExitReason, LoopMetrics


@dataclass(frozen=True, slots=True)
class TriedQuery:
    """One query of a run.

    Attributes:
        query: The words that were searched for.
        score: What the evaluator gave its nodes, or None when it failed.
        node_ids: The retrieved nodes, best first.
        deficiencies: What the evaluator found missing.
    """

    query: str
    score: float | None
    node_ids: Sequence[str] = ()
    deficiencies: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class QueryLoop:
    """How a refined query came about.

    Attributes:
        metrics: The run in numbers; None when it failed before anything was scored.
        tried: Every query, in order; the first is the unchanged one.
        chosen: Number of the returned query, 1-based; 1 is the unchanged one.
        exit_reason: Why the run ended.
    """

    metrics: LoopMetrics | None
    tried: Sequence[TriedQuery]
    chosen: int
    exit_reason: ExitReason

    @property
    def improved(self) -> bool:
        """True when a rewrite is returned, False when the unchanged query won or nothing could be tried."""
        return self.chosen > 1


NOT_RUN = QueryLoop(None, (), 1, ExitReason("not_run", "this query was not looped"))
"""The story of a bundle that was made by hand."""


@dataclass
class RefinedQueryBundle(QueryBundle):
    """A `QueryBundle` that says how it was found; it passes wherever a `QueryBundle` does.

    Attributes:
        loop: The run.
        original: The bundle as the caller gave it.
    """

    loop: QueryLoop = NOT_RUN
    original: QueryBundle = field(default_factory=lambda: QueryBundle(""))

    def to_dict(self, encode_json: bool = False) -> dict[str, Any]:
        """Return the fields of a plain `QueryBundle`; the run is not written down."""
        return plain(self).to_dict(encode_json=encode_json)


def as_bundle(query: str | QueryBundle) -> QueryBundle:
    """Return a fresh bundle that no retriever has written into."""
    return QueryBundle(query) if isinstance(query, str) else plain(query)


def plain(bundle: QueryBundle) -> QueryBundle:
    """Return a copy of `bundle` as a plain `QueryBundle`, with the embedding its owner gave it."""
    texts = bundle.custom_embedding_strs
    return QueryBundle(
        query_str=bundle.query_str,
        image_path=bundle.image_path,
        custom_embedding_strs=None if texts is None else list(texts),
        embedding=None if bundle.embedding is None else list(bundle.embedding),
    )


def reworded(original: QueryBundle, words: str, *, reword_query: bool, anchored: bool) -> QueryBundle:
    """Return a new bundle that searches for `words` in place of the original ones.

    >>> bundle = reworded(QueryBundle("car", embedding=[0.1]), "automobile", reword_query=True, anchored=True)
    >>> bundle.query_str, bundle.custom_embedding_strs, bundle.embedding
    ('automobile', ['automobile', 'car'], None)

    Args:
        original: The caller's bundle; an image is kept.
        words: The rewrite.
        reword_query: Put the rewrite into `query_str`, which word-based retrievers and synthesizers read. False leaves
            the caller's words there and rewrites what is embedded only.
        anchored: Embed the caller's words beside the rewrite (several texts are averaged), against drift.
    """
    texts = [words, *original.embedding_strs] if anchored else [words]
    return QueryBundle(
        query_str=words if reword_query else original.query_str,
        image_path=original.image_path,
        custom_embedding_strs=list(dict.fromkeys(texts)),
        embedding=None,
    )


def refined(bundle: QueryBundle, original: QueryBundle, loop: QueryLoop) -> RefinedQueryBundle:
    """Return `bundle` with the story of how it was found."""
    copy = plain(bundle)
    return RefinedQueryBundle(
        query_str=copy.query_str,
        image_path=copy.image_path,
        custom_embedding_strs=copy.custom_embedding_strs,
        embedding=copy.embedding,
        loop=loop,
        original=plain(original),
    )

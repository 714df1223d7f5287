"""A `TransformQueryEngine` that awaits its transform, transforms once, and answers the caller's own words."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from inspect import getattr_static
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.callbacks.base import EventContext
from llama_index.core.query_engine import TransformQueryEngine
from llama_index.core.schema import NodeWithScore, QueryBundle

from loopllm.providers.deadline import call_in_thread
from loopllm_li.bundles import RefinedQueryBundle
from loopllm_li.deep_prompts import DeepPrompts


class LoopedTransformQueryEngine(DeepPrompts, TransformQueryEngine):
    """Runs a query transform in front of a query engine, as `TransformQueryEngine` does, with three differences.

    The transform is awaited when the query is (`arun` where there is one, else in a thread); it runs once a
    query, also when `retrieve` and `synthesize` are called one after the other; and nodes are retrieved
    with the rewritten query while the answer is written for the caller's own words, where the inner engine
    allows it. Arguments as in `TransformQueryEngine`.
    """

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Return the nodes of the inner engine for the transformed query."""
        return self._query_engine.retrieve(self._transformed(query_bundle))

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Return the nodes of the inner engine for the transformed query."""
        return await aretrieve_with(self._query_engine, await self._atransformed(query_bundle))

    def synthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Write an answer from nodes; the query is not transformed again."""
        return self._query_engine.synthesize(query_bundle, nodes, additional_source_nodes)

    async def asynthesize(
        self,
        query_bundle: QueryBundle,
        nodes: list[NodeWithScore],
        additional_source_nodes: Sequence[NodeWithScore] | None = None,
    ) -> RESPONSE_TYPE:
        """Write an answer from nodes; the query is not transformed again."""
        return await self._query_engine.asynthesize(query_bundle, nodes, additional_source_nodes)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        bundle = self._transformed(query_bundle)
        if not answers_from_nodes(self._query_engine):
            return self._query_engine.query(bundle)
        with self._query_event(query_bundle) as event:
            response = self._query_engine.synthesize(query_bundle, self._query_engine.retrieve(bundle))
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        bundle = await self._atransformed(query_bundle)
        if not answers_from_nodes(self._query_engine):
            return await self._query_engine.aquery(bundle)
        with self._query_event(query_bundle) as event:
            nodes = await aretrieve_with(self._query_engine, bundle)
            response = await self._query_engine.asynthesize(query_bundle, nodes)
            event.on_end(payload={EventPayload.RESPONSE: response})
        return response

    def _query_event(self, query_bundle: QueryBundle) -> AbstractContextManager[EventContext]:
        """Tell what the inner engine's handlers would have heard of its own `query`."""
        payload: dict[str, Any] = {EventPayload.QUERY_STR: query_bundle.query_str}
        return self._query_engine.callback_manager.event(CBEventType.QUERY, payload=payload)

    def _transformed(self, query_bundle: QueryBundle) -> QueryBundle:
        if isinstance(query_bundle, RefinedQueryBundle):
            return query_bundle
        return self._query_transform.run(query_bundle, metadata=self._transform_metadata)

    async def _atransformed(self, query_bundle: QueryBundle) -> QueryBundle:
        if isinstance(query_bundle, RefinedQueryBundle):
            return query_bundle
        arun = getattr(self._query_transform, "arun", None)
        if arun is None:
            return await call_in_thread(self._query_transform.run, query_bundle, self._transform_metadata)
        bundle: QueryBundle = await arun(query_bundle, metadata=self._transform_metadata)
        return bundle


def answers_from_nodes(engine: BaseQueryEngine) -> bool:
    """Say whether an engine can be asked to retrieve and to write an answer from given nodes."""
    return all(
        getattr_static(type(engine), name, None) is not getattr_static(BaseQueryEngine, name)
        for name in ("retrieve", "synthesize", "asynthesize")
    )


async def aretrieve_with(engine: Any, bundle: QueryBundle) -> list[NodeWithScore]:
    """Retrieve through an engine without blocking the event loop; one without `aretrieve` runs in a thread."""
    if hasattr(engine, "aretrieve"):
        nodes: list[NodeWithScore] = await engine.aretrieve(bundle)
        return nodes
    return await call_in_thread(engine.retrieve, bundle)

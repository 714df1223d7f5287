"""What does a loop look like as a graph? The bound chain's own nodes, an evaluation behind them, and the way back."""

from __future__ import annotations

from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langchain_core.runnables.graph import Edge, Graph

from loopllm_lc.anatomy import Anatomy, kind_in, model_in


def draw(bound: Runnable[Any, Any], parts: Anatomy, config: RunnableConfig | None) -> Graph:
    """Return the graph of what is bound, with the loop drawn in."""
    graph = bound.get_graph(config)
    output = graph.last_node()
    asked = _asked_node(graph, parts)
    if output is None or asked is None:
        return graph
    # A loop within may have one of that name already.
    name = None if "evaluate" in graph.nodes else "evaluate"
    evaluate = graph.add_node(RunnableLambda(_evaluate, name="evaluate"), id=name)
    graph.edges = [
        Edge(edge.source, evaluate.id) if edge.target == output.id else edge for edge in graph.edges
    ]
    graph.add_edge(evaluate, output, "accepted", conditional=True)
    graph.add_edge(evaluate, asked, "ask again", conditional=True)
    return graph


def _evaluate(draft: Any) -> Any:
    """Stand for the evaluation in a drawing."""
    return draft


def _asked_node(graph: Graph, parts: Anatomy) -> Any:
    """Return the node of what is asked again: where it has none of its own the last model's, else the first one."""
    runnables = [node for node in graph.nodes.values() if isinstance(node.data, Runnable)]
    model = model_in(parts.asked)
    for node in runnables:
        if node.data is parts.asked or (model is not None and node.data is model):
            return node
    found = [node for node in runnables if kind_in(node.data) is not None] or runnables[:1]
    return found[-1] if found else None

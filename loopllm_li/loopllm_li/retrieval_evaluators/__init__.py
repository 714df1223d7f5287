"""What makes retrieved nodes good, asked without any LLM; each scores `(nodes, context)` in [0, 1]."""

from loopllm_li.retrieval_evaluators.expected_nodes import ExpectedNodes
from loopllm_li.retrieval_evaluators.node_stability import NodeStability, nodes_settle
from loopllm_li.retrieval_evaluators.rescored_similarity import RescoredSimilarity
from loopllm_li.retrieval_evaluators.term_coverage import TermCoverage

__all__ = ["ExpectedNodes", "NodeStability", "RescoredSimilarity", "TermCoverage", "nodes_settle"]

"""Where each known trap of LlamaIndex, and each known fault of its retry engines, has its test.

`test_known_faults.py` checks that every number is here and that every test that is named exists.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong in LlamaIndex, and the tests that it does not go wrong here, as `file::test`."""

    what: str
    tests: tuple[str, ...]


TRAPS = {
    1: Fault(
        "a new event loop for each call kills the pooled client of an LLM every second time",
        (
            "test_llama_evaluator.py::test_blocking_calls_all_run_on_one_event_loop",
            "test_real_model.py::test_awaited_calls_of_many_rounds_share_one_event_loop",
        ),
    ),
    2: Fault(
        "asyncio_run replaces any RuntimeError by a message on nested loops",
        (
            "test_llama_evaluator.py::test_errors_of_a_coroutine_come_as_they_are",
            "test_shared_objects.py::test_an_error_inside_a_run_keeps_its_kind_whatever_it_is",
        ),
    ),
    3: Fault(
        "a running loop is nested or replaced, and a lock of one loop raises in another",
        (
            "test_llama_evaluator.py::test_blocking_calls_also_work_inside_a_running_loop",
            "test_shared_objects.py::test_one_engine_serves_event_loops_one_after_the_other_also_under_contention",
            "test_shared_objects.py::test_the_blocking_calls_work_inside_a_running_loop_and_leave_it_running",
        ),
    ),
    4: Fault(
        "retrievers write their embedding into the bundle, and use the one they find there",
        (
            "test_bundles.py::test_a_rewrite_never_carries_the_embedding_of_the_words_before",
            "test_query_transform.py::test_no_round_is_given_an_embedding_that_another_round_left_behind",
            "test_retriever.py::test_the_bundle_of_the_caller_is_not_written_into",
        ),
    ),
    5: Fault(
        "_aretrieve is called with the keyword query_bundle",
        ("test_retriever.py::test_awaited_the_retriever_and_the_llm_are_awaited",),
    ),
    6: Fault(
        "a used client can be neither copied nor pickled, and a pickle holds its key",
        (
            "test_shared_objects.py::test_a_client_that_cannot_be_copied_serves_every_part",
            "test_shared_objects.py::test_the_context_of_a_workflow_holds_plain_data_and_no_client_and_no_key",
            "test_shared_objects.py::test_no_key_is_in_what_is_shown_of_any_part",
        ),
    ),
    7: Fault(
        "a raw reply that is no dict crashes the token counters",
        (
            "test_provider.py::test_usage_that_nobody_stated_is_unknown_and_not_zero_whatever_raw_is",
            "test_looped_llm.py::test_usage_is_the_sum_of_all_rounds_in_a_raw_that_token_counters_can_read",
        ),
    ),
    8: Fault(
        "one decorated method that calls another counts each call twice",
        (
            "test_looped_llm.py::test_llm_events_come_once_a_round_also_when_settings_hang_a_manager_on_the_outer_llm",
            "test_spans.py::test_tokens_are_counted_once_for_each_call_of_the_llm",
        ),
    ),
    9: Fault(
        "Settings.llm takes away the callback manager of an LLM, and asks for an OpenAI key",
        (
            "test_looped_llm.py::test_llm_events_come_once_a_round_also_when_settings_hang_a_manager_on_the_outer_llm",
            "test_query_transform.py::test_settings_are_left_alone_until_a_rewrite_is_needed",
            "test_query_transform.py::test_importing_the_package_touches_no_openai_default",
        ),
    ),
    10: Fault(
        "a wrapper that claims to call functions and cannot breaks agents and structured answers",
        (
            "test_looped_llm.py::test_the_metadata_is_the_inner_llms_without_a_claim_to_call_functions",
            "test_looped_tool_llm.py::test_an_agent_calls_its_tools_and_its_last_answer_is_looped",
        ),
    ),
    11: Fault(
        "update_prompts refuses the keys of get_prompts from the second level down",
        (
            "test_query_engine.py::test_prompts_are_reachable_and_replaceable_at_any_depth",
            "test_transform_engine.py::test_prompts_of_the_transform_and_of_the_engine_are_reachable_at_any_depth",
        ),
    ),
    12: Fault(
        "an evaluator raises when it is asked for its prompts",
        ("test_query_engine.py::test_an_evaluator_that_cannot_show_its_prompts_does_not_break_the_engines",),
    ),
    13: Fault(
        "an evaluation result is always true, passing None is not False, a score of None is not 0",
        (
            "test_llama_evaluator.py::test_correctness_that_cannot_be_parsed_is_no_score",
            "test_llama_evaluator.py::test_answer_relevancy_is_clipped_and_passes_only_with_all_points",
            "test_retry_faults.py::test_the_verdict_is_read_and_not_the_truth_of_the_result_object",
        ),
    ),
    14: Fault(
        "a PydanticResponse has every attribute that it is asked for",
        ("test_query_engine.py::test_a_structured_answer_keeps_its_type_and_is_judged_as_json",),
    ),
    15: Fault(
        "an evaluated stream is handed out empty",
        (
            "test_query_engine.py::test_a_stream_is_judged_and_then_replayed_never_handed_out_empty",
            "test_optimistic_stream.py::test_a_good_first_answer_is_streamed_as_it_is_written_and_nothing_follows",
        ),
    ),
    16: Fault(
        "threads of an executor do not see the caller's context",
        (
            "test_provider.py::test_a_deadline_interrupts_a_blocking_call_and_the_call_sees_the_callers_context",
            "test_spans.py::test_each_round_is_a_span_below_the_transform_and_the_retriever_nests_in_it",
        ),
    ),
    17: Fault(
        "a span around a generator ends before its first item, and what runs inside is an orphan",
        (
            "test_spans.py::test_a_stream_has_one_span_and_its_rounds_are_below_it",
            "test_spans.py::test_the_rounds_after_an_optimistic_stream_are_below_one_span",
            "test_tracers.py::test_the_rounds_of_a_streaming_call_hang_below_it_and_are_no_orphans",
        ),
    ),
    18: Fault(
        "OpenInference warns of each event that it does not know",
        (
            "test_tracers.py::test_no_part_of_the_package_makes_openinference_warn",
            "test_spans.py::test_events_name_themselves_and_carry_no_span_id_for_tracers_to_stumble_over",
        ),
    ),
    19: Fault(
        "writing to the stream of a workflow from a worker thread raises",
        ("test_shared_objects.py::test_rounds_scored_in_other_threads_reach_the_stream_of_a_workflow",),
    ),
    20: Fault(
        "private attributes that cannot be pickled vanish in the processes of an ingestion",
        (
            "test_extractor.py::test_it_survives_being_sent_to_another_process_with_all_it_needs",
            "test_extractor.py::test_what_cannot_be_sent_to_another_process_is_refused_and_not_dropped",
            "test_extractor.py::test_what_the_processes_of_a_pipeline_learn_survives_them",
        ),
    ),
    21: Fault(
        "an empty metadata dict is replaced, and one dict serves all queries of an engine",
        ("test_query_transform.py::test_metadata_is_neither_needed_nor_written",),
    ),
    22: Fault(
        "guideline evaluators share one template and so the parser of the last one",
        (
            "test_llama_evaluator.py::test_two_guideline_evaluators_keep_their_own_parsers",
            "test_shared_objects.py::test_evaluators_of_one_kind_do_not_share_what_they_are_told",
        ),
    ),
    23: Fault(
        "the score of a retriever rewards a rewrite that drifts",
        (
            "test_other_evaluators.py::test_the_score_is_the_cosine_to_the_original_query_and_not_the_nodes_own",
            "test_other_evaluators.py::test_whatever_the_retriever_gives_as_score_changes_nothing",
        ),
    ),
    24: Fault(
        "the async methods of a CustomLLM block the event loop",
        ("test_provider.py::test_the_pretended_async_of_a_custom_llm_does_not_block_the_event_loop",),
    ),
    25: Fault(
        "a token budget raises from inside a call that was paid for",
        ("test_query_engine.py::test_a_token_budget_that_ends_a_run_keeps_the_paid_answer",),
    ),
}

RETRY_ENGINES = {
    1: Fault(
        "an OpenAI key is asked for although nothing of it is used",
        ("test_retry_faults.py::test_nothing_of_openai_is_needed_to_build_or_to_query",),
    ),
    2: Fault(
        "the last answer is returned and not the best",
        (
            "test_query_engine.py::test_the_best_answer_is_returned_and_not_the_last_and_every_answer_is_scored",
        ),
    ),
    3: Fault(
        "the last attempt is never evaluated",
        (
            "test_query_engine.py::test_the_best_answer_is_returned_and_not_the_last_and_every_answer_is_scored",
        ),
    ),
    4: Fault(
        "each retry nests the prompt of the one before, and that is judged",
        (
            "test_query_engine.py::test_feedback_reaches_the_writer_and_never_what_is_embedded",
            "test_query_engine.py::test_a_huge_answer_is_shown_in_part_only",
            "test_query_engine.py::test_the_evaluator_judges_the_callers_own_query_with_the_sources",
        ),
    ),
    5: Fault(
        "the feedback is embedded",
        ("test_query_engine.py::test_feedback_reaches_the_writer_and_never_what_is_embedded",),
    ),
    6: Fault(
        "aquery calls the blocking query on the loop",
        (
            "test_query_engine.py::test_awaited_it_never_calls_the_blocking_query",
            "test_query_engine.py::test_five_awaited_queries_take_the_time_of_one",
        ),
    ),
    7: Fault(
        "evaluating a stream reads it, and the caller gets it empty",
        ("test_query_engine.py::test_a_stream_is_judged_and_then_replayed_never_handed_out_empty",),
    ),
    8: Fault(
        "an awaited stream comes back as a blocking one",
        (
            "test_query_engine.py::test_an_awaited_stream_is_an_async_stream",
            "test_query_engine.py::test_a_caller_that_awaits_gets_an_async_stream_of_a_blocking_one",
        ),
    ),
    9: Fault(
        "a verdict of None counts as a failure",
        ("test_retry_faults.py::test_a_perfect_answer_of_an_evaluator_without_a_verdict_ends_the_run",),
    ),
    10: Fault(
        "no feedback, or no response in the verdict, is an error",
        (
            "test_retry_faults.py::test_a_verdict_without_feedback_and_response_is_enough_to_go_on",
            "test_retry_faults.py::test_evaluators_that_retry_engines_cannot_use_drive_the_loop",
        ),
    ),
    11: Fault(
        "the callback manager is lost after the first attempt",
        (
            "test_query_engine.py::test_the_callback_manager_of_the_inner_engine_hears_every_round_and_the_whole_query",
        ),
    ),
    12: Fault(
        "each retry is a recursion, and some 180 end in an error",
        ("test_query_engine.py::test_hundreds_of_rounds_do_not_recurse",),
    ),
    13: Fault(
        "a transformer of one's own is lost after the first retry",
        ("test_retry_faults.py::test_a_revision_prompt_of_ones_own_serves_every_round",),
    ),
    14: Fault(
        "the filter of sources keeps everything, since a result object is always true",
        ("test_retry_faults.py::test_the_verdict_is_read_and_not_the_truth_of_the_result_object",),
    ),
    15: Fault(
        "documents are built anew: ids, scores and metadata are lost, and another LLM is asked",
        (
            "test_retry_faults.py::test_the_source_nodes_keep_their_ids_scores_and_metadata_and_the_given_llm_is_the_one_asked",
        ),
    ),
    16: Fault(
        "there is no retrieve and no synthesize, and attempts skip the events of the inner engine",
        (
            "test_query_engine.py::test_retrieving_and_synthesizing_are_those_of_the_inner_engine",
            "test_retry_faults.py::test_every_attempt_is_a_query_of_the_inner_engine_with_its_events",
        ),
    ),
    17: Fault(
        "the raw rows of an SQL engine go to the judge",
        (
            "test_query_engine.py::test_what_is_judged_can_be_picked_from_the_response",
            "test_retry_faults.py::test_the_judge_sees_what_is_picked_for_it_and_not_the_raw_rows",
        ),
    ),
}

MIRRORED = {
    "callbacks/test_token_budget.py": (
        "test_query_engine.py::test_a_token_budget_that_ends_a_run_keeps_the_paid_answer",
    ),
    "callbacks/test_token_counter.py": (
        "test_spans.py::test_tokens_are_counted_once_for_each_call_of_the_llm",
    ),
    "evaluation/test_base.py": (
        "test_llama_evaluator.py::test_every_evaluator_of_core_has_a_rule_of_its_own",
    ),
    "evaluation/test_relevancy_passing.py": (
        "test_llama_evaluator.py::test_answer_relevancy_is_clipped_and_passes_only_with_all_points",
    ),
    "evaluation/test_semantic_similarity.py": (
        "test_llama_evaluator.py::test_similarity_below_zero_is_zero_and_the_reference_may_be_given_to_the_adapter",
    ),
    "indices/query/query_transform/test_base.py": (
        "test_query_transform.py::test_a_string_becomes_the_bundle_that_other_transforms_make_of_it",
        "test_query_transform.py::test_it_is_a_query_transform_like_any_other",
    ),
    "indices/query/test_query_bundle.py": (
        "test_bundles.py::test_a_refined_bundle_is_a_bundle_for_dataclasses_events_and_json",
    ),
    "instrumentation/test_dispatcher.py": ("test_spans.py::test_a_failing_round_is_a_dropped_span",),
    "llms/test_callbacks.py": (
        "test_looped_llm.py::test_llm_events_come_once_a_round_also_when_settings_hang_a_manager_on_the_outer_llm",
    ),
    "llms/test_custom.py": (
        "test_provider.py::test_custom_llm_moves_usage_to_the_message_and_it_is_found_there",
    ),
    "llms/test_fallback_llm.py": (
        "test_looped_llm.py::test_every_endpoint_loops_and_returns_the_accepted_answer",
    ),
    "llms/test_function_calling.py": (
        "test_looped_tool_llm.py::test_an_answer_is_looped_with_the_tools_at_hand_in_every_round",
    ),
    "llms/test_predict_and_call.py": ("test_looped_tool_llm.py::test_predict_and_call_calls_the_tool",),
    "prompts/test_mixin.py": (
        "test_query_engine.py::test_prompts_are_reachable_and_replaceable_at_any_depth",
    ),
    "query_engine/test_async_aquery_fallbacks.py": (
        "test_query_engine.py::test_awaited_it_never_calls_the_blocking_query",
    ),
    "query_engine/test_multistep_query_engine.py": (
        "test_query_engine.py::test_awaited_it_never_calls_the_blocking_query",
    ),
    "query_engine/test_retriever_query_engine.py": (
        "test_query_engine.py::test_retrieving_and_synthesizing_are_those_of_the_inner_engine",
    ),
    "query_engine/test_retry_query_engine.py": (
        "test_retry_faults.py::test_a_revision_prompt_of_ones_own_serves_every_round",
    ),
    "query_engine/test_retry_source_query_engine.py": (
        "test_retry_faults.py::test_the_verdict_is_read_and_not_the_truth_of_the_result_object",
    ),
    "query_engine/test_router_query_engine.py": (
        "test_inside_llama_index.py::test_inside_a_router_query_engine",
    ),
    "retrievers/test_fusion_retriever.py": (
        "test_inside_llama_index.py::test_the_retriever_inside_an_awaited_query_fusion_retriever_blocks_nothing",
    ),
    "storage/kvstore/test_simple_kvstore.py": (
        "test_kv_prior_store.py::test_eight_threads_with_a_store_each_lose_none_of_1600_merges",
    ),
    "workflow/test_streaming.py": ("test_workflow.py::test_every_round_is_streamed_while_the_run_goes_on",),
}
"""Test files of LlamaIndex, by their path in llama-index-core/tests, and ours on the same behaviour."""

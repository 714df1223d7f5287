"""How is one draft got from an agent's model call? Through the handler that LangChain gives to middleware.

Rule 1: the request's own messages stay as they are; a draft and the feedback go into a copy.
Rule 2: what the agent's structured output made of a draft is what is judged; a structure that failed or is missing
is a deficiency, and so is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from langchain.agents.middleware import ModelRequest, ModelResponse
from langchain.agents.structured_output import StructuredOutputError
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.runnables.config import set_config_context

from loopllm_lc.anatomy import Anatomy
from loopllm_lc.asking import Asker
from loopllm_lc.drafts import Draft
from loopllm_lc.model_identity import model_id_of
from loopllm_lc.replies import calls_tools
from loopllm_lc.scope import Scope

if TYPE_CHECKING:
    Request = ModelRequest[Any]
    Response = ModelResponse[Any]
else:  # older releases of langchain have these without parameters
    Request, Response = ModelRequest, ModelResponse


class AgentAsker(Asker):
    """Gets drafts from an agent's model call.

    Args:
        request: The call.
        handler: Makes it; blocking or awaiting, as the agent runs.
        scope: The LangChain run that the drafts belong to.
        model_id: The name under which learning is kept; the model's own when None.
    """

    def __init__(
        self, request: Request, handler: Callable[[Request], Any], scope: Scope, model_id: str | None
    ) -> None:
        name = model_id or model_id_of(request.model, None, request.model_settings)
        super().__init__(Anatomy(request.model, "chat"), scope, model_id=name)
        self._request = request
        self._handler = handler

    def _draft(self, prompt: Any) -> Draft:
        with set_config_context(self._scope.child(f"loopllm:iteration:{self.iteration}")) as inside:
            try:
                return self._made(inside.run(self._handler, self._request.override(messages=prompt)))
            except StructuredOutputError as error:
                return self._failed(error)

    async def _adraft(self, prompt: Any) -> Draft:
        request = self._request.override(messages=prompt)
        with set_config_context(self._scope.child(f"loopllm:iteration:{self.iteration}")) as inside:
            try:
                return self._made(await asyncio.create_task(_awaited(self._handler, request), context=inside))
            except StructuredOutputError as error:
                return self._failed(error)

    def _failed(self, error: StructuredOutputError) -> Draft:
        return Draft(None, self._replied(error.ai_message).message, error)

    def _made(self, response: Response) -> Draft:
        answer = next((each for each in reversed(response.result) if isinstance(each, AIMessage)), None)
        if answer is None:
            return Draft(response.result[-1] if response.result else None, origin=response)
        message = self._replied(answer).message
        if response.structured_response is not None:
            return Draft(response.structured_response, message, origin=response)
        refused = [each for each in response.result if isinstance(each, ToolMessage)]
        if refused:  # the agent itself answered the call of a structure: it was not one
            return Draft(None, message, ValueError(str(refused[0].text)), origin=response)
        if self._request.response_format is not None and not calls_tools(message):
            return Draft(None, message, origin=response)  # the agent would ask for its structure for ever
        return Draft(message, message, origin=response)


async def _awaited(handler: Callable[[Request], Any], request: Request) -> Response:
    response: Response = await handler(request)
    return response

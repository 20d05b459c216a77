"""The teacher answers: requests stream into vLLM, finished answers stream out with their raw log-probabilities."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.errors import StageFailed
from potstill.recipe import Generate


@dataclass(frozen=True)
class Request:
    """One answer that is asked of the teacher."""

    id: str
    prompt_ids: list[int]
    max_tokens: int


@dataclass(frozen=True)
class Answer:
    """What came back: N response tokens with K log-probabilities each."""

    id: str
    response_ids: list[int]
    topk_ids_NK: NDArray[np.int64]
    topk_logprobs_NK: NDArray[np.float32]
    sampled_logprob_N: NDArray[np.float32]
    finish_reason: str


def capture(llm: Any, requests: Iterable[Request], settings: Generate) -> Iterator[Answer]:
    """Send every request to a `vllm.LLM` and yield the answers as they finish, in any order.

    A few requests always wait in the engine's queue, so that it is never idle, and no more, so that memory stays
    bounded. Raises StageFailed when the engine dies.
    """
    from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

    engine = llm.llm_engine
    waiting = deque(requests)
    in_flight: dict[str, Request] = {}
    try:
        while waiting or in_flight:
            while waiting and len(in_flight) < 2 * settings.max_num_seqs:
                request = waiting.popleft()
                in_flight[request.id] = request
                engine.add_request(
                    request.id,
                    {"prompt_token_ids": request.prompt_ids},
                    _sampling(settings, request.max_tokens),
                )
            for output in engine.step():
                if output.finished:
                    yield _answer(in_flight.pop(output.request_id), output.outputs[0], settings.top_k)
    except (EngineDeadError, EngineGenerateError) as error:
        raise StageFailed(
            f"vLLM stopped while {len(in_flight)} answers were being written: {error}. Finished answers are kept; "
            "the same command goes on. If it stops again, lower `generate.max_num_seqs` or `generate.kv_cache_gib`."
        ) from error


def _sampling(settings: Generate, max_tokens: int) -> Any:
    from vllm import SamplingParams

    # No seed per request: on CPUs it kills the engine as soon as a prefill is chunked. The engine is seeded.
    return SamplingParams(
        temperature=settings.temperature,
        top_p=settings.top_p,
        max_tokens=max_tokens,
        logprobs=settings.top_k,
        flat_logprobs=True,
        detokenize=False,
    )


def _answer(request: Request, output: Any, top_k: int) -> Answer:
    tokens = len(output.token_ids)
    # Column 0 is the sampled token, then follow ranks 1 to k. Read as flat lists: indexing rebuilds dictionaries.
    ids = np.array(output.logprobs.token_ids, np.int64).reshape(tokens, top_k + 1)
    logprobs = np.array(output.logprobs.logprobs, np.float32).reshape(tokens, top_k + 1)
    if not np.array_equal(ids[:, 0], output.token_ids):
        raise StageFailed("vLLM returned log-probabilities that do not belong to its tokens; is its version supported?")
    return Answer(
        id=request.id,
        response_ids=list(output.token_ids),
        topk_ids_NK=ids[:, 1:],
        topk_logprobs_NK=logprobs[:, 1:],
        sampled_logprob_N=logprobs[:, 0],
        finish_reason=str(output.finish_reason),
    )

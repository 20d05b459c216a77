"""Prompts become requests of the right tokens, and what does not fit is left out with its reason."""

from pathlib import Path
from typing import Any

import pytest
from tiny_models import make_tokenizer

from potstill.errors import BadInput
from potstill.generate.jobs import make_jobs, prompt_ids, response_ids
from potstill.generate.prompts import Prompt
from potstill.recipe import Generate
from potstill.signal import row_id

HI = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return make_tokenizer()


def prompts(*texts: str, response: str | None = None) -> list[Prompt]:
    both = ("train", "held_out")
    return [Prompt(i, [{"role": "user", "content": text}], both[i % 2], response) for i, text in enumerate(texts)]


def test_every_sample_is_a_request_with_an_id_of_its_own(tokenizer: Any) -> None:
    jobs, skipped = make_jobs(prompts("a", "b"), tokenizer, Generate(samples_per_prompt=3, max_tokens=7), 64)
    assert len({job.request.id for job in jobs}) == 6
    assert not skipped
    assert {job.request.max_tokens for job in jobs} == {7}
    assert tokenizer.decode(jobs[0].request.prompt_ids) == "<|user|>a<|end|><|assistant|>"


def test_a_scored_answer_is_its_own_tokens_and_the_end(tokenizer: Any) -> None:
    jobs, _ = make_jobs(prompts("a", "b", response="yes"), tokenizer, Generate(mode="score"), 64)
    request = jobs[0].request
    assert (
        tokenizer.decode(request.prompt_ids + (request.response_ids or [])) == "<|user|>a<|end|><|assistant|>yes<|end|>"
    )
    whole = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "yes"}]
    assert request.id == row_id(whole, None, 0)


def test_special_tokens_in_an_answer_keep_their_text(tokenizer: Any) -> None:
    assert tokenizer.decode(response_ids(tokenizer, "a b")) == "a b<|end|>"


def test_template_variables_reach_the_template(tokenizer: Any) -> None:
    thinking = make_tokenizer()
    thinking.chat_template += "{% if not enable_thinking %}<none>{% endif %}"
    on, off = (prompt_ids(thinking, HI, {"enable_thinking": value}) for value in (True, False))
    assert thinking.decode(off) == thinking.decode(on) + "<none>"


def test_prompts_that_do_not_fit_are_left_out_with_their_length(tokenizer: Any) -> None:
    jobs, skipped = make_jobs(prompts("a", "b", "c" * 100), tokenizer, Generate(max_tokens=50), 20)
    assert [job.prompt.index for job in jobs] == [0, 1]
    assert jobs[0].request.max_tokens == 20 - len(jobs[0].request.prompt_ids)
    assert (skipped[0].prompt_index, skipped[0].reason) == (2, "103 tokens, the teacher's context holds 20")
    with pytest.raises(BadInput, match="every prompt is longer"):
        make_jobs(prompts("c" * 100), tokenizer, Generate(), 20)


def test_an_empty_split_and_a_missing_template_are_refused(tokenizer: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="falls into the held_out split"):
        make_jobs(prompts("a"), tokenizer, Generate(), 64)
    bare = make_tokenizer()
    bare.chat_template = None
    with pytest.raises(BadInput, match="no chat template"):
        make_jobs(prompts("a", "b"), bare, Generate(), 64)

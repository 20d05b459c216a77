"""Prompts come from files of several kinds, and a bad line is named."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.errors import BadInput
from potstill.generate.prompts import read_prompts, split_of
from potstill.recipe import Prompts


def jsonl(folder: Path, *records: object) -> Prompts:
    (folder / "p.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return Prompts(files=("p.jsonl",))


def refusal(folder: Path, prompts: Prompts) -> str:
    with pytest.raises(BadInput) as caught:
        read_prompts(prompts, folder)
    return str(caught.value)


def test_jsonl_csv_and_parquet_give_the_same_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "One, two"}\n\n{"prompt": "Zwölf"}\n', encoding="utf-8")
    (tmp_path / "p.csv").write_text('prompt\n"One, two"\nZwölf\n', encoding="utf-8")
    pq.write_table(pa.table({"prompt": ["One, two", "Zwölf"]}), tmp_path / "p.parquet")
    one, two, three = (read_prompts(Prompts(files=(f"p.{end}",)), tmp_path) for end in ("jsonl", "csv", "parquet"))
    assert [p.messages for p in one] == [[{"role": "user", "content": t}] for t in ("One, two", "Zwölf")]
    assert one == two == three


def test_conversations_keep_their_turns_and_get_the_system_message(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Bye"},
    ]
    prompts = jsonl(tmp_path, {"messages": turns}).model_copy(update={"system": "Be brief."})
    assert read_prompts(prompts, tmp_path)[0].messages == [{"role": "system", "content": "Be brief."}, *turns]


def test_repetitions_are_dropped_and_the_limit_holds(tmp_path: Path) -> None:
    prompts = jsonl(tmp_path, {"prompt": "a"}, {"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"})
    found = read_prompts(prompts.model_copy(update={"limit": 2}), tmp_path)
    assert [p.messages[0]["content"] for p in found] == ["a", "b"]


def test_the_split_follows_the_words_and_not_the_place(tmp_path: Path) -> None:
    texts = [f"question {i}" for i in range(400)]
    first = read_prompts(jsonl(tmp_path, *({"prompt": t} for t in texts)), tmp_path)
    second = read_prompts(jsonl(tmp_path, *({"prompt": t} for t in reversed(texts))), tmp_path)
    splits = {p.messages[0]["content"]: p.split for p in first}
    assert splits == {p.messages[0]["content"]: p.split for p in second}
    assert 20 <= sum(split == "held_out" for split in splits.values()) <= 65
    question = [{"role": "user", "content": "q"}]
    assert split_of([{"role": "system", "content": "x"}, *question], 0.1) == split_of(question, 0.1)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"question": "q"}, "no column 'prompt'; its columns are: question"),
        ({"prompt": ""}, "must be a text"),
        ({"prompt": 7}, "found 7"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "must be a text or a list"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "the last message"),
        ([1], "expected an object"),
    ],
)
def test_a_record_that_is_no_prompt_is_refused_with_its_line(tmp_path: Path, record: object, expected: str) -> None:
    message = refusal(tmp_path, jsonl(tmp_path, {"prompt": "fine"}, record))
    assert "p.jsonl, line 2" in message
    assert expected in message


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_bytes(b'{"prompt": "a"}\n{"prompt": \n')
    assert "p.jsonl, line 2: not JSON" in refusal(tmp_path, Prompts(files=("p.jsonl",)))
    (tmp_path / "p.jsonl").write_bytes(b'{"prompt": "\xff"}\n')
    assert "p.jsonl, line 1: not JSON" in refusal(tmp_path, Prompts(files=("p.jsonl",)))


def test_empty_missing_and_unknown_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text("\n")
    (tmp_path / "p.txt").write_text("hello")
    (tmp_path / "b.parquet").write_text("nope")
    assert "the source is empty" in refusal(tmp_path, Prompts(files=("e.jsonl",)))
    assert "no prompts file" in refusal(tmp_path, Prompts(files=("gone.jsonl",)))
    assert "ending in .jsonl" in refusal(tmp_path, Prompts(files=("p.txt",)))
    assert "not readable as Parquet" in refusal(tmp_path, Prompts(files=("b.parquet",)))


TALK = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you"},
]


def test_the_teacher_may_answer_at_every_turn_and_all_of_them_share_a_split(tmp_path: Path) -> None:
    talks = [[{**TALK[0], "content": f"Hi {i}"}, *TALK[1:3]] for i in range(60)]
    prompts = jsonl(tmp_path, *({"messages": talk} for talk in talks)).model_copy(update={"turns": "each"})
    found = read_prompts(prompts, tmp_path)
    assert [prompt.messages for prompt in found[:2]] == [talks[0][:1], talks[0]]
    assert all(first.split == second.split for first, second in zip(found[::2], found[1::2], strict=True))
    assert {prompt.split for prompt in found} == {"train", "held_out"}


def test_answers_to_score_end_a_conversation_or_stand_in_a_column(tmp_path: Path) -> None:
    prompts = jsonl(tmp_path, {"messages": TALK}, {"prompt": "Hi", "response": "Hello"})
    last, column = read_prompts(prompts, tmp_path, scored=True)
    assert (last.messages, last.response) == (TALK[:3], "See you")
    assert (column.messages, column.response) == (TALK[:1], "Hello")
    each = read_prompts(prompts.model_copy(update={"turns": "each"}), tmp_path, scored=True)
    # The last one is the first once more.
    assert [(p.messages, p.response) for p in each] == [(TALK[:1], "Hello"), (TALK[:3], "See you")]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"prompt": "q"}, "no column 'response'.*prompts.response_column"),
        ({"prompt": "q", "response": " "}, "'response' must be the answer's text"),
        ({"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]}, "must follow"),
    ],
)
def test_an_answer_that_is_not_there_is_refused(tmp_path: Path, record: object, expected: str) -> None:
    with pytest.raises(BadInput, match=expected):
        read_prompts(jsonl(tmp_path, record), tmp_path, scored=True)

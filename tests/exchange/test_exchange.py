"""What other programs captured comes in with its tokens in the right places, and goes out again."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from tiny_models import Tiny, answers, make_model, write_signal

from potstill.errors import BadInput
from potstill.exchange import IMPORTS, export_distillkit, export_sft, store_foreign
from potstill.exchange.distillkit import Layout, unpack
from potstill.signal import Decoded, Signal, open_signal, verify

K = 24


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return make_model(tmp_path_factory.mktemp("models") / "teacher")


@pytest.fixture(scope="module")
def signal(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Signal:
    return write_signal(tmp_path_factory.mktemp("signal"), tiny, answers(tiny, 20, K), K)


def imported(form: str, source: Path, out: Path, tiny: Tiny) -> Signal:
    top_k, rows = IMPORTS[form](source, str(tiny.folder))
    store_foreign(rows, out, str(tiny.folder), top_k, 0.3, form)
    assert list(verify(out)) == []
    return open_signal(out)


def by_tokens(signal: Signal) -> dict[tuple[int, ...], tuple[dict[str, Any], Decoded]]:
    rows = [*signal.stream("train"), *signal.stream("held_out")]
    return {(*row["prompt_ids"], *row["response_ids"]): (row, signal.decode([row])) for row in rows}


def require_same(one: Decoded, other: Decoded, tolerance: float) -> None:
    """The same distributions, whatever the order of ranks that are equally likely."""
    dense = []
    for decoded in (one, other):
        p_NV = np.zeros((len(decoded.log_tail_N), 300))
        np.put_along_axis(p_NV, decoded.topk_ids_NK.astype(int), np.exp(decoded.topk_logprobs_NK), axis=1)
        dense.append(p_NV)
    np.testing.assert_allclose(dense[0], dense[1], atol=tolerance)
    np.testing.assert_allclose(np.exp(one.log_tail_N), np.exp(other.log_tail_N), atol=tolerance)


def test_distillkits_raw_form_goes_out_and_comes_back(tiny: Tiny, signal: Signal, tmp_path: Path) -> None:
    assert export_distillkit(signal, tmp_path / "raw") == 20
    back = by_tokens(imported("distillkit", tmp_path / "raw", tmp_path / "back", tiny))
    for tokens, (row, decoded) in by_tokens(signal).items():
        found, same = back[tokens]
        assert found["response_ids"] == row["response_ids"]
        require_same(decoded, same, 0.01)
        known_N = ~np.isnan(same.sampled_logprob_N)
        in_top_N = (decoded.topk_ids_NK == np.array(row["response_ids"])[:, None]).any(axis=1)
        np.testing.assert_array_equal(known_N, in_top_N)


def pack_bits(numbers_NC: Any, width: int) -> Any:
    bits = (numbers_NC[:, :, None] >> np.arange(width - 1, -1, -1) & 1).astype(np.uint8)
    return np.packbits(bits.reshape(len(numbers_NC), -1), axis=1)


def pack(ids_NK: Any, logprobs_NK: Any, layout: Layout) -> tuple[Any, Any]:
    """A plain encoder of the documented layout, bin by bin."""
    values_NK = np.diff(logprobs_NK, axis=1, prepend=0) if layout.delta_encoding else logprobs_NK
    exact = torch.from_numpy(values_NK[:, : layout.exact_k]).to(getattr(torch, layout.exact_dtype))
    rest_NR = values_NK[:, layout.exact_k :]
    t = np.arange(rest_NR.shape[1], dtype=float)
    columns = [np.sqrt(t) if term == "sqrt" else t**term for term in layout.polynomial_terms]
    terms = np.linalg.lstsq(np.stack(columns, axis=1), rest_NR.T, rcond=None)[0].T
    terms = torch.from_numpy(terms).to(getattr(torch, layout.term_dtype))
    parts = [exact.contiguous().view(torch.uint8).numpy(), terms.contiguous().view(torch.uint8).numpy()]
    residual_NR, start = rest_NR - terms.double().numpy() @ np.stack(columns, axis=0), 0
    for bin in layout.residual_bins:
        part = residual_NR[:, start : start + bin.num_elements]
        half = 2 ** (bin.element_bits - 1)
        scale = torch.from_numpy(np.abs(part).max(axis=1, keepdims=True) / half).to(getattr(torch, bin.scale_dtype))
        codes = np.clip(np.rint(part / scale.double().numpy()), -half, half - 1) + half
        parts += [scale.view(torch.uint8).numpy(), pack_bits(codes.astype(np.int64), bin.element_bits)]
        start += bin.num_elements
    return np.concatenate(parts, axis=1), pack_bits(ids_NK, (layout.d - 1).bit_length())


RECOMMENDED = {
    "d": 300,
    "k": 128,
    "exact_k": 16,
    "exact_dtype": "bfloat16",
    "polynomial_terms": [0, 1, 2, 3, 4, "sqrt"],
    "term_dtype": "float32",
    "residual_bins": [],
    "delta_encoding": False,
}
BUDGET = RECOMMENDED | {"k": 50, "exact_k": 1, "polynomial_terms": [0, 1, "sqrt"]}
BINS = [{"scale_dtype": "float16", "element_bits": 8, "num_elements": 16}]
BINNED = RECOMMENDED | {"k": 40, "exact_k": 8, "residual_bins": BINS, "exact_dtype": "float32"}
DELTAS = BINNED | {"delta_encoding": True, "term_dtype": "float64"}


def smooth(tokens: int, k: int) -> tuple[Any, Any]:
    """Ids and falling log-probabilities of the shape that the layout is made for."""
    rng = np.random.default_rng(0)
    ids_NK = np.argsort(rng.random((tokens, 300)), axis=1)[:, :k]
    logprobs_NK = -0.7 - np.sqrt(np.arange(k)) * rng.uniform(0.6, 1.5, (tokens, 1)) - 0.01 * np.arange(k)
    return ids_NK, np.minimum.accumulate(logprobs_NK + rng.normal(0, 0.01, (tokens, k)), axis=1) - 0.3


@pytest.mark.parametrize(("config", "tolerance"), [(RECOMMENDED, 0.06), (BUDGET, 0.5), (BINNED, 0.05), (DELTAS, 0.05)])
def test_distillkits_compressed_layouts_are_decoded(
    config: dict[str, Any], tolerance: float, tiny: Tiny, tmp_path: Path
) -> None:
    layout = Layout.model_validate(config)
    ids_NK, logprobs_NK = smooth(30, layout.k)
    values, packed = pack(ids_NK, logprobs_NK, layout)
    found_ids, found = unpack(torch.from_numpy(values), torch.from_numpy(packed), layout)
    np.testing.assert_array_equal(found_ids.numpy(), ids_NK)
    np.testing.assert_allclose(found.numpy(), logprobs_NK, atol=tolerance)
    tokens = np.random.default_rng(1).integers(3, 250, 30).tolist()
    shifted = {"input_ids": [tokens], "compressed_logprobs": [values.tolist()], "bytepacked_indices": [packed.tolist()]}
    (tmp_path / "dk").mkdir()
    pq.write_table(pa.table(shifted), tmp_path / "dk/data_0.parquet")
    with pytest.raises(BadInput, match="need their configuration"):
        IMPORTS["distillkit"](tmp_path / "dk", str(tiny.folder))
    (tmp_path / "dk/compression_config.yaml").write_text(yaml.safe_dump(config))
    k, rows = IMPORTS["distillkit"](tmp_path / "dk", str(tiny.folder))
    (row,) = rows
    assert (k, row.prompt_ids, row.response_ids) == (layout.k, tokens[:1], tokens[1:])
    # Row 0 is the distribution after token 0: it predicts token 1.
    np.testing.assert_allclose(row.topk_logprobs_NK[0], found[0].numpy(), atol=1e-6)
    assert len(row.topk_ids_NK) == 29


@torch.no_grad()
def spoken(tiny: Tiny, number: int, text: str) -> tuple[dict[str, Any], Any]:
    """A conversation with an answer of plain letters, and the teacher's ranks at every position of it but the first."""
    messages = [{"role": "user", "content": f"What is {number}?"}, {"role": "assistant", "content": text}]
    whole = tiny.tokenizer.apply_chat_template(messages, return_dict=False)
    top = torch.log_softmax(tiny.model(torch.tensor([whole])).logits[0, :-1].double(), dim=-1).topk(K)
    return {"messages": messages, "whole": whole}, top


def axolotl_record(messages: Any, ids: Any, logprobs: Any, version: int, prompt_rows: bool) -> dict[str, Any]:
    start = 0 if prompt_rows else 5
    ids, logprobs = [[]] * prompt_rows + ids[start:], [[]] * prompt_rows + logprobs[start:]
    if version == 2:
        return {"messages": messages, "logprobs": logprobs, "target_token_ids": ids}
    entries = [
        [{"token": f"token_id:{i}", "logprob": p} for i, p in zip(*pair, strict=True)]
        for pair in zip(ids, logprobs, strict=True)
    ]
    return {"messages": messages, "logprobs": entries}


@pytest.mark.parametrize("prompt_rows", [True, False])
@pytest.mark.parametrize("version", [1, 2])
def test_axolotls_rows_end_where_the_conversation_ends(
    tiny: Tiny, tmp_path: Path, version: int, prompt_rows: bool
) -> None:
    told = [spoken(tiny, number, text) for number, text in enumerate(["four", "it is six", "no", "I do not know"])]
    records = [
        axolotl_record(row["messages"], top.indices.tolist(), top.values.tolist(), version, prompt_rows)
        for row, top in told
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    back = by_tokens(imported("axolotl", tmp_path / "a.jsonl", tmp_path / "back", tiny))
    assert len(back) == 4
    for row, top in told:
        found, decoded = back[tuple(row["whole"])]
        assert found["messages"] == row["messages"][:-1]
        assert tiny.tokenizer.decode(found["response_ids"]) == row["messages"][-1]["content"] + "<|end|>"
        # The model's row i predicts token i + 1, so the answer's rows are the last ones.
        expected = top.values[-len(found["response_ids"]) :].exp().numpy()
        np.testing.assert_allclose(np.exp(decoded.topk_logprobs_NK), expected, atol=0.02)
    export = tmp_path / "sft.jsonl"
    signal = open_signal(tmp_path / "back")
    assert export_sft(signal, export) == signal.info.rows("train")
    spelled = [json.loads(line)["messages"] for line in export.read_text().splitlines()]
    assert all(messages in [row["messages"] for row, _ in told] for messages in spelled)


def test_an_axolotl_record_that_does_not_fit_is_named(tiny: Tiny, tmp_path: Path) -> None:
    row, top = spoken(tiny, 1, "four")
    short = axolotl_record(row["messages"], top.indices.tolist()[-2:], top.values.tolist()[-2:], 1, True)
    (tmp_path / "a.jsonl").write_text(json.dumps(short) + "\n")
    with pytest.raises(BadInput, match=r"a\.jsonl, line 1: log-probabilities of 2 tokens for an answer of 5"):
        imported("axolotl", tmp_path / "a.jsonl", tmp_path / "out", tiny)
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(BadInput, match="line 1: expected the keys"):
        imported("axolotl", tmp_path / "a.jsonl", tmp_path / "out", tiny)


def test_tokens_alone_cannot_become_conversations(tiny: Tiny, signal: Signal, tmp_path: Path) -> None:
    back = imported("distillkit", _exported(signal, tmp_path), tmp_path / "back", tiny)
    with pytest.raises(BadInput, match="no conversations to export"):
        export_sft(back, tmp_path / "no.jsonl")
    assert not (tmp_path / "no.jsonl").exists()


def _exported(signal: Signal, folder: Path) -> Path:
    export_distillkit(signal, folder / "raw")
    return folder / "raw"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda row: row | {"input_ids": row["input_ids"][:-1]}, "row 1: .* tokens and .* rows of log-probabilities"),
        (lambda row: row | {"input_ids": [9999, *row["input_ids"][1:]]}, "row 1: token 9,999 is not in the vocabulary"),
        (lambda row: row | {"top_values": [[0.5] * K for _ in row["top_values"]]}, "row 1: .* no log-probabilities"),
        (lambda row: row | {"token_ids": [[1], *row["token_ids"][1:]]}, "row 1: .* different numbers"),
    ],
)
def test_a_row_that_cannot_be_right_is_named(
    tiny: Tiny, signal: Signal, tmp_path: Path, change: Any, expected: str
) -> None:
    (path,) = _exported(signal, tmp_path).glob("*.parquet")
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows[1] = change(rows[1])
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    with pytest.raises(BadInput, match=f"{path.name}, {expected}"):
        imported("distillkit", path.parent, tmp_path / "out", tiny)

"""Teacher-signal datasets in the forms that other trainers read."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.errors import BadInput
from potstill.files import replacing
from potstill.signal import SPLITS, Signal

ROWS_AT_A_TIME = 64


def export_sft(signal: Signal, out: Path) -> int:
    """Write the train split as JSONL with `messages` that end with the answer; returns the rows.

    Answers that came without their conversation cannot be written so: BadInput.
    """
    rows = 0
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8") as file:
        for row in signal.stream("train"):
            if not row["messages"]:
                raise BadInput("the dataset was imported as tokens alone: it has no conversations to export")
            messages = [*row["messages"], {"role": "assistant", "content": row["response"]}]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
            rows += 1
    return rows


def export_distillkit(signal: Signal, out: Path) -> int:
    """Write both splits as DistillKit's raw Parquet into the folder `out`; returns the rows.

    Its row t is the distribution after token t. Prompt tokens, which the teacher did not predict, and the last token
    get rows without probability.
    """
    if signal.info.settings.top_k == 0:
        raise BadInput("the dataset has no log-probabilities to export")
    out.mkdir(parents=True, exist_ok=True)
    rows = 0
    for split in SPLITS:
        if signal.info.rows(split):
            with replacing(out / f"{split}.parquet") as temporary:
                rows += _write(signal, split, temporary)
    return rows


def _write(signal: Signal, split: Any, path: Path) -> int:
    columns = [("input_ids", pa.uint64()), ("token_ids", pa.list_(pa.int64())), ("top_values", pa.list_(pa.float32()))]
    schema = pa.schema([(name, pa.list_(kind)) for name, kind in columns])
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        batch = []
        for row in signal.stream(split):
            batch.append(_raw(signal, row))
            if len(batch) == ROWS_AT_A_TIME:
                file.write_table(pa.Table.from_pylist(batch, schema))
                batch = []
            rows += 1
        if batch:
            file.write_table(pa.Table.from_pylist(batch, schema))
    return rows


def _raw(signal: Signal, row: dict[str, Any]) -> dict[str, Any]:
    decoded = signal.decode([row])
    ranks = decoded.topk_ids_NK.shape[1]
    nothing = [[0] * ranks], [[float("-inf")] * ranks]
    before = len(row["prompt_ids"]) - 1
    return {
        "input_ids": [*row["prompt_ids"], *row["response_ids"]],
        "token_ids": nothing[0] * before + decoded.topk_ids_NK.tolist() + nothing[0],
        "top_values": nothing[1] * before + decoded.topk_logprobs_NK.tolist() + nothing[1],
    }

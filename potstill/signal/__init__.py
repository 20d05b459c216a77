"""The teacher-signal dataset: what a teacher answered and how likely it thought the alternatives were."""

from .codec import encode
from .info import SPLITS, Sampling, Settings, Shard, SignalInfo, Split, TeacherInfo, content_hash, row_id
from .reader import Signal, TeacherSignal, open_signal
from .writer import SignalWriter

__all__ = [
    "SPLITS",
    "Sampling",
    "Settings",
    "Shard",
    "Signal",
    "SignalInfo",
    "SignalWriter",
    "Split",
    "TeacherInfo",
    "TeacherSignal",
    "content_hash",
    "encode",
    "open_signal",
    "row_id",
]

"""potstill distils a large language model into a small one and measures whether the small one may replace it."""

__version__ = "0.1.0"

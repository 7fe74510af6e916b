"""One thread: the models are tiny, and results do not hang on how many there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    import transformers

    threads, verbosity = torch.get_num_threads(), transformers.logging.get_verbosity()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    yield
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity(verbosity)


@pytest.fixture(scope="package")
def tokenizer():
    from engine.families import tokenizer_of

    return tokenizer_of()

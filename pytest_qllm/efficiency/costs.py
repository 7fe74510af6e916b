"""The costs that can be measured, and the shape of a generation. Free of torch.

Every figure is a cost, in seconds or bytes, and every effect is the candidate's over the baseline's: below 1 is a
saving, above 1 is slower or larger, whatever is measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pytest_qllm.errors import QllmError

DIMENSION = "efficiency"

TOKEN, SECONDS, BYTES = "s/token", "s", "bytes"
"""Units, which are the metrics of the records."""

UNITS = (TOKEN, SECONDS, BYTES)


@dataclass(frozen=True)
class Cost:
    """One thing that a regime costs.

    Attributes:
        name: what tests ask for.
        unit: of its figures.
        what: in the documentation and in a failed test.
        batch: sequences at once where nothing is said; 0 where nothing is generated.
        pairs: runs of each side at most, where a tolerance has to be decided; 0 where it is counted, and not timed.
    """

    name: str
    unit: str
    what: str
    batch: int = 0
    pairs: int = 0

    @property
    def is_shaped(self) -> bool:
        """Whether it depends on how much is generated."""
        return self.batch > 0

    @property
    def is_timed(self) -> bool:
        return self.pairs > 0

    def title(self, batch: int) -> str:
        """Its name with a batch that is not its own."""
        return self.name if batch == self.batch else f"{self.name}_batch{batch}"


PEAK = Cost("peak_memory", BYTES, "most memory that the model takes while it generates, weights and cache included", 1)

COSTS: tuple[Cost, ...] = (
    Cost("decode_time", TOKEN, "seconds per generated token, after the prompt was read", 1, 32),
    Cost("prefill_time", TOKEN, "seconds per token of the prompts while they are read", 8, 32),
    Cost("first_token_time", SECONDS, "seconds from a prompt to its first generated token", 1, 32),
    Cost("load_time", SECONDS, "seconds to load the model, its files read before and its libraries imported", 0, 16),
    Cost("weight_memory", BYTES, "bytes of all tensors of the loaded model, after it has generated"),
    PEAK,
    Cost("disk_size", BYTES, "bytes of the files with weights"),
)


def cost(name: str) -> Cost:
    """The cost of that name.

    Raises:
        QllmError: if there is none; the message lists those that there are.
    """
    for one in COSTS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in COSTS)
    raise QllmError(f"unknown cost {name!r}; known costs: {known}")


@dataclass(frozen=True)
class Shape:
    """Tokens of a prompt, and tokens that are generated after it."""

    input: int
    output: int

    def __str__(self) -> str:
        return f"{self.input}x{self.output}"

    @classmethod
    def parse(cls, text: object) -> Shape:
        """From ``256x512``.

        Raises:
            QllmError: unless it is two whole numbers, the first from 1 and the second from 8 (a timed generation is
                cut into eight parts).
        """
        found = re.fullmatch(r"(\d{1,7})x(\d{1,7})", str(text))
        shape = cls(int(found[1]), int(found[2])) if found else None
        if shape is None or shape.input < 1 or shape.output < PARTS:
            raise QllmError(
                f"the shape is {text!r}; expected tokens of the prompt x generated tokens, such as 256x512, with at "
                f"least {PARTS} generated"
            )
        return shape


PARTS = 8
"""Parts into which one generation is cut, each a pair; also the pairs that are measured together of the other times."""

LEAST = Shape(8, PARTS)
"""Of a run that only has to happen."""

PAPER = Shape(256, 512)
"""Jin et al. (2024, arXiv 2402.16775), section 3.3."""

QUICK = Shape(32, 16)
"""Of the built-in model, which is there to show the gate and has to do so in minutes."""

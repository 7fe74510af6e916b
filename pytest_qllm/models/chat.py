"""A model's chat template: from the messages of a dialogue to the prompt of the next answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_qllm.errors import QllmError, UnavailableError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatTemplate:
    """The template that a checkpoint's tokenizer has; nothing is loaded before the first message.

    Args:
        checkpoint: tells the checkpoint's directory.
    """

    def __init__(self, checkpoint: Callable[[], Path]) -> None:
        self._checkpoint = checkpoint

    def __call__(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The prompt of the answer that follows the messages (``role`` and ``content`` of each).

        Raises:
            UnavailableError: if the checkpoint has no chat template.
            QllmError: if the template refuses the messages.
        """
        if not self._tokenizer.chat_template:
            raise UnavailableError(f"{self._checkpoint()} has no chat template, in which a dialogue could be asked")
        try:
            made = self._tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # templates raise what they like
            line = (str(error).splitlines() or [""])[0]
            raise QllmError(f"the chat template of {self._checkpoint()} refuses a dialogue ({line})") from error
        return str(made)

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        from pytest_qllm.models.loader import load_tokenizer

        return load_tokenizer(self._checkpoint())

"""A model's chat template: from the messages of a conversation to the text that the model reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.store import digest

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatTemplate:
    """The template that a checkpoint's tokenizer has; nothing is loaded before the first message.

    Args:
        checkpoint: tells the checkpoint's directory.
    """

    def __init__(self, checkpoint: Callable[[], Path]) -> None:
        self._checkpoint = checkpoint

    def __call__(self, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
        """The text of the messages (``role`` and ``content`` of each), as lm-eval's ``hf`` model renders them.

        A template that refuses the messages gets them again without those of the system, as lm-eval does it.

        Args:
            messages: in order.
            add_generation_prompt: whether an answer follows; else the last message is left open, to go on.

        Raises:
            UnavailableError: if the checkpoint has no chat template.
            QllmError: if the template refuses the messages.
        """
        if not self.exists:
            raise UnavailableError(f"{self._checkpoint()} has no chat template, in which a question could be put")
        from jinja2.exceptions import TemplateError

        try:
            try:
                return self._rendered(messages, add_generation_prompt)
            except TemplateError:
                kept = [message for message in messages if message["role"] != "system"]
                if len(kept) == len(messages):
                    raise
                return self._rendered(kept, add_generation_prompt)
        except Exception as error:  # templates raise what they like
            line = (str(error).splitlines() or [""])[0]
            raise QllmError(f"the chat template of {self._checkpoint()} refuses the messages ({line})") from error

    def _rendered(self, messages: Sequence[Mapping[str, str]], add_generation_prompt: bool) -> str:
        made = self._tokenizer.apply_chat_template(
            [dict(message) for message in messages],
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        return str(made)

    @property
    def exists(self) -> bool:
        """Whether the checkpoint has a template."""
        return bool(self._written)

    @property
    def identity(self) -> str:
        """Hash of the template's text."""
        return digest(self._written)

    @cached_property
    def _written(self) -> dict[str, Any]:
        """The templates as the checkpoint's files have them, without loading its tokenizer."""
        folder = self._checkpoint()
        files = [folder / "chat_template.jinja", *sorted((folder / "additional_chat_templates").glob("*.jinja"))]
        found: dict[str, Any] = {file.name: file.read_text(encoding="utf-8") for file in files if file.is_file()}
        for name in ("tokenizer_config.json", "chat_template.json"):
            if (folder / name).is_file():
                content = json.loads((folder / name).read_text(encoding="utf-8"))
                if content.get("chat_template"):
                    found[name] = content["chat_template"]
        return found

    @cached_property
    def _tokenizer(self) -> PreTrainedTokenizerBase:
        from pytest_qllm.models.loader import load_tokenizer

        return load_tokenizer(self._checkpoint())

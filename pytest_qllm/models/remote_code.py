"""Code that comes with a checkpoint: never run unless its user names it, and then known to transformers like its own.

transformers asks at every call whether a checkpoint's code is trusted, and libraries that quantize call it too. Where
its classes are registered, all of them find these, in this process.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from pytest_qllm.errors import QllmError, UnavailableError
from pytest_qllm.regimes.regime import BASELINE

_CONFIG, _MODEL, _TOKENIZER = "AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"


def needed(directory: Path) -> bool:
    """Whether the architecture is none of transformers' own, and the checkpoint names code for it."""
    config = _json_object(directory / "config.json")
    if "auto_map" not in config:
        return False
    from pytest_qllm.models.source import is_known_architecture

    return not is_known_architecture(config)


def is_adopted(kind: type) -> bool:
    """Whether a class is from a checkpoint's code."""
    from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

    return bool(kind.__module__.partition(".")[0] == TRANSFORMERS_DYNAMIC_MODULE_NAME)


def refuse(name: str) -> NoReturn:
    """Say what to do about a model whose code is not run.

    Raises:
        UnavailableError: always.
    """
    raise UnavailableError(
        f"{name} needs code of its own to be loaded (auto_map in its config.json), which is not run; if you have read "
        f"it: --qllm-trust-remote-code={BASELINE}"
    )


def adopt(directory: Path) -> None:
    """Run the checkpoint's code, and register its classes with transformers for the rest of this process.

    Raises:
        QllmError: if the code cannot be imported or has no causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    config = _json_object(directory / "config.json")
    classes: dict[str, Any] = config["auto_map"]
    absent = [name for name in (_CONFIG, _MODEL) if name not in classes]
    if absent:
        raise QllmError(f"{directory}: the auto_map of its config.json has no {absent[0]}; it has {', '.join(classes)}")
    try:
        kind, model = (get_class_from_dynamic_module(classes[name], directory) for name in (_CONFIG, _MODEL))
        AutoConfig.register(config["model_type"], kind, exist_ok=True)
        AutoModelForCausalLM.register(kind, model, exist_ok=True)
        slow, fast = _tokenizers(directory, classes)
        if slow or fast:
            AutoTokenizer.register(
                kind,
                slow_tokenizer_class=slow and get_class_from_dynamic_module(slow, directory),
                fast_tokenizer_class=fast and get_class_from_dynamic_module(fast, directory),
                exist_ok=True,
            )
    except Exception as error:  # it is the checkpoint's code, which may raise anything
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"the code of {directory} cannot be used ({type(error).__name__}: {line})") from error


def _tokenizers(directory: Path, classes: dict[str, Any]) -> tuple[str | None, str | None]:
    """The slow and the fast tokenizer that the checkpoint names, of which either may be missing."""
    file = directory / "tokenizer_config.json"
    named = (_json_object(file) if file.is_file() else {}).get("auto_map", {})
    found = named.get(_TOKENIZER) if isinstance(named, dict) else named  # older ones name the two alone
    found = found or classes.get(_TOKENIZER) or (None, None)
    return (found, None) if isinstance(found, str) else (found[0], found[1])


def _json_object(file: Path) -> dict[str, Any]:
    content = json.loads(file.read_text())
    return content if isinstance(content, dict) else {}

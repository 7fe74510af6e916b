"""Code that comes with a checkpoint: never run unless its user names it, and then known to transformers like its own.

transformers asks at every call whether a checkpoint's code is trusted, and libraries that quantize call it too. Where
its classes are registered, all of them find these, in this process.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from pytest_qllm.errors import QllmError, UnavailableError

_CONFIG, _MODEL, _TOKENIZER = "AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"


def needed(config: Mapping[str, Any]) -> bool:
    """Whether the architecture is none of transformers' own, and the checkpoint names code for it."""
    return "auto_map" in config and not is_known(config)


def is_known(config: Mapping[str, Any]) -> bool:
    """Whether transformers has the architecture without code that came with a checkpoint."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

    name = config.get("model_type")
    return name in CONFIG_MAPPING and CONFIG_MAPPING[name].__module__.split(".")[0] != TRANSFORMERS_DYNAMIC_MODULE_NAME


def refuse(what: str, regime: str) -> NoReturn:
    """Say what to do about a checkpoint, that of a regime, whose code is not run.

    Raises:
        UnavailableError: always.
    """
    raise UnavailableError(
        f"{what} needs code of its own to be loaded (auto_map in its config.json), which is not run; if you have read "
        f"it: --qllm-trust-remote-code={regime}"
    )


def adopt(directory: Path, config: Mapping[str, Any]) -> list[Path]:
    """Run the checkpoint's code, and register its classes with transformers for the rest of this process.

    Returns:
        the files that it runs: those beside the checkpoint, and those of classes from another repository.

    Raises:
        QllmError: if the code cannot be imported or has no causal language model.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    classes: dict[str, Any] = config["auto_map"]
    absent = [name for name in (_CONFIG, _MODEL) if name not in classes]
    if absent:
        raise QllmError(f"{directory}: the auto_map of its config.json has no {absent[0]}; it has {', '.join(classes)}")
    try:
        kind, model = (get_class_from_dynamic_module(classes[name], directory) for name in (_CONFIG, _MODEL))
        slow, fast = (name and get_class_from_dynamic_module(name, directory) for name in _tokenizers(directory))
        AutoConfig.register(config["model_type"], kind, exist_ok=True)
        AutoModelForCausalLM.register(kind, model, exist_ok=True)
        if slow or fast:
            AutoTokenizer.register(kind, slow_tokenizer_class=slow, fast_tokenizer_class=fast, exist_ok=True)
        files = [Path(inspect.getfile(one)) for one in (kind, model, slow, fast) if one]
    except Exception as error:  # it is the checkpoint's code, which may raise anything
        line = (str(error).splitlines() or [""])[0]
        raise QllmError(f"the code of {directory} cannot be used ({type(error).__name__}: {line})") from error
    return [*sorted(directory.glob("*.py")), *files]


def _tokenizers(directory: Path) -> tuple[str | None, str | None]:
    """The slow and the fast tokenizer that the checkpoint names, of which either may be missing."""
    file = directory / "tokenizer_config.json"
    named = (json.loads(file.read_text()) if file.is_file() else {}).get("auto_map", {})
    found = named.get(_TOKENIZER) if isinstance(named, dict) else named  # older ones name the two alone
    found = found or (None, None)
    return (found, None) if isinstance(found, str) else (found[0], found[1])

"""A model behind an OpenAI-compatible endpoint that judges answers: asked once, remembered, and read strictly."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pytest_qllm.errors import QllmError
from pytest_qllm.store import Store, digest

if TYPE_CHECKING:
    import httpx2

KEY = "QLLM_JUDGE_KEY"
"""The environment variable with the endpoint's key; it is sent, and written nowhere."""

VERSION = 1
"""Part of the store's key: counted up whenever the judge is asked in another way."""

AT_ONCE = 4
"""Requests that wait for the endpoint at a time."""

WAITS = (1.0, 4.0, 16.0)
"""Seconds before each further try, where the endpoint does not say itself how long to wait."""

LONGEST_WAIT = 60.0
CONNECTING, ANSWERING = 10.0, 300.0
"""Seconds until an endpoint has to be there, and until it has to have answered."""

_TRY_AGAIN = (408, 409, 425, 429, 500, 502, 503, 504, 529)

Judgement = TypeVar("Judgement")


@dataclass(frozen=True)
class Endpoint:
    """Where the judge is: an OpenAI-compatible base URL (``http://localhost:8000/v1``), and the model's name there."""

    url: str
    model: str
    seed: int = 0
    key: str = field(default="", repr=False)

    @classmethod
    def named(cls, url: str, model: str, seed: int) -> Endpoint | None:
        """The endpoint that the options name, with its key from the environment; None where they name none."""
        return cls(url.rstrip("/"), model, seed, os.environ.get(KEY, "").strip()) if url else None


@dataclass(frozen=True)
class Question(Generic[Judgement]):
    """One thing to be judged.

    Attributes:
        prompt: all that the judge is told.
        form: how the last line of its answer has to look, for a reminder where it does not.
        read: the judgement in an answer, or None where it has none. Whatever is in doubt is none.
    """

    prompt: str
    form: str
    read: Callable[[str], Judgement | None]


class Judge:
    """Asks an endpoint at temperature 0. An answer is kept by what was asked of whom, and never asked for again.

    The model's name stands for the judge; where it is served is not part of what is kept.
    """

    def __init__(self, endpoint: Endpoint, store: Store) -> None:
        self.endpoint = endpoint
        self.store = store

    def identity(self) -> dict[str, Any]:
        """What decides the judgements: part of a measurement's key and provenance."""
        return {"model": self.endpoint.model, "seed": self.endpoint.seed, "version": VERSION}

    def judgements(self, questions: Sequence[Question[Judgement]]) -> list[Judgement]:
        """The judgement on each question, in order; equal prompts are one question.

        Raises:
            QllmError: if the endpoint cannot be reached, refuses, or gives no judgement that can be read. What it has
                answered until then is kept.
        """
        distinct = {question.prompt: question for question in questions}
        found = {prompt: self._kept(question) for prompt, question in distinct.items()}
        open_ones = [question for prompt, question in distinct.items() if found[prompt] is None]
        if open_ones:
            self.store.progress(f"asking {self.endpoint.model} for {len(open_ones)} judgements")
            said = asyncio.run(self._ask_all(open_ones))
            found |= {question.prompt: question.read(text) for question, text in zip(open_ones, said, strict=True)}
            self._check(open_ones, said)
        judgements = [found[question.prompt] for question in questions]
        return [judgement for judgement in judgements if judgement is not None]

    def _check(self, questions: Sequence[Question[Judgement]], said: Sequence[str]) -> None:
        """Refuse a round in which an answer of the judge could not be read."""
        unread = [(one, text) for one, text in zip(questions, said, strict=True) if one.read(text) is None]
        if unread:
            first, text = unread[0]
            raise QllmError(
                f"the judge {self.endpoint.model} gave no judgement on {len(unread)} of {len(questions)} answers, "
                f"though asked twice; instead of {first.form} it said {_excerpt(text)!r}. The others are kept: "
                "run again, or name another --qllm-judge-model"
            )

    def _place(self, prompt: str) -> tuple[str, str]:
        return "judgements", digest([self.identity(), prompt])

    def _kept(self, question: Question[Judgement]) -> Judgement | None:
        content = self.store.read(*self._place(question.prompt))
        return None if content is None else question.read(content["answer"])

    async def _ask_all(self, questions: Sequence[Question[Judgement]]) -> list[str]:
        """What the judge says to each; the first that fails for good ends them all."""
        import httpx2

        headers = {"Authorization": f"Bearer {self.endpoint.key}"} if self.endpoint.key else {}
        room = asyncio.Semaphore(AT_ONCE)
        timeout = httpx2.Timeout(ANSWERING, connect=CONNECTING)
        async with httpx2.AsyncClient(headers=headers, timeout=timeout) as client:

            async def ask(question: Question[Judgement]) -> str:
                async with room:
                    return await self._ask(client, question)

            tasks = [asyncio.ensure_future(ask(question)) for question in questions]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, client: httpx2.AsyncClient, question: Question[Judgement]) -> str:
        """The judge's answer, which is kept if it has a judgement; without one it is reminded of the form, once."""
        messages = [{"role": "user", "content": question.prompt}]
        text = await self._complete(client, messages)
        if question.read(text) is None:
            reminder = f"Your answer did not end as it has to. Answer with the last line alone: {question.form}"
            messages += [{"role": "assistant", "content": text}, {"role": "user", "content": reminder}]
            text = await self._complete(client, messages)
        if question.read(text) is not None:
            content = {"judge": self.identity(), "prompt": question.prompt, "answer": text}
            self.store.write(content, *self._place(question.prompt))
        return text

    async def _complete(self, client: httpx2.AsyncClient, messages: Sequence[dict[str, str]]) -> str:
        endpoint = self.endpoint
        body = {"model": endpoint.model, "messages": messages, "temperature": 0, "seed": endpoint.seed}
        response = await self._post(client, f"{endpoint.url}/chat/completions", body)
        try:
            choice = response.json()["choices"][0]
            text = choice["message"]["content"]
        except (ValueError, LookupError, TypeError):
            text = None
        if text is None:
            raise QllmError(
                f"the judge at {endpoint.url} gave no chat completion: {_excerpt(response.text)!r}; --qllm-judge is "
                "the base URL of an OpenAI-compatible endpoint, such as http://localhost:8000/v1"
            )
        # What was cut off has not come to its judgement, whatever its last line looks like.
        return "" if choice.get("finish_reason") == "length" else str(text)

    async def _post(self, client: httpx2.AsyncClient, url: str, body: dict[str, Any]) -> httpx2.Response:
        """A response that is none of an error; what may pass is tried again."""
        import httpx2

        trouble = ""
        for wait in (*WAITS, None):
            asked_to_wait: float | None = None
            try:
                response = await client.post(url, json=body)
            except httpx2.TransportError as error:
                trouble = f"{type(error).__name__}: {error}".removesuffix(": ")
            except (httpx2.InvalidURL, UnicodeError) as error:
                raise QllmError(f"--qllm-judge is {self.endpoint.url!r}, which is no URL ({error})") from error
            else:
                if response.is_success:
                    return response
                trouble = self._told(response)
                if response.status_code not in _TRY_AGAIN:
                    raise QllmError(
                        f"the judge at {self.endpoint.url} refuses: {trouble}{_advice(response.status_code)}"
                    )
                asked_to_wait = _seconds(response.headers.get("retry-after", ""))
            if wait is not None:
                await asyncio.sleep(wait if asked_to_wait is None else min(asked_to_wait, LONGEST_WAIT))
        raise QllmError(
            f"the judge at {self.endpoint.url} does not answer ({trouble}; {len(WAITS) + 1} tries). What was generated "
            "and judged is kept: run again when it is there"
        )

    def _told(self, response: httpx2.Response) -> str:
        """Status and the server's own words, without the key if it repeats that."""
        try:
            content = response.json()
            error = content.get("error", content)
            words = str(error.get("message") if isinstance(error, dict) else error)
        except (ValueError, AttributeError):
            words = response.text
        if self.endpoint.key:
            words = words.replace(self.endpoint.key, "***")
        return f"{response.status_code} {response.reason_phrase}: {_excerpt(words)}".removesuffix(": ")


def _advice(status: int) -> str:
    if status in (401, 403):
        return f"; its key is read from the environment variable {KEY}"
    if status == 404:
        return "; expected a base URL such as http://localhost:8000/v1, and the name of a model there"
    return ""


def _seconds(given: str) -> float | None:
    """``Retry-After`` in seconds; a date is not followed."""
    return float(given) if given.isdecimal() else None


def _excerpt(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 160 else f"{words[:157]}..."

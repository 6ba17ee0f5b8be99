"""A conversation with a model, in a terminal or through a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text as Line

from sensorium.data.audio import read_audio
from sensorium.data.images import open_picture
from sensorium.errors import DataError, SensoriumError
from sensorium.model import Model
from sensorium.sample import Audio, Image, Sample, Segment, Text
from sensorium.training.checkpoint import load_model

HELP = "/image FILE shows it another picture, /sound FILE plays it one, /new begins anew, /quit or Ctrl-D ends"


class Talk:
    """A growing conversation: pictures or sounds and questions of the user, replies of the model."""

    def __init__(
        self, model: Model, media: Sequence[Image | Audio] = (), max_tokens: int = 64, temperature: float = 0.0
    ) -> None:
        self.model, self.max_tokens, self.temperature = model, max_tokens, temperature
        self.segments: list[Segment] = []
        for one in media:
            self.show(one)

    def show(self, one: Image | Audio) -> None:
        """Add a picture or sound to the user's turn; a `DataError` if it cannot be read or the model reads none such,
        at once and not when asked."""
        opened(one)
        self.model.layout(Sample((one,), one.id, "prompt"))
        self.segments.append(one)

    def ask(self, question: str) -> str:
        """The model's reply, which stays in the conversation; nothing stays if it fails."""
        asked = [*self.segments, Text(question)]
        reply = self.model.generate(asked, max_tokens=self.max_tokens, temperature=self.temperature)
        self.segments = [*asked, Text(reply, role="assistant")]
        return reply


def picture(file: Path) -> Image:
    return Image(file, id=file.name)


def sound(file: Path) -> Audio:
    return Audio(file, id=file.name)


SHOWING = {"/image": picture, "/sound": sound}


def opened(one: Image | Audio) -> None:
    """A `DataError` if a picture or sound cannot be read."""
    if isinstance(one, Image):
        open_picture(one.source, one.id)
    else:
        read_audio(one.source, name=one.id)


def chat(
    checkpoint: Path,
    media: Sequence[Image | Audio],
    question: str | None,
    max_tokens: int = 64,
    temperature: float = 0.0,
) -> None:
    """Talk to the model in a folder: answer one question; without one hold a conversation, or where stdin is no
    terminal answer it line by line."""
    for one in media:
        opened(one)  # a wrong path is told before the model is loaded
    talk = Talk(load_model(checkpoint), media, max_tokens, temperature)
    if question is None and sys.stdin.isatty():
        converse(talk, Console())
        return
    asked = False
    for line in [question] if question is not None else sys.stdin:
        if line.strip():
            asked = True
            print(talk.ask(line.strip()), flush=True)
    if not asked:
        raise DataError("nothing was asked; give --ask QUESTION, or questions line by line on stdin")


def converse(talk: Talk, console: Console) -> None:
    """Ask and answer until the user has enough."""
    console.print(HELP, style="dim", highlight=False)
    while True:
        try:
            line = console.input("[bold]you[/]   ").strip()
        except EOFError:
            console.print()
            return
        if line in ("/quit", "/exit"):
            return
        try:
            reply = respond(talk, line)
        except SensoriumError as error:
            console.print(Line(str(error), "red"))
            continue
        if reply is not None:
            console.print(Line.assemble(("model ", "bold blue"), reply or "(nothing)"), highlight=False)


def respond(talk: Talk, line: str) -> str | None:
    """What one line of the user leads to: a reply, or none for a command."""
    command, _, rest = line.partition(" ")
    if command in SHOWING and rest:
        talk.show(SHOWING[command](Path(rest.strip()).expanduser()))
    elif line == "/new":
        talk.segments = []
    elif line.startswith("/"):
        raise DataError(f"unknown command '{line.split()[0]}'; {HELP}")
    elif line:
        return talk.ask(line)
    return None

"""Chat templates: the marks that turn roles into text, as typed data rather than a program in a string."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from sensorium.config import Config
from sensorium.sample import Role, Sample, Text


class Turn(Config):
    """The marks around a turn: `prefix` opens it, `end` closes it and is supervised with it, `after` follows unseen."""

    prefix: str = ""
    end: str = ""
    after: str = ""
    length: int | None = Field(
        default=None,
        ge=1,
        description="shorter turns are filled up to so many tokens with padding, as SigLIP's texts are",
    )


class ChatTemplate(Config):
    """How roles are written down. `document` is running text and has only an end."""

    document: Turn = Turn(end="<|end|>")
    system: Turn = Turn(prefix="<|system|>", end="<|end|>")
    user: Turn = Turn(prefix="<|user|>")
    assistant: Turn = Turn(prefix="<|assistant|>", end="<|end|>")
    image: str = Field(default="<|image|>", description="refused in text: pictures are segments, not placeholders")

    before_image: str = Field(default="", description="marks before a picture, for example <img>")
    after_image: str = Field(default="", description="marks after a picture, for example </img>, or a line end")
    end_of_chunk: str = Field(
        default="", description="ends the text before every picture but a sample's first, and is supervised as it is"
    )

    begin: str = Field(default="", description="opens every conversation, for example <s>")
    default_system: str = Field(default="", description="what the system says in conversations that do not say it")

    def opened(self, sample: Sample) -> Sample:
        """The sample with what the system says, if it is a conversation that lacks it."""
        roles = [segment.role for segment in sample.segments]
        if not self.default_system or not roles or roles[0] in ("document", "system"):
            return sample
        return replace(sample, segments=(Text(self.default_system, role="system"), *sample.segments))

    def turn(self, role: Role) -> Turn:
        return getattr(self, role)

    @classmethod
    def chatml(cls) -> ChatTemplate:
        """The format of SmolLM2, Qwen and others."""
        roles = {
            r: Turn(prefix=f"<|im_start|>{r}\n", end="<|im_end|>", after="\n") for r in ("system", "user", "assistant")
        }
        return cls(document=Turn(end="<|im_end|>"), image="<image>").model_copy(update=roles)

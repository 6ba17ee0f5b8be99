"""Classification by words: the class whose prompts a picture is most like (CLIP, arXiv 2103.00020, section 3.1)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from sensorium.data.records import fill
from sensorium.data.source import Source
from sensorium.evaluation.alike import Nearest, Progress, picture_vectors, text_vectors
from sensorium.evaluation.suite import Case, Metric, Report, Suite, proportion
from sensorium.sample import Sample


class ZeroShot(Suite, name="zero-shot"):
    """A class is the mean of its prompts' embeddings, each of length 1, brought to length 1 again (section 3.1.4).

    Metrics: `accuracy` (the ensemble of all templates), `accuracy/top-5`, `accuracy/one-prompt` (the first template
    alone), `accuracy/by-class` (the mean over classes), `chance`, `majority` (the largest class
    always) and, with `neighbours`, `nearest/accuracy`: the text of the nearest known picture, by the encoder's
    features, stands for the picture.
    """

    class Config(Suite.Config):
        source: Source.Config = Field(description="pictures of records that say what they are of")
        label: str = Field(default="{category}", description="template of a picture's label, from fields of its record")
        classes: dict[str, str] = Field(
            default={},
            description="labels, or what labels begin with before a slash, and the words for them; the longest that "
            "fits counts, and pictures without any are left out; by default all labels, in their own words",
        )
        templates: tuple[str, ...] = Field(default=("a picture of {}",), min_length=1, description="prompts of a class")
        neighbours: Source.Config | None = Field(
            default=None, description="pictures with texts that are known, such as those it was trained on"
        )
        shown: int = Field(default=10, ge=0, description="pictures for the page")

    config: Config

    def run(self, model: Any, blind: bool = False, progress: Progress | None = None) -> Report:
        pictures, labels = self._labelled(self.config.source.build())
        names = dict.fromkeys(labels) if not self.config.classes else self.config.classes
        words = {label: self.config.classes.get(label, label) for label in names if label in labels}
        right = torch.tensor([list(words).index(label) for label in labels])
        classes = ensemble(model, list(words.values()), self.config.templates)
        alone = ensemble(model, list(words.values()), self.config.templates[:1])

        def told(done: int) -> None:
            if progress:
                progress("pictures", done, len(pictures))

        vectors = picture_vectors(model, pictures, blind, told)
        alike, majority = vectors @ classes.T, Counter(labels).most_common(1)[0][1] / len(labels)
        hits = alike.argmax(1) == right
        metrics = {
            "accuracy": _share(hits),
            "accuracy/top-5": _share((alike.topk(min(5, len(words))).indices == right[:, None]).any(1)),
            "accuracy/one-prompt": _share((vectors @ alone.T).argmax(1) == right),
            "accuracy/by-class": _by_class(hits, right, len(words)),
            "chance": Metric(1 / len(words), len(labels), (1 / len(words), 1 / len(words))),
            "majority": Metric(majority, len(labels), (majority, majority)),
        }
        if self.config.neighbours and not blind:
            nearest = Nearest(model, self.config.neighbours.build())
            metrics["nearest/accuracy"] = _share((nearest(pictures) @ classes.T).argmax(1) == right)
        said = list(words.values())
        step = max(1, len(pictures) // max(1, self.config.shown))
        cases = [
            Case(pictures[i], "Which class?", said[int(alike[i].argmax())], said[int(right[i])], "class")
            for i in range(0, len(pictures), step)[: self.config.shown]
        ]
        return Report("zero-shot", metrics, cases)

    def _labelled(self, source: Source) -> tuple[list[Sample], list[str]]:
        """The pictures that are of any class, each a sample of its own, and their labels."""
        found: list[tuple[Sample, str]] = []
        for index in range(len(source)):
            sample = source[index]
            record: Any = sample.meta.get("record", {})
            label = self._class_of(fill(self.config.label, record, sample.name))
            if label is not None:
                found.append((Sample(sample.images, sample.id, sample.source), label))
        return [picture for picture, _ in found], [label for _, label in found]

    def _class_of(self, label: str) -> str | None:
        if not self.config.classes:
            return label
        fitting = [known for known in self.config.classes if f"{label}/".startswith(f"{known}/")]
        return max(fitting, key=len, default=None)


def ensemble(model: Any, words: Sequence[str], templates: Sequence[str]) -> Tensor:
    """`[classes, dim]`: each template's embedding has length 1, and so has their mean."""
    prompts = [template.replace("{}", word) for word in words for template in templates]
    vectors = text_vectors(model, prompts).float().cpu().unflatten(0, (len(words), len(templates)))
    return F.normalize(vectors.mean(1), dim=-1)


def _share(hits: Tensor) -> Metric:
    return proportion(int(hits.sum()), len(hits))


def _by_class(hits: Tensor, right: Tensor, classes: int) -> Metric:
    """The mean of the classes' accuracies; its interval is that of a mean of independent proportions."""
    each = [hits[right == i].double() for i in range(classes)]
    shares = [float(one.mean()) for one in each]
    variance = sum(p * (1 - p) / len(one) for p, one in zip(shares, each, strict=True)) / classes**2
    mean, spread = sum(shares) / classes, 1.959964 * variance**0.5
    return Metric(mean, classes, (max(0.0, mean - spread), min(1.0, mean + spread)))

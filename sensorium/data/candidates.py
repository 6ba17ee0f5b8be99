"""Samples to learn retrieval from: a query, and the documents that may answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sensorium.errors import DataError
from sensorium.sample import Sample, Segment, Text


@dataclass(frozen=True)
class Candidate(Segment):
    """A document that answers what stands before it in its sample, or only seems to. It is compared with the query and
    never read after it: a layout refuses it, and lays out what `parts` makes of the sample."""

    segments: tuple[Segment, ...]
    relevant: bool


def retrieval(
    instruction: str,
    query: Sequence[Segment],
    positive: Sequence[Segment],
    negatives: Sequence[Sequence[Segment]] = (),
    *,
    id: str = "",
    source: str = "",
) -> Sample:
    """A sample of mmE5 (Chen et al., arXiv 2502.08468, section 3): what is searched for, what with, the document to be
    found, and such as must not be."""
    asked = (*((Text(instruction, role="system"),) if instruction else ()), *query)
    documents = [Candidate(tuple(positive), True), *(Candidate(tuple(negative), False) for negative in negatives)]
    if not query or not all(document.segments for document in documents):
        raise DataError(
            f"{source or 'sample'}/{id or '?'}: a query or a document is empty; give each text or a picture"
        )
    return Sample((*asked, *documents), id=id, source=source)


def parts(sample: Sample) -> tuple[Sample, list[Sample], list[Sample]]:
    """The query with its instruction, the documents that answer it, and those that do not."""
    documents = [segment for segment in sample.segments if isinstance(segment, Candidate)]
    asked = tuple(segment for segment in sample.segments if not isinstance(segment, Candidate))
    found = [replace(sample, segments=document.segments) for document in documents]
    right = [one for one, document in zip(found, documents, strict=True) if document.relevant]
    wrong = [one for one, document in zip(found, documents, strict=True) if not document.relevant]
    if not asked or not right:
        raise DataError(f"{sample.name}: holds no query and document that answers it; use a source of triples")
    return replace(sample, segments=asked), right, wrong

"""Samples: the one Sample type and the readers that make it out of files and datasets."""

from curation.samples.layouts import LAYOUTS
from curation.samples.reading import Reading, read_samples
from curation.samples.rejects import Rejects
from curation.samples.sample import Message, Sample, Source, Train

__all__ = ["LAYOUTS", "Message", "Reading", "Rejects", "Sample", "Source", "Train", "read_samples"]

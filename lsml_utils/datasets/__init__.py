"""The course's data. `datasets.list()` shows all of it; each dataset is a function that returns a small dataclass.

Generated data is an exact function of its seed: `NAME_chunks(...)` gives it a chunk at a time (chunk k needs none
before it), so that any length fits into memory.
"""

from lsml_utils.datasets.bundled import breast_cancer, diabetes, digits, python_help, wine
from lsml_utils.datasets.captions import Captions, caption, caption_tokens, captions, captions_chunks
from lsml_utils.datasets.catalogue import catalogue as list  # noqa: F401 - `import *` must not hide Python's list
from lsml_utils.datasets.chunks import Chunks
from lsml_utils.datasets.clicks import Clicks, batches, clicks
from lsml_utils.datasets.commands import Commands, commands, commands_chunks
from lsml_utils.datasets.downloaded import cifar10, mnist
from lsml_utils.datasets.downloading import DatasetUnavailable, Remote
from lsml_utils.datasets.duplicates import near_duplicates, near_duplicates_chunks
from lsml_utils.datasets.folder import data_folder
from lsml_utils.datasets.graphs import graph
from lsml_utils.datasets.interactions import interactions, interactions_chunks
from lsml_utils.datasets.language import events, instructions
from lsml_utils.datasets.loans import Loans, loans, loans_chunks
from lsml_utils.datasets.moving import clips, clips_chunks
from lsml_utils.datasets.patients import Patients, patients
from lsml_utils.datasets.points import blobs, blobs_chunks, linear, linear_chunks, moons, moons_chunks
from lsml_utils.datasets.requests import Requests, requests, requests_chunks
from lsml_utils.datasets.reviews import reviews, reviews_chunks
from lsml_utils.datasets.shapes import one_hot, shapes, shapes_chunks
from lsml_utils.datasets.spins import Planted, Regular, frustrated_loops, regular_graph
from lsml_utils.datasets.tickets import Tickets, tickets, tickets_chunks
from lsml_utils.datasets.visits import Visits, visits, visits_chunks

__all__ = [
    "Captions",
    "Chunks",
    "Clicks",
    "Commands",
    "DatasetUnavailable",
    "Loans",
    "Patients",
    "Planted",
    "Regular",
    "Remote",
    "Requests",
    "Tickets",
    "Visits",
    "batches",
    "blobs",
    "blobs_chunks",
    "breast_cancer",
    "caption",
    "caption_tokens",
    "captions",
    "captions_chunks",
    "cifar10",
    "clicks",
    "clips",
    "clips_chunks",
    "commands",
    "commands_chunks",
    "data_folder",
    "diabetes",
    "digits",
    "events",
    "frustrated_loops",
    "graph",
    "instructions",
    "interactions",
    "interactions_chunks",
    "linear",
    "linear_chunks",
    "loans",
    "loans_chunks",
    "mnist",
    "moons",
    "moons_chunks",
    "near_duplicates",
    "near_duplicates_chunks",
    "one_hot",
    "patients",
    "python_help",
    "regular_graph",
    "requests",
    "requests_chunks",
    "reviews",
    "reviews_chunks",
    "shapes",
    "shapes_chunks",
    "tickets",
    "tickets_chunks",
    "visits",
    "visits_chunks",
    "wine",
]

"""The table of all datasets."""

from lsml_utils.tables import Table

BUNDLED, GENERATED, DOWNLOADED = "offline, bundled", "offline, generated", "download, then offline"
COLUMNS = ("name", "rows", "task", "size", "licence", "where from")

# The licence of generated data is that of this package's code. "see source": its authors state none.
ENTRIES = (
    ("diabetes", "442", "regression, 10 features", "38 KiB", "see source", BUNDLED),
    ("breast_cancer", "569", "2 classes, 30 features", "138 KiB", "CC BY 4.0", BUNDLED),
    ("wine", "178", "3 classes, 13 features", "19 KiB", "CC BY 4.0", BUNDLED),
    ("digits", "1,797", "10 classes, images 8 × 8", "913 KiB", "CC BY 4.0", BUNDLED),
    ("python_help", "1 text", "language modelling", "about 700 KiB", "PSF-2.0", BUNDLED),
    ("linear", "any", "regression, condition number chosen", "8 (d + 1) bytes a row", "BSD-3-Clause", GENERATED),
    ("blobs", "any", "clustering, true centres known", "8 (d + 1) bytes a row", "BSD-3-Clause", GENERATED),
    ("moons", "any", "2 classes, not linear", "24 bytes a row", "BSD-3-Clause", GENERATED),
    ("graph", "any", "communities of a sparse graph", "12 bytes a neighbour", "BSD-3-Clause", GENERATED),
    ("clicks", "any", "2 classes, sparse; true model known", "60 bytes a row", "BSD-3-Clause", GENERATED),
    ("shapes", "any", "detection, segmentation", "20 KiB an image", "BSD-3-Clause", GENERATED),
    ("clips", "any", "4 directions of motion, video", "5 KiB a clip", "BSD-3-Clause", GENERATED),
    ("reviews", "any", "sentiment, entities, roles", "about 100 bytes a text", "BSD-3-Clause", GENERATED),
    ("events", "any", "roles in texts of two events", "about 150 bytes a text", "BSD-3-Clause", GENERATED),
    (
        "instructions",
        "any",
        "parsing, translation; unseen pairs",
        "about 100 bytes a command",
        "BSD-3-Clause",
        GENERATED,
    ),
    ("visits", "any", "log of page views, exact totals known", "19 bytes a row", "BSD-3-Clause", GENERATED),
    ("near_duplicates", "any", "similar sets, planted Jaccard", "about 1.1 KB a set", "BSD-3-Clause", GENERATED),
    ("interactions", "any", "recommendation, true taste known", "12 bytes an event", "BSD-3-Clause", GENERATED),
    ("patients", "any", "linkage, private sums; true law known", "184 bytes a patient", "BSD-3-Clause", GENERATED),
    ("loans", "any", "2 classes, 2 groups; true law known", "80 bytes a row", "BSD-3-Clause", GENERATED),
    ("commands", "any", "recognition of speech, phones aligned", "40 KB a command", "BSD-3-Clause", GENERATED),
    ("captions", "any", "pictures and sentences, pairs held out", "3 KiB a picture", "BSD-3-Clause", GENERATED),
    ("requests", "any", "load of a service, drift; true law known", "56 bytes a request", "BSD-3-Clause", GENERATED),
    ("regular_graph", "any", "maximum cut of a random graph", "16 bytes an edge", "BSD-3-Clause", GENERATED),
    ("frustrated_loops", "any", "spins, least energy known", "12 bytes a coupling", "BSD-3-Clause", GENERATED),
    ("tickets", "any", "2 classes, text and drift; true law known", "152 bytes a row", "BSD-3-Clause", GENERATED),
    ("mnist", "70,000", "10 classes, images 28 × 28", "11 MiB to download", "CC BY-SA 3.0", DOWNLOADED),
    ("cifar10", "60,000", "10 classes, colour images 32 × 32", "162 MiB to download", "see source", DOWNLOADED),
)


def catalogue() -> Table:
    """Every dataset: name, rows, task, size, licence, and whether it needs a download. Shows as a table.

    `help(datasets.NAME)` has the shapes, the units and the source.

    >>> catalogue().columns
    ('name', 'rows', 'task', 'size', 'licence', 'where from')
    """
    return Table(COLUMNS, [tuple(entry) for entry in ENTRIES])

"""Where data is kept that is not made anew each time."""

import os
from pathlib import Path

VARIABLE = "LSML_DATA"


def data_folder() -> Path:
    """The folder for downloads and generated files: the environment variable LSML_DATA, else this user's cache folder.

    Only names it: it is made when something is first written into it.

    >>> data_folder().is_absolute()
    True
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).expanduser().absolute()
    import pooch

    return Path(pooch.os_cache("lsml"))

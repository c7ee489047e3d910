"""`python -m lsml_utils`: what this machine is, and which datasets there are."""

from lsml_utils import datasets, device
from lsml_utils.display import say


def main() -> None:
    say(f"{device.describe()!r}\n")
    say(repr(datasets.list()))


if __name__ == "__main__":
    main()

"""A small table that reads well in Jupyter (HTML), in a terminal and in a log (text)."""

import html
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """columns: headings; rows: cells as text; numeric: which columns align right; notes: lines below the table.

    >>> Table(("n", "seconds"), [("10", "0.5"), ("100", "6.0")], numeric=(0, 1))
      n  seconds
     10      0.5
    100      6.0
    """

    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numeric: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.columns))]
        text = [
            "  ".join(
                cell.rjust(width) if i in self.numeric else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        return "\n".join([*text, *self.notes])

    def _repr_html_(self) -> str:
        def row(cells, tag):
            aligned = [
                f'<{tag} style="text-align:{"right" if i in self.numeric else "left"};padding:2px 10px">'
                f"{html.escape(cell)}</{tag}>"
                for i, cell in enumerate(cells)
            ]
            return f"<tr>{''.join(aligned)}</tr>"

        body = "".join(row(cells, "td") for cells in self.rows)
        notes = "".join(f'<div style="opacity:.8">{html.escape(note)}</div>' for note in self.notes)
        head = row(self.columns, "th")
        return f'<table style="margin:0"><thead>{head}</thead><tbody>{body}</tbody></table>{notes}'


def seconds_text(seconds: float) -> str:
    """Seconds with three figures and a unit.

    >>> seconds_text(0.00123), seconds_text(2.5e-7), seconds_text(75.0), seconds_text(9.999e-4), seconds_text(3600.0)
    ('1.23 ms', '250 ns', '75 s', '1 ms', '3600 s')
    """
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
        if seconds >= 0.9995 * size or unit == "ns":
            return f"{_three_figures(seconds / size)} {unit}"


def bytes_text(count: float) -> str:
    """Bytes with three figures and a binary unit.

    >>> bytes_text(1536), bytes_text(10), bytes_text(3 * 2**30), bytes_text(2**20 - 1)
    ('1.5 KiB', '10 B', '3 GiB', '1 MiB')
    """
    for unit, size in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1)):
        if count >= 999.5 / 1024 * size or unit == "B":
            return f"{_three_figures(count / size)} {unit}"


def _three_figures(number: float) -> str:
    return f"{number:.0f}" if number >= 999.5 else f"{number:.3g}"

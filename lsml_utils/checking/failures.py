"""A failed check: the card that explains it, and the exception that carries the card."""

import html
from dataclasses import dataclass, field

from lsml_utils.display import in_ipython, say
from lsml_utils.errors import OneLineError


@dataclass
class Card:
    """What a failed check shows. rows: (label, text, is it code?). Displays as HTML in Jupyter, as text elsewhere."""

    title: str
    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, label: str, text: object, code: bool = False) -> "Card":
        if text is not None and str(text) != "":
            self.rows.append((label, str(text), code))
        return self

    def __repr__(self) -> str:
        width = max((len(label) for label, _, _ in self.rows), default=0)
        lines = [f"✗ {self.title}"]
        for label, text, _ in self.rows:
            first, *rest = text.splitlines()
            lines.append(f"  {label:<{width}}  {first}")
            lines += [f"  {'':<{width}}  {line}" for line in rest]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        # Colours come from the page, so that the card reads in a light theme, in a dark one and on paper.
        cell = "padding:2px 12px 2px 0;vertical-align:top;text-align:left;background:transparent"
        rows = []
        for label, text, code in self.rows:
            shown = html.escape(text)
            shown = (
                f'<code style="white-space:pre-wrap;background:transparent;padding:0">{shown}</code>' if code else shown
            )
            style = cell if code else cell + ";white-space:pre-wrap"
            rows.append(
                f'<tr><td style="{cell};opacity:.75">{html.escape(label)}</td><td style="{style}">{shown}</td></tr>'
            )
        return (
            '<div style="border-left:4px solid #D55E00;padding:2px 12px;margin:4px 0;max-width:60em">'
            f'<div style="font-weight:600;padding-bottom:2px">✗ {html.escape(self.title)}</div>'
            f'<table style="border:0;border-collapse:collapse;margin:0;text-align:left">{"".join(rows)}</table></div>'
        )


class CheckFailed(OneLineError, AssertionError):
    """A check that does not pass. `card` says why; the message is one line.

    headline: the message without its reason, shown beneath a card that has given the reason already.
    """

    def __init__(self, message: str, card: Card | None = None, headline: str | None = None):
        super().__init__(message)
        self.card, self.headline = card, headline or message
        self.card_was_shown = False

    def _render_traceback_(self) -> list[str]:
        if self.card is not None and not self.card_was_shown:
            return repr(self.card).splitlines()
        return [self.headline] if self.card_was_shown else super()._render_traceback_()


class Unanswered(CheckFailed):
    """The exercise still holds its stub. `exercise`: the one to be written first."""

    def __init__(self, message: str, exercise: str):
        super().__init__(message)
        self.exercise = exercise


def show(card: Card) -> None:
    """Display the card: both as HTML and as text under IPython, printed elsewhere."""
    if in_ipython():
        from IPython.display import display

        display(card)
    else:
        say(repr(card))

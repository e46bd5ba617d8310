"""The one place where text reaches the terminal.

Workers, models and repositories write some of what is shown, so every string is made visible
first, and Rich gets `Text` objects, never markup. Plain (no terminal, TERM=dumb, NO_COLOR) means
that no escape sequence is ever written; where there is no terminal, nothing is cut off either.
"""

import codecs
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TextIO

from rich import console as rich_console
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from agent.core.model.secrets import SHAPES, Redactor
from agent.core.model.text import one_line, visible
from agent.errors import WavekeeperError

_ENDLESS: Final = 100_000
"""Columns of an output that nothing limits."""
_LEAST_WIDTH: Final = 20
_STAND_INS: Final = {"…": "~", "␛": "<ESC>"}
"""For the two characters that are ours, where the output's encoding lacks them."""
_ERRORS: Final = "wavekeeper.stand-in"


class OutputLostError(WavekeeperError):
    """Standard output cannot be written any more; `quiet`: because its reader has gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__(f"the output cannot be written: {error.strerror}; send it elsewhere")
        self.quiet = isinstance(error, BrokenPipeError)


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(one, f"<U+{ord(one):04X}>") for one in lacking), error.end


codecs.register_error(_ERRORS, _stand_in)


class Console:
    """Standard output and standard error of one command.

    OutputLostError: standard output cannot be written, by any method that writes to it.
    """

    def __init__(self, out: TextIO, err: TextIO, environ: Mapping[str, str]) -> None:
        self._out = out
        self._err = err
        self._terminal = out.isatty()
        dumb = environ.get("TERM") == "dumb"
        self.plain = not self._terminal or dumb or bool(environ.get("NO_COLOR"))
        """No escape sequence is written."""
        self._columns = _number(environ.get("COLUMNS"))
        self._encoding = getattr(out, "encoding", None) or "utf-8"
        for stream in (out, err):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors=_ERRORS)
        self._rich = rich_console.Console(
            file=out,
            force_terminal=True,
            width=self._columns,
            markup=False,
            emoji=False,
            highlight=False,
        )
        self._live: Live | None = None
        self._secrets = SHAPES

    def hide(self, secrets: Redactor) -> None:
        """Take out these as well from now on; what looks like a key never was shown."""
        self._secrets = secrets

    @property
    def width(self) -> int | None:
        """Columns to lay out for; None: as many as it takes."""
        return self._columns or (self._rich.width if self._terminal else None)

    @property
    def height(self) -> int:
        """Lines of the terminal."""
        return self._rich.height

    def clean(self, text: str) -> str:
        """`text` on one line, with nothing in it that a terminal would obey or could not show."""
        return (
            one_line(self._secrets.text(text))
            .encode(self._encoding, _ERRORS)
            .decode(self._encoding)
        )

    def text(self, text: str, style: str = "") -> Text:
        """`text` cleaned, for a table or a line of several styles."""
        return Text(self.clean(text), style)

    def lines(self, text: str) -> list[str]:
        """`text` cleaned line by line, with its indents; show each with a mark of ours in front."""
        shown = (one.rstrip() for one in self._seen(text).split("\n"))
        return [one.encode(self._encoding, _ERRORS).decode(self._encoding) for one in shown]

    def _seen(self, text: str) -> str:
        return visible(self._secrets.text(text)).expandtabs(4)

    def ask(self, text: str) -> None:
        """A question, with the cursor behind it."""
        self._write(f"{self.clean(text)} ")

    def line(self, text: str, style: str = "") -> None:
        """One line on standard output; it is never cut off."""
        self.show(self.text(text, style))

    def line_as_it_is(self, text: str) -> None:
        """One line with its indents and columns; a break inside is shown, never obeyed."""
        kept = " <U+000A> ".join(self.lines(text))
        self.show(Text(kept))

    def show(self, what: RenderableType) -> None:
        """Something laid out, whose texts all came from `text`."""
        whole = isinstance(what, Text)
        if self.plain:
            self._write(_drawn(what, self.width, whole=whole))
            return
        with _lost():
            self._rich.print(what, soft_wrap=whole)

    def json(self, value: object) -> None:
        """One JSON object; ASCII, so that no terminal and no encoding can be hurt by it."""
        cleaned = self._secrets.all(value)
        self._write(json.dumps(cleaned, indent=2, ensure_ascii=True) + "\n")

    def json_line(self, value: object) -> None:
        """One JSON object on one line, ASCII as well."""
        cleaned = self._secrets.all(value)
        self._write(json.dumps(cleaned, separators=(",", ":"), ensure_ascii=True) + "\n")

    def error(self, message: str) -> None:
        """One line on standard error, with the program's name in front."""
        with suppress(OSError, ValueError):
            self._err.write(f"wavekeeper: {one_line(self._secrets.text(message))}\n")
            self._err.flush()

    def trace(self, text: str) -> None:
        """Several lines on standard error, for those who look for a bug."""
        with suppress(OSError, ValueError):
            self._err.write(f"{self._seen(text).rstrip()}\n")
            self._err.flush()

    @contextmanager
    def live(self) -> Iterator[None]:
        """Between here and the end, `draw` shows a picture, each in the place of the one before."""
        if self.plain:
            yield
            return
        live = Live(
            console=self._rich, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        with live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def draw(self, picture: RenderableType) -> None:
        """Show `picture`, whose texts all came from `text`; nothing happens outside `live`."""
        if self._live is not None:
            with _lost():
                self._live.update(picture, refresh=True)

    def give_up_output(self) -> None:
        """What is still to be written to standard output goes nowhere, quietly."""
        with suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), self._out.fileno())

    def _write(self, text: str) -> None:
        with _lost():
            self._out.write(text)
            self._out.flush()


@contextmanager
def _lost() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputLostError(error) from error


def _drawn(what: RenderableType, width: int | None, *, whole: bool) -> str:
    """The same without any escape sequence, and without blanks at the ends of lines."""
    page = io.StringIO()
    rich_console.Console(
        file=page,
        width=width or _ENDLESS,
        color_system=None,
        force_terminal=False,
        markup=False,
        emoji=False,
        highlight=False,
    ).print(what, soft_wrap=whole)
    return "\n".join(line.rstrip() for line in page.getvalue().split("\n"))


def _number(columns: str | None) -> int | None:
    found = int(columns) if columns and columns.isascii() and columns.isdecimal() else 0
    return max(found, _LEAST_WIDTH) if found else None


def standard() -> Console:
    """The console of this process; a stream that was closed swallows what is written to it."""
    return Console(sys.stdout or io.StringIO(), sys.stderr or io.StringIO(), os.environ)

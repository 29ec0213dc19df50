"""Foreign text on its way to people: `plain` shows control characters instead of sending them, and hides keys in URLs.

Names from data sets, files and command lines may hold anything. Everything that is printed, warned of, put in a progress line or on
a page goes through here, so that a name can neither steer a terminal nor forge a line. Only `say` writes.
"""

from __future__ import annotations

import re
import sys

# Controls (C0, DEL, C1), soft hyphen, invisible and bidirectional marks, line and paragraph separators, interlinear marks, lone
# surrogates (bytes of a file name that are no UTF-8), tags. Joiners (U+200C, U+200D) stay: Persian and Hindi are written with them.
HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
USER = re.compile(r"(\b[a-z][a-z0-9+.-]*:/{2,})(?:[^\s/@'\"]*:(?!\d+/)[^\s@'\"]*|[^\s/@'\"]*)@", re.IGNORECASE)
"""`s3://key:secret@bucket`: what stands before the @ of a URL; a port is no password."""
QUERY = re.compile(
    r"(\b[a-z][a-z0-9+.-]*:/{2,}[^\s?#]*)(\?[^\s#'\"]*[^\s#'\":,;.)]|#[^\s'\"]*=[^\s'\"]*)", re.IGNORECASE
)
"""`https://host/file?X-Amz-Signature=…`: where signed addresses have their keys."""
NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: object) -> str:
    """One line that shows what `text` holds: `\\x1b` for an escape, `\\n` for a line break, `***` for keys in URLs."""
    clean = without_keys(str(text))
    return clean if clean.isascii() and clean.isprintable() else HIDDEN.sub(_escaped, clean)


def without_keys(text: str) -> str:
    """The same text without user names, passwords and signatures in its URLs."""
    if ":/" not in text:
        return text
    return QUERY.sub(_without_query, USER.sub(r"\1***@", text))


LONGEST = 1500
"""Characters of a line about what happens; a name from a file may have millions."""


def line(text: object) -> str:
    """`plain`, its middle left out where nobody would read to the end."""
    clean = plain(text)
    return clean if len(clean) <= LONGEST else f"{clean[: LONGEST * 2 // 3]} … {clean[-LONGEST // 3 :]}"


def say(*lines: object, to_result: bool = False) -> None:
    """Prints lines at once: to stderr, which is for what happens, or as a part of the result (stdout)."""
    show = plain if to_result else line
    print("\n".join(map(show, lines)), file=sys.stdout if to_result else sys.stderr, flush=True)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return NAMED.get(match[0]) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def _without_query(match: re.Match[str]) -> str:
    return f"{match[1]}{match[2][0]}***"

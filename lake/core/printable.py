"""Text of other people on a terminal: one line, without control characters, of bounded length."""

_CUT = " ... "  # stands for what is left out


def printable(text: str, most: int = 300) -> str:
    r"""Return a text as one line that a terminal shows as it is.

    Characters that would move the cursor, change colours, begin a new line or reverse the writing direction are written
    as escapes. Of a text that is too long the middle is left out: errors end with the remedy.

    Args:
      text: any text, such as a name, or an error that quotes data.
      most: most characters of the result.

    >>> printable("a\nb\x1b[2J")
    'a\\nb\\x1b[2J'
    >>> printable("abcdefghijklmnopqrstuvwxyz", most=15)
    'abcdef ... wxyz'
    """
    # Cut first, so that a text of many megabytes is not escaped as a whole; and again, because escapes are longer.
    return _cut("".join(map(_escape, _cut(text, most))), most)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    tail = max(0, most - len(_CUT)) * 2 // 5
    return f"{text[: most - len(_CUT) - tail]}{_CUT}{text[len(text) - tail :]}"


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "backslashreplace").decode()

"""Names of members: the key and the extension that they consist of."""

_SHOWN = 500  # bytes of a name that an error shows


def split_name(name: bytes) -> tuple[bytes, bytes] | None:
    """The key and the extension of a member; None for a hidden file, such as macOS's ``._`` files.

    >>> split_name(b"a.b/0001.Seg.PNG"), split_name(b"a/._0001.png")
    ((b'a.b/0001', b'seg.png'), None)
    """
    base = name.rfind(b"/") + 1
    dot = name.find(b".", base)
    if dot == base:
        return None
    return (name, b"") if dot < 0 else (name[:dot], name[dot + 1 :].lower())


def shown(name: bytes) -> str:
    """A name for an error message: quoted, and cut if it is very long.

    >>> shown(b"0001.jpg")
    "'0001.jpg'"
    """
    return repr(name[:_SHOWN].decode(errors="backslashreplace")) + "..." * (len(name) > _SHOWN)

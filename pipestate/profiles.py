"""Puts pipestate into an IPython profile, and takes it out again without a trace.

A profile's `ipython_config.py` is the user's own file, often under version control. So what is put
in is one block between two marker lines, at the end, and not one other byte changes: neither
newlines nor encoding, permissions or a symbolic link. The new file is complete before it takes the
old one's place. The way of marking is conda's and pyenv's for shell profiles.

    # >>> pipestate >>>
    # From `pipestate install`; `pipestate uninstall` takes these lines out.
    get_config().InteractiveShellApp.extensions.append("pipestate")
    # <<< pipestate <<<

It appends, since the lines above may have assigned a list of their own. This room never imports
IPython: it only has to know where a profile lies, which `$IPYTHONDIR` says.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import re
import shutil
import time
import warnings
from pathlib import Path
from typing import Final

from .errors import StoreError, UsageError

_BEGIN: Final = b"# >>> pipestate >>>"
_END: Final = b"# <<< pipestate <<<"
_ABOUT: Final = b"# From `pipestate install`; `pipestate uninstall` takes these lines out."
_MADE: Final = b"# The file too, if nothing else is in it by then."
_BLOCK: Final = re.compile(
    rb"(?:^|(?<=\r))" + re.escape(_BEGIN) + rb"[ \t]*(?:\r\n|\r|\n)"
    rb"(?:(?!# >>> pipestate >>>)[^\r\n]*(?:\r\n|\r|\n))*?"
    + re.escape(_END) + rb"[ \t]*(?=[\r\n]|\Z)",
    re.MULTILINE,
)  # fmt: skip
_APP: Final = "InteractiveShellApp"


def install(profile: str = "default") -> str:
    """Have IPython load pipestate in every session of a profile; what was done, in a line.

    Raises UsageError for a profile that does not exist and for a configuration that is not valid
    Python, StoreError where the file cannot be read or written; nothing has changed then.
    """
    file = _config_file(profile)
    told = f"profile {profile!r} ({file})"
    old = _read(file)
    tree = _parse(old or b"", file)
    block = _BLOCK.search(old or b"")
    _check_markers(old or b"", file)
    if old is not None and block and not _apps(_parse(old[block.end() :], file), file):
        return f"pipestate is in {told} already"
    rest = _without_block(old) if old is not None else b""
    new = _with_block(rest, sorted({_APP, *_apps(tree, file)}), made=old is None)
    _parse(new, file)
    _write(file, new)
    return f"pipestate will be loaded in every new session of {told}"


def uninstall(profile: str = "default") -> str:
    """Take out exactly what `install` put in; what was done, in a line."""
    file = _config_file(profile)
    told = f"profile {profile!r} ({file})"
    old = _read(file)
    _check_markers(old or b"", file)
    block = _BLOCK.search(old or b"")
    if old is None or block is None:
        return f"pipestate is not in {told}"
    new = _without_block(old)
    if not new and _MADE in block.group():
        _remove(file)
    else:
        _write(file, new)
    return f"pipestate is no longer loaded in {told}"


# --- where ---------------------------------------------------------------------------------------


def _config_file(profile: str) -> Path:
    home = Path(os.path.expandvars(os.environ.get("IPYTHONDIR") or "~/.ipython")).expanduser()
    if not profile or profile in (".", "..") or set(profile) & set("/\\\0"):
        raise UsageError(f"{profile!r} is no name for a profile", "a name, not a path")
    folder = home / f"profile_{profile}"
    # IPython makes the default profile by itself, at its first start; any other one only when told.
    if profile != "default" and not folder.is_dir():
        found = sorted(one.name.removeprefix("profile_") for one in home.glob("profile_*"))
        raise UsageError(
            f"there is no IPython profile {profile!r} in {home}",
            f"`ipython profile create {profile}` makes it; there are: {', '.join(found) or 'none'}",
        )
    # A link, as people who keep their dot files in a repository have, stays a link.
    return Path(os.path.realpath(folder / "ipython_config.py"))


# --- the block -----------------------------------------------------------------------------------


def _with_block(data: bytes, apps: list[str], *, made: bool) -> bytes:
    """`data` with a block at its end.

    Where the last line has no newline, the block goes without one too, and the newline between the
    two is the block's own: so `_without_block` finds its way back to the byte.
    """
    newline = b"\r\n" if b"\r\n" in data else b"\n" if b"\n" in data or b"\r" not in data else b"\r"
    lines = [_BEGIN, _ABOUT]
    lines += [_MADE] if made else []
    lines += [f'get_config().{app}.extensions.append("pipestate")'.encode() for app in apps]
    block = newline.join([*lines, _END])
    return data + newline + block if data and data[-1:] not in b"\r\n" else data + block + newline


def _without_block(data: bytes) -> bytes:
    block = _BLOCK.search(data)
    if block is None:
        return data
    before, after = data[: block.start()], data[block.end() :]
    if after:
        return before + re.sub(rb"\A(?:\r\n|\r|\n)", b"", after)
    return re.sub(rb"(?:\r\n|\r|\n)\Z", b"", before)


def _check_markers(data: bytes, file: Path) -> None:
    """Refuse a file in which the markers are not one whole block: somebody's hand was in it."""
    rest = _BLOCK.sub(b"", data, count=1)
    lines = {line.strip() for line in re.split(rb"[\r\n]+", rest)}
    if lines & {_BEGIN, _END}:
        raise UsageError(
            f"the pipestate block in {file} is not whole",
            "take the lines from `# >>> pipestate >>>` to `# <<< pipestate <<<` out by hand",
        )


def _parse(data: bytes, file: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of an odd escape in the user's file, say
            return ast.parse(data, str(file))
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise UsageError(
            f"{file} is not valid Python{line}, so it is left as it is", "mend it, then try again"
        ) from error


def _apps(tree: ast.Module, file: Path) -> set[str]:
    """The applications for which a configuration assigns its list of extensions.

    A list for `TerminalIPythonApp` wins over one for all applications, so it gets a line as well.
    """
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                match target:
                    case ast.Attribute(ast.Attribute(_, app), "extensions"):
                        found.add(app)
                        _check_list(node.value, file)
    return found


def _check_list(value: ast.expr, file: Path) -> None:
    if isinstance(value, (ast.Tuple, ast.Constant, ast.Set)):
        raise UsageError(
            f"{file}, line {value.lineno}, assigns something else than a list to `extensions`",
            "write it as a list, in brackets",
        )


# --- the file ------------------------------------------------------------------------------------


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{file} cannot be read ({error.strerror})") from error


def _write(file: Path, data: bytes) -> None:
    """Put `data` in place of what a file held, all of it or nothing, with the same permissions."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}-{time.time_ns()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        is_new = not file.exists()
        if not is_new and not os.access(file, os.W_OK):
            raise PermissionError(errno.EACCES, "it is read-only")
        # A new file is as open as the user's umask says; an old one may be private.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with open(os.open(temporary, flags, 0o666 if is_new else 0o600), "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        if not is_new:
            shutil.copymode(file, temporary)
            _keep_owner(file, temporary)
        os.replace(temporary, file)
    except OSError as error:
        with contextlib.suppress(OSError):  # the folder itself may be what is wrong
            temporary.unlink()
        raise StoreError(f"{file} cannot be written ({error.strerror})") from error


def _keep_owner(file: Path, temporary: Path) -> None:
    """Under sudo, the user's file stays the user's."""
    was, now = file.stat(), temporary.stat()
    if hasattr(os, "chown") and (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
        os.chown(temporary, was.st_uid, was.st_gid)


def _remove(file: Path) -> None:
    try:
        file.unlink()
    except OSError as error:
        raise StoreError(f"{file} cannot be removed ({error.strerror})") from error

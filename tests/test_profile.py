"""`pipestate install` puts one block into a profile's configuration, `uninstall` takes it out."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traitlets.config import Config, PyFileConfigLoader

from pipestate import profiles
from pipestate.errors import StoreError, UsageError

Shell = Callable[..., subprocess.CompletedProcess[str]]

BLOCK = (
    "# >>> pipestate >>>\n"
    "# From `pipestate install`; `pipestate uninstall` takes these lines out.\n"
    'get_config().InteractiveShellApp.extensions.append("pipestate")\n'
    "# <<< pipestate <<<\n"
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An IPython folder of the test's own."""
    folder = tmp_path / "ipython"
    monkeypatch.setenv("IPYTHONDIR", str(folder))
    return folder


@pytest.fixture
def config(home: Path) -> Path:
    """The default profile's configuration file, not there yet."""
    folder = home / "profile_default"
    folder.mkdir(parents=True)
    return folder / "ipython_config.py"


def loaded(file: Path) -> list[str]:
    """The extensions that traitlets makes of a configuration file."""
    config: Config = PyFileConfigLoader(file.name, str(file.parent)).load_config()
    extensions = config.InteractiveShellApp.extensions
    return list(extensions if isinstance(extensions, list) else extensions.get_value([]))


def test_install_makes_the_file_and_uninstall_removes_it(home: Path) -> None:
    """A profile without a configuration has none afterwards."""
    file = home / "profile_default" / "ipython_config.py"
    profiles.install()
    assert loaded(file) == ["pipestate"]
    profiles.uninstall()
    assert not file.exists()


def test_a_made_file_stays_if_the_user_added_to_it(config: Path) -> None:
    """What somebody wrote into it since is theirs."""
    profiles.install()
    with config.open("a") as stream:
        stream.write("c.TerminalInteractiveShell.confirm_exit = False\n")
    profiles.uninstall()
    assert config.read_text() == "c.TerminalInteractiveShell.confirm_exit = False\n"


def test_an_empty_file_of_the_user_stays(config: Path) -> None:
    """Only a file that install made is removed."""
    config.touch()
    profiles.install()
    profiles.uninstall()
    assert config.read_bytes() == b""


def test_the_block_is_put_after_what_the_user_wrote(config: Path) -> None:
    """Literally this."""
    config.write_text("c = get_config()\n")
    profiles.install()
    assert config.read_text() == "c = get_config()\n" + BLOCK


def test_a_list_that_the_user_assigns_keeps_its_extensions(config: Path) -> None:
    """The block appends to a list of the user's own."""
    config.write_text('c = get_config()\nc.InteractiveShellApp.extensions = ["autoreload"]\n')
    profiles.install()
    assert loaded(config) == ["autoreload", "pipestate"]


def test_a_list_for_the_terminal_alone_gets_it_too(config: Path) -> None:
    """`c.TerminalIPythonApp.extensions` wins over the list for all, so it gets a line too."""
    config.write_text('c.TerminalIPythonApp.extensions = ["autoreload"]\n')
    profiles.install()
    found = PyFileConfigLoader(config.name, str(config.parent)).load_config()
    assert found.TerminalIPythonApp.extensions == ["autoreload", "pipestate"]
    assert loaded(config) == ["pipestate"]


def test_installing_twice_changes_nothing(config: Path) -> None:
    """The second time says so."""
    config.write_text("x = 1\n")
    profiles.install()
    once = config.read_bytes()
    assert "already" in profiles.install()
    assert config.read_bytes() == once


def test_a_list_assigned_below_the_block_makes_install_move_it(config: Path) -> None:
    """A later assignment would undo the append: installing again puts the block below it."""
    profiles.install()
    with config.open("a") as stream:
        stream.write('c.InteractiveShellApp.extensions = ["autoreload"]\n')
    assert loaded(config) == ["autoreload"]
    profiles.install()
    assert loaded(config) == ["autoreload", "pipestate"]
    profiles.uninstall()
    assert config.read_text() == 'c.InteractiveShellApp.extensions = ["autoreload"]\n'


def test_uninstalling_what_is_not_there_says_so(config: Path) -> None:
    """And makes no file."""
    assert "is not in" in profiles.uninstall()
    assert not config.exists()


LINES = st.lists(
    st.sampled_from(["x = 1", "# größer", "", "   ", "if x:\n    y = 2", "s = '''a\nb'''", "\f"]),
    max_size=6,
)


@settings(max_examples=25)  # each one waits for the disk four times
@given(lines=LINES, newline=st.sampled_from(["\n", "\r\n", "\r"]), ends=st.booleans())
def test_uninstall_gives_back_every_byte(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], newline: str, ends: bool
) -> None:
    """Whatever newlines the file has, and whether its last line has one."""
    home = tmp_path_factory.mktemp("ipython")
    file = home / "profile_default" / "ipython_config.py"
    file.parent.mkdir()
    text = "\n".join(["x = 0", *lines]) + ("\n" if ends else "")
    before = text.replace("\n", newline).encode()
    file.write_bytes(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(home))
        profiles.install()
        installed = file.read_bytes()
        profiles.uninstall()
    assert file.read_bytes() == before
    assert installed != before
    if newline.encode() in before:
        assert set(re.findall(rb"\r\n|\n|\r", installed)) == {newline.encode()}


def test_encoding_permissions_and_link_stay(config: Path, tmp_path: Path) -> None:
    """A Latin-1 file, private, in somebody's repository of dot files."""
    real = tmp_path / "dotfiles.py"
    before = b"# -*- coding: latin-1 -*-\nname = 'Gr\xfc\xdfe'\n"
    real.write_bytes(before)
    real.chmod(0o600)
    config.symlink_to(real)
    profiles.install()
    assert config.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o600
    assert real.read_bytes().startswith(before)
    assert loaded(config) == ["pipestate"]
    profiles.uninstall()
    assert real.read_bytes() == before
    assert os.listdir(config.parent) == ["ipython_config.py"]


@pytest.mark.parametrize(
    "content",
    [
        b"c.InteractiveShellApp.extensions = [\n",
        b"x = '\xff'\n",
        b"\0",
        b'c.InteractiveShellApp.extensions = ("autoreload",)\n',
        b"# >>> pipestate >>>\nx = 1\n",
        b"x = 1\n# <<< pipestate <<<\n",
    ],
)
def test_a_file_that_cannot_be_right_is_refused_and_left_alone(
    config: Path, content: bytes
) -> None:
    """Broken Python, a tuple that cannot be appended to, half a block: one line, no change."""
    config.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        profiles.install()
    assert "\n" not in str(caught.value)
    assert config.read_bytes() == content


def test_a_broken_file_can_still_be_uninstalled_from(config: Path) -> None:
    """Whoever broke the file may first want us out of it."""
    profiles.install()
    config.write_bytes(b"x = (\n" + config.read_bytes())
    profiles.uninstall()
    assert config.read_bytes() == b"x = (\n"


@pytest.mark.parametrize("name", ["", "..", "a/b", "nope"])
def test_a_profile_that_is_not_there_is_refused(config: Path, name: str) -> None:
    """The line says which there are, or that it is no name."""
    with pytest.raises(UsageError):
        profiles.install(name)
    assert not config.exists()


def test_another_profile_is_found_by_its_name(home: Path) -> None:
    """`--profile` says which."""
    (home / "profile_work").mkdir(parents=True)
    profiles.install("work")
    assert loaded(home / "profile_work" / "ipython_config.py") == ["pipestate"]
    assert not (home / "profile_default").exists()


def test_what_cannot_be_written_is_said(home: Path) -> None:
    """A file where the folder should be."""
    home.write_text("")
    with pytest.raises(StoreError) as caught:
        profiles.install()
    assert "\n" not in str(caught.value)


def test_the_shell_says_in_a_line_what_it_did(shell: Shell, home: Path) -> None:
    """`pipestate install --profile nope` is a usage error: exit code 2, one line on stderr."""
    good = shell("install", env={"IPYTHONDIR": str(home)})
    assert (good.returncode, good.stderr, good.stdout.count("\n")) == (0, "", 1)
    bad = shell("install", "--profile", "nope", env={"IPYTHONDIR": str(home)})
    assert (bad.returncode, bad.stdout, bad.stderr.count("\n")) == (2, "", 1)


def test_a_kernel_of_the_profile_has_the_magics_from_its_start(
    shell: Shell, nb, home: Path
) -> None:  # type: ignore[no-untyped-def]
    """No `%load_ext` in the notebook."""
    shell("install", env={"IPYTHONDIR": str(home)})
    nb.restart(env={"IPYTHONDIR": str(home)}, from_start=True)
    asked = "'pipe' in get_ipython().magics_manager.magics['line']"
    assert nb.run(asked).value == "True"
    shell("uninstall", env={"IPYTHONDIR": str(home)})
    nb.restart(from_start=True)
    assert nb.run(asked).value == "False"

"""Whose bytes may be loaded: the user's key, the keys that the user trusts, and what a row carries.

To load a value is to run code, so every run, snapshot and record in the index carries a head: the
public key of who wrote it, a keyed hash and a signature over its key and payload. Records name
blobs by digest, so what covers a record covers its pickles, its sources and what it showed.

Why both? A keyed hash (BLAKE3, 3 µs, no import) proves to a user that the row is the user's own,
which is nearly every row that anybody reads. It proves nothing to others: whoever can check it can
forge it, so trusting a colleague's key would let the colleague write in one's own name. That is
what Ed25519 is for: the public key is no secret, and trust goes one way. Signing costs 20 µs, so
what is committed together is signed together; and 3 ms once in a process for PyNaCl, which is
imported at the first commit and at the first row of somebody else. (`cryptography` does the same at
three times the import and the size.)

The key is made at the first commit, in a file that only its owner can read. It knows no store and
no noun. Known weakness: what was signed once stays signed. Whoever can write to a store can take
things away or put an older copy of it back; nothing here tells an old state from the newest.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from blake3 import blake3
from msgspec import Struct, field

from ..errors import StoreError, TrustError, UsageError
from . import folders
from .blobs import Verification

HEAD: Final = 32 + 16 + 64 + 2
"""Bytes of a head: public key, keyed hash, signature, the row's place among those that were signed
with it, and how many others there were. Of each of those a hash of 32 bytes follows, so that any
row can be checked without the others."""

TOGETHER: Final = 8
"""So many rows have one signature: with more, the hashes of the others cost what signing saves."""

PROOF: Final = 16
"""Bytes of a keyed hash."""

_UNSIGNED = "it is not signed"
_FORGED = "its signature is forged"
_FORGED_OWN = "its signature, in your own name, is forged"
_STRANGE = "it is signed with key {}, which you do not trust"
_DISTRUST = frozenset((_UNSIGNED, _FORGED, _FORGED_OWN))

_CONTEXT = "pipestate 2026-11 the keyed hash of a row"
_NAME = "key"
_TRUSTED = "trusted"


def keys_folder() -> Path:
    """Where the user's keys are: `$PIPESTATE_KEYS`, else `pipestate` in the user's data folder."""
    said = os.environ.get("PIPESTATE_KEYS")
    if said:
        return folders.absolute(said)
    home = "~/Library/Application Support" if sys.platform == "darwin" else "~/.local/share"
    return folders.absolute(f"{os.environ.get('XDG_DATA_HOME') or home}/pipestate")


def is_distrust(flaw: str) -> bool:
    """Whether a flaw is one that `Trust.flaw` gave: all is there, and nobody vouches for it."""
    start, end = _STRANGE.split("{}")
    return flaw in _DISTRUST or (flaw.startswith(start) and flaw.endswith(end))


def short(key: str) -> str:
    """A public key as messages name it: its first twelve digits."""
    return key[:12]


class Secret(Struct, frozen=True):
    """A user's key: the seed that signs, the public key that belongs to it, and the key of keyed
    hashes, which tells nothing about the seed."""

    seed: bytes
    public: bytes
    for_hashes: bytes

    def __repr__(self) -> str:
        return f"Secret(public={self.public.hex()})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("public", self.public)]

    @classmethod
    def of(cls, seed: bytes, public: bytes) -> Secret:
        """The key with this seed."""
        return cls(seed, public, blake3(seed, derive_key_context=_CONTEXT).digest())


class Keys(Struct, frozen=True):
    """The folder of a user's keys: `key` holds the user's own, `trusted` a line for each other.

    Both are short texts, written under another name first, so that no half of one is ever read.
    """

    path: Path

    @property
    def files(self) -> tuple[str, str]:
        """The files that all of it is in."""
        return f"{self.path}/{_NAME}", f"{self.path}/{_TRUSTED}"

    def mine(self) -> Secret | None:
        """The user's own key; None where none was made yet.

        Raises StoreError where it cannot be read, or where others can read it.
        """
        file = self.path / _NAME
        try:
            with open(file, encoding="ascii") as opened:
                mode = os.fstat(opened.fileno()).st_mode
                text = opened.read(1000)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"your key {file} cannot be read ({error})", "mend it") from error
        if mode & 0o077:
            raise StoreError(f"your key {file} can be read by others", f"chmod 600 {file}")
        seed, public = _key_of(text[:64]), _key_of(text[64:].strip())
        if seed is None or public is None:
            raise StoreError(
                f"{file} holds no key", "put it back from a copy, or remove it to have a new one"
            )
        return Secret.of(seed, public)

    def make(self) -> Secret:
        """The user's own key, made if there is none. Of two processes one makes it."""
        known = self.mine()
        if known is not None:
            return known
        public, seed = _pair(os.urandom(32))
        file, text = self.path / _NAME, f"{seed.hex()}{public.hex()}\n"
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._write(text)
            try:
                # Unlike a rename, a link never replaces the key that another process has just made.
                os.link(temporary, file)
            finally:
                temporary.unlink()
        except FileExistsError:
            return self.make()
        except OSError as error:
            raise self._refused(error) from error
        return Secret.of(seed, public)

    def trusted(self) -> dict[str, str]:
        """The public keys of others that the user trusts, each with the name that was given it."""
        try:
            lines = (self.path / _TRUSTED).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            file = self.path / _TRUSTED
            raise StoreError(f"the keys in {file} cannot be read ({error})", "mend it") from error
        words = [line.split(None, 1) for line in lines if line.strip()]
        return {key: "".join(name) for key, *name in words if _key_of(key) is not None}

    def add(self, key: str, name: str = "") -> None:
        """Trust a public key."""
        if _key_of(key) is None:
            raise UsageError(
                f"{key[:70]!r} is no key", "64 digits, as `pipestate trust` shows a user's own"
            )
        self._keep({**self.trusted(), key.lower(): name})

    def remove(self, key: str) -> str:
        """Trust a key no longer, said by its name, or by its digits from the first on; the key."""
        known = self.trusted()
        found = [k for k, name in known.items() if key and (name == key or k.startswith(key))]
        if len(found) != 1:
            what = "several keys begin so" if found else "no such key is trusted"
            listed = ", ".join(name or short(k) for k, name in known.items())
            raise UsageError(
                f"{key[:70]!r}: {what}", f"trusted are: {listed or 'none but your own'}"
            )
        del known[found[0]]
        self._keep(known)
        return found[0]

    def _keep(self, known: Mapping[str, str]) -> None:
        lines = [f"{key} {' '.join(name.split())}".rstrip() for key, name in known.items()]
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary = self._write("".join(f"{line}\n" for line in lines))
            temporary.replace(self.path / _TRUSTED)
        except OSError as error:
            raise self._refused(error) from error

    def _write(self, text: str) -> Path:
        file = self.path / f".{os.getpid()}-{os.urandom(8).hex()}"
        with open(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        return file

    def _refused(self, error: OSError) -> StoreError:
        return StoreError(
            f"your keys cannot be written in {self.path} ({error.strerror})",
            "set PIPESTATE_KEYS to a folder of your own",
        )


class Trust(Struct, frozen=True):
    """Signs what is written, and says what is wrong with a head that was read.

    `verification` `on` says it, `strict` raises it, `off` does not look. The keys are read at the
    first need, and once.

        sign                  written: a row that others can check too
        prove, is_proved      written and read: what only the user's own processes go by
        flaw ── _flaw         read: whose a row is, and whether it may be believed
    """

    keys: Keys
    verification: Verification = "on"
    _own: list[Secret] = field(default_factory=list)
    _others: list[Mapping[str, str]] = field(default_factory=list)

    @property
    def public(self) -> bytes | None:
        """The user's own public key; None where none was made yet."""
        own = self._mine()
        return own.public if own else None

    def sign(self, rows: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """The head of each of these rows, given by key and payload. Makes the user's key where
        there is none.

        Raises StoreError where that cannot be; with `off`, the rows then have no heads.
        """
        try:
            own = self._mine() or self.keys.make()
        except StoreError:
            if self.verification == "off":
                return [b""] * len(rows)
            raise
        said = [_said(key, payload) for key, payload in rows]
        heads: list[bytes] = []
        for start in range(0, len(said), TOGETHER):
            heads += _heads(said[start : start + TOGETHER], own)
        return heads

    def flaw(self, key: str, payload: bytes, head: bytes) -> str:
        """Why a row may not be believed; "" where it may. With `strict`, raises TrustError."""
        if self.verification == "off":
            return ""
        flaw = self._flaw(key, payload, head)
        if flaw and self.verification == "strict":
            raise TrustError(f"{key[:60]!r} is not trusted: {flaw}", "`%pipe trust` says whose is")
        return flaw

    def _flaw(self, key: str, payload: bytes, head: bytes) -> str:
        if len(head) < HEAD or len(head) != head_size(head):
            return _UNSIGNED
        public, proof, signature = head[:32], head[32:48], head[48:112]
        said = _said(key, payload)
        own = self._mine()
        if own is not None and public == own.public:
            is_true = hmac.compare_digest(_hash(said, own.for_hashes), proof)
            return "" if is_true else _FORGED_OWN
        if public.hex() not in self._trusted():
            return _STRANGE.format(short(public.hex()))
        return "" if _is_signed(_among(said, head), signature, public) else _FORGED

    def prove(self, key: str, *payload: bytes) -> bytes:
        """A keyed hash over these bytes, one after the other, for what only this user's processes
        go by; b"" where there is no key."""
        own = self._mine()
        return b"" if own is None else _hash(_said(key, *payload), own.for_hashes)

    def is_proved(self, key: str, proof: bytes, *payload: bytes) -> bool:
        """Whether `prove` gave it."""
        mine = self.prove(key, *payload)
        return bool(mine) and hmac.compare_digest(mine, proof)

    def state(self) -> bytes:
        """What differs where other keys are trusted, or otherwise."""
        return _said(self.verification, "".join(sorted(self._trusted())).encode())

    def _trusted(self) -> Mapping[str, str]:
        if not self._others:
            self._others.append(self.keys.trusted())
        return self._others[0]

    def _mine(self) -> Secret | None:
        if not self._own and (own := self.keys.mine()) is not None:
            self._own.append(own)
        return self._own[0] if self._own else None


def _key_of(text: str) -> bytes | None:
    """The 32 bytes of 64 hexadecimal digits; None for anything else."""
    with contextlib.suppress(ValueError):
        if len(text) == 64 and text.isascii() and text.isalnum():
            return bytes.fromhex(text)
    return None


def _said(key: str, *payload: bytes) -> bytes:
    """What stands for a row where it is signed."""
    said = blake3(b"pipestate row\0" + key.encode() + b"\0")
    for part in payload:  # to join them would be a copy, and a row may have megabytes
        said.update(part)
    return said.digest()


def head_size(data: bytes) -> int:
    """How many bytes of what begins with a head are the head."""
    return HEAD + 32 * data[HEAD - 1] if len(data) >= HEAD else len(data)


def _heads(said: Sequence[bytes], own: Secret) -> Iterator[bytes]:
    """The heads of rows that are signed together."""
    from nacl.bindings import crypto_sign

    signed: bytes = crypto_sign(_together(said), own.seed + own.public)
    for place, one in enumerate(said):
        others = b"".join(said[:place]) + b"".join(said[place + 1 :])
        place_and_count = bytes((place, len(said) - 1))
        yield own.public + _hash(one, own.for_hashes) + signed[:64] + place_and_count + others


def _among(said: bytes, head: bytes) -> bytes:
    """What was signed, where a head is that of the row that said this."""
    at = HEAD + 32 * head[HEAD - 2]
    return _together([head[HEAD:at], said, head[at:]])


def _together(said: Sequence[bytes]) -> bytes:
    return blake3(b"pipestate rows\0" + b"".join(said)).digest()


def _hash(said: bytes, key: bytes) -> bytes:
    return blake3(said, key=key).digest(length=PROOF)


def _pair(seed: bytes) -> tuple[bytes, bytes]:
    from nacl.bindings import crypto_sign_seed_keypair

    public, both = crypto_sign_seed_keypair(seed)
    return public, both[:32]


def _is_signed(said: bytes, signature: bytes, public: bytes) -> bool:
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import CryptoError

    try:
        crypto_sign_open(signature + said, public)
    except CryptoError:
        return False
    return True

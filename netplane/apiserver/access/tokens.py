"""Static bearer tokens: the CSV file of kube-apiserver's --token-auth-file.

token,user,uid,"group1,group2"
"""

import csv
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from netplane.apiserver.process.files import write_atomic
from netplane.errors import UsageError, reason

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ACCOUNT = "system:serviceaccount:"
CREDENTIAL = "authentication.kubernetes.io/credential-id"


class User(NamedTuple):
    """Who asks. `extra` is what else is known: keys and their values."""

    name: str
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def info(self) -> dict[str, Any]:
        """As reviews and audit events tell of a user (UserInfo of authentication.k8s.io)."""
        info: dict[str, Any] = {"username": self.name}
        if self.uid:
            info["uid"] = self.uid
        info["groups"] = list(self.groups)
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra}
        return info


def account_user(namespace: str, name: str) -> str:
    """The user name of a ServiceAccount."""
    return f"{ACCOUNT}{namespace}:{name}"


def account_groups(namespace: str) -> tuple[str, str]:
    """The groups of the ServiceAccounts of a namespace."""
    return "system:serviceaccounts", f"system:serviceaccounts:{namespace}"


ANONYMOUS = User("system:anonymous", "", (UNAUTHENTICATED,))


def load(path: Path) -> dict[str, User]:
    """Tokens and their users.

    Raises:
        UsageError: naming the file, the line and what is wrong with it.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-auth-file {path}: {reason(error)}", hint="give a readable CSV file") from error
    users: dict[str, User] = {}
    reader = csv.reader(text.splitlines())
    for row in reader:
        if not row or row == [""]:
            continue
        where = f"--token-auth-file {path}, line {reader.line_num}"
        token, user = _user(row, where)
        if token in users:
            raise UsageError(f"{where}: this token is there already", hint="every line needs a token of its own")
        users[token] = user
    if not users:
        raise UsageError(
            f"--token-auth-file {path}: there is no token in it", hint='add a line: token,user,uid,"groups"'
        )
    return users


def _user(row: list[str], where: str) -> tuple[str, User]:
    if len(row) < 3:
        raise UsageError(
            f"{where}: {len(row)} columns, need at least 3",
            hint='a line reads token,user,uid,"group1,group2"',
        )
    token, name, uid = (cell.strip() for cell in row[:3])
    for what, cell in (("token", token), ("user", name)):
        if not cell:
            raise UsageError(f"{where}: the {what} is empty", hint='a line reads token,user,uid,"group1,group2"')
    groups = tuple(g.strip() for g in row[3].split(",") if g.strip()) if len(row) > 3 else ()
    return token, User(name, uid, (*groups, AUTHENTICATED))


def ensure_admin(path: Path) -> dict[str, User]:
    """The administrator's token of a cluster that was given none; made on first start."""
    if not path.exists():
        write_atomic(path, f'{secrets.token_urlsafe(32)},admin,admin,"{MASTERS}"\n'.encode())
    return load(path)


def first_master(users: Mapping[str, User]) -> str | None:
    """The token of the first user who may do everything; None when no line gives that group."""
    return next((token for token, user in users.items() if MASTERS in user.groups), None)

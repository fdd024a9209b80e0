"""Acting as somebody else: who may, in which way, and who one is then."""

import re
from typing import Any

import pytest

from netplane.api.errors import StatusError
from netplane.api.rbac import Ask, Policy
from netplane.apiserver.access import impersonation
from netplane.apiserver.access.tokens import ANONYMOUS, User
from tests.apiserver_app import READER, Server, run

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
IMPERSONATOR = {
    "metadata": {"name": "people-act"},
    "rules": [
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"]},
        {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["devs"]},
        {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"]},
    ],
}


async def allow_impersonation(server: Server, rules: Any = None) -> None:
    await server.create(f"{RBAC}/clusterroles", {**IMPERSONATOR, **({"rules": rules} if rules else {})})
    binding = {
        "metadata": {"name": "people-act"},
        "roleRef": {"kind": "ClusterRole", "name": "people-act", "apiGroup": "rbac.authorization.k8s.io"},
        "subjects": [{"kind": "Group", "name": "people", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    await server.create(f"{RBAC}/clusterrolebindings", binding)


def test_an_administrator_acts_as_anybody() -> None:
    async def test(server: Server) -> None:
        async def who(**headers: str) -> Any:
            return (await server("POST", WHO, {}, **headers)).json["status"]["userInfo"]

        assert await who(impersonate_user="bob") == {"username": "bob", "groups": ["system:authenticated"]}
        account = await who(impersonate_user="system:serviceaccount:app:web")
        assert account["groups"] == ["system:serviceaccounts", "system:serviceaccounts:app", "system:authenticated"]
        all_parts = {"impersonate_group": "devs", "impersonate_uid": "u1", "impersonate_extra_acme.com%2fscopes": "a"}
        assert await who(impersonate_user="bob", **all_parts) == {
            "username": "bob", "uid": "u1", "groups": ["devs", "system:authenticated"],
            "extra": {"acme.com/scopes": ["a"]},
        }  # fmt: skip
        refused = await server("GET", MAPS, impersonate_user="bob")
        assert (refused.status, refused.json["reason"]) == (403, "Forbidden")
        assert 'User "bob" cannot list resource "configmaps"' in refused.json["message"]

    run(test)


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"impersonate_user": "eve"}, 'users "eve" is forbidden: User "reader" cannot impersonate resource "users" in '
         'API group "" at the cluster scope'),
        ({"impersonate_user": "bob", "impersonate_group": "admins"}, 'groups "admins" is forbidden: User "reader" '
         'cannot impersonate resource "groups" in API group "" at the cluster scope'),
        ({"impersonate_user": "bob", "impersonate_extra_team": "x"}, 'userextras.authentication.k8s.io "x" is '
         'forbidden: User "reader" cannot impersonate resource "userextras/team" in API group "authentication.k8s.io" '
         "at the cluster scope"),
        ({"impersonate_user": "bob", "impersonate_uid": "7"}, 'uids.authentication.k8s.io "7" is forbidden: User '
         '"reader" cannot impersonate resource "uids" in API group "authentication.k8s.io" at the cluster scope'),
    ],
)  # fmt: skip
def test_others_act_as_whom_they_may(headers: dict[str, str], message: str) -> None:
    async def test(server: Server) -> None:
        await allow_impersonation(server)
        first = await server("POST", WHO, {}, token=READER, **headers)
        assert first.json["message"] == (
            'selfsubjectreviews.authentication.k8s.io is forbidden: User "reader" cannot '
            'impersonate-on:user-info:create resource "selfsubjectreviews" in API group "authentication.k8s.io" at '
            "the cluster scope"
        )
        may = {"impersonate_user": "bob", "impersonate_group": "devs", "impersonate_extra_scopes": "view"}
        assert (await server("POST", WHO, {}, token=READER, **may)).status == 201
        refused = await server("POST", WHO, {}, token=READER, **headers)  # the way that worked is tried first
        assert (refused.status, refused.json["message"]) == (403, message)

    run(test)


AUTHENTICATION = "authentication.k8s.io"
LET = "impersonate-on:{}:get"


def on(way: str) -> dict[str, Any]:
    return {"verbs": [LET.format(way)], "apiGroups": [""], "resources": ["pods"]}


def who(way: str, *resources: str) -> dict[str, Any]:
    return {"verbs": [f"impersonate:{way}"], "apiGroups": [AUTHENTICATION], "resources": list(resources)}


@pytest.mark.parametrize(
    ("rules", "headers", "groups", "why"),
    [
        ([on("user-info"), who("user-info", "users")], {"user": "bob"}, ["system:authenticated"], ""),
        ([on("user-info")], {"user": "bob"}, [], 'impersonate:user-info resource "users" in API group "authentication'),
        ([on("user-info"), who("user-info", "users", "groups")], {"user": "bob", "group": "system:masters"}, [],
         "impersonating the system:masters group is not allowed"),
        ([on("user-info"), who("user-info", "users", "userextras/*")], {"user": "bob", "extra-team": "x"}, [],
         'impersonating an invalid key in extra is not allowed: extra.key: Invalid value: "team": must be a '
         'domain-prefixed path (such as "acme.io/foo")'),
        ([on("arbitrary-node"), who("arbitrary-node", "nodes")], {"user": "system:node:n"},
         ["system:nodes", "system:authenticated"], ""),
        ([on("serviceaccount"), who("serviceaccount", "serviceaccounts")], {"user": "system:serviceaccount:a:b"},
         ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"], ""),
        ([], {"user": "system:serviceaccount:a:b", "group": "x"}, [], 'impersonate resource "serviceaccounts" in API '
         'group "" in the namespace "a"'),
        ([], {"user": "system:serviceaccount:a"}, [], 'cannot impersonate-on:user-info:get resource "pods"'),
    ],
)  # fmt: skip
def test_ways_to_act_as_somebody(
    rules: list[dict[str, Any]], headers: dict[str, str], groups: list[str], why: str
) -> None:
    role = {"metadata": {"name": "r"}, "rules": rules}
    binding = {"roleRef": {"kind": "ClusterRole", "name": "r"}, "subjects": [{"kind": "User", "name": "me"}]}
    policy = Policy((), [role], (), [binding])
    given = [(f"impersonate-{name}".encode(), value.encode()) for name, value in headers.items()]

    def act() -> tuple[User, str]:
        return impersonation.act_as(policy, User("me"), given, Ask("get", "", "pods", name="p"), {})

    if why:
        with pytest.raises(StatusError, match=re.escape(why)):
            act()
    else:
        found, verb = act()
        assert (found.name, list(found.groups)) == (headers["user"], groups)
        assert verb.startswith("impersonate:")


def test_nobody_in_particular_is_not_authenticated() -> None:
    admin = User("admin", "", ("system:masters",))
    found = impersonation.act_as(Policy(), admin, [(b"impersonate-user", b"system:anonymous")], Ask("get"), {})
    assert found == (ANONYMOUS, "impersonate:user-info")
    unnamed = impersonation.act_as(Policy(), admin, [(b"impersonate-user", b"")], Ask("get"), {})
    assert unnamed == (admin, "")


def test_parts_of_a_user_need_the_user() -> None:
    async def test(server: Server) -> None:
        refused = await server("GET", MAPS, impersonate_group="devs")
        assert (refused.status, refused.json["message"]) == (
            400,
            'requested &user.DefaultInfo{Name:"", UID:"", '
            'Groups:[]string{"devs"}, Extra:map[string][]string(nil)} without impersonating a user name',
        )

    run(test)

"""Audit events: who asked what of the server, when, and what came of it (audit.k8s.io/v1 Event, one JSON line each).

    Auditor.received ──► Record ──► started (a watch sends its head) ──► complete | panic
        RequestReceived             ResponseStarted                      ResponseComplete | Panic

Records hold references only; they become JSON on the log's own thread.
"""

import datetime
import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from netplane.api.errors import StatusError
from netplane.api.rbac import Ask
from netplane.api.rbac import Policy as Rules
from netplane.apiserver.access.tokens import MASTERS, User
from netplane.apiserver.audit import log as audit_log
from netplane.apiserver.audit import policy as audit_policy
from netplane.apiserver.audit.log import Writer
from netplane.apiserver.audit.policy import Level, Policy, Verdict
from netplane.apiserver.process.settings import Audit as Settings
from netplane.apiserver.wire import bodies
from netplane.apiserver.wire.reply import Header, Message, Reply, Scope, Send
from netplane.apiserver.wire.target import Target

Json = dict[str, Any]

KEY = "netplane.audit"
MAX_ID = 64
_NOBODY = User("")


class Record:
    """One request on its way through the server."""

    __slots__ = (
        "_writer",
        "body",
        "code",
        "constraint",
        "decision",
        "grants",
        "head",
        "impersonated",
        "verdict",
        "why",
    )

    def __init__(self, writer: Writer, head: Json, verdict: Verdict) -> None:
        self._writer = writer
        self.head = head
        self.verdict = verdict
        self.body: tuple[bytes, str] | None = None
        self.impersonated: User | None = None
        self.constraint = ""  # the verb that let the user act as somebody else
        self.decision = self.why = ""  # of authorization
        self.grants: tuple[Rules, User, Ask] | None = None  # what let it pass, to be told on the log's thread
        self.code = 200  # of an answer that goes out before its end is known

    @property
    def header(self) -> Header:
        """The header that tells the client what its request is called in the log."""
        return b"audit-id", self.head["auditID"].encode()

    def log(self, stage: str, code: int = 0, answer: bytes = b"") -> None:
        """Log a stage, unless the policy leaves it out."""
        if self.verdict.level is Level.NONE or stage in self.verdict.omit:
            return
        kept = answer if code >= 400 or self._reads_answer() or answer.startswith(_STATUS) else b""
        weight = len(kept) + (len(self.body[0]) if self.body is not None else 0)
        self._writer.put((self, stage, code, kept, datetime.datetime.now(datetime.UTC)), weight)

    def read(self, body: bytes, media: str) -> None:
        """The request's body, when it is wanted: to be told, or for which object it says it is about."""
        if self.verdict.level >= Level.REQUEST or self.names:
            self.body = (body, media)

    @property
    def names(self) -> bool:
        """Whether the body is an object, whose metadata say which."""
        return self.head["verb"] in ("create", "update")

    def _reads_answer(self) -> bool:
        return bool(self.verdict.level >= Level.REQUEST_RESPONSE)

    def sent(self) -> Any:
        """The body as a document; None when it is none, or was not read."""
        return None if self.body is None else _json(*self.body)

    def ended(self, code: int, answer: bytes = b"") -> None:
        """Log the end of the request. Of one that nobody knows this is all; what was to last began with it, too."""
        if self.head["user"] is None:
            self.log("ResponseStarted", code, answer)
            return
        if code >= 400 and self.head["verb"] in _LASTING:
            self.log("ResponseStarted", code, answer)
        self.log("ResponseComplete", code, answer)


class Auditor:
    """Makes records by a policy and hands them to a writer."""

    def __init__(self, policy: Policy, writer: Writer) -> None:
        self._policy = policy
        self.writer = writer

    def received(
        self, scope: Scope, target: Target | None, user: User | None, headers: Mapping[bytes, bytes]
    ) -> Record:
        """A request came in; `user` None is somebody whom nobody knows (401)."""
        verb = target.verb if target is not None else scope["method"].lower()
        verdict = self._policy.verdict(user or _NOBODY, verb, target, scope["path"])
        record = Record(self.writer, _head(scope, target, user, headers, verb), verdict)
        if user is not None:
            record.log("RequestReceived")
        return record


def of(settings: Settings) -> Auditor | None:
    """What the flags ask for. Raises UsageError."""
    if not settings.path:
        return None
    policy = audit_policy.load(settings.policy) if settings.policy is not None else audit_policy.default()
    rotation = audit_log.Rotation(settings.max_mib, settings.backups, settings.days)
    return Auditor(policy, Writer(audit_log.handler(settings.path, rotation), encode))


def answered(record: Record, reply: Reply | None) -> Reply | None:
    """Log the end of a request; its answer, which says the record's name. None: it was sent already."""
    if reply is None:
        record.log("ResponseComplete", record.code)
        return None
    record.ended(reply.status, reply.body)
    return reply._replace(headers=(*reply.headers, record.header))


def telling(record: Record | None, transmit: Send) -> Send:
    """`transmit`, which logs the start of the answer and names the record in it."""
    if record is None:
        return transmit

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            record.log("ResponseStarted", message["status"])
            message = {**message, "headers": [*message["headers"], record.header]}
        await transmit(message)

    return send


def _head(scope: Scope, target: Target | None, user: User | None, headers: Mapping[bytes, bytes], verb: str) -> Json:
    given = headers.get(b"audit-id", b"").decode("latin-1")
    head: Json = {
        "auditID": given if 0 < len(given) <= MAX_ID and given.isprintable() else str(uuid.uuid4()),
        "scope": scope,
        "headers": headers,
        "verb": verb,
        "user": user,
        "target": target,
        "received": datetime.datetime.now(datetime.UTC),
    }
    return head


def encode(item: tuple[Record, str, int, bytes, datetime.datetime]) -> str:
    """A line of the log. Nothing that is sent can keep a request out: what JSON cannot say is left out."""
    try:
        return _line(item, told=True)
    except Exception:  # YAML knows more than JSON does, and deeper
        return _line(item, told=False)


def _line(item: tuple[Record, str, int, bytes, datetime.datetime], *, told: bool) -> str:
    """`told`: with what was sent and answered, as far as the policy wants it."""
    record, stage, code, answer, when = item
    received = stage == "RequestReceived"  # what comes of it is not known then
    event = {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": record.verdict.level.word,
        "auditID": record.head["auditID"],
        "stage": stage,
        **_asked(record),
        **({} if received else _acting(record)),
        **_outcome(record, code, answer if told else b"", record.sent() if told and not received else None),
        "requestReceivedTimestamp": _time(record.head["received"]),
        "stageTimestamp": _time(when),
        "annotations": None if received else _annotations(record),
    }
    return orjson.dumps({key: value for key, value in event.items() if value is not None}).decode()


def _asked(record: Record) -> Json:
    """Who asks for what."""
    head = record.head
    agent = head["headers"].get(b"user-agent")
    return {
        "requestURI": _uri(head["scope"]),
        "verb": head["verb"],
        "user": {} if head["user"] is None else head["user"].info(),
        "sourceIPs": _sources(head),
        "userAgent": agent.decode("latin-1") if agent else None,
    }


def _acting(record: Record) -> Json:
    """As whom, and what lets the user."""
    return {
        "impersonatedUser": None if record.impersonated is None else record.impersonated.info(),
        "authenticationMetadata": {"impersonationConstraint": record.constraint} if record.constraint else None,
    }


def _outcome(record: Record, code: int, answer: bytes, sent: Any) -> Json:
    """What came of it: which object it was about, what was sent and answered as far as it is wanted."""
    target, level = record.head["target"], record.verdict.level
    shown = _json(answer, "application/json") if answer and level >= Level.REQUEST_RESPONSE else None
    return {
        "objectRef": None if target is None else _object_ref(target, sent if record.names else None),
        "responseStatus": _status(code, answer) if code else None,
        "requestObject": None if sent is None or level < Level.REQUEST else _shown(_as_kind(sent, target), record),
        "responseObject": None if shown is None else _shown(shown, record),
    }


def _as_kind(sent: Any, target: Target | None) -> Any:
    """An object that does not say its kind is of the path's."""
    if target is None or target.kind is None or target.subresource or target.verb not in ("create", "update"):
        return sent
    return {"kind": target.kind.kind, "apiVersion": target.kind.api_version, **sent} if isinstance(sent, dict) else sent


def _annotations(record: Record) -> Json | None:
    if not record.decision:
        return None
    return {
        "authorization.k8s.io/decision": record.decision,
        "authorization.k8s.io/reason": _reason(record),
    }


def _reason(record: Record) -> str:
    """Why it was let in or not, as far as there is something to say: members of system:masters need no reason."""
    if record.grants is None:
        return record.why
    rules, user, ask = record.grants
    return "" if MASTERS in user.groups else rules.reason(user.name, user.groups, ask)


def _uri(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    path = scope["raw_path"].decode("latin-1")
    return f"{path}?{query}" if query else path


def _sources(head: Json) -> list[str]:
    """Addresses on the way, the one that connected last."""
    forwarded = head["headers"].get(b"x-forwarded-for", b"").decode("latin-1").split(",")
    real = head["headers"].get(b"x-real-ip", b"").decode("latin-1")
    client = head["scope"].get("client")
    return list(dict.fromkeys(one for one in (*map(str.strip, forwarded), real, client[0] if client else "") if one))


def _object_ref(target: Target, sent: Any) -> Json:
    """Which object the path names, or what is sent says of itself."""
    told = sent.get("metadata") if isinstance(sent, dict) else None
    metadata: Json = told if isinstance(told, dict) else {}
    ref = {
        "resource": target.resource,
        "namespace": target.namespace,
        "name": target.name or metadata.get("name", ""),
        "uid": metadata.get("uid", ""),
        "apiGroup": target.group,
        "apiVersion": target.version,
        "resourceVersion": metadata.get("resourceVersion", ""),
        "subresource": target.subresource,
    }
    return {key: value for key, value in ref.items() if value}


_STATUS = b'{"kind":"Status"'
_LASTING = frozenset({"watch"})


def _status(code: int, answer: bytes) -> Json:
    told = _json(answer, "application/json") if code >= 400 or answer.startswith(_STATUS) else None
    parts = {key: told[key] for key in ("status", "message", "reason", "details") if key in told} if told else {}
    return {"metadata": {}, **parts, "code": code}


def _json(raw: bytes, media: str) -> Any:
    """A body as a document; None when it is none."""
    try:
        if media in bodies.ACCEPTED:
            return bodies.parse(raw, media, "")
        return bodies.yaml_document(raw, "") if "yaml" in media else orjson.loads(raw)
    except (StatusError, ValueError):
        return None


def _shown(document: Any, record: Record) -> Any:
    if not record.verdict.omit_managed or not isinstance(document, dict):
        return document
    items = document.get("items")
    for one in items if isinstance(items, list) else [document]:
        metadata = one.get("metadata") if isinstance(one, dict) else None
        if isinstance(metadata, dict):
            metadata.pop("managedFields", None)
    return document


def _time(when: datetime.datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")

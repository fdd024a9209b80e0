"""With several apiservers on one etcd: no answer from the past, and no refusal for a reason that is already gone.

    read without a resource version      must show whatever any apiserver acknowledged before: memory catches up first
    read at a version ahead of memory    another apiserver gave it out: memory catches up first
    read at version 0                    whatever is there will do
    write                                judged by memory, decided by the compares of its transaction. A refusal judged
                                         by memory that was behind is no refusal: it is judged once more

With a store of one process `catch_up` is free and never brings news.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

from netplane.api import errors
from netplane.apiserver.wire.call import Call
from netplane.apiserver.wire.options import revision
from netplane.apiserver.wire.reply import Reply
from netplane.store.protocol import OutcomeUnknown, StoreError, Unavailable

RETRY_AFTER_S = 1
_READS = frozenset({"get", "list", "watch", "deletecollection"})
_JUDGED_BY_STATE = frozenset({403, 404, 409, 422})


async def ready(call: Call) -> None:
    """Let memory catch up if this read asks for it. Raises StatusError 503."""
    if call.target.verb not in _READS:
        return
    store = call.cluster.store
    with suppress(errors.StatusError):  # told by who reads
        asked = revision(call.query)
        if asked is not None and asked <= await store.current_rev():
            return
    try:
        await store.catch_up()
    except StoreError as error:
        raise refusal(error) from error


async def judged(call: Call, handler: Callable[[Call], Awaitable[Reply]]) -> Reply:
    """The handler's answer. Raises StatusError: its own, or 503 and 504 for a store that does not answer."""
    try:
        try:
            return await handler(call)
        except errors.StatusError as error:
            if error.code not in _JUDGED_BY_STATE or not await call.cluster.store.catch_up():
                raise
        call.warnings.clear()
        call.duplicates.clear()
        return await handler(call)
    except StoreError as error:
        raise refusal(error) from error


def refusal(error: StoreError) -> errors.StatusError:
    """What a client is told when the store fails: 504 if its write may have happened, 503 if not, else 500."""
    details = errors.details(retryAfterSeconds=RETRY_AFTER_S)
    if isinstance(error, OutcomeUnknown):
        return errors.StatusError(504, "Timeout", f"Timeout: {error.message}", details)
    if isinstance(error, Unavailable):
        return errors.StatusError(503, "ServiceUnavailable", error.message, details)
    return errors.internal(error.message)

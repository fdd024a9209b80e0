"""As much of etcd's v3 API (etcdserverpb, mvccpb) as the store speaks: its messages and the paths of its methods.

Messages are built from the table below (see `proto3`). Numbers are those of etcd's rpc.proto and kv.proto; what is not
named is left out, and skipped when a server sends it.
"""

from typing import Any, NamedTuple

from netplane.store.etcd import proto3

PACKAGE = "etcdserverpb"
_TABLE = """
KeyValue: key 1 bytes, create_revision 2 int64, mod_revision 3 int64, version 4 int64, value 5 bytes
Event: type 1 int32, kv 2 KeyValue, prev_kv 3 KeyValue
ResponseHeader: cluster_id 1 uint64, member_id 2 uint64, revision 3 int64
RangeRequest: key 1 bytes, range_end 2 bytes, limit 3 int64, revision 4 int64, serializable 7 bool, keys_only 8 bool, \
    count_only 9 bool, min_mod_revision 10 int64
RangeResponse: header 1 ResponseHeader, kvs 2 *KeyValue, more 3 bool, count 4 int64
PutRequest: key 1 bytes, value 2 bytes
PutResponse: header 1 ResponseHeader
DeleteRangeRequest: key 1 bytes, range_end 2 bytes
DeleteRangeResponse: header 1 ResponseHeader, deleted 2 int64
RequestOp: request_range 1 RangeRequest, request_put 2 PutRequest, request_delete_range 3 DeleteRangeRequest, \
    request_txn 4 TxnRequest
ResponseOp: response_range 1 RangeResponse, response_delete_range 3 DeleteRangeResponse, \
    response_txn 4 TxnResponse
Compare: result 1 int32, target 2 int32, key 3 bytes, mod_revision 6 int64
TxnRequest: compare 1 *Compare, success 2 *RequestOp, failure 3 *RequestOp
TxnResponse: header 1 ResponseHeader, succeeded 2 bool, responses 3 *ResponseOp
CompactionRequest: revision 1 int64
CompactionResponse: header 1 ResponseHeader
WatchRequest: create_request 1 WatchCreateRequest
WatchCreateRequest: key 1 bytes, range_end 2 bytes, start_revision 3 int64, progress_notify 4 bool, prev_kv 6 bool
WatchResponse: header 1 ResponseHeader, created 3 bool, canceled 4 bool, compact_revision 5 int64, \
    cancel_reason 6 string, events 11 *Event
"""
MOD = 2  # Compare.target: the revision of the last change (Compare.result 0 is EQUAL)
DELETE = 1  # Event.type

_MESSAGES = proto3.classes(PACKAGE, _TABLE)
KeyValue = _MESSAGES["KeyValue"]
RangeRequest = _MESSAGES["RangeRequest"]
PutRequest = _MESSAGES["PutRequest"]
DeleteRangeRequest = _MESSAGES["DeleteRangeRequest"]
RequestOp = _MESSAGES["RequestOp"]
Compare = _MESSAGES["Compare"]
TxnRequest = _MESSAGES["TxnRequest"]
CompactionRequest = _MESSAGES["CompactionRequest"]
WatchRequest = _MESSAGES["WatchRequest"]
WatchCreateRequest = _MESSAGES["WatchCreateRequest"]


class Method(NamedTuple):
    """One RPC: its path, and the classes of what goes and what comes."""

    path: str
    request: Any
    response: Any


RANGE = Method(f"/{PACKAGE}.KV/Range", RangeRequest, _MESSAGES["RangeResponse"])
TXN = Method(f"/{PACKAGE}.KV/Txn", TxnRequest, _MESSAGES["TxnResponse"])
COMPACT = Method(f"/{PACKAGE}.KV/Compact", CompactionRequest, _MESSAGES["CompactionResponse"])
WATCH = Method(f"/{PACKAGE}.Watch/Watch", WatchRequest, _MESSAGES["WatchResponse"])

Event = _MESSAGES["Event"]
ResponseOp = _MESSAGES["ResponseOp"]
TxnResponse = _MESSAGES["TxnResponse"]
WatchResponse = _MESSAGES["WatchResponse"]
ResponseHeader = _MESSAGES["ResponseHeader"]

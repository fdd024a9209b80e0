"""The lease store's tables, version by version: an earlier store gets what it lacks, and keeps its leases."""

_1 = """
CREATE TABLE boot (id TEXT NOT NULL);
CREATE TABLE leases (
  id INTEGER PRIMARY KEY,
  network TEXT NOT NULL, container TEXT NOT NULL, ifname TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('reserved', 'active')),
  link TEXT NOT NULL, netns TEXT NOT NULL, pod TEXT NOT NULL, since_s REAL NOT NULL,
  UNIQUE (network, container, ifname)
);
CREATE TABLE addresses (
  address TEXT PRIMARY KEY,
  lease INTEGER NOT NULL REFERENCES leases ON DELETE CASCADE,
  position INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX addresses_of ON addresses (lease);
CREATE TABLE cooling (address TEXT PRIMARY KEY, freed_s REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE cursors (network TEXT NOT NULL, position INTEGER NOT NULL, address TEXT NOT NULL,
  PRIMARY KEY (network, position)) WITHOUT ROWID;
"""
# Version 2 added host ports and addresses that another IPAM plugin gave, which may be in use in several networks.
_2 = """
CREATE TABLE delegated (
  lease INTEGER NOT NULL REFERENCES leases ON DELETE CASCADE, address TEXT NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (lease, position)
) WITHOUT ROWID;
CREATE TABLE ports (
  network TEXT NOT NULL, container TEXT NOT NULL, ifname TEXT NOT NULL,
  host TEXT NOT NULL, protocol TEXT NOT NULL, host_port INTEGER NOT NULL,
  address TEXT NOT NULL, port INTEGER NOT NULL, source TEXT NOT NULL, dev TEXT NOT NULL,
  PRIMARY KEY (host, protocol, host_port)
) WITHOUT ROWID
"""
# Version 3 added the MAC address that a pod is held to.
_3 = """
ALTER TABLE leases ADD COLUMN guard TEXT NOT NULL DEFAULT '';
DROP VIEW IF EXISTS attachments;
CREATE VIEW attachments AS SELECT network, container, ifname, state, link, netns, pod, since_s, id,
  (SELECT group_concat(address) FROM (
    SELECT address, position FROM addresses WHERE lease = leases.id
    UNION ALL SELECT address, position FROM delegated WHERE lease = leases.id ORDER BY position)) AS ips,
  guard, EXISTS (SELECT 1 FROM delegated WHERE lease = leases.id) AS delegated
  FROM leases
"""
# The statements that bring a store of version i to version i + 1. Version 0 is an empty file.
UPGRADES = (_1, _2, _3)
VERSION = len(UPGRADES)

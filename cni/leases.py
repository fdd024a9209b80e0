"""Who has which address: leases in SQLite, safe against kill -9 and power loss.

             reserve                    activate
    (none) ───────────▶ reserved ─────────────────▶ active
       ▲                    │ wiring failed, or        │ DEL: first the link,
       └────── release ─────┘ found at a restart       ▼ then release
    cooling: a freed address waits its turn; it is given again only when nothing else is free

Every transition is one committed transaction before anybody is told. A lease that is still `reserved` when a process
starts belongs to nobody: no runtime was ever told of it. A boot makes all leases void, since no link survived it; the
store remembers the boot it belongs to. That is why no commit waits for the disk (WAL, synchronous=NORMAL): kill -9
loses nothing that the kernel has, a power loss can lose only what the next boot would void (docs/adr/0003).
"""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import msgspec

from cni import lease_schema as schema
from cni.errors import CniError, Code
from cni.plan import hostports, ipam
from cni.plan.hostports import HostPort
from cni.plan.lease import Key, Lease
from netplane.rtnl import IP

_INSERT = "INSERT INTO leases (network, container, ifname, state, link, netns, pod, since_s)"
_INSERT_DELEGATED = (
    "INSERT INTO delegated VALUES ((SELECT id FROM leases WHERE network = ? AND container = ? AND ifname = ?), ?, ?)"
)
# Whether an address is taken, and when it was freed if it is still cooling (a clock set back ends that, too).
_STATE_OF = (
    "SELECT EXISTS (SELECT 1 FROM addresses WHERE address = ?1),"
    " (SELECT freed_s FROM cooling WHERE address = ?1 AND freed_s > ?2 AND freed_s <= ?3)"
)
COOLDOWN_S = 60.0
# 64 MB of log, some 10,000 pods: nobody who waits for an address writes the log into the file, `settle` does.
_LOG_MAX_PAGES = 16384


class Leases:
    """The store. Methods may be called from any thread; processes may share the file.

    Args:
        path: the database file; its folder is made.
        boot_id: of the running kernel.

    `void` says how many leases of an earlier boot were forgotten, `fresh` whether the file was made just now.
    """

    def __init__(self, path: Path, boot_id: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        self._lock = threading.Lock()
        self._tidied_s = 0.0
        self.fresh = False
        try:
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
            for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_LOG_MAX_PAGES}")
            self.void = self._prepare(boot_id)
        except sqlite3.DatabaseError as error:
            raise CniError(
                Code.IO, f"the lease store {path}: {error}", "restore the file, or move it away once no pod runs here"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def settle(self) -> None:
        """Write the log into the file, so that it begins anew; no transition waits for it, or depends on it."""
        with closing(sqlite3.connect(self.path)) as other:
            other.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _prepare(self, boot_id: str) -> int:
        """Make the tables when they are missing; forget all leases of an earlier boot. Returns how many those were."""
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > schema.VERSION:
                raise CniError(Code.IO, f"the lease store {self.path} has version {version}, not {schema.VERSION}")
            self.fresh = version == 0
            for statement in ";".join(schema.UPGRADES[version:]).split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {schema.VERSION}")
            known = self._db.execute("SELECT id FROM boot").fetchone()
            void = 0
            if known != (boot_id,):
                void = self._db.execute("DELETE FROM leases").rowcount
                for table in ("ports", "cooling", "boot"):
                    self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
                self._db.execute("INSERT INTO boot VALUES (?)", (boot_id,))
            return void

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    # Transitions ----------------------------------------------------------------------------------------------

    def reserve(
        self,
        lease: Lease,
        ranges: Sequence[ipam.RangeSet],
        wanted: Sequence[IP] = (),
        avoid: frozenset[IP] = frozenset(),
    ) -> Lease:
        """Take one address of each set for a new lease (its own `state` and `addresses` are not looked at).

        Args:
            lease: what to remember with the addresses; `since_s` is now.
            ranges: the sets.
            wanted: addresses to take instead of the next ones.
            avoid: addresses somebody else has.

        Raises:
            CniError: ALREADY_ATTACHED; ADDRESSES_EXHAUSTED, naming the range; INVALID_CONFIG for a wanted one in use.
        """
        with self._transaction():
            try:
                values = (*lease.key, lease.link, lease.netns, lease.pod, lease.since_s)
                row = self._db.execute(f"{_INSERT} VALUES (?, ?, ?, 'reserved', ?, ?, ?, ?)", values).lastrowid
            except sqlite3.IntegrityError as error:
                raise CniError(
                    Code.ALREADY_ATTACHED,
                    f"container {lease.key.container} has {lease.key.ifname} in network {lease.key.network} already",
                    "DEL it first",
                ) from error
            found = tuple(self._take(lease, i, some, wanted, avoid) for i, some in enumerate(ranges))
            self._db.executemany(
                "INSERT INTO addresses VALUES (?, ?, ?)", [(str(a), row, i) for i, a in enumerate(found)]
            )
            self._db.executemany("DELETE FROM cooling WHERE address = ?", [(str(a),) for a in found])
        return msgspec.structs.replace(lease, state="reserved", addresses=found)

    def _take(
        self, lease: Lease, position: int, ranges: ipam.RangeSet, wanted: Sequence[IP], avoid: frozenset[IP]
    ) -> IP:
        for address in wanted:
            if ipam.range_of(ranges, address):
                if address in avoid or self._taken(address):
                    raise CniError(Code.INVALID_CONFIG, f"the address {address} that was asked for is in use")
                return address
        where = (lease.key.network, position)
        row = self._db.execute("SELECT address FROM cursors WHERE network = ? AND position = ?", where).fetchone()
        address = self._next(ranges, ip_address(row[0]) if row else None, lease.since_s, avoid)
        self._db.execute("INSERT OR REPLACE INTO cursors VALUES (?, ?, ?)", (*where, str(address)))
        return address

    def _next(self, ranges: ipam.RangeSet, after: IP | None, now_s: float, avoid: frozenset[IP]) -> IP:
        coolest: tuple[float, IP] | None = None
        for address in ipam.candidates(ranges, after):
            if address in avoid:
                continue
            taken, freed_s = self._db.execute(_STATE_OF, (str(address), now_s - COOLDOWN_S, now_s)).fetchone()
            if taken:
                continue
            if freed_s is None:
                return address
            coolest = min(coolest, (freed_s, address), key=lambda c: c[0]) if coolest else (freed_s, address)
        if coolest is None:
            raise CniError(
                Code.ADDRESSES_EXHAUSTED,
                f"no address is free in {ipam.describe(ranges)}: all {ipam.capacity(ranges)} are in use",
                "see who has them with: netplane cni leases",
            )
        return coolest[1]

    def _taken(self, address: IP) -> bool:
        return self._db.execute("SELECT 1 FROM addresses WHERE address = ?", (str(address),)).fetchone() is not None

    def enter(self, lease: Lease) -> None:
        """Remember the addresses that another IPAM plugin gave to a reserved lease."""
        with self._transaction():
            self._db.executemany(_INSERT_DELEGATED, [(*lease.key, str(a), i) for i, a in enumerate(lease.addresses)])

    def hold_to(self, key: Key, mac: str) -> None:
        """Remember the only MAC address that an attachment's pod may send from."""
        with self._transaction():
            self._db.execute(
                "UPDATE leases SET guard = ? WHERE network = ? AND container = ? AND ifname = ?", (mac, *key)
            )

    def activate(self, key: Key) -> None:
        """The pod is wired: from now on the lease survives a restart."""
        with self._lock:  # one statement is a transaction by itself
            self._db.execute(
                "UPDATE leases SET state = 'active' WHERE network = ? AND container = ? AND ifname = ?", key
            )

    def adopt(self, lease: Lease) -> None:
        """Enter an active lease read off its link, when the store was lost and the pod was not."""
        values = (*lease.key, lease.link, lease.netns, lease.pod, lease.since_s)
        with self._transaction():
            row = self._db.execute(f"{_INSERT} VALUES (?, ?, ?, 'active', ?, ?, ?, ?)", values).lastrowid
            rows = [(str(a), row, i) for i, a in enumerate(lease.addresses)]
            self._db.executemany("INSERT INTO addresses VALUES (?, ?, ?)", rows)

    def release(self, key: Key, now_s: float) -> bool:
        """Forget a lease once its link is gone; its addresses cool down. Returns whether there was one."""
        with self._transaction():
            if not 0 <= now_s - self._tidied_s < COOLDOWN_S:
                self._db.execute("DELETE FROM cooling WHERE freed_s <= ? OR freed_s > ?", (now_s - COOLDOWN_S, now_s))
                self._tidied_s = now_s
            self._db.execute(
                "INSERT OR REPLACE INTO cooling SELECT address, ? FROM addresses JOIN leases ON leases.id = lease"
                " WHERE network = ? AND container = ? AND ifname = ?",
                (now_s, *key),
            )
            gone = self._db.execute("DELETE FROM leases WHERE network = ? AND container = ? AND ifname = ?", key)
            return gone.rowcount > 0

    # Host ports -----------------------------------------------------------------------------------------------

    def take_ports(self, key: Key, ports: Sequence[HostPort]) -> None:
        """Give host ports to an attachment, all or none.

        Raises:
            CniError: PORT_IN_USE, naming the port and who has it.
        """
        with self._transaction():
            for port in ports:
                self._check_port(port)
                row = (str(port.host), port.protocol, port.host_port, str(port.address), port.port)
                where = (str(port.source or ""), port.dev)
                self._db.execute("INSERT INTO ports VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", (*key, *row, *where))

    def _check_port(self, port: HostPort) -> None:
        same = self._db.execute(
            "SELECT * FROM ports WHERE protocol = ? AND host_port = ?", (port.protocol, port.host_port)
        )
        for row in same.fetchall():
            if _port(row).collides(port):
                raise hostports.taken(port, row[1])

    def drop_ports(self, key: Key) -> None:
        """Take an attachment's host ports away, once the kernel has none of them any more."""
        with self._transaction():
            self._db.execute("DELETE FROM ports WHERE network = ? AND container = ? AND ifname = ?", key)

    def ports(self, key: Key | None = None) -> list[HostPort]:
        """An attachment's host ports, or everybody's."""
        where = "WHERE network = ? AND container = ? AND ifname = ?" if key is not None else ""
        with self._lock:
            rows = self._db.execute(f"SELECT * FROM ports {where}", key or ()).fetchall()  # noqa: S608 - text of ours
        return [_port(row) for row in rows]

    def ports_by_key(self) -> dict[Key, list[HostPort]]:
        """Everybody's host ports, with whose they are."""
        with self._lock:
            return self._ports_by_key()

    def _ports_by_key(self) -> dict[Key, list[HostPort]]:
        found: dict[Key, list[HostPort]] = {}
        for row in self._db.execute("SELECT * FROM ports"):
            found.setdefault(Key(*row[:3]), []).append(_port(row))
        return found

    @contextmanager
    def still(self) -> Iterator[list[HostPort]]:
        """All host ports; while the body runs nobody takes or leaves one, in whatever process."""
        with self._transaction():
            yield [port for ports in self._ports_by_key().values() for port in ports]

    def port_holders(self, network: str) -> list[Key]:
        """Attachments of a network that have host ports."""
        with self._lock:
            rows = self._db.execute(
                "SELECT DISTINCT network, container, ifname FROM ports WHERE network = ?", (network,)
            )
            return [Key(*row) for row in rows]

    # Questions ------------------------------------------------------------------------------------------------

    def get(self, key: Key) -> Lease | None:
        """One lease; None when there is none."""
        found = self._select("SELECT * FROM attachments WHERE network = ? AND container = ? AND ifname = ?", *key)
        return found[0] if found else None

    def all(self, network: str | None = None) -> list[Lease]:
        """All leases, or a network's, in the order they were reserved."""
        if network is None:
            return self._select("SELECT * FROM attachments ORDER BY id")
        return self._select("SELECT * FROM attachments WHERE network = ? ORDER BY id", network)

    def free(self, ranges: ipam.RangeSet) -> int:
        """How many addresses of a set could be given now."""
        with self._lock:
            taken = [ip_address(row[0]) for row in self._db.execute("SELECT address FROM addresses")]
        return ipam.capacity(ranges) - sum(1 for address in taken if ipam.range_of(ranges, address))

    def _select(self, query: str, *values: str) -> list[Lease]:
        with self._lock:
            rows = self._db.execute(query, values).fetchall()
        return [
            Lease(
                Key(*row[:3]),
                row[3],
                link=row[4],
                addresses=tuple(ip_address(a) for a in (row[9] or "").split(",") if a),
                netns=row[5],
                pod=row[6],
                since_s=row[7],
                guard=row[10],
                delegated=bool(row[11]),
            )
            for row in rows
        ]


def _port(row: Sequence[Any]) -> HostPort:
    source = ip_network(row[8]) if row[8] else None
    return HostPort(ip_address(row[3]), row[4], row[5], ip_address(row[6]), row[7], source, row[9])


def boot_id() -> str:
    """The kernel's identifier of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

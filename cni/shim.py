#!/usr/bin/python3 -IS
"""The first hop in Python, for hosts where no compiler made the C one: the same bytes, files and answers as `shim.c`.

It imports only sys, posix and _socket: every other module would cost more than the whole call. `netplane cni install`
copies it to the plugin folder with a first line that names an interpreter.
"""

import _socket
import posix
import sys

DEFAULT_SOCKET = b"/run/netplane/cni.sock"
SIDECAR = b".netplane-relay"
ENVIRONMENT_MAX_BYTES, STDIN_MAX_BYTES, HEADER_BYTES = 1 << 16, 1 << 20, 12
TIMEOUT_S = 120.0
VERSIONS = b'"0.1.0","0.2.0","0.3.0","0.3.1","0.4.0","1.0.0","1.1.0"'
_SOL_SOCKET, _SCM_RIGHTS, _SOCK_CLOEXEC, _MSG_NOSIGNAL = 1, 1, 0o2000000, 0x4000


def put(data: bytes, fd: int = 1) -> None:
    """Write all of it."""
    while data:
        data = data[posix.write(fd, data) :]


def version_asked(config: bytes) -> bytes:
    """The configuration's cniVersion, found without a parser: digits and dots between quotes after that key."""
    rest = config.partition(b'"cniVersion"')[2].lstrip(b" \t\r\n:")
    version, quote, _ = rest[1:].partition(b'"')
    plain = 0 < len(version) < 32 and not version.strip(b"0123456789.")
    return version if rest[:1] == b'"' and quote and plain else b"1.1.0"


def refuse(config: bytes, code: int, message: bytes, details: bytes = b"") -> int:
    """Print an error of the specification's form."""
    words = (version_asked(config), code, message, details)
    put(b'{"cniVersion":"%s","code":%d,"msg":"%s","details":"%s"}' % words)
    return 1


def read_stdin() -> bytes:
    """All of it, or more than is allowed; nothing when it is closed."""
    data = b""
    try:
        while len(data) <= STDIN_MAX_BYTES and (more := posix.read(0, 1 << 16)):
            data += more
    except OSError:
        return data
    return data


def find_agent(environment: "dict[bytes, bytes]", argv0: bytes) -> "tuple[bytes, bytes]":
    """(`socket` or `exec`, path): from the environment, else the file beside this program, else the default."""
    if environment.get(b"NETPLANE_CNI_SOCKET"):
        return b"socket", environment[b"NETPLANE_CNI_SOCKET"]
    try:
        fd = posix.open(argv0.rpartition(b"/")[0] + b"/" + SIDECAR, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b"socket", DEFAULT_SOCKET
    line = posix.read(fd, 4096).partition(b"\n")[0]
    posix.close(fd)
    word, _, path = line.partition(b" ")
    return (word, path) if word in (b"socket", b"exec") and path else (b"socket", DEFAULT_SOCKET)


def ask(path: bytes, frame: bytes, netns: bytes) -> "tuple[int, bytes] | None":
    """The agent's exit status and text; None when it does not answer. The namespace's descriptor rides along."""
    space = -1
    agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _SOCK_CLOEXEC)
    try:
        agent.settimeout(TIMEOUT_S)
        agent.connect(path)
        try:
            space = posix.open(netns, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        except OSError:
            rights = []
        else:
            rights = [(_SOL_SOCKET, _SCM_RIGHTS, space.to_bytes(4, sys.byteorder))]
        sent = agent.sendmsg([frame], rights, _MSG_NOSIGNAL)
        if sent < len(frame):  # a send of nothing still fails when the agent has answered and hung up
            agent.sendall(frame[sent:], _MSG_NOSIGNAL)
        reply, want = b"", HEADER_BYTES
        while len(reply) < want and (more := agent.recv(65536)):
            reply += more
            if len(reply) >= HEADER_BYTES:
                want = HEADER_BYTES + int.from_bytes(reply[8:HEADER_BYTES], "big")
    except OSError:
        return None
    finally:
        agent.close()
        if space >= 0:
            posix.close(space)
    text = reply[HEADER_BYTES:]
    if reply[:4] != b"NPR1" or int.from_bytes(reply[8:HEADER_BYTES], "big") != len(text):
        return None
    return int.from_bytes(reply[4:8], "big"), text


def save_for_later(path: bytes, frame: bytes) -> bool:
    """Leave a DEL for the agent to find; written whole and named last, so that it never reads half of one."""
    name = path + b".pending/%d" % posix.getpid() + posix.urandom(6).hex().encode()
    try:
        fd = posix.open(name + b"~", posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)
        put(frame, fd)
        posix.fsync(fd)
        posix.close(fd)
        posix.rename(name + b"~", name)
    except OSError:
        return False
    return True


def no_agent(command: bytes, path: bytes, frame: bytes, config: bytes) -> int:
    """What a runtime is told when nobody answers."""
    if command == b"DEL" and save_for_later(path, frame):
        return 0
    if command == b"STATUS":
        return refuse(config, 50, b"the netplane agent is not running", b"start netplane-agent")
    return refuse(config, 11, b"the netplane agent does not answer", b"it is starting or was stopped: try again later")


def run_program(program: bytes, config: bytes, argv: "list[str]", environment: "dict[bytes, bytes]") -> int:
    """Become a program that does the work itself, with stdin as it was."""
    read_end, write_end = posix.pipe()
    if posix.fork() == 0:
        posix.close(read_end)
        put(config, write_end)
        posix._exit(0)
    posix.close(write_end)
    posix.dup2(read_end, 0)
    try:
        posix.execve(program, argv, environment)
    except OSError:
        return refuse(config, 5, b"the program in .netplane-relay cannot be run", b"install it: netplane cni install")


def main() -> int:
    """One call of the plugin."""
    environment = dict(posix.environ)
    argv0 = sys.argv[0].encode(errors="surrogateescape")
    command = environment.get(b"CNI_COMMAND", b"")
    if not command:
        return refuse(b"", 4, b"CNI_COMMAND: is missing: this program is a CNI plugin, run by a container runtime")
    words = [argv0, *(key + b"=" + value for key, value in environment.items() if key.startswith(b"CNI_"))]
    block = b"".join(word + b"\0" for word in words)
    if len(block) > ENVIRONMENT_MAX_BYTES:
        return refuse(b"", 4, b"the CNI_* environment is larger than 64 KiB")
    config = read_stdin()
    if len(config) > STDIN_MAX_BYTES:
        return refuse(b"", 6, b"the configuration on stdin is larger than 1 MiB")
    if command == b"VERSION":
        put(b'{"cniVersion":"%s","supportedVersions":[%s]}' % (version_asked(config), VERSIONS))
        return 0
    how, path = find_agent(environment, argv0)
    if how == b"exec":
        return run_program(path, config, sys.argv, environment)
    frame = b"NPC1" + len(block).to_bytes(4, "big") + len(config).to_bytes(4, "big") + block + config
    answer = ask(path, frame, environment.get(b"CNI_NETNS", b""))
    if answer is None:
        return no_agent(command, path, frame, config)
    put(answer[1])
    return answer[0]


if __name__ == "__main__":
    posix._exit(main())

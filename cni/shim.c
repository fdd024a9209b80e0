/* The first hop: what a container runtime executes as the CNI plugin.
 *
 *   runtime ── CNI_* environment, stdin ──▶ this ── unix socket ──▶ agent
 *           ◀── stdout, exit status ───────      ◀── reply ───────
 *
 * It parses no JSON and needs no library, so a statically linked copy runs on any host, while the agent may live in
 * a container. cni/frames.py describes the bytes; cni/shim.py does the same in Python.
 *
 * The agent's socket: $NETPLANE_CNI_SOCKET, else the file `.netplane-relay` beside this program, else the default.
 * That file has one line: `socket PATH`, or `exec PROGRAM` for a program that does the work itself, without an agent.
 *
 * Without an agent: VERSION is answered here; ADD and the others get an error that tells the runtime to try again;
 * DEL is written to SOCKET.pending/, which the agent reads when it comes up, so that no pod waits for it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SOCKET "/run/netplane/cni.sock"
#define SIDECAR ".netplane-relay"
#define ENVIRONMENT_MAX (1 << 16)
#define STDIN_MAX (1 << 20)
#define REPLY_MAX (1 << 20)
#define HEADER 12
#define TIMEOUT_S 120
#define VERSIONS "\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\""

extern char **environ;

static char frame[HEADER + ENVIRONMENT_MAX + STDIN_MAX + 2];
static size_t environment_size, stdin_size;
static char reply[HEADER + REPLY_MAX];
static char socket_path[4096] = DEFAULT_SOCKET, program[4096];

static const char *value(const char *name) {
    const char *found = getenv(name);
    return found ? found : "";
}

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = write(fd, data, size);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

/* The configuration's cniVersion, found without a parser: digits and dots between quotes after that key. */
static void version_asked(char *out, size_t room) {
    char *text = frame + HEADER + environment_size, *at;
    text[stdin_size] = 0;
    snprintf(out, room, "1.1.0");
    if (!(at = strstr(text, "\"cniVersion\""))) return;
    at += strlen("\"cniVersion\"");
    at += strspn(at, " \t\r\n:");
    if (*at++ != '"') return;
    size_t size = strspn(at, "0123456789.");
    if (size > 0 && size < room && at[size] == '"') snprintf(out, room, "%.*s", (int)size, at);
}

static int refuse(int code, const char *message, const char *details) {
    char version[32];
    version_asked(version, sizeof version);
    printf("{\"cniVersion\":\"%s\",\"code\":%d,\"msg\":\"%s\",\"details\":\"%s\"}", version, code, message, details);
    fflush(stdout);
    return 1;
}

static int append(const char *text) {
    size_t size = strlen(text) + 1;
    if (environment_size + size > ENVIRONMENT_MAX) return -1;
    memcpy(frame + HEADER + environment_size, text, size);
    environment_size += size;
    return 0;
}

/* The name this was called by, then CNI_* variables. */
static int take_environment(const char *argv0) {
    if (append(argv0)) return -1;
    for (char **entry = environ; *entry; entry++)
        if (!strncmp(*entry, "CNI_", 4) && append(*entry)) return -1;
    return 0;
}

static int take_stdin(void) {
    char *start = frame + HEADER + environment_size;
    while (stdin_size <= STDIN_MAX) {
        ssize_t got = read(0, start + stdin_size, STDIN_MAX + 1 - stdin_size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        stdin_size += (size_t)got;
    }
    return -1;
}

/* Where the agent is; see the head of this file. */
static void find_agent(void) {
    char path[4096];
    if (*value("NETPLANE_CNI_SOCKET")) {
        snprintf(socket_path, sizeof socket_path, "%s", value("NETPLANE_CNI_SOCKET"));
        return;
    }
    ssize_t size = readlink("/proc/self/exe", path, sizeof path - sizeof SIDECAR - 1);
    if (size <= 0) return;
    path[size] = 0;
    strcpy(strrchr(path, '/') + 1, SIDECAR);
    FILE *file = fopen(path, "re");
    if (!file) return;
    char line[4096];
    if (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (!strncmp(line, "socket ", 7)) snprintf(socket_path, sizeof socket_path, "%s", line + 7);
        if (!strncmp(line, "exec ", 5)) snprintf(program, sizeof program, "%s", line + 5);
    }
    fclose(file);
}

static int connect_agent(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval timeout = {.tv_sec = TIMEOUT_S};
    if (strlen(socket_path) >= sizeof address.sun_path) return -1;
    strcpy(address.sun_path, socket_path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

/* The whole frame; the namespace's descriptor, when the path opens, rides on its first byte. */
static int send_request(int fd, size_t size) {
    int space = *value("CNI_NETNS") ? open(value("CNI_NETNS"), O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    char control[CMSG_SPACE(sizeof space)] = {0};
    struct iovec part = {.iov_base = frame, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (space >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof space);
        memcpy(CMSG_DATA(head), &space, sizeof space);
    }
    ssize_t sent = sendmsg(fd, &message, MSG_NOSIGNAL);
    if (space >= 0) close(space);
    return sent < 0 ? -1 : write_all(fd, frame + sent, size - (size_t)sent);
}

/* The reply's size with its header, or 0 when the agent did not finish it. */
static size_t receive_reply(int fd) {
    size_t size = 0, want = HEADER;
    uint32_t text;
    while (size < want) {
        ssize_t got = read(fd, reply + size, sizeof reply - size);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        size += (size_t)got;
        if (size < HEADER) continue;
        memcpy(&text, reply + 8, 4);
        want = HEADER + (size_t)ntohl(text);
        if (memcmp(reply, "NPR1", 4) != 0 || want > sizeof reply) return 0;
    }
    return size == want ? size : 0;
}

/* Written whole and named last, so that the agent never reads half of one. */
static int save_for_later(size_t size) {
    char path[4200], part[4300];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    snprintf(path, sizeof path, "%s.pending/%lld.%09ld-%d", socket_path, (long long)now.tv_sec, now.tv_nsec, getpid());
    snprintf(part, sizeof part, "%s~", path);
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    int bad = write_all(fd, frame, size) || fsync(fd);
    bad |= close(fd);
    if (bad || rename(part, path)) {
        unlink(part);
        return -1;
    }
    return 0;
}

static int no_agent(const char *command, size_t size) {
    if (!strcmp(command, "DEL") && save_for_later(size) == 0) return 0;
    if (!strcmp(command, "STATUS")) return refuse(50, "the netplane agent is not running", "start netplane-agent");
    return refuse(11, "the netplane agent does not answer", "it is starting or was stopped: try again later");
}

static int run_program(char **argv) {
    int pipe_fds[2];
    if (pipe(pipe_fds)) return refuse(5, "no pipe can be made", "");
    if (fork() == 0) { /* the child feeds what was read already */
        close(pipe_fds[0]);
        _exit(write_all(pipe_fds[1], frame + HEADER + environment_size, stdin_size) ? 1 : 0);
    }
    close(pipe_fds[1]);
    dup2(pipe_fds[0], 0);
    close(pipe_fds[0]);
    signal(SIGPIPE, SIG_DFL);
    execv(program, argv);
    return refuse(5, "the program in " SIDECAR " cannot be run", "install the plugin again: netplane cni install");
}

int main(int argc, char **argv) {
    const char *command = value("CNI_COMMAND");
    uint32_t sizes[2];
    char version[32];
    (void)argc;
    signal(SIGPIPE, SIG_IGN);
    if (!*command)
        return refuse(4, "CNI_COMMAND: is missing: this program is a CNI plugin, run by a container runtime", "");
    if (take_environment(argv[0] ? argv[0] : "")) return refuse(4, "the CNI_* environment is larger than 64 KiB", "");
    if (take_stdin()) {
        stdin_size = 0;
        return refuse(6, "the configuration on stdin is larger than 1 MiB", "");
    }
    if (!strcmp(command, "VERSION")) {
        version_asked(version, sizeof version);
        printf("{\"cniVersion\":\"%s\",\"supportedVersions\":[" VERSIONS "]}", version);
        return 0;
    }
    find_agent();
    if (*program) return run_program(argv);

    size_t size = HEADER + environment_size + stdin_size, answer = 0;
    memcpy(frame, "NPC1", 4);
    sizes[0] = htonl((uint32_t)environment_size);
    sizes[1] = htonl((uint32_t)stdin_size);
    memcpy(frame + 4, sizes, 8);
    int fd = connect_agent();
    if (fd >= 0 && send_request(fd, size) == 0) answer = receive_reply(fd);
    if (answer == 0) return no_agent(command, size);
    write_all(1, reply + HEADER, answer - HEADER);
    memcpy(sizes, reply + 4, 4);
    return (int)ntohl(sizes[0]);
}

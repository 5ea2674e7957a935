/* send: hands messages in by SMTP as smtp-source does, and records how long each acceptance took.
 *
 *   send PORT sessions= count= size= recipients=       prints one JSON object on a line
 *
 * Like smtp-source it makes a connection for each message, waits for each reply (no PIPELINING), and never shows two
 * messages alike. Acceptance is the time from the final dot, written to the kernel whole, until its 250 is read.
 * One thread, epoll, loopback only, at most MAX_SECONDS. Exit status 2 with a line on standard error when the server
 * refuses anything.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_SECONDS 600.0
#define MAX_SESSIONS 10000
#define MAX_RECIPIENTS 1000
#define LINE 78 /* octets of a line of the body, with its end */
#define REPLY 4096

enum step { GREETING, HELO, MAIL, RCPT, DATA, BODY, QUIT };

struct session {
    int fd;
    enum step step;
    long recipient;
    char *out; /* what is still to be written */
    size_t left;
    char *owned; /* the buffer of the message */
    char line[128];
    char in[REPLY];
    size_t got;
    uint64_t dot; /* ns: when the last of the message was written */
};

static long port, sessions = 1, count = 100, size = 4096, recipients = 1;
static long begun, written, done;
static uint32_t *latencies; /* microseconds */
static int poller;

static void die(const char *why, const char *what)
{
    fprintf(stderr, "send: %s: %s\n", why, what);
    exit(2);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(struct session *one, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.ptr = one};
    if (epoll_ctl(poller, operation, one->fd, &event) < 0)
        die("epoll_ctl", strerror(errno));
}

static void begin(struct session *one)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int on = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    one->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (one->fd < 0 || connect(one->fd, (struct sockaddr *)&to, sizeof to) < 0)
        die("connect", strerror(errno));
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    one->step = GREETING;
    one->recipient = 0;
    one->got = 0;
    one->left = 0;
    begun++;
    watch(one, EPOLLIN, EPOLL_CTL_ADD);
}

static char *message(long number, size_t *length)
{
    char *text = malloc((size_t)size + 512), *at = text;
    if (!text)
        die("malloc", strerror(errno));
    at += sprintf(at,
                  "From: <a@example.com>\r\nTo: <b@example.org>\r\nDate: Mon, 2 Mar 2026 10:00:00 +0000\r\n"
                  "Message-Id: <%ld.%d@example.com>\r\n\r\n",
                  number, (int)getpid());
    for (long rest = size; rest > 0; rest -= LINE) {
        long octets = rest < LINE ? rest : LINE;
        if (octets > 2)
            memset(at, 'X', (size_t)octets - 2);
        memcpy(at + (octets > 2 ? octets - 2 : 0), "\r\n", 2);
        at += octets > 2 ? octets : 2;
    }
    memcpy(at, ".\r\n", 3);
    *length = (size_t)(at + 3 - text);
    return text;
}

static void flush(struct session *one)
{
    while (one->left) {
        ssize_t wrote = send(one->fd, one->out, one->left, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (wrote < 0 && errno == EAGAIN) {
            watch(one, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
            return;
        }
        if (wrote < 0)
            die("send", strerror(errno));
        one->out += wrote;
        one->left -= (size_t)wrote;
    }
    if (one->owned) {
        free(one->owned);
        one->owned = NULL;
        one->dot = now();
        watch(one, EPOLLIN, EPOLL_CTL_MOD);
    }
}

static void put(struct session *one, const char *format, long number)
{
    one->left = (size_t)snprintf(one->line, sizeof one->line, format, number);
    one->out = one->line;
    flush(one);
}

static void answered(struct session *one)
{
    char wanted = one->step == DATA ? '3' : '2';
    if (one->in[0] != wanted) {
        one->in[strcspn(one->in, "\r\n")] = 0;
        die("refused", one->in);
    }
    switch (one->step) {
    case GREETING:
        one->step = HELO;
        put(one, "HELO load.example.com\r\n", 0);
        return;
    case HELO:
        one->step = MAIL;
        put(one, "MAIL FROM:<a@example.com>\r\n", 0);
        return;
    case MAIL:
    case RCPT:
        if (one->recipient < recipients) {
            one->step = RCPT;
            put(one, recipients == 1 ? "RCPT TO:<b@example.org>\r\n" : "RCPT TO:<%ldb@example.org>\r\n", one->recipient);
            one->recipient++;
            return;
        }
        one->step = DATA;
        put(one, "DATA\r\n", 0);
        return;
    case DATA:
        one->step = BODY;
        one->owned = one->out = message(++written, &one->left);
        flush(one);
        return;
    case BODY:
        latencies[done++] = (uint32_t)((now() - one->dot) / 1000);
        one->step = QUIT;
        put(one, "QUIT\r\n", 0);
        return;
    case QUIT:
        close(one->fd);
        if (begun < count)
            begin(one);
    }
}

static void readable(struct session *one)
{
    ssize_t got = recv(one->fd, one->in + one->got, REPLY - 1 - one->got, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0)
        die("the server closed the connection", got < 0 ? strerror(errno) : "before its reply");
    one->got += (size_t)got;
    one->in[one->got] = 0;
    if (one->in[one->got - 1] != '\n') {
        if (one->got == REPLY - 1)
            die("reply", "too long");
        return;
    }
    /* The last line of a reply has a space behind its code; nothing was pipelined, so nothing can follow. */
    char *last = one->in, *end;
    while ((end = strchr(last, '\n')) && end[1])
        last = end + 1;
    if (strlen(last) > 3 && last[3] == '-')
        return;
    one->got = 0;
    answered(one);
}

static int compare(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

int main(int argc, char **argv)
{
    struct {
        const char *name;
        long *value, most;
    } known[] = {{"sessions", &sessions, MAX_SESSIONS},
                 {"count", &count, 10000000},
                 {"size", &size, 1 << 28},
                 {"recipients", &recipients, MAX_RECIPIENTS}};
    if (argc < 2 || (port = atol(argv[1])) <= 0)
        die("usage", "send PORT [key=value ...]");
    for (int i = 2; i < argc; i++) {
        bool found = false;
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            size_t length = strlen(known[k].name);
            if (strncmp(argv[i], known[k].name, length) == 0 && argv[i][length] == '=') {
                *known[k].value = atol(argv[i] + length + 1);
                found = *known[k].value >= 1 && *known[k].value <= known[k].most;
            }
        }
        if (!found)
            die("no such value", argv[i]);
    }
    if (sessions > count)
        sessions = count;
    latencies = calloc((size_t)count, sizeof *latencies);
    struct session *all = calloc((size_t)sessions, sizeof *all);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!latencies || !all || poller < 0)
        die("start", strerror(errno));
    uint64_t began = now(), last = began + (uint64_t)(MAX_SECONDS * 1e9);
    for (long i = 0; i < sessions; i++)
        begin(&all[i]);
    while (done < count) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, 1000);
        for (int i = 0; i < ready; i++) {
            struct session *one = events[i].data.ptr;
            if (events[i].events & EPOLLOUT)
                flush(one);
            if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                readable(one);
        }
        if (now() > last)
            die("time", "the messages were not taken in time");
    }
    double elapsed = (double)(now() - began) / 1e9;
    qsort(latencies, (size_t)count, sizeof *latencies, compare);
    printf("{\"done\": %ld, \"seconds\": %.6f, \"p50\": %u, \"p99\": %u, \"worst\": %u}\n", done, elapsed,
           latencies[count / 2], latencies[(count * 99 + 99) / 100 - 1], latencies[count - 1]);
    return 0;
}

/* sink: takes mail by SMTP and throws it away, as smtp-sink does; counts recipients too, and can put some off.
 *
 *   sink PORT FILE [tempfail=PER_MILLE]
 *
 * FILE is made, with three 64-bit counters that whoever maps it can read at any time: messages taken, their recipients,
 * and messages put off. Of the messages `tempfail` per mille are answered with 451 at the final dot; which ones is
 * pseudo-random from a fixed start, the same for everybody who comes in the same order.
 * One thread, epoll, loopback only, until a signal ends it. Pipelined commands get their replies in one write.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINE 1024
#define OUT 131072 /* octets of replies to what one read brought */

struct peer {
    int fd;
    bool in_data;
    int matched; /* octets of CRLF . CRLF seen; a message begins behind a CRLF */
    uint64_t recipients;
    char line[LINE];
    size_t length;
};

static volatile uint64_t *counters;
static long tempfail;
static char in[1 << 18], out[OUT];
static size_t replied;

static void die(const char *what)
{
    fprintf(stderr, "sink: %s: %s\n", what, strerror(errno));
    exit(2);
}

static bool unlucky(void)
{
    static uint32_t state = 2463534242u; /* xorshift32 */
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (long)(state % 1000) < tempfail;
}

static void say(const char *text)
{
    size_t length = strlen(text);
    if (replied + length <= OUT) {
        memcpy(out + replied, text, length);
        replied += length;
    }
}

/* Returns false when the peer is done. */
static bool command(struct peer *one)
{
    const char *line = one->line;
    if (!strncasecmp(line, "EHLO", 4))
        say("250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 DSN\r\n");
    else if (!strncasecmp(line, "HELO", 4))
        say("250 sink\r\n");
    else if (!strncasecmp(line, "RCPT", 4)) {
        one->recipients++;
        say("250 2.1.5 Ok\r\n");
    } else if (!strncasecmp(line, "DATA", 4)) {
        one->in_data = true;
        one->matched = 2;
        say("354 End data with <CR><LF>.<CR><LF>\r\n");
    } else if (!strncasecmp(line, "QUIT", 4)) {
        say("221 2.0.0 Bye\r\n");
        return false;
    } else { /* MAIL, RSET, NOOP */
        one->recipients = 0;
        say("250 2.0.0 Ok\r\n");
    }
    return true;
}

static void taken(struct peer *one)
{
    one->in_data = false;
    if (unlucky()) {
        counters[2]++;
        say("451 4.3.0 Try again later\r\n");
    } else {
        counters[0]++;
        counters[1] += one->recipients;
        say("250 2.0.0 Ok\r\n");
    }
    one->recipients = 0;
}

/* The octets behind `at` that belong to the message; a long run without CR costs one memchr. */
static const char *body(struct peer *one, const char *at, const char *end)
{
    static const char wanted[] = "\r\n.\r\n";
    while (at < end) {
        if (one->matched == 0) {
            at = memchr(at, '\r', (size_t)(end - at));
            if (!at)
                return end;
        }
        if (*at == wanted[one->matched])
            one->matched++;
        else
            one->matched = *at == '\r';
        at++;
        if (one->matched == 5) {
            taken(one);
            return at;
        }
    }
    return end;
}

static bool feed(struct peer *one, const char *at, const char *end)
{
    while (at < end) {
        if (one->in_data) {
            at = body(one, at, end);
            continue;
        }
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t octets = (size_t)((newline ? newline + 1 : end) - at);
        if (one->length + octets >= LINE)
            return false;
        memcpy(one->line + one->length, at, octets);
        one->length += octets;
        at += octets;
        if (newline) {
            one->line[one->length] = 0;
            one->length = 0;
            if (!command(one))
                return false;
        }
    }
    return true;
}

static void serve(struct peer *one)
{
    ssize_t got = recv(one->fd, in, sizeof in, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return;
    replied = 0;
    bool stays = got > 0 && feed(one, in, in + got);
    if (replied && send(one->fd, out, replied, MSG_NOSIGNAL) < 0)
        stays = false;
    if (!stays) {
        close(one->fd);
        free(one);
    }
}

static void welcome(int poller, int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct peer *one = calloc(1, sizeof *one);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
        if (!one || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
            die("accept");
        one->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (send(fd, "220 sink ESMTP\r\n", 16, MSG_NOSIGNAL) < 0)
            continue; /* its end will be read */
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    int on = 1;
    if (argc < 3 || (argc > 3 && sscanf(argv[3], "tempfail=%ld", &tempfail) != 1)) {
        fputs("sink: usage: sink PORT FILE [tempfail=PER_MILLE]\n", stderr);
        return 2;
    }
    int file = open(argv[2], O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, 3 * sizeof(uint64_t)) < 0)
        die(argv[2]);
    counters = mmap(NULL, 3 * sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int poller = epoll_create1(EPOLL_CLOEXEC);
    at.sin_port = htons((uint16_t)atoi(argv[1]));
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (counters == MAP_FAILED || listener < 0 || poller < 0 ||
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1024) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event) < 0)
        die("start");
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr)
                serve(events[i].data.ptr);
            else
                welcome(poller, listener);
        }
    }
}

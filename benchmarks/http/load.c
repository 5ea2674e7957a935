/* load: what wrk does not do. One thread, epoll, loopback addresses only, bounded in time and count.
 *
 *   load MODE ADDRESS PORT PATH [key=value ...]      prints one JSON object on a line
 *
 *   fetch  connections=, seconds=, close=, sources=   GETs one after the other; bodies are discarded in the kernel
 *          (MSG_TRUNC), so that what is measured is the server and not a copy; with close=1 each has a connection
 *          of its own, from `sources` addresses in turn (127.0.0.1, 127.0.0.2 ...)
 *   slow   connections=, sources=, interval=          opens all; one half sends a head, one octet every `interval`
 *          seconds; the others ask for PATH and take 256 octets every `interval` seconds. Prints "open N", runs until
 *          its standard input ends. A connection that the server closes is opened anew, and counted.
 *
 * Each answer must have status 200 and a Content-Length; all else is counted as failed.
 * Exit status: 0, or 2 with a line on standard error when it was called wrongly or could not run.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24 /* linux/in.h, since 4.2 */
#endif

#define MAX_CONNECTIONS 20000
#define MAX_SECONDS 600.0
#define MAX_HEAD 8192       /* octets of an answer's head */
#define EVENTS 256          /* per epoll_wait */
#define LATENCIES (1 << 20) /* one-microsecond buckets; the last one holds the rest */
#define DISCARD (1 << 22)   /* octets a read that drops them */
#define SIP 256             /* octets that a slow reader takes at a time */

enum state { CONNECTING, IN_HEAD, IN_BODY };

struct connection {
    int fd;
    enum state state;
    size_t got;       /* octets of the head */
    uint64_t left;    /* octets of the body still to come */
    uint64_t since;   /* ns */
    char head[MAX_HEAD + 1];
};

static struct sockaddr_in target;
static long connections = 32, sources = 1, close_each = 0;
static double seconds = 2.0, interval = 1.0;
static int poller;
static struct connection *all;
static char request[2048];
static size_t request_length;
static uint32_t latency[LATENCIES];
static uint64_t done, failed, received;
static unsigned next_source;

static void die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void watch(struct connection *one, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.ptr = one};
    if (epoll_ctl(poller, operation, one->fd, &event) < 0)
        die("epoll_ctl: %s", strerror(errno));
}

/* A new socket that connects from the next source address. */
static int fresh(bool blocking, int window)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (window)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof window);
    if (sources > 1) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(0x7f000001u + next_source++ % (unsigned)sources);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            die("bind: %s", strerror(errno));
    }
    if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    return fd;
}

static bool ask(struct connection *one)
{
    one->state = IN_HEAD;
    one->got = 0;
    one->since = now();
    return send(one->fd, request, request_length, MSG_NOSIGNAL) == (ssize_t)request_length;
}

static void start(struct connection *one)
{
    one->fd = fresh(false, 0);
    one->state = CONNECTING;
    watch(one, EPOLLOUT, EPOLL_CTL_ADD);
}

static void again(struct connection *one, bool well)
{
    if (!well)
        failed++;
    close(one->fd);
    start(one);
}

static void record(uint64_t nanoseconds)
{
    uint64_t bucket = nanoseconds / 1000;
    latency[bucket < LATENCIES ? bucket : LATENCIES - 1]++;
    done++;
}

/* Take some of the head: 1 when the body begins, 0 when more must come, -1 when it is wrong. */
static int take_head(struct connection *one)
{
    ssize_t n = recv(one->fd, one->head + one->got, MAX_HEAD - one->got, 0);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        return -1;
    received += (uint64_t)n;
    one->got += (size_t)n;
    one->head[one->got] = 0;
    char *end = strstr(one->head, "\r\n\r\n");
    if (!end)
        return one->got < MAX_HEAD ? 0 : -1;
    char *length = strcasestr(one->head, "\r\nContent-Length:");
    if (strncmp(one->head, "HTTP/1.1 200 ", 13) != 0 || !length || length > end)
        return -1;
    uint64_t total = strtoull(length + 17, NULL, 10), have = one->got - (size_t)(end + 4 - one->head);
    if (have > total)
        return -1;
    one->left = total - have;
    one->state = IN_BODY;
    return 1;
}

static void turn_fetch(struct connection *one, uint32_t events)
{
    if (one->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP) || !ask(one)) {
            again(one, false);
            return;
        }
        watch(one, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    if (one->state == IN_HEAD) {
        int result = take_head(one);
        if (result < 0)
            again(one, false);
        if (result <= 0)
            return;
    } else if (one->left) {
        ssize_t n = recv(one->fd, NULL, one->left < DISCARD ? one->left : DISCARD, MSG_TRUNC);
        if (n <= 0) {
            if (n == 0 || errno != EAGAIN)
                again(one, false);
            return;
        }
        received += (uint64_t)n;
        one->left -= (uint64_t)n;
    } else { /* close=1: the end of the connection is awaited */
        char octet;
        ssize_t n = recv(one->fd, &octet, 1, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n == 0)
            record(now() - one->since);
        again(one, n == 0);
        return;
    }
    if (one->left || close_each)
        return;
    record(now() - one->since);
    if (!ask(one))
        again(one, false);
}

static long percentile(double part)
{
    uint64_t wanted = (uint64_t)((double)done * part), seen = 0;
    for (long bucket = 0; bucket < LATENCIES; bucket++)
        if ((seen += latency[bucket]) > wanted)
            return bucket;
    return LATENCIES;
}

static void fetch(void)
{
    struct epoll_event events[EVENTS];
    for (long i = 0; i < connections; i++)
        start(&all[i]);
    uint64_t begin = now(), end = begin + (uint64_t)(seconds * 1e9), moment;
    while ((moment = now()) < end) {
        int n = epoll_wait(poller, events, EVENTS, (int)((end - moment) / 1000000) + 1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            turn_fetch(events[i].data.ptr, events[i].events);
    }
    double took = (double)(now() - begin) / 1e9;
    printf("{\"done\": %llu, \"failed\": %llu, \"octets\": %llu, \"seconds\": %.6f, \"p50_us\": %ld, \"p99_us\": %ld}\n",
           (unsigned long long)done, (unsigned long long)failed, (unsigned long long)received, took, percentile(0.5),
           percentile(0.99));
}

/* A slow peer's next octets; whether its connection still stands. */
static bool dawdle(struct connection *one, bool reader)
{
    char octets[SIP];
    if (reader) {
        ssize_t n = recv(one->fd, octets, sizeof octets, MSG_DONTWAIT);
        if (n > 0)
            received += (uint64_t)n;
        return n > 0 || (n < 0 && errno == EAGAIN);
    }
    /* The request without its last empty line, and then a field without an end. */
    char octet = one->got < request_length - 2 ? request[one->got] : "X-Slow: "[(one->got - request_length + 2) % 8];
    if (one->got >= request_length + 6)
        octet = 'x';
    ssize_t n = recv(one->fd, octets, sizeof octets, MSG_DONTWAIT);
    if (n >= 0 || errno != EAGAIN || send(one->fd, &octet, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1)
        return false;
    one->got++;
    return true;
}

static void open_slow(struct connection *one, bool reader)
{
    one->fd = fresh(true, reader ? 4096 : 0);
    one->got = 0;
    if (reader && !ask(one))
        die("send: %s", strerror(errno));
}

static void slow(void)
{
    for (long i = 0; i < connections; i++)
        open_slow(&all[i], i % 2);
    printf("open %ld\n", connections);
    fflush(stdout);
    fcntl(0, F_SETFL, O_NONBLOCK);
    uint64_t begin = now(), turns = 0;
    for (;;) {
        char word[16];
        ssize_t n = read(0, word, sizeof word);
        if (n == 0 || (double)(now() - begin) > MAX_SECONDS * 1e9)
            break;
        /* In ten parts, so that they do not all come in one moment. */
        for (long i = (long)(turns % 10); i < connections; i += 10)
            if (dawdle(&all[i], i % 2))
                done++;
            else {
                failed++;
                close(all[i].fd);
                open_slow(&all[i], i % 2);
            }
        turns++;
        uint64_t due = begin + (uint64_t)((double)turns * interval * 1e8), moment = now();
        if (due > moment)
            usleep((useconds_t)((due - moment) / 1000));
    }
    printf("{\"done\": %llu, \"reopened\": %llu, \"octets\": %llu}\n", (unsigned long long)done,
           (unsigned long long)failed, (unsigned long long)received);
}

static double number(const char *key, const char *text, double low, double high)
{
    char *end;
    double value = strtod(text, &end);
    if (*text == 0 || *end != 0 || !(value >= low && value <= high))
        die("%s=%s is not within %g to %g", key, text, low, high);
    return value;
}

int main(int words_given, char **words)
{
    struct rlimit files;
    if (words_given < 5)
        die("usage: load fetch|slow ADDRESS PORT PATH [key=value ...]");
    target.sin_family = AF_INET;
    if (inet_pton(AF_INET, words[2], &target.sin_addr) != 1 || ntohl(target.sin_addr.s_addr) >> 24 != 127)
        die("%s is not a loopback address", words[2]);
    target.sin_port = htons((uint16_t)number("port", words[3], 1, 65535));
    for (int i = 5; i < words_given; i++) {
        char *value = strchr(words[i], '=');
        if (!value)
            die("%s is not key=value", words[i]);
        *value++ = 0;
        if (!strcmp(words[i], "connections"))
            connections = (long)number(words[i], value, 1, MAX_CONNECTIONS);
        else if (!strcmp(words[i], "sources"))
            sources = (long)number(words[i], value, 1, 200);
        else if (!strcmp(words[i], "close"))
            close_each = (long)number(words[i], value, 0, 1);
        else if (!strcmp(words[i], "seconds"))
            seconds = number(words[i], value, 0.01, MAX_SECONDS);
        else if (!strcmp(words[i], "interval"))
            interval = number(words[i], value, 0.01, 60);
        else
            die("%s is not a key", words[i]);
    }
    int wanted = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%s\r\n%s\r\n", words[4], words[3],
                          close_each ? "Connection: close\r\n" : "");
    if (wanted < 0 || wanted >= (int)sizeof request)
        die("the path is too long");
    request_length = (size_t)wanted;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)connections, sizeof *all);
    if (poller < 0 || !all)
        die("no memory or descriptors");
    if (!strcmp(words[1], "fetch"))
        fetch();
    else if (!strcmp(words[1], "slow"))
        slow();
    else
        die("%s is not a mode", words[1]);
    return 0;
}

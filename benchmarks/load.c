/* load: the load of netsvc's benchmarks. One thread, epoll, loopback addresses only, bounded in time and count.
 *
 *   load MODE ADDRESS PORT [key=value ...]      prints one JSON object on a line
 *
 *   echo     connections=, size=, seconds=   round trips over connections that stay; every reply is compared
 *   connect  connections=, size=, seconds=   connect, echo `size` octets once, close; `connections` at a time
 *   read     connections=, seconds=, count=  connect, read to EOF; `connections` at a time, `count` in all (0: no end)
 *   idle     connections=                    opens all, prints "open N", waits for a line, echoes once on each
 *   bulk     octets=                         streams octets through an echo and compares every one
 *
 * Connections that open and close come from `sources` addresses in turn (127.0.0.1, 127.0.0.2 ...): the closing side
 * keeps a port busy for a minute, and one address has 28,000 of them. Errors are counted, never hidden.
 * Exit status: 0, or 2 with a line on standard error when it was called wrongly or could not run.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
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

#define MAX_CONNECTIONS 60000
#define MAX_SIZE 16384     /* octets of one message; a fresh socket buffer takes them at once */
#define MAX_SECONDS 600.0
#define MAX_OCTETS (64LL << 30)
#define EVENTS 256         /* per epoll_wait */
#define LATENCIES (1 << 20) /* one-microsecond buckets; the last one holds the rest */
#define CHUNK (1 << 18)    /* octets a read */
#define PERIOD 1048583     /* octets of the pattern: a prime, so that no lost or doubled block fits into it */

enum state { CONNECTING, WAITING };

struct connection {
    int fd;
    enum state state;
    uint32_t got;
    uint64_t since; /* ns */
};

static struct sockaddr_in target;
static long connections = 50, size = 64, sources = 1, count = 0, started = 0;
static double seconds = 2.0;
static long long octets = 1LL << 30;

static int poller;
static struct connection *all;
static unsigned char pattern[PERIOD];
static unsigned char buffer[CHUNK];
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

/* A new socket, not connected yet, bound to the next source address. */
static int fresh(bool blocking)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (sources > 1) {
        struct sockaddr_in from = {.sin_family = AF_INET};
        from.sin_addr.s_addr = htonl(0x7f000001u + next_source++ % (unsigned)sources);
        setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
            die("bind: %s", strerror(errno));
    }
    return fd;
}

static int connected(void)
{
    int fd = fresh(true);
    if (connect(fd, (struct sockaddr *)&target, sizeof target) < 0)
        die("connect: %s", strerror(errno));
    return fd;
}

static void start(struct connection *one)
{
    if (count && started == count)
        return;
    started++;
    one->fd = fresh(false);
    one->state = CONNECTING;
    one->got = 0;
    if (connect(one->fd, (struct sockaddr *)&target, sizeof target) < 0 && errno != EINPROGRESS)
        die("connect: %s", strerror(errno));
    watch(one, EPOLLOUT, EPOLL_CTL_ADD);
}

static void again(struct connection *one, bool well)
{
    close(one->fd);
    if (well)
        done++;
    else
        failed++;
    start(one);
}

static bool send_message(struct connection *one)
{
    one->got = 0;
    one->since = now();
    return send(one->fd, pattern, (size_t)size, MSG_NOSIGNAL) == size;
}

/* Read what there is of a reply: 1 when it is complete, 0 when more must come, -1 when it is wrong or over. */
static int take_reply(struct connection *one)
{
    ssize_t n = recv(one->fd, buffer, (size_t)size - one->got, 0);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0 || memcmp(buffer, pattern + one->got, (size_t)n) != 0)
        return -1;
    one->got += (uint32_t)n;
    received += (uint64_t)n;
    return one->got == (uint32_t)size;
}

static void record(uint64_t nanoseconds)
{
    uint64_t bucket = nanoseconds / 1000;
    latency[bucket < LATENCIES ? bucket : LATENCIES - 1]++;
}

static long percentile(double part)
{
    uint64_t wanted = (uint64_t)((double)done * part), seen = 0;
    for (long bucket = 0; bucket < LATENCIES; bucket++)
        if ((seen += latency[bucket]) > wanted)
            return bucket;
    return LATENCIES;
}

static void turn_echo(struct connection *one, uint32_t events)
{
    (void)events;
    int reply = take_reply(one);
    if (reply > 0) {
        record(now() - one->since);
        done++;
        if (send_message(one))
            return;
        reply = -1;
    }
    if (reply < 0) {
        failed++;
        epoll_ctl(poller, EPOLL_CTL_DEL, one->fd, NULL);
    }
}

static void turn_connect(struct connection *one, uint32_t events)
{
    if (one->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP) || !send_message(one)) {
            again(one, false);
            return;
        }
        one->state = WAITING;
        watch(one, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    int reply = take_reply(one);
    if (reply)
        again(one, reply > 0);
}

static void turn_read(struct connection *one, uint32_t events)
{
    if (one->state == CONNECTING) {
        if (events & EPOLLERR) {
            again(one, false);
            return;
        }
        one->state = WAITING;
        watch(one, EPOLLIN, EPOLL_CTL_MOD);
        return;
    }
    ssize_t n = recv(one->fd, buffer, sizeof buffer, 0);
    if (n > 0) {
        one->got = 1;
        received += (uint64_t)n;
    } else if (n == 0) {
        again(one, one->got != 0);
    } else if (errno != EAGAIN) {
        again(one, false);
    }
}

/* Serve events until the time is up; the seconds that it really took. */
static double run(void (*turn)(struct connection *, uint32_t))
{
    struct epoll_event events[EVENTS];
    uint64_t begin = now(), end = begin + (uint64_t)(seconds * 1e9), moment;
    while ((moment = now()) < end && !(count && done + failed >= (uint64_t)count)) {
        int n = epoll_wait(poller, events, EVENTS, (int)((end - moment) / 1000000) + 1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++)
            turn(events[i].data.ptr, events[i].events);
    }
    return (double)(now() - begin) / 1e9;
}

static void report(double took)
{
    printf("{\"done\": %llu, \"failed\": %llu, \"octets\": %llu, \"seconds\": %.6f, \"per_second\": %.1f, "
           "\"octets_per_second\": %.1f",
           (unsigned long long)done, (unsigned long long)failed, (unsigned long long)received, took,
           (double)done / took, (double)received / took);
}

static void echo(void)
{
    for (long i = 0; i < connections; i++) {
        all[i].fd = connected();
        if (fcntl(all[i].fd, F_SETFL, O_NONBLOCK) < 0)
            die("fcntl: %s", strerror(errno));
        watch(&all[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    for (long i = 0; i < connections; i++)
        if (!send_message(&all[i]))
            die("send: %s", strerror(errno));
    double took = run(turn_echo);
    report(took);
    printf(", \"p50_us\": %ld, \"p99_us\": %ld}\n", percentile(0.5), percentile(0.99));
}

static void open_and_close(void (*turn)(struct connection *, uint32_t))
{
    for (long i = 0; i < connections; i++)
        start(&all[i]);
    report(run(turn));
    puts("}");
}

static void idle(void)
{
    char line[16];
    struct timeval patience = {.tv_sec = 10};
    uint64_t begin = now();
    for (long i = 0; i < connections; i++) {
        all[i].fd = connected();
        setsockopt(all[i].fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    }
    printf("open %ld\n", connections);
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin))
        exit(2); /* whoever started this has left */
    for (long i = 0; i < connections; i++) {
        int reply = send_message(&all[i]) ? 0 : -1;
        while (reply == 0) {
            reply = take_reply(&all[i]);
            if (reply == 0 && (double)(now() - all[i].since) > 10e9)
                reply = -1;
        }
        if (reply > 0)
            done++;
        else
            failed++;
    }
    report((double)(now() - begin) / 1e9);
    puts("}");
}

static void bulk(void)
{
    uint64_t total = (uint64_t)octets, sent = 0;
    int fd = connected();
    fcntl(fd, F_SETFL, O_NONBLOCK);
    uint64_t begin = now(), deadline = begin + (uint64_t)(MAX_SECONDS * 1e9);
    while (received < total && !failed) {
        struct pollfd wait = {.fd = fd, .events = POLLIN};
        if (sent < total)
            wait.events |= POLLOUT;
        if (now() > deadline || poll(&wait, 1, 30000) <= 0) {
            failed++;
            break;
        }
        if (wait.revents & POLLOUT) {
            size_t at = sent % PERIOD, length = PERIOD - at;
            if (length > total - sent)
                length = (size_t)(total - sent);
            ssize_t n = send(fd, pattern + at, length, MSG_NOSIGNAL);
            if (n > 0)
                sent += (uint64_t)n;
            else if (errno != EAGAIN)
                failed++;
        }
        if (wait.revents & (POLLIN | POLLHUP | POLLERR)) {
            size_t at = received % PERIOD, length = PERIOD - at < CHUNK ? PERIOD - at : CHUNK;
            ssize_t n = recv(fd, buffer, length, 0);
            if (n > 0 && memcmp(buffer, pattern + at, (size_t)n) == 0)
                received += (uint64_t)n;
            else if (n >= 0 || errno != EAGAIN)
                failed++;
        }
    }
    done = received == total && !failed;
    report((double)(now() - begin) / 1e9);
    puts("}");
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
    if (words_given < 4)
        die("usage: load echo|connect|read|idle|bulk ADDRESS PORT [key=value ...]");
    target.sin_family = AF_INET;
    if (inet_pton(AF_INET, words[2], &target.sin_addr) != 1 || ntohl(target.sin_addr.s_addr) >> 24 != 127)
        die("%s is not a loopback address", words[2]);
    target.sin_port = htons((uint16_t)number("port", words[3], 1, 65535));
    for (int i = 4; i < words_given; i++) {
        char *value = strchr(words[i], '=');
        if (!value)
            die("%s is not key=value", words[i]);
        *value++ = 0;
        if (!strcmp(words[i], "connections"))
            connections = (long)number(words[i], value, 1, MAX_CONNECTIONS);
        else if (!strcmp(words[i], "size"))
            size = (long)number(words[i], value, 1, MAX_SIZE);
        else if (!strcmp(words[i], "count"))
            count = (long)number(words[i], value, 0, 1e9);
        else if (!strcmp(words[i], "sources"))
            sources = (long)number(words[i], value, 1, 200);
        else if (!strcmp(words[i], "seconds"))
            seconds = number(words[i], value, 0.01, MAX_SECONDS);
        else if (!strcmp(words[i], "octets"))
            octets = (long long)number(words[i], value, 1, (double)MAX_OCTETS);
        else
            die("%s is not a key", words[i]);
    }
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poller = epoll_create1(EPOLL_CLOEXEC);
    all = calloc((size_t)connections, sizeof *all);
    if (poller < 0 || !all)
        die("no memory or descriptors");
    for (uint64_t i = 0, x = 1; i < PERIOD; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u; /* Knuth's MMIX generator */
        pattern[i] = (unsigned char)(x >> 56);
    }

    if (!strcmp(words[1], "echo"))
        echo();
    else if (!strcmp(words[1], "connect"))
        open_and_close(turn_connect);
    else if (!strcmp(words[1], "read"))
        open_and_close(turn_read);
    else if (!strcmp(words[1], "idle"))
        idle();
    else if (!strcmp(words[1], "bulk"))
        bulk();
    else
        die("%s is not a mode", words[1]);
    return 0;
}

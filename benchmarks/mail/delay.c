/* delay: stands before a server, and lets every octet arrive later, as a network with a long way would.
 *
 *   delay PORT SERVER_PORT ROUND_TRIP_MS
 *
 * What comes from either side is passed on half a round trip after it came, and so is its end. The server hears of a
 * connection one and a half round trips after it was begun: TCP's own handshake takes that long. One thread, epoll,
 * loopback only, until a signal ends it.
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
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (1 << 16)
#define LISTENER 0 /* kinds of what epoll names */
#define TIMER 1

struct way; /* both directions of a connection */

struct end {
    struct way *way;
    int fd; /* -1: not connected yet, or closed */
    bool over; /* nothing more comes from it */
};

struct way {
    struct end near, far;
    int expected; /* arrivals that are still under way */
};

/* What arrives at `to` when its time has come: octets, or the end when there are none. */
struct arrival {
    uint64_t due; /* ns */
    struct end *to;
    struct arrival *next;
    bool connects;
    size_t length;
    char octets[];
};

/* A queue for each delay, so that each is in order. */
struct queue {
    struct arrival *first, *last;
};

static struct queue segments, connections;
static int poller, timer;
static uint64_t half; /* ns */
static struct sockaddr_in server = {.sin_family = AF_INET};

static void die(const char *what)
{
    fprintf(stderr, "delay: %s: %s\n", what, strerror(errno));
    exit(2);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct arrival *expect(struct queue *queue, struct end *to, uint64_t after, const char *octets, size_t length)
{
    struct arrival *one = malloc(sizeof *one + length);
    if (!one)
        die("malloc");
    *one = (struct arrival){.due = now() + after, .to = to, .length = length};
    memcpy(one->octets, octets, length);
    if (queue->first)
        queue->last->next = one;
    else
        queue->first = one;
    queue->last = one;
    to->way->expected++;
    return one;
}

static void watch(struct end *one)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    int on = 1;
    setsockopt(one->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event) < 0)
        die("epoll_ctl");
}

static void finish(struct way *way)
{
    if (way->expected || !way->near.over || !way->far.over)
        return;
    close(way->near.fd);
    if (way->far.fd >= 0)
        close(way->far.fd);
    free(way);
}

static void ended(struct end *one)
{
    struct way *way = one->way;
    one->over = true;
    if (one->fd >= 0)
        epoll_ctl(poller, EPOLL_CTL_DEL, one->fd, NULL);
    expect(&segments, one == &way->near ? &way->far : &way->near, half, "", 0);
}

static void arrives(struct arrival *one)
{
    struct end *to = one->to;
    to->way->expected--;
    if (one->connects) {
        to->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (to->fd < 0)
            die("socket");
        /* Who is gone before the server speaks never came. */
        if (!to->way->near.over && connect(to->fd, (struct sockaddr *)&server, sizeof server) == 0) {
            watch(to);
        } else {
            close(to->fd);
            to->fd = -1;
            ended(to);
        }
    } else if (to->fd >= 0) {
        if (one->length == 0)
            shutdown(to->fd, SHUT_WR);
        for (size_t at = 0; at < one->length;) { /* blocks: both sides read what they are sent */
            ssize_t wrote = send(to->fd, one->octets + at, one->length - at, MSG_NOSIGNAL);
            if (wrote < 0)
                break; /* it is gone; its end is read as well */
            at += (size_t)wrote;
        }
    }
    finish(to->way);
    free(one);
}

static void deliver(struct queue *queue)
{
    while (queue->first && queue->first->due <= now()) {
        struct arrival *one = queue->first;
        queue->first = one->next;
        arrives(one);
    }
}

static void arm(void)
{
    struct itimerspec when = {0};
    uint64_t due = 0;
    struct queue *all[] = {&segments, &connections};
    for (int i = 0; i < 2; i++)
        if (all[i]->first && (!due || all[i]->first->due < due))
            due = all[i]->first->due;
    when.it_value.tv_sec = (time_t)(due / 1000000000u);
    when.it_value.tv_nsec = (long)(due % 1000000000u);
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

static void welcome(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
        struct way *way = calloc(1, sizeof *way);
        if (!way)
            die("calloc");
        way->near = (struct end){.way = way, .fd = fd};
        way->far = (struct end){.way = way, .fd = -1};
        watch(&way->near);
        expect(&connections, &way->far, 3 * half, "", 0)->connects = true;
    }
}

static void readable(struct end *one)
{
    static char block[BLOCK];
    struct way *way = one->way;
    ssize_t got = recv(one->fd, block, sizeof block, MSG_DONTWAIT);
    if (got > 0)
        expect(&segments, one == &way->near ? &way->far : &way->near, half, block, (size_t)got);
    else if (got == 0 || errno != EAGAIN)
        ended(one);
}

int main(int argc, char **argv)
{
    struct sockaddr_in at = {.sin_family = AF_INET};
    int on = 1, kinds[] = {LISTENER, TIMER};
    if (argc != 4) {
        fputs("delay: usage: delay PORT SERVER_PORT ROUND_TRIP_MS\n", stderr);
        return 2;
    }
    at.sin_addr.s_addr = server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    at.sin_port = htons((uint16_t)atoi(argv[1]));
    server.sin_port = htons((uint16_t)atoi(argv[2]));
    half = (uint64_t)(atof(argv[3]) * 5e5);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    poller = epoll_create1(EPOLL_CLOEXEC);
    timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event listens = {.events = EPOLLIN, .data.ptr = &kinds[LISTENER]};
    struct epoll_event ticks = {.events = EPOLLIN, .data.ptr = &kinds[TIMER]};
    if (listener < 0 || poller < 0 || timer < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1024) < 0 ||
        epoll_ctl(poller, EPOLL_CTL_ADD, listener, &listens) < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, timer, &ticks) < 0)
        die("start");
    for (;;) {
        struct epoll_event events[256];
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &kinds[LISTENER])
                welcome(listener);
            else if (events[i].data.ptr != &kinds[TIMER])
                readable(events[i].data.ptr);
        }
        deliver(&connections);
        deliver(&segments);
        arm(); /* setting it anew also ends its readiness */
    }
}

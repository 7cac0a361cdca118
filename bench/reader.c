/* reader: counts the events that N sockets receive, and requests the next event when all of them have the last one.
 *
 * Callout and every peer are read by the same program, so that only the server differs between the rows. It is in C
 * because it shares its core with Redis: a reader in Python would itself be the limit that is measured.
 *
 * usage: reader TRIGGER_FD BURST SECONDS WARMUP MARK FD... < the bytes that make the server send BURST events
 * The sockets are connected, past their handshake and at a frame's border; they are inherited, not opened.
 * A delivery is one complete WebSocket message that begins with MARK, or each line of a message that does (Centrifugo
 * joins events into lines). An empty JSON object is a ping of Callout or Centrifugo and is answered.
 * Prints one line of JSON; exits 1 with a reason when a socket closes or nothing arrives for 10 s.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 18, READY = 512, SAMPLES = 1 << 20, STALL_MS = 10000 };

struct peer {
    uint8_t head[10];
    int have;
    uint64_t length, left;
    size_t seen;
    int marked, closing;
};

static const uint8_t PONG[] = {0x81, 0x82, 0, 0, 0, 0, '{', '}'};
static const char *mark;
static size_t mark_length;
static uint64_t frames;

static void fail(const char *why) {
    fprintf(stderr, "reader: %s%s%s\n", why, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* End a line: count it if it was a delivery, and return whether it was. */
static int end_line(struct peer *p) {
    int counts = p->marked && p->seen >= mark_length;
    frames += (uint64_t)counts;
    p->seen = 0;
    p->marked = 1;
    return counts;
}

static void end_frame(struct peer *p, int fd) {
    if (p->closing) { errno = 0; fail("a server closed its socket"); }
    if (!end_line(p) && p->length == 2 && write(fd, PONG, sizeof PONG) != sizeof PONG) fail("pong");
    p->have = 0;
}

static void scan_payload(struct peer *p, const uint8_t *at, size_t n) {
    for (const uint8_t *end = at + n; at < end;) {
        const uint8_t *cut = memchr(at, '\n', (size_t)(end - at)), *until = cut ? cut : end;
        size_t here = (size_t)(until - at), compare = p->seen < mark_length ? mark_length - p->seen : 0;
        if (compare > here) compare = here;
        if (compare && memcmp(mark + p->seen, at, compare) != 0) p->marked = 0;
        p->seen += here;
        if (cut) end_line(p);
        at = until + (cut != NULL);
    }
}

/* Return the length of a frame's head: two bytes, or more if these announce an extended length. */
static int head_length(const struct peer *p) {
    if (p->have < 2) return 2;
    int code = p->head[1] & 0x7f;
    return code == 126 ? 4 : code == 127 ? 10 : 2;
}

static void begin_frame(struct peer *p) {
    int code = p->head[1] & 0x7f;
    p->length = code;
    if (code >= 126) {
        p->length = 0;
        for (int i = 2; i < p->have; i++) p->length = p->length << 8 | p->head[i];
    }
    p->left = p->length;
    p->seen = 0;
    p->marked = 1;
    p->closing = (p->head[0] & 0x0f) == 8;
}

static void parse(struct peer *p, int fd, const uint8_t *at, const uint8_t *end) {
    while (at < end) {
        int wanted = head_length(p);
        if (p->have < wanted) {
            p->head[p->have++] = *at++;
            if (p->have == head_length(p)) {
                begin_frame(p);
                if (p->left == 0) end_frame(p, fd);
            }
            continue;
        }
        if (p->closing) {
            fprintf(stderr, "reader: a server closed its socket: %d %.*s\n", at[0] << 8 | at[1], (int)(end - at - 2), at + 2);
            exit(1);
        }
        size_t n = (size_t)(end - at) < p->left ? (size_t)(end - at) : (size_t)p->left;
        scan_payload(p, at, n);
        p->left -= n;
        at += n;
        if (p->left == 0) end_frame(p, fd);
    }
}

static int compare_values(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Exit with the reply of the trigger, a Redis error. Other replies of the trigger are ignored. */
static void fail_trigger(const uint8_t *reply, ssize_t length) {
    fprintf(stderr, "reader: the trigger was refused: %.*s\n", (int)length, (const char *)reply);
    exit(1);
}

static void watch(int epoll, int fd, uint32_t index) {
    struct epoll_event e = {.events = EPOLLIN, .data.u32 = index};
    if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) fail("fcntl");
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0) fail("epoll_ctl");
}

int main(int argc, char **argv) {
    if (argc < 7) { errno = 0; fail("usage: reader TRIGGER_FD BURST SECONDS WARMUP MARK FD..."); }
    int trigger = atoi(argv[1]), burst = atoi(argv[2]), warmup = atoi(argv[4]), n = argc - 6;
    double seconds = atof(argv[3]);
    mark = argv[5];
    mark_length = strlen(mark);
    static uint8_t ask[1 << 16], buffer[BUFFER];
    size_t ask_length = fread(ask, 1, sizeof ask, stdin);
    struct peer *peers = calloc((size_t)n, sizeof *peers);
    int *fds = malloc((size_t)n * sizeof *fds);
    for (int i = 0; i < n; i++) fds[i] = atoi(argv[6 + i]);
    uint64_t *took = malloc(SAMPLES * sizeof *took);
    int epoll = epoll_create1(0);
    for (int i = 0; i < n; i++) watch(epoll, fds[i], (uint32_t)i);
    watch(epoll, trigger, UINT32_MAX);

    uint64_t each = (uint64_t)n * (uint64_t)burst, began = 0, events = 0, asked, last = 0;
    struct epoll_event ready[READY];
    for (;;) {
        frames = 0;
        asked = now_ns();
        if (events == (uint64_t)warmup) began = asked;
        if (write(trigger, ask, ask_length) != (ssize_t)ask_length) fail("trigger");
        while (frames < each) {
            int count = epoll_wait(epoll, ready, READY, STALL_MS);
            if (count < 0 && errno != EINTR) fail("epoll_wait");
            if (count == 0) { errno = 0; fprintf(stderr, "reader: %lu of %lu\n", frames, each); fail("stalled"); }
            for (int i = 0; i < count; i++) {
                uint32_t who = ready[i].data.u32;
                int fd = who == UINT32_MAX ? trigger : fds[who];
                ssize_t got = read(fd, buffer, sizeof buffer);
                if (got == 0) { errno = 0; fail("a socket was closed"); }
                if (got < 0 && errno != EAGAIN) fail("read");
                if (got > 0 && who == UINT32_MAX && buffer[0] == '-') fail_trigger(buffer, got);
                if (got > 0 && who != UINT32_MAX) parse(&peers[who], fd, buffer, buffer + got);
            }
        }
        if (frames > each) { errno = 0; fail("more frames than were asked for"); }
        last = now_ns();
        if (events >= (uint64_t)warmup && events - (uint64_t)warmup < SAMPLES) took[events - (uint64_t)warmup] = last - asked;
        events++;
        if (events > (uint64_t)warmup && (double)(last - began) / 1e9 >= seconds) break;
    }
    uint64_t counted = events - (uint64_t)warmup, kept = counted < SAMPLES ? counted : SAMPLES;
    qsort(took, kept, sizeof *took, compare_values);
    printf("{\"rounds\":%lu,\"deliveries\":%lu,\"elapsed_s\":%.6f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n", counted,
           counted * each, (double)(last - began) / 1e9, (double)took[kept / 2] / 1e6, (double)took[kept * 99 / 100] / 1e6);
    return 0;
}

/* sink: reads the messages of N sockets, and measures how old each announcement, or chat message, is when it arrives.
 *
 * It reads for the listeners of a broadcast while the latency of claims is measured on the same core: in Python a
 * thousand listeners would need 10 ms at once, which would appear in that latency.
 *
 * usage: sink MARK FIELD FD...
 * The sockets are connected, past their handshake and at a frame's border; they are inherited, not opened. A message
 * that begins with MARK has its time in "FIELD":"…T12:34:56.789Z", which is compared with the clock of this machine. An
 * empty JSON object is a ping and is answered. At SIGTERM one line of JSON is printed, ages in ms; exits 1 with a
 * reason when a socket closes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { KEPT = 4096, BUFFER = 1 << 16, READY = 512, SAMPLES = 1 << 21, DAY_MS = 86400000 };

struct peer {
    size_t have;
    char kept[KEPT]; /* the beginning of a message whose end has not arrived */
};

static const char PING[] = {(char)0x81, 2, '{', '}'};
static const uint8_t PONG[] = {0x81, 0x82, 0, 0, 0, 0, '{', '}'};
static volatile sig_atomic_t over;
static const char *mark;
static char field[64]; /* the text before the time: "FIELD":" */
static double *ages;
static size_t count;

static void stop(int signal) { (void)signal; over = 1; }

static void fail(const char *why) {
    fprintf(stderr, "sink: %s%s%s\n", why, errno ? ": " : "", errno ? strerror(errno) : "");
    exit(1);
}

static double time_of_day_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)(t.tv_sec % 86400) * 1000 + (double)t.tv_nsec / 1e6;
}

/* Return the milliseconds since midnight of a time such as "2026-11-21T12:34:56.789Z". */
static double parse_time_of_day_ms(const char *at) {
    int h, m, s, ms;
    if (sscanf(at + 11, "%2d:%2d:%2d.%3d", &h, &m, &s, &ms) != 4) { errno = 0; fail("no time"); }
    return ((h * 60 + m) * 60 + s) * 1000.0 + ms;
}

/* Process the complete messages in text, and return how many bytes they have. */
static size_t process_messages(int fd, char *text, size_t size, double now) {
    size_t done = 0;
    while (size - done >= 2) {
        uint8_t *frame = (uint8_t *)text + done;
        size_t head = frame[1] < 126 ? 2 : 4;
        if (size - done < head) break;
        size_t length = head == 2 ? frame[1] : (size_t)frame[2] << 8 | frame[3];
        if (frame[1] == 127 || head + length > KEPT) { errno = 0; fail("a message is too long"); }
        if (size - done < head + length) break;
        char *payload = (char *)frame + head;
        if (frame[0] == 0x88) { errno = 0; fail("a server closed its socket"); }
        if (head + length == sizeof PING && memcmp(frame, PING, sizeof PING) == 0) {
            if (write(fd, PONG, sizeof PONG) != sizeof PONG) fail("pong");
        } else if (length > strlen(mark) && memcmp(payload, mark, strlen(mark)) == 0 && count < SAMPLES) {
            char *at = memmem(payload, length, field, strlen(field));
            double age = at ? now - parse_time_of_day_ms(at + strlen(field)) : 0;
            ages[count++] = age < 0 ? age + DAY_MS : age;
        }
        done += head + length;
    }
    return done;
}

static void read_socket(struct peer *p, int fd) {
    static char text[KEPT + BUFFER];
    memcpy(text, p->kept, p->have);
    ssize_t got = read(fd, text + p->have, BUFFER);
    if (got == 0) { errno = 0; fail("a socket was closed"); }
    if (got < 0 && errno != EAGAIN) fail("read");
    if (got < 0) return;
    size_t size = p->have + (size_t)got, done = process_messages(fd, text, size, time_of_day_ms());
    p->have = size - done;
    memcpy(p->kept, text + done, p->have);
}

static int compare_values(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double percentile_ms(double part) {
    size_t at = (size_t)((double)count * part);
    return count ? ages[at < count ? at : count - 1] : 0;
}

int main(int argc, char **argv) {
    if (argc < 4) { errno = 0; fail("usage: sink MARK FIELD FD..."); }
    mark = argv[1];
    snprintf(field, sizeof field, "\"%s\":\"", argv[2]);
    struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    int n = argc - 3, epoll = epoll_create1(0);
    struct peer *peers = calloc((size_t)n, sizeof *peers);
    ages = malloc(SAMPLES * sizeof *ages);
    for (int i = 0; i < n; i++) {
        int fd = atoi(argv[i + 3]);
        struct epoll_event e = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0) fail("fcntl");
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e) < 0) fail("epoll_ctl");
    }
    struct epoll_event ready[READY];
    while (!over) {
        int woken = epoll_wait(epoll, ready, READY, -1);
        if (woken < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < woken; i++) read_socket(&peers[ready[i].data.u32], atoi(argv[ready[i].data.u32 + 3]));
    }
    qsort(ages, count, sizeof *ages, compare_values);
    printf("{\"received\":%zu,\"p50_ms\":%.3f,\"p95_ms\":%.3f,\"p99_ms\":%.3f,\"worst_ms\":%.3f}\n", count, percentile_ms(0.5),
           percentile_ms(0.95), percentile_ms(0.99), percentile_ms(1));
    return 0;
}

/* writes: the upper limit of a fan-out that does not join writes: one write() of a prepared frame to each of N sockets.
 *
 * usage: writes N < the payload of one event
 * Prints {"port":…, "control":…}, accepts one control connection and N receivers, then sends one event to all
 * receivers for each byte on the control connection. Ends when the control connection is closed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int open_listener(int *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || listen(fd, 4096) < 0) fail("listen");
    if (getsockname(fd, (struct sockaddr *)&at, &size) < 0) fail("getsockname");
    *port = ntohs(at.sin_port);
    return fd;
}

/* Write a server's unmasked text frame, as Callout and ws send it for the same payload. Return its size in bytes. */
static size_t write_frame(uint8_t *frame, const uint8_t *payload, size_t length) {
    frame[0] = 0x81;
    size_t head = length < 126 ? 2 : 4;
    frame[1] = length < 126 ? (uint8_t)length : 126;
    if (length >= 126) {
        frame[2] = (uint8_t)(length >> 8);
        frame[3] = (uint8_t)length;
    }
    memcpy(frame + head, payload, length);
    return head + length;
}

int main(int argc, char **argv) {
    int n = argc > 1 ? atoi(argv[1]) : 1000, port, control_port;
    static uint8_t payload[60000], frame[60010], asked[4096];
    size_t size = write_frame(frame, payload, 0), length = fread(payload, 1, sizeof payload, stdin);
    size = write_frame(frame, payload, length);
    int receivers = open_listener(&port), controls = open_listener(&control_port);
    printf("{\"port\":%d,\"control\":%d}\n", port, control_port);
    fflush(stdout);
    int control = accept(controls, NULL, NULL);
    int *fds = malloc((size_t)n * sizeof *fds);
    for (int i = 0; i < n; i++)
        if ((fds[i] = accept(receivers, NULL, NULL)) < 0) fail("accept");
    for (ssize_t got; (got = read(control, asked, sizeof asked)) > 0;)
        for (ssize_t event = 0; event < got; event++)
            for (int i = 0; i < n; i++)
                if (write(fds[i], frame, size) != (ssize_t)size) fail("write");
    return 0;
}

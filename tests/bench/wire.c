/* The load client of the transport suite: raw HTTP/2 frames, one thread, next to no CPU time.
 *
 *   wire insert PORT PATH ARGUMENTS ROWS_FILE frame_bytes seconds
 *   wire paced  PORT PATH ARGUMENTS ROWS_FILE connections rows_per_s seconds
 *   wire query  PORT PATH BODY rows
 *
 * insert: one stream, flooded with the rows of the file over and over for so many seconds; every
 *         DATA frame holds one row (frame_bytes 0) or so many bytes, whatever they cut in two.
 * paced:  a stream on each connection; rows leave at a steady rate, each in a frame and a write of
 *         its own, and the time to its ack is taken.
 * query:  one stream; its rows are counted.
 *
 * Frames are built before the clock starts. Windows are respected; ours are as wide as they get.
 * Every answer is checked as it comes: acks in order, each once, all of them; rows that begin with
 * their number. Prints one JSON line; anything else is exit code 1 and a sentence.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { DATA, HEADERS, RST_STREAM = 3, SETTINGS, PING = 6, GOAWAY, WINDOW_UPDATE };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };
enum { HEAD = 9, DEFAULT_WINDOW = 65535, INBOX = 1 << 18, LINE_MAX_BYTES = 4096 };
#define LIMIT_S 60.0
#define WRITE_MAX (256 << 10)

typedef struct {
    int fd;
    int64_t stream_window, connection_window;
    int settled, answered, ended;
    int64_t lines;      /* answered: acks, or rows after the header line */
    int64_t sent_rows;  /* paced only */
    double *sent_at;    /* paced only, by row */
    size_t in_bytes, line_bytes;
    unsigned char in[INBOX];
    char line[LINE_MAX_BYTES];
} Conn;

typedef struct { unsigned char *bytes; size_t size; int64_t rows; } Frames;

static int is_query;
static double *latencies, warm_until;
static int64_t latencies_count;

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("load failed: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* ── frames ── */

static uint32_t get32(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static void put32(unsigned char *p, uint32_t v) {
    p[0] = v >> 24; p[1] = v >> 16; p[2] = v >> 8; p[3] = v;
}

static size_t put_frame(unsigned char *p, int kind, int flags, uint32_t stream, const void *payload,
                        size_t size) {
    put32(p, (uint32_t)size << 8 | kind);
    p[4] = flags;
    put32(p + 5, stream);
    memcpy(p + HEAD, payload, size);
    return HEAD + size;
}

static Frames read_rows(const char *path, long frame_bytes) {
    FILE *file = fopen(path, "rb");
    if (!file) fail("cannot read %s", path);
    fseek(file, 0, SEEK_END);
    size_t size = ftell(file);
    rewind(file);
    unsigned char *body = malloc(size);
    if (fread(body, 1, size, file) != size || !size || body[size - 1] != '\n')
        fail("%s does not hold whole lines", path);
    fclose(file);
    Frames frames = {0};
    for (size_t i = 0; i < size; i++) frames.rows += body[i] == '\n';
    frames.bytes = malloc(size + HEAD * (frame_bytes ? size / frame_bytes + 1 : (size_t)frames.rows));
    for (size_t at = 0; at < size;) {
        size_t part = frame_bytes;
        if (!frame_bytes)
            part = (unsigned char *)memchr(body + at, '\n', size - at) + 1 - (body + at);
        if (part > size - at) part = size - at;
        frames.size += put_frame(frames.bytes + frames.size, DATA, 0, 1, body + at, part);
        at += part;
    }
    free(body);
    return frames;
}

static size_t frame_size(const unsigned char *p) { return HEAD + (get32(p) >> 8); }

/* ── what comes back ── */

static void send_all(Conn *c, const void *bytes, size_t size) {
    const unsigned char *p = bytes;
    while (size) {
        ssize_t n = send(c->fd, p, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) continue;
        if (n <= 0) fail("cannot send: %s", strerror(errno));
        p += n;
        size -= n;
    }
}

static void take_line(Conn *c, const char *line, size_t size) {
    static const char ack[] = "{\"status\":\"ok\",\"seq\":";
    int64_t number = 0;
    size_t at = is_query ? 1 : sizeof ack - 1;
    if (is_query && c->lines < 0) {
        c->lines = 0;
        if (!memmem(line, size, "\"queryId\"", 9)) fail("no header: %.*s", (int)size, line);
        return;
    }
    int good = size > at && (is_query ? line[0] == '[' : !memcmp(line, ack, at));
    for (; at < size && line[at] >= '0' && line[at] <= '9'; at++) number = number * 10 + line[at] - '0';
    if (!good || number != c->lines)
        fail("expected the answer for row %ld, got %.*s", (long)c->lines, (int)size, line);
    if (c->sent_at) {
        double sent_at = c->sent_at[c->lines], now = now_s();
        if (c->lines >= c->sent_rows) fail("row %ld was acked before it was sent", (long)c->lines);
        if (sent_at >= warm_until) latencies[latencies_count++] = now - sent_at;
    }
    c->lines++;
}

static void take_data(Conn *c, const char *p, size_t size) {
    while (size) {
        const char *end = memchr(p, '\n', size);
        size_t part = end ? (size_t)(end - p) : size;
        if (end && !c->line_bytes) {
            take_line(c, p, part);
        } else {
            if (c->line_bytes + part > LINE_MAX_BYTES) fail("an answer without an end");
            memcpy(c->line + c->line_bytes, p, part);
            c->line_bytes += part;
            if (end) {
                take_line(c, c->line, c->line_bytes);
                c->line_bytes = 0;
            }
        }
        part += end != NULL;
        p += part;
        size -= part;
    }
}

static void take_settings(Conn *c, const unsigned char *p, size_t size) {
    unsigned char ack[HEAD];
    for (size_t at = 0; at + 6 <= size; at += 6)
        if (p[at] == 0 && p[at + 1] == 4) c->stream_window += (int64_t)get32(p + at + 2) - DEFAULT_WINDOW;
    c->settled = 1;
    send_all(c, ack, put_frame(ack, SETTINGS, ACK, 0, "", 0));
}

static void take_headers(Conn *c, int flags, const unsigned char *p, size_t size) {
    size_t at = (flags & PADDED ? 1 : 0) + (flags & PRIORITY ? 5 : 0);
    while (at < size && (p[at] & 0xe0) == 0x20) at++; /* a change of HPACK's table size */
    /* 0x88 is `:status 200` of HPACK's static table; every server's encoder uses it. */
    if (!c->answered && (at >= size || p[at] != 0x88)) fail("the status is not 200");
    c->answered = 1;
    if (flags & END_STREAM) c->ended = 1;
}

static void take_frame(Conn *c, const unsigned char *frame, size_t size) {
    const unsigned char *p = frame + HEAD;
    unsigned char pong[HEAD + 8];
    int kind = frame[3], flags = frame[4];
    switch (kind) {
    case DATA:
        if (flags & PADDED) fail("padding");
        take_data(c, (const char *)p, size - HEAD);
        if (flags & END_STREAM) c->ended = 1;
        break;
    case HEADERS: take_headers(c, flags, p, size - HEAD); break;
    case SETTINGS: if (!(flags & ACK)) take_settings(c, p, size - HEAD); break;
    case WINDOW_UPDATE:
        *(get32(frame + 5) ? &c->stream_window : &c->connection_window) += get32(p);
        break;
    case PING: if (!(flags & ACK)) send_all(c, pong, put_frame(pong, PING, ACK, 0, p, 8)); break;
    case RST_STREAM: case GOAWAY: fail("the server sent a frame of type %d, code %u", kind, get32(p + (kind == GOAWAY ? 4 : 0)));
    }
}

/* One read, and what its frames mean. */
static void receive(Conn *c) {
    ssize_t n = recv(c->fd, c->in + c->in_bytes, INBOX - c->in_bytes, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fail("the server closed the connection");
    c->in_bytes += n;
    size_t at = 0;
    while (c->in_bytes - at >= HEAD) {
        size_t size = frame_size(c->in + at);
        if (size > INBOX) fail("a frame of %zu bytes", size);
        if (size > c->in_bytes - at) break;
        take_frame(c, c->in + at, size);
        at += size;
    }
    memmove(c->in, c->in + at, c->in_bytes - at);
    c->in_bytes -= at;
}

/* ── the three loads ── */

static size_t put_literal(unsigned char *p, int name, const char *value) {
    size_t size = strlen(value);
    if (size > 126) fail("too long for this client: %s", value);
    p[0] = name;
    p[1] = size;
    memcpy(p + 2, value, size);
    return 2 + size;
}

static Conn *dial(int port) {
    Conn *c = calloc(1, sizeof *c);
    int on = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to)) fail("cannot connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->stream_window = c->connection_window = DEFAULT_WINDOW;
    c->lines = is_query ? -1 : 0;
    unsigned char out[256];
    unsigned char settings[6] = {0, 4, 0x7f, 0xff, 0xff, 0xff}, grant[4];
    size_t n = sprintf((char *)out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    put32(grant, 0x7fffffff - DEFAULT_WINDOW);
    n += put_frame(out + n, SETTINGS, 0, 0, settings, 6);
    n += put_frame(out + n, WINDOW_UPDATE, 0, 0, grant, 4);
    send_all(c, out, n);
    while (!c->settled) receive(c);
    return c;
}

static void ask(Conn *c, const char *path, const char *arguments, int flags) {
    unsigned char block[300], out[8192];
    size_t size = strlen(arguments), n = 0;
    if (size > 4096) fail("too long for this client: %s", arguments);
    block[n++] = 0x83; /* :method POST */
    block[n++] = 0x86; /* :scheme http */
    n += put_literal(block + n, 0x04, path);
    n += put_literal(block + n, 0x01, "127.0.0.1");
    n = put_frame(out, HEADERS, END_HEADERS, 1, block, n);
    n += put_frame(out + n, DATA, flags, 1, arguments, size);
    c->stream_window -= size;
    c->connection_window -= size;
    send_all(c, out, n);
}

static Conn *open_insert(int port, const char *path, const char *arguments) {
    Conn *c = dial(port);
    ask(c, path, arguments, 0);
    while (!c->answered) receive(c);
    fcntl(c->fd, F_SETFL, O_NONBLOCK);
    return c;
}

static void end_insert(Conn *c) {
    unsigned char end[HEAD];
    send_all(c, end, put_frame(end, DATA, END_STREAM, 1, "", 0));
}

static void check(Conn *c, int64_t rows) {
    if (c->lines != rows || c->line_bytes)
        fail("%ld answers for %ld rows", (long)c->lines, (long)rows);
}

static void expect_time(double started) {
    if (now_s() - started > LIMIT_S) fail("no end after %.0f s", LIMIT_S);
}

static void report(int64_t rows, double seconds, double cpu) {
    printf("{\"rows\": %ld, \"seconds\": %.6f, \"cpu_s\": %.6f", (long)rows, seconds, cpu);
}

static void insert(int port, char **a) {
    Frames frames = read_rows(a[2], atol(a[3]));
    double seconds = atof(a[4]);
    Conn *c = open_insert(port, a[0], a[1]);
    int watch = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(watch, EPOLL_CTL_ADD, c->fd, &event);
    size_t sent = 0, allowed = 0;
    int64_t cycles = 0;
    int stopping = 0, waits_for_room = 0;
    double started = now_s(), cpu = cpu_s();
    while (!c->ended) {
        /* What the windows allow, to the last whole frame; whole cycles, so whole rows. */
        while (!stopping && allowed < frames.size && allowed - sent < WRITE_MAX) {
            int64_t size = frame_size(frames.bytes + allowed) - HEAD;
            if (size > c->stream_window || size > c->connection_window) break;
            c->stream_window -= size;
            c->connection_window -= size;
            allowed += size + HEAD;
        }
        if (sent < allowed) {
            ssize_t n = send(c->fd, frames.bytes + sent, allowed - sent, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) fail("cannot send: %s", strerror(errno));
            if (n > 0) sent += n;
        }
        if (sent == frames.size) {
            sent = allowed = 0;
            cycles++;
            if (now_s() - started >= seconds) {
                stopping = 1;
                end_insert(c);
            } else {
                receive(c);
                continue;
            }
        }
        if ((sent < allowed) != waits_for_room) {
            waits_for_room = sent < allowed;
            event.events = EPOLLIN | (waits_for_room ? EPOLLOUT : 0);
            epoll_ctl(watch, EPOLL_CTL_MOD, c->fd, &event);
        }
        struct epoll_event happened;
        if (epoll_wait(watch, &happened, 1, 1000) > 0 && happened.events & ~EPOLLOUT) receive(c);
        expect_time(started);
    }
    seconds = now_s() - started;
    cpu = cpu_s() - cpu;
    check(c, cycles * frames.rows);
    report(c->lines, seconds, cpu);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void paced(int port, char **a) {
    Frames frames = read_rows(a[2], 0);
    int count = atoi(a[3]), watch = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    double rate = atof(a[4]), seconds = atof(a[5]);
    int64_t rows = (int64_t)(rate * seconds), sent = 0, acked = 0;
    Conn **conns = calloc(count, sizeof *conns);
    latencies = calloc(rows, sizeof *latencies);
    for (int i = 0; i < count; i++) {
        conns[i] = open_insert(port, a[0], a[1]);
        conns[i]->sent_at = calloc(rows / count + 1, sizeof(double));
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = conns[i]};
        epoll_ctl(watch, EPOLL_CTL_ADD, conns[i]->fd, &event);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, happened[64];
    epoll_ctl(watch, EPOLL_CTL_ADD, timer, &event);
    unsigned char *at = frames.bytes;
    double started = now_s() + 0.01, cpu = cpu_s();
    warm_until = started + seconds / 5;
    while (acked < rows) {
        for (; sent < rows && now_s() >= started + sent / rate; sent++) {
            Conn *c = conns[sent % count];
            size_t size = frame_size(at);
            c->stream_window -= size - HEAD;
            c->connection_window -= size - HEAD;
            if (c->stream_window < 0 || c->connection_window < 0) fail("a window has shut");
            c->sent_at[c->sent_rows++] = now_s();
            send_all(c, at, size);
            at += size;
            if (at == frames.bytes + frames.size) at = frames.bytes;
        }
        double due = started + sent / rate;
        struct itimerspec when = {.it_value = {(time_t)due, (long)((due - (time_t)due) * 1e9)}};
        if (sent < rows) timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
        int n = epoll_wait(watch, happened, 64, 1000);
        for (int i = 0; i < n; i++) {
            Conn *c = happened[i].data.ptr;
            uint64_t times;
            if (!c) {
                if (read(timer, &times, sizeof times) < 0 && errno != EAGAIN) fail("the timer broke");
                continue;
            }
            acked -= c->lines;
            receive(c);
            acked += c->lines;
        }
        expect_time(started);
    }
    seconds = now_s() - started;
    cpu = cpu_s() - cpu;
    for (int i = 0; i < count; i++) {
        end_insert(conns[i]);
        fcntl(conns[i]->fd, F_SETFL, 0);
        while (!conns[i]->ended) receive(conns[i]);
        check(conns[i], conns[i]->sent_rows);
    }
    qsort(latencies, latencies_count, sizeof *latencies, by_size);
    report(rows, seconds, cpu);
    printf(", \"p50_ms\": %.3f, \"p99_ms\": %.3f", latencies[latencies_count / 2] * 1e3,
           latencies[latencies_count * 99 / 100] * 1e3);
}

static void query(int port, char **a) {
    Conn *c = dial(port);
    double started = now_s(), cpu = cpu_s();
    ask(c, a[0], a[1], END_STREAM);
    while (!c->ended) {
        receive(c);
        expect_time(started);
    }
    double seconds = now_s() - started;
    cpu = cpu_s() - cpu;
    check(c, atol(a[2]));
    report(c->lines, seconds, cpu);
}

int main(int count, char **values) {
    const char *load = count > 2 ? values[1] : "";
    int port = count > 2 ? atoi(values[2]) : 0;
    is_query = !strcmp(load, "query");
    if (!strcmp(load, "insert") && count == 8) insert(port, values + 3);
    else if (!strcmp(load, "paced") && count == 9) paced(port, values + 3);
    else if (is_query && count == 6) query(port, values + 3);
    else fail("see the head of wire.c for its arguments");
    puts("}");
    return 0;
}

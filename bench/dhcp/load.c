/*
 * A DHCPv4 load generator: sends DISCOVERs over a packet socket and measures the answers.
 *
 *   load sequential IFACE MAC ADDRESS   one DISCOVER after the other: latency
 *   load window     IFACE MAC ADDRESS   always --window DISCOVERs unanswered: throughput
 *   load first      IFACE MAC ADDRESS   a DISCOVER every --interval-us until the first OFFER
 *   load storm      IFACE MAC ADDRESS   --rate broken or foreign messages a second, a good DISCOVER every 10 ms
 *
 * An answer counts when it is an OFFER of ADDRESS to MAC with the DISCOVER's transaction id. Every mode is bounded in
 * time and prints one line of JSON. --vary makes every DISCOVER differ from all others in its vendor class.
 */
#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

enum { WINDOW_MAXIMUM = 256 };
/* Nanoseconds after which a message counts as lost; longer than any running server takes. */
enum { PATIENCE = 200000000 };

static int packets;
static int count = 1000, warmup = 50, window = 32, rate = 20000, interval_us = 100, vary;
static double seconds = 1;

static void wait_at_most(uint64_t nanoseconds)
{
	struct timeval t = { nanoseconds / SECOND, nanoseconds % SECOND / 1000 + 1 };

	setsockopt(packets, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}

static int ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print_latency(uint32_t *nanoseconds, int n)
{
	qsort(nanoseconds, n, sizeof *nanoseconds, ascending);
	printf("\"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.2f", n ? nanoseconds[n / 2] / 1e3 : 0.0,
	       n ? nanoseconds[(int)(n * 0.99)] / 1e3 : 0.0, n ? nanoseconds[n - 1] / 1e3 : 0.0);
}

static void sequential(void)
{
	uint32_t *latency = calloc(count, sizeof *latency);
	struct request r;
	uint8_t answer[FRAME_SIZE];
	int answered = 0, lost = 0;

	make_discover(&r);
	wait_at_most(PATIENCE);
	for (int i = 0; i < warmup + count; i++) {
		uint64_t took = 0;

		renew(&r, vary);
		r.sent = now();
		if (send(packets, r.frame, r.length, 0) < 0)
			fail("send");
		do {
			int length = recv(packets, answer, sizeof answer, 0);
			if (length > 0 && offered(answer, length) == r.xid) {
				took = now() - r.sent;
				break;
			}
		} while (now() - r.sent < PATIENCE);
		if (i < warmup)
			continue;
		if (took)
			latency[answered++] = took;
		else
			lost++;
	}
	printf("{\"answered\": %d, \"lost\": %d, ", answered, lost);
	print_latency(latency, answered);
	printf("}\n");
}

static double cpu_seconds(void)
{
	struct rusage used;

	getrusage(RUSAGE_SELF, &used);
	return used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

/* Send the requests in one system call; those that the kernel refuses time out and are sent again. */
static void send_batch(struct request **requests, int n)
{
	static struct mmsghdr messages[WINDOW_MAXIMUM];
	static struct iovec frames[WINDOW_MAXIMUM];
	uint64_t sent = now();

	for (int i = 0; i < n; i++) {
		requests[i]->sent = sent;
		frames[i] = (struct iovec){ requests[i]->frame, requests[i]->length };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &frames[i], .msg_iovlen = 1 };
	}
	for (int done = 0; done < n;) {
		int more = sendmmsg(packets, messages + done, n - done, 0);
		if (more <= 0)
			return;
		done += more;
	}
}

static void keep_window(void)
{
	static struct request slots[WINDOW_MAXIMUM];
	static uint8_t answers[WINDOW_MAXIMUM][FRAME_SIZE];
	struct request *again[WINDOW_MAXIMUM];
	struct mmsghdr messages[WINDOW_MAXIMUM] = { 0 };
	struct iovec frames[WINDOW_MAXIMUM];
	uint32_t waiting[WINDOW_MAXIMUM]; /* the transaction id of each slot */
	uint64_t began, until;
	double cpu;
	long answered = 0, lost = 0;
	int n = 0;

	for (int i = 0; i < window; i++) {
		frames[i] = (struct iovec){ answers[i], FRAME_SIZE };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &frames[i], .msg_iovlen = 1 };
		make_discover(&slots[i]);
		waiting[i] = renew(&slots[i], vary);
		again[n++] = &slots[i];
	}
	wait_at_most(PATIENCE / 4);
	cpu = cpu_seconds();
	began = now();
	until = began + seconds * SECOND;
	send_batch(again, n);
	while (now() < until) {
		int got = recvmmsg(packets, messages, window, MSG_WAITFORONE, NULL);

		n = 0;
		for (int i = 0; i < got; i++) {
			uint32_t xid = offered(answers[i], messages[i].msg_len);
			int slot = 0;

			while (slot < window && waiting[slot] != xid)
				slot++;
			if (!xid || slot == window)
				continue;
			answered++;
			waiting[slot] = renew(&slots[slot], vary);
			again[n++] = &slots[slot];
		}
		for (int slot = 0; got <= 0 && slot < window; slot++)
			if (now() - slots[slot].sent > PATIENCE) {
				lost++;
				waiting[slot] = renew(&slots[slot], vary);
				again[n++] = &slots[slot];
			}
		send_batch(again, n);
	}
	double wall = (now() - began) / 1e9;
	printf("{\"answered\": %ld, \"lost\": %ld, \"per_second\": %.0f, \"client_busy\": %.3f}\n", answered, lost,
	       answered / wall, (cpu_seconds() - cpu) / wall);
}

/* Prints the time of CLOCK_MONOTONIC when the first OFFER came. The interface need not be up yet. */
static void first(void)
{
	/* not by SO_RCVTIMEO, which counts in ticks of the kernel, milliseconds each */
	struct timespec interval = { 0, interval_us * 1000l };
	struct pollfd incoming = { .fd = packets, .events = POLLIN };
	uint64_t until = now() + seconds * SECOND;
	uint8_t answer[FRAME_SIZE];
	struct request r;
	long sent = 0;

	make_discover(&r);
	while (now() < until) {
		int length;

		renew(&r, vary);
		send(packets, r.frame, r.length, 0); /* fails until the link is up */
		sent++;
		ppoll(&incoming, 1, &interval, NULL);
		/* an answer to an earlier DISCOVER counts, too */
		while ((length = recv(packets, answer, sizeof answer, MSG_DONTWAIT)) > 0)
			if (offered(answer, length)) {
				printf("{\"offered_at_ns\": %llu, \"sent\": %ld}\n", (unsigned long long)now(), sent);
				return;
			}
	}
	fprintf(stderr, "load: no OFFER within %g s\n", seconds);
	exit(1);
}

/* Break a good DISCOVER in one of the ways that a server must survive; returns the frame's length. */
static int broken(struct request *r, int kind)
{
	make_discover(r);
	renew(r, 0);
	switch (kind) {
	case 0: /* another client's MAC */
		r->frame[AT_CHADDR + 5] ^= 1;
		break;
	case 1: /* cut off within the fixed fields */
		return enclose(r->frame, 100, mac, EVERYBODY, 0, 0xffffffff, 68, 67);
	case 2: /* no DHCP */
		r->frame[AT_COOKIE] ^= 0xff;
		break;
	case 3: /* an option that ends behind the message */
		memset(r->frame + AT_OPTIONS + 3, 0xfe, r->length - AT_OPTIONS - 3);
		break;
	case 4: /* an address length that no field has */
		r->frame[AT_BOOTP + 2] = 255;
		break;
	case 5: /* a server's message */
		r->frame[AT_BOOTP] = BOOTREPLY;
		break;
	case 6: /* a message type that does not exist */
		r->frame[AT_OPTIONS + 2] = 200;
		break;
	default: /* random octets */
		for (int i = AT_BOOTP; i < r->length; i++)
			r->frame[i] = next_xid() >> 16;
	}
	seal(r->frame, r->length);
	return r->length;
}

static void storm(void)
{
	enum { KINDS = 8, MEMORY = 64 };
	int expected = seconds * 100, asked = 0, answered = 0;
	uint32_t *latency = calloc(expected + 1, sizeof *latency);
	uint64_t began = now(), ended = began + seconds * SECOND;
	struct request good, bad;
	uint8_t answer[FRAME_SIZE];
	long sent = 0;
	int length;

	make_discover(&good);
	for (uint64_t t = began; t < ended; t = now()) {
		if (asked < expected && t >= began + asked * (SECOND / 100)) {
			renew(&good, 0);
			good.sent = t;
			send(packets, good.frame, good.length, 0);
			asked++;
		}
		if (sent < (t - began) / 1e9 * rate) {
			length = broken(&bad, sent++ % KINDS);
			send(packets, bad.frame, length, 0);
		}
		while ((length = recv(packets, answer, sizeof answer, MSG_DONTWAIT)) > 0)
			if (offered(answer, length) == good.xid && answered < asked)
				latency[answered++] = now() - good.sent;
	}
	printf("{\"bad_per_second\": %.0f, \"asked\": %d, \"answered\": %d, ", sent / seconds, asked, answered);
	print_latency(latency, answered);
	printf("}\n");
}

static void read_options(int words, char **word)
{
	enum { COUNT, WARMUP, WINDOW, RATE, INTERVAL, SECONDS, CPU, VARY };
	static const struct option known[] = {
		{ "count", 1, NULL, COUNT },	      { "warmup", 1, NULL, WARMUP },   { "window", 1, NULL, WINDOW },
		{ "rate", 1, NULL, RATE },	      { "seconds", 1, NULL, SECONDS }, { "cpu", 1, NULL, CPU },
		{ "interval-us", 1, NULL, INTERVAL }, { "vary", 0, NULL, VARY },       { NULL, 0, NULL, 0 },
	};
	cpu_set_t cpus;
	int option;

	while ((option = getopt_long(words, word, "", known, NULL)) >= 0)
		switch (option) {
		case COUNT: count = atoi(optarg); break;
		case WARMUP: warmup = atoi(optarg); break;
		case WINDOW: window = atoi(optarg); break;
		case RATE: rate = atoi(optarg); break;
		case INTERVAL: interval_us = atoi(optarg); break;
		case SECONDS: seconds = atof(optarg); break;
		case VARY: vary = 1; break;
		case CPU:
			CPU_ZERO(&cpus);
			CPU_SET(atoi(optarg), &cpus);
			if (sched_setaffinity(0, sizeof cpus, &cpus))
				fail("--cpu");
			break;
		default: exit(2);
		}
}

int main(int words, char **word)
{
	static const struct {
		const char *name;
		void (*run)(void);
	} modes[] = { { "sequential", sequential }, { "window", keep_window }, { "first", first }, { "storm", storm } };
	struct in_addr parsed;

	read_options(words, word);
	word += optind;
	if (words - optind != 4 || window < 1 || window > WINDOW_MAXIMUM || count < 1 || seconds <= 0 || seconds > 60 ||
	    sscanf(word[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6 ||
	    !inet_aton(word[3], &parsed)) {
		fprintf(stderr, "usage: load [OPTIONS] sequential|window|first|storm IFACE MAC ADDRESS\n");
		return 2;
	}
	address = ntohl(parsed.s_addr);
	packets = open_packets(word[1]);
	for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++)
		if (!strcmp(word[0], modes[i].name)) {
			modes[i].run();
			return 0; /* the exit closes the socket */
		}
	fprintf(stderr, "load: no mode %s\n", word[0]);
	return 2;
}

/*
 * flood IFACE SECONDS: send the frames on standard input, each after its length (16 bits, big endian), repeatedly,
 * as fast as the interface accepts them. Prints how many it accepted.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MOST_FRAMES = 1024, LARGEST_FRAME = 2048, BATCH = 64 };

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static int read_frames(struct iovec *frames)
{
	unsigned char length[2];
	int n = 0;

	while (n < MOST_FRAMES && fread(length, 1, 2, stdin) == 2) {
		frames[n].iov_len = length[0] << 8 | length[1];
		frames[n].iov_base = malloc(LARGEST_FRAME);
		if (frames[n].iov_len > LARGEST_FRAME ||
		    fread(frames[n].iov_base, 1, frames[n].iov_len, stdin) != frames[n].iov_len)
			return 0;
		n++;
	}
	return n;
}

int main(int words, char **word)
{
	static struct iovec frames[MOST_FRAMES];
	struct mmsghdr batch[BATCH];
	struct sockaddr_ll to = { .sll_family = AF_PACKET };
	int packets = socket(AF_PACKET, SOCK_RAW, 0), n = read_frames(frames), at = 0, yes = 1;
	double seconds = words == 3 ? atof(word[2]) : 0, end = now() + seconds;
	long sent = 0;

	if (n < 1 || seconds <= 0 || seconds > 60) {
		fprintf(stderr, "usage: flood IFACE SECONDS (at most 60) < frames\n");
		return 2;
	}
	to.sll_ifindex = if_nametoindex(word[1]);
	if (packets < 0 || bind(packets, (struct sockaddr *)&to, sizeof to)) {
		perror(word[1]);
		return 1;
	}
	setsockopt(packets, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof yes);
	while (now() < end) {
		memset(batch, 0, sizeof batch);
		for (int i = 0; i < BATCH; i++) {
			batch[i].msg_hdr.msg_iov = &frames[at];
			batch[i].msg_hdr.msg_iovlen = 1;
			at = (at + 1) % n;
		}
		int took = sendmmsg(packets, batch, BATCH, 0);
		sent += took > 0 ? took : 0;
	}
	printf("%ld\n", sent);
	return 0;
}

/* See client.h. */
#define _GNU_SOURCE
#include "client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { RECEIVE_BUFFER = 4 << 20 };

uint8_t mac[6];
uint32_t address;
const uint8_t EVERYBODY[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

void fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

/* Transaction ids are a counter times an odd constant: never the same twice, and spread over all their bits. */
uint32_t next_xid(void)
{
	static uint32_t counter;

	return ++counter * 2654435761u;
}

/* The options of a common client: those of udhcpc, with the parameter request list of dhclient. */
void make_discover(struct request *r)
{
	static const uint8_t asked_for[] = { 1, 3, 6, 12, 15, 26, 28, 42, 119, 121 };
	uint8_t *bootp = r->frame + AT_BOOTP, *option = r->frame + AT_OPTIONS;
	int octets;

	memset(r->frame, 0, sizeof r->frame);
	bootp[0] = BOOTREQUEST;
	bootp[1] = 1;
	bootp[2] = 6;
	memcpy(r->frame + AT_CHADDR, mac, 6);
	put32(r->frame + AT_COOKIE, 0x63825363);
	memcpy(option, (uint8_t[]){ OPTION_MESSAGE_TYPE, 1, DISCOVER, 57, 2, 5, 192, 60, 14 }, 9);
	snprintf((char *)option + 9, 15, "bench-%08x", 0);
	option += 23;
	*option++ = 55;
	*option++ = sizeof asked_for;
	memcpy(option, asked_for, sizeof asked_for);
	option += sizeof asked_for;
	*option++ = OPTION_END;
	octets = option - bootp;
	r->length = enclose(r->frame, octets < SHORTEST_BOOTP ? SHORTEST_BOOTP : octets, mac, EVERYBODY, 0, 0xffffffff,
			    68, 67);
}

uint32_t renew(struct request *r, int vary)
{
	static const char digits[] = "0123456789abcdef";

	r->xid = next_xid();
	put32(r->frame + AT_XID, r->xid);
	for (int i = 0; vary && i < 8; i++) /* the digits of the vendor class, behind "bench-" */
		r->frame[AT_OPTIONS + 15 + i] = digits[r->xid >> (4 * i) & 15];
	seal(r->frame, r->length);
	return r->xid;
}

uint32_t offered(const uint8_t *frame, int length)
{
	if (length < AT_OPTIONS || frame[AT_BOOTP] != BOOTREPLY || memcmp(frame + AT_CHADDR, mac, 6) ||
	    get32(frame + AT_YIADDR) != address || message_type(frame, length) != OFFER)
		return 0;
	return get32(frame + AT_XID);
}

int open_packets(const char *interface)
{
	/* only IPv4 UDP to port 68 */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),	 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x0800, 0, 5),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 23),	 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 17, 0, 3),
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 36),	 BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 68, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0xffff),	 BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };
	struct sockaddr_ll bound = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
	int yes = 1, buffer = RECEIVE_BUFFER, packets = socket(AF_PACKET, SOCK_RAW, 0);

	bound.sll_ifindex = if_nametoindex(interface);
	if (!bound.sll_ifindex || packets < 0 ||
	    setsockopt(packets, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) ||
	    setsockopt(packets, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) ||
	    setsockopt(packets, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer) ||
	    bind(packets, (struct sockaddr *)&bound, sizeof bound))
		fail(interface);
	return packets;
}

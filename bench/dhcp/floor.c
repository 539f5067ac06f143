/*
 * Lower bound for any server: floor IFACE CLIENT-MAC CLIENT-ADDRESS SERVER-ADDRESS.
 * Answers every frame with one prepared OFFER, in which only the transaction id is replaced, with a system call for each
 * message. Not a DHCP server; it shows the limit of the load generator.
 */
#include "frame.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/socket.h>

static int make_offer(uint8_t *frame, const uint8_t *own, const uint8_t *client_mac, uint32_t client, uint32_t server)
{
	static const uint8_t options[] = { OPTION_MESSAGE_TYPE, 1, OFFER, 54, 4, 0, 0, 0, 0, 51, 4, 0, 1, 81, 128,
					   1, 4, 255, 255, 255, 0, OPTION_END };

	memcpy(frame + AT_BOOTP, (uint8_t[]){ BOOTREPLY, 1, 6 }, 3);
	put32(frame + AT_YIADDR, client);
	memcpy(frame + AT_CHADDR, client_mac, 6);
	put32(frame + AT_COOKIE, 0x63825363);
	memcpy(frame + AT_OPTIONS, options, sizeof options);
	put32(frame + AT_OPTIONS + 5, server);
	return enclose(frame, SHORTEST_BOOTP, own, client_mac, server, client, 67, 68);
}

int main(int words, char **word)
{
	static uint8_t request[FRAME_SIZE], answer[FRAME_SIZE];
	struct sockaddr_ll port = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_IP) };
	socklen_t size = sizeof port;
	struct in_addr client, server;
	uint8_t mac[6];
	int yes = 1, length, fd = socket(AF_PACKET, SOCK_RAW, 0);

	if (words != 5 || !inet_aton(word[3], &client) || !inet_aton(word[4], &server) ||
	    sscanf(word[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6) {
		fprintf(stderr, "usage: floor IFACE CLIENT-MAC CLIENT-ADDRESS SERVER-ADDRESS\n");
		return 2;
	}
	port.sll_ifindex = if_nametoindex(word[1]);
	if (setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof yes) ||
	    bind(fd, (struct sockaddr *)&port, sizeof port) || getsockname(fd, (struct sockaddr *)&port, &size)) {
		perror("floor");
		return 1;
	}
	length = make_offer(answer, port.sll_addr, mac, ntohl(client.s_addr), ntohl(server.s_addr));
	put16(answer + AT_UDP + 6, 0); /* no checksum, so that none needs an update */
	while (recv(fd, request, sizeof request, 0) >= AT_OPTIONS) {
		memcpy(answer + AT_XID, request + AT_XID, 4);
		send(fd, answer, length, 0);
	}
	return 1;
}

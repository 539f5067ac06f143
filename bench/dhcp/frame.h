/*
 * DHCPv4 messages in Ethernet frames: what a client under load makes and reads (RFC 2131, RFC 2132).
 * All offsets count from the beginning of the frame; IPv4 headers have 20 octets, as every peer's have.
 */
#ifndef FRAME_H
#define FRAME_H

#include <stdint.h>
#include <string.h>

enum {
	AT_IPV4 = 14,
	AT_UDP = AT_IPV4 + 20,
	AT_BOOTP = AT_UDP + 8,
	AT_XID = AT_BOOTP + 4,
	AT_YIADDR = AT_BOOTP + 16,
	AT_CHADDR = AT_BOOTP + 28,
	AT_COOKIE = AT_BOOTP + 236,
	AT_OPTIONS = AT_COOKIE + 4,
	FRAME_SIZE = 1536,
	SHORTEST_BOOTP = 300, /* RFC 1542 section 2.1 */
};
enum { BOOTREQUEST = 1, BOOTREPLY = 2 };
enum { DISCOVER = 1, OFFER = 2 };
enum { OPTION_PAD = 0, OPTION_MESSAGE_TYPE = 53, OPTION_END = 255 };

static inline void put16(uint8_t *at, uint16_t value)
{
	at[0] = value >> 8;
	at[1] = value;
}

static inline void put32(uint8_t *at, uint32_t value)
{
	put16(at, value >> 16);
	put16(at + 2, value);
}

static inline uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

/* The sum of 16-bit words that the Internet checksum (RFC 1071) is made of. */
static inline uint32_t sum_words(const uint8_t *at, int octets)
{
	uint32_t sum = 0;
	int i;

	for (i = 0; i + 1 < octets; i += 2)
		sum += at[i] << 8 | at[i + 1];
	return i < octets ? sum + (at[i] << 8) : sum;
}

static inline uint16_t checksum(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return ~((sum & 0xffff) + (sum >> 16));
}

/* Put the UDP checksum right after the payload has changed. */
static inline void seal(uint8_t *frame, int length)
{
	int udp_octets = length - AT_UDP;
	uint16_t sum;

	put16(frame + AT_UDP + 6, 0);
	sum = checksum(sum_words(frame + AT_IPV4 + 12, 8) + 17 + udp_octets + sum_words(frame + AT_UDP, udp_octets));
	put16(frame + AT_UDP + 6, sum ? sum : 0xffff);
}

/* Write the headers around a BOOTP message that is in place already; returns the frame's length. */
static inline int enclose(uint8_t *frame, int bootp_octets, const uint8_t *source_mac, const uint8_t *destination_mac,
			  uint32_t source, uint32_t destination, uint16_t source_port, uint16_t destination_port)
{
	uint8_t *ip = frame + AT_IPV4, *udp = frame + AT_UDP;

	memcpy(frame, destination_mac, 6);
	memcpy(frame + 6, source_mac, 6);
	put16(frame + 12, 0x0800);
	memset(ip, 0, 28);
	ip[0] = 0x45;
	put16(ip + 2, 28 + bootp_octets);
	ip[8] = 64;
	ip[9] = 17;
	put32(ip + 12, source);
	put32(ip + 16, destination);
	put16(ip + 10, checksum(sum_words(ip, 20)));
	put16(udp, source_port);
	put16(udp + 2, destination_port);
	put16(udp + 4, 8 + bootp_octets);
	seal(frame, AT_BOOTP + bootp_octets);
	return AT_BOOTP + bootp_octets;
}

/* The DHCP message type, or 0 where there is none or the options are broken before it. */
static inline int message_type(const uint8_t *frame, int length)
{
	int at = AT_OPTIONS;

	while (at + 2 < length && frame[at] != OPTION_END) {
		if (frame[at] == OPTION_MESSAGE_TYPE)
			return frame[at + 2];
		at += frame[at] == OPTION_PAD ? 1 : 2 + frame[at + 1];
	}
	return 0;
}

#endif

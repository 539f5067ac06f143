/* The DHCP client of the load generator: its messages and its packet socket. */
#ifndef CLIENT_H
#define CLIENT_H

#include "frame.h"

struct request {
	uint8_t frame[FRAME_SIZE];
	int length;
	uint32_t xid;
	uint64_t sent;
};

extern uint8_t mac[6];	 /* of the client */
extern uint32_t address; /* that it expects to be offered */
extern const uint8_t EVERYBODY[6];

static const uint64_t SECOND = 1000000000;

/* End with a line about errno. */
void fail(const char *what);

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t now(void);

uint32_t next_xid(void);

/* Fill in a DISCOVER, but for its transaction id. */
void make_discover(struct request *r);

/* Give a DISCOVER a transaction id, which is returned; with `vary`, a vendor class of its own as well. */
uint32_t renew(struct request *r, int vary);

/* The transaction id of an OFFER of `address` to `mac`, or 0. */
uint32_t offered(const uint8_t *frame, int length);

/* A packet socket that receives IPv4 UDP to port 68 on the interface. */
int open_packets(const char *interface);

#endif

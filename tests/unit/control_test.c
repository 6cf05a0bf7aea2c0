// Control protocols: which frames are, which are not, and that the parser's early mark misses none.
#include "dp/control.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dp/parse.h"

#define N_FRAMES 1000000
#define MAX_LEN  128

struct sample {
	const char *what;
	bool is_control;
	const char *hex; // padded with zeros to MAX_LEN
};

#define ETH4          "020000000001 020000000002 0800"
#define ETH6          "020000000001 020000000002 86dd"
#define IP4(proto)    "4500002c 00004000 40" proto "0000 0a000001 0a000002"
#define IP6(next)     "60000000 0020" next "40 20010db8000000000000000000000001 20010db8000000000000000000000002"
#define UDP(from, to) from to "00100000"

static const struct sample samples[] = {
    {"ARP", true, "ffffffffffff 020000000002 0806 0001080006040001"},
    {"ARP behind a tag", true, "ffffffffffff 020000000002 8100000a 0806 0001080006040001"},
    {"RARP", true, "ffffffffffff 020000000002 8035 0001080006040003"},
    {"STP", true, "0180c2000000 020000000002 0027"},
    {"LLDP", true, "0180c200000e 020000000002 88cc"},
    {"UDP to a reserved group", true, "0180c2000003 020000000002 0800" IP4("11") UDP("1388", "1389")},
    {"beyond the reserved groups", false, "0180c2000100 020000000002 88cc"},
    {"DHCP request", true, ETH4 IP4("11") UDP("0044", "0043")},
    {"DHCP answer by a relay", true, ETH4 IP4("11") UDP("1388", "0044")},
    {"DHCPv6", true, ETH6 IP6("11") UDP("0222", "0223")},
    {"DHCPv6 from its server", true, ETH6 IP6("11") UDP("0223", "1388")},
    {"DNS", false, ETH4 IP4("11") UDP("1388", "0035")},
    {"UDP", false, ETH4 IP4("11") UDP("1388", "1389")},
    {"TCP from DHCP's port", false, ETH4 IP4("06") "00440043 00000001 00000002 50100400 00000000"},
    {"ICMP unreachable", true, ETH4 IP4("01") "0301000000000000"},
    {"ICMP time exceeded", true, ETH4 IP4("01") "0b00000000000000"},
    {"ping", false, ETH4 IP4("01") "0800000000000000"},
    {"ICMPv6 too big", true, ETH6 IP6("3a") "0200000000000000"},
    {"neighbour solicitation", true, ETH6 IP6("3a") "8700000000000000"},
    {"MLDv2", true, ETH6 IP6("3a") "8f00000000000000"},
    {"ping by IPv6", false, ETH6 IP6("3a") "8000000000000000"},
    {"IGMP", true, ETH4 IP4("02") "1600000000000000"},
    {"IGMP, a later fragment", true, ETH4 "4500002c 00000004 4002 0000 0a000001 0a000002"},
    {"UDP, a later fragment", false, ETH4 "4500002c 00000004 4011 0000 0a000001 0a000002"},
    {"SCTP", false, ETH4 IP4("84") "03e807d0 00000001 00000002"},
    {"GRE", false, ETH4 IP4("2f") "0000080000000000"},
};

static struct pkt packet(uint8_t *bytes, uint32_t len)
{
	struct pkt p;

	memset(&p, 0xff, sizeof(p));
	p.data = bytes;
	p.len = len;
	p.head_len = (uint16_t)len;
	return p;
}

START_TEST(each_kind)
{
	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
		const struct sample *s = &samples[i];
		uint8_t bytes[MAX_LEN] = {0};
		uint32_t n = 0;

		for (const char *c = s->hex; *c != 0; c += 2) {
			while (*c == ' ')
				c++;
			ck_assert_int_eq(sscanf(c, "%2hhx", &bytes[n++]), 1);
		}
		struct pkt p = packet(bytes, MAX_LEN);

		ck_assert_msg(parse(&p) == DROP_NONE, "%s is dropped", s->what);
		ck_assert_msg(control_is(&p) == s->is_control, "%s", s->what);
		ck_assert_msg(control_matches(&p) == s->is_control, "%s, looked at closely", s->what);
	}
}
END_TEST

// Frames that resemble the samples: a few bytes are others.
START_TEST(the_mark_misses_none)
{
	unsigned n_control = 0;

	srandom(1);
	for (unsigned i = 0; i < N_FRAMES; i++) {
		static const uint8_t types[][2] = {{8, 0}, {0x86, 0xdd}, {8, 6}, {0x81, 0}};
		static const uint8_t protos[] = {1, 2, 6, 17, 44, 58, 0, 132};
		uint8_t bytes[MAX_LEN] = {random() % 4 == 0, 0x80, 0xc2};
		uint8_t *ip = bytes + 14, proto = protos[random() % 8];

		memcpy(bytes + 12, types[random() % 4], 2);
		if (bytes[12] == 0x81) {
			memcpy(bytes + 16, types[random() % 3], 2);
			ip += 4;
		}
		for (uint8_t *b = ip; b < bytes + MAX_LEN; b++)
			*b = random() % 4 == 0 ? random() : random() % 4;
		ip[0] = ip[-2] == 8 ? 0x45 : 0x60;
		ip[2] = ip[4] = 0;
		ip[ip[-2] == 8 ? 9 : 6] = proto;
		uint32_t len = 60 + random() % (MAX_LEN - 60);
		struct pkt p = packet(bytes, len);

		if (parse(&p) != DROP_NONE)
			continue;
		n_control += control_matches(&p);
		ck_assert_int_eq(control_is(&p), control_matches(&p));
	}
	ck_assert_uint_gt(n_control, N_FRAMES / 100);
}
END_TEST

START_TEST(of_udp_only_dhcp_is_marked)
{
	for (uint32_t port = 0; port <= UINT16_MAX; port++)
		for (int end = 0; end < 2; end++) {
			uint8_t bytes[MAX_LEN] = {2, [12] = 8, [14] = 0x45, [17] = 28, [23] = 17, [39] = 8};
			bool is_dhcp = port == 67 || port == 68 || port == 546 || port == 547;

			bytes[34 + 2 * end] = port >> 8;
			bytes[35 + 2 * end] = port;
			struct pkt p = packet(bytes, MAX_LEN);

			ck_assert_int_eq(parse(&p), DROP_NONE);
			ck_assert_msg(p.may_control == is_dhcp, "UDP port %u", port);
			ck_assert_msg(control_is(&p) == is_dhcp, "UDP port %u", port);
		}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control");
	TCase *t = tcase_create("control");
	SRunner *r = srunner_create(s);

	tcase_set_timeout(t, 60);
	tcase_add_test(t, each_kind);
	tcase_add_test(t, of_udp_only_dhcp_is_marked);
	tcase_add_test(t, the_mark_misses_none);
	suite_add_tcase(s, t);
	srunner_run_all(r, CK_ENV);
	int failed = srunner_ntests_failed(r);

	srunner_free(r);
	return failed != 0;
}

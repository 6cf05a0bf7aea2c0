// Ports on DPDK devices: the null device, and the ring device, which brings back what it was sent.
#include <stdio.h>
#include <string.h>

#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_ethdev.h>

#include "device_rig.h"
#include "dp/ethdev.h"

START_TEST(null_device_takes_everything)
{
	unsigned before = buffers_in_use();
	uint8_t f[100];
	struct pkt k[PKT_BURST];

	device_up("net_null0,size=100", 1500);
	frame_make(f, sizeof(f), 1);
	for (int i = 0; i < PKT_BURST; i++)
		packet_make(&k[i], f, sizeof(f), 2000);
	ck_assert_uint_eq(device_tx(k, PKT_BURST), PKT_BURST);
	for (int i = 0; i < PKT_BURST; i++)
		ck_assert_ptr_null(k[i].m);
	ck_assert_uint_eq(device_rx(k, PKT_BURST), PKT_BURST);
	ck_assert_uint_eq(k[0].len, 100);
	device_rx_end(k, PKT_BURST);
	device_down();
	ck_assert_uint_eq(buffers_in_use(), before);
}
END_TEST

START_TEST(ring_device_brings_back_what_was_sent)
{
	unsigned before = buffers_in_use();
	uint8_t f[1000], g[3000];
	struct pkt k[2];

	device_up("net_ring0", 9000);
	frame_make(f, sizeof(f), 1);
	frame_make(g, sizeof(g), 2);
	packet_make(&k[0], f, sizeof(f), 2000);
	packet_make(&k[1], g, sizeof(g), 1000);
	ck_assert_uint_eq(device_tx(k, 2), 2);
	rig_wait(device_has(f, sizeof(f)) || device_has(g, sizeof(g)));
	device_down();
	ck_assert_uint_eq(buffers_in_use(), before);
}
END_TEST

START_TEST(a_frame_that_others_need_is_copied)
{
	unsigned before = buffers_in_use();
	uint8_t f[3000];
	struct pkt k;

	device_up("net_ring0", 9000);
	frame_make(f, sizeof(f), 1);
	packet_make(&k, f, sizeof(f), 1500);
	k.n_users = 2;
	ck_assert_uint_eq(device_tx(&k, 1), 1);
	ck_assert_ptr_nonnull(k.m);
	memset(k.data, 0xee, 14);
	ck_assert(device_has(f, sizeof(f)));
	pkt_free(&k);
	device_down();
	ck_assert_uint_eq(buffers_in_use(), before);
}
END_TEST

START_TEST(a_borrowed_frame_is_copied)
{
	unsigned before = buffers_in_use();
	uint8_t f[3000];
	struct iovec whole = {f, sizeof(f)}, rest[1];
	struct pkt k;

	device_up("net_ring0", 9000);
	frame_make(f, sizeof(f), 1);
	pkt_init_borrowed(&k, &whole, 1, rest, 0);
	k.n_users = 1;
	ck_assert_uint_eq(device_tx(&k, 1), 1);
	ck_assert_ptr_null(k.m);
	ck_assert(device_has(f, sizeof(f)));
	device_down();
	ck_assert_uint_eq(buffers_in_use(), before);
}
END_TEST

START_TEST(what_a_full_device_leaves_stays_the_callers)
{
	unsigned before = buffers_in_use();
	uint8_t f[100];
	struct pkt k[PKT_BURST];
	uint16_t sent;

	device_up("net_ring0", 1500);
	frame_make(f, sizeof(f), 1);
	do {
		for (int i = 0; i < PKT_BURST; i++) {
			packet_make(&k[i], f, sizeof(f), 2000);
			k[i].n_users = 1 + i % 2;
		}
		sent = device_tx(k, PKT_BURST);
		for (int i = 0; i < PKT_BURST; i++) {
			ck_assert_int_eq(k[i].m == NULL, i < sent && k[i].n_users == 1);
			pkt_free(&k[i]);
		}
	} while (sent == PKT_BURST);
	while ((sent = device_rx(k, PKT_BURST)) > 0)
		device_rx_end(k, sent);
	device_down();
	ck_assert_uint_eq(buffers_in_use(), before);
}
END_TEST

START_TEST(nothing_is_sent_without_link)
{
	uint8_t f[100];
	struct pkt k;

	device_up("net_ring0", 1500);
	atomic_store(&device->live.up, false);
	frame_make(f, sizeof(f), 1);
	packet_make(&k, f, sizeof(f), 2000);
	ck_assert_uint_eq(device_tx(&k, 1), 0);
	ck_assert_ptr_nonnull(k.m);
	pkt_free(&k);
	device_down();
}
END_TEST

START_TEST(refusals_are_sentences)
{
	device_up("net_ring0", 1500);
	device_refused("net_ring0", 1, "device net_ring0 is already used by port up0");
	device_down();
	device_refused("net_nosuch0", 1, "DPDK knows neither a device net_nosuch0 nor");
	device_refused("net_vhost0,iface=/nowhere/x,queues=1", 2,
		       "device net_vhost0 cannot serve 2 queues, at most 1; give queues 1");
	device_refused(",iface=x", 1, "does not begin with a device's name");
	device_refused("net_af_packet0", 1, "names no interface");
	device_refused("net_af_packet0,iface=x,colour=red", 1, "has an option that is not understood");
	device_refused("net_af_packet0,iface=x,framesz=1000", 1,
		       "framesz=1000 is not a power of two from 2048");
	device_refused("net_af_packet0,iface=averyveryverylongname", 1, "is longer than 15 characters");
	device_refused("net_af_packet0,iface=x", 2, "has one queue, not 2");
}
END_TEST

START_TEST(a_device_that_was_there_is_left_there)
{
	uint16_t id;

	ck_assert_int_eq(rte_eal_hotplug_add("vdev", "net_ring_there", ""), 0);
	for (int i = 0; i < 2; i++) {
		device_up("net_ring_there", 1500);
		device_down();
		ck_assert_int_eq(rte_eth_dev_get_port_by_name("net_ring_there", &id), 0);
	}
	ck_assert_int_eq(rte_eth_dev_close(id), 0);
	ck_assert_int_eq(rte_eal_hotplug_remove("vdev", "net_ring_there"), 0);
}
END_TEST

START_TEST(a_removed_device_can_be_added_again)
{
	for (int i = 0; i < 40; i++) { // more than there are devices
		device_up("net_null0", 1500);
		device_down();
	}
	ck_assert_uint_eq(rte_eth_dev_count_total(), 0);
}
END_TEST

START_TEST(as_many_devices_as_dpdk_allows)
{
	struct port *ports[RTE_MAX_ETHPORTS];

	for (int i = 0; i < RTE_MAX_ETHPORTS; i++) {
		struct port_conf c = {.name = "up0", .mtu = 1500, .n_queues = 1};

		snprintf(c.device, sizeof(c.device), "net_null%d", i);
		ports[i] = rig_port_start(&ethdev_driver, &c);
	}
	device_refused("net_null99", 1, "this DPDK allows 32 devices");
	for (int i = 0; i < RTE_MAX_ETHPORTS; i++)
		rig_port_stop(ports[i]);
}
END_TEST

static Suite *suite(void)
{
	Suite *s = suite_create("ethdev");
	TCase *t = tcase_create("ethdev");

	tcase_add_test(t, null_device_takes_everything);
	tcase_add_test(t, ring_device_brings_back_what_was_sent);
	tcase_add_test(t, a_frame_that_others_need_is_copied);
	tcase_add_test(t, a_borrowed_frame_is_copied);
	tcase_add_test(t, what_a_full_device_leaves_stays_the_callers);
	tcase_add_test(t, nothing_is_sent_without_link);
	tcase_add_test(t, refusals_are_sentences);
	tcase_add_test(t, a_device_that_was_there_is_left_there);
	tcase_add_test(t, a_removed_device_can_be_added_again);
	tcase_add_test(t, as_many_devices_as_dpdk_allows);
	suite_add_tcase(s, t);
	return s;
}

int main(void)
{
	SRunner *runner = srunner_create(suite());
	int n_failed;

	rig_init();
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_NORMAL);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	rig_fini();
	return n_failed ? 1 : 0;
}

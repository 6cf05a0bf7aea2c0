// libvirt's XML for a vhost-user port. Control thread.
//
// Its own <mtu> is left alone: libvirt would set it at a kernel interface, which a vhost-user port does not have, and
// refuse to start the guest. The MTU is a property of QEMU's device instead, found by an alias.
#include "hypervisor.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "ctrl/api/value.h"
#include "dp/port.h"

static const char memory_xml[] = "<memoryBacking>\n"
				 "  <source type='memfd'/>\n"
				 "  <access mode='shared'/>\n"
				 "</memoryBacking>\n";

static void escaped_print(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			fputs("&amp;", f);
		else if (*text == '<')
			fputs("&lt;", f);
		else if (*text == '\'')
			fputs("&apos;", f);
		else
			fputc(*text, f);
	}
}

// "ua-" marks aliases that are not libvirt's own; with any other character they are ignored.
static void alias_print(FILE *f, const char *name)
{
	fputs("ua-", f);
	for (; *name; name++)
		fputc(isalnum((unsigned char)*name) || *name == '_' ? *name : '-', f);
}

static void interface_print(FILE *f, const struct port_conf *c)
{
	char mac[VALUE_MAC_LEN];

	fputs("<interface type='vhostuser'>\n", f);
	if (c->has_mac)
		fprintf(f, "  <mac address='%s'/>\n", value_print_mac(c->mac, mac));
	fputs("  <source type='unix' path='", f);
	escaped_print(f, c->socket);
	if (c->server)
		fputs("' mode='client'>\n    <reconnect enabled='yes' timeout='1'/>\n  </source>\n", f);
	else
		fputs("' mode='server'/>\n", f);
	fprintf(f, "  <target dev='%s'/>\n  <model type='virtio'/>\n", c->name);
	if (c->n_queues > 1)
		fprintf(f, "  <driver queues='%u'/>\n", c->n_queues);
	if (hypervisor_says_mtu(c)) {
		fputs("  <alias name='", f);
		alias_print(f, c->name);
		fputs("'/>\n", f);
	}
	fputs("</interface>\n", f);
}

static void override_print(FILE *f, const struct port_conf *c)
{
	fputs("<override xmlns='http://libvirt.org/schemas/domain/qemu/1.0'>\n  <device alias='", f);
	alias_print(f, c->name);
	fprintf(f,
		"'>\n    <frontend>\n      <property name='host_mtu' type='unsigned' value='%u'/>\n"
		"    </frontend>\n  </device>\n</override>\n",
		c->mtu);
}

static json_t *printed(void (*print)(FILE *f, const struct port_conf *c), const struct port_conf *c)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return NULL;
	print(f, c);
	fclose(f);
	json_t *out = json_string(text);

	free(text);
	return out;
}

json_t *libvirt_xml(const struct port_conf *c, bool domain)
{
	json_t *interface = printed(interface_print, c), *override = NULL;
	const char *memory = domain ? memory_xml : "", *rest = "";

	if (hypervisor_says_mtu(c))
		override = printed(override_print, c);
	if (domain && override != NULL)
		rest = json_string_value(override);
	return json_pack("{s:o, s:o, s:s, s:o*}", "text",
			 json_sprintf("%s%s%s", memory, json_string_value(interface), rest), "interface",
			 interface, "memory", memory_xml, "override", override);
}
